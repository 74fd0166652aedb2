import math

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.spatial.distance import cdist

from app.arrays import Mask
from app.scoring import distances, metrics
from app.scoring.metrics import DetectionRules

ONE_MM = (1.0, 1.0, 1.0)
nan = math.nan
Bar = tuple[int, int, int]  # row (y), first and last voxel (x)


def _bars(*bars: Bar) -> Mask:
    """Straight bars along x in the middle slice of a 3 x 12 x 30 volume."""
    mask = np.zeros((3, 12, 30), np.bool_)
    for row, first, last in bars:
        mask[1, row, first : last + 1] = True
    return mask


# The worked cases of docs/method.md, 6, with 1-mm voxels: a lesion needs more than 3 mm^3, that is 4 voxels.
# (reference, prediction, what to expect)
BARS: dict[str, tuple[list[Bar], list[Bar], dict[str, float]]] = {
    # Dice 2*4/(4+4) = 1.
    "the same bar": ([(1, 1, 4)], [(1, 1, 4)], {"f1": 1, "dice": 1, "sensl": 1, "ppvl": 1}),
    # The reference has voxels but no lesion: SensL 0/0. The predicted bar touches nothing: PPVL 0/1.
    "reference too small": ([(1, 1, 3)], [(5, 1, 4)], {"sensl": nan, "ppvl": 0, "f1": 0, "false_lesions": 1}),
    # The 3-voxel bar is no lesion but counts in Dice: 2*4/(7+4) = 8/11.
    "small lesion missed": (
        [(1, 1, 3), (3, 1, 4)],
        [(3, 1, 4)],
        {"f1": 1, "dice": 8 / 11, "reference_lesions": 1},
    ),
    # 1/10 covered, and alpha 0.10 must be exceeded. The prediction is covered by 1/4, and its partner lies
    # 9/10 > 0.70 outside: not true.
    "overlap 1 of 10": ([(1, 1, 10)], [(1, 10, 13)], {"sensl": 0, "ppvl": 0, "f1": 0}),
    # 2/10 covered, and the prediction lies 2/4 <= 0.70 outside: found. The prediction is covered by 2/4,
    # but its partner lies 8/10 outside: not true.
    "overlap 2 of 10": ([(1, 1, 10)], [(1, 9, 12)], {"sensl": 1, "ppvl": 0, "f1": 0}),
    # 3/10 covered both ways, 7/10 outside: 0.7 is not more than beta. Dice 2*3/20 = 0.3.
    "7 of 10 outside": ([(1, 1, 10)], [(1, 8, 17)], {"f1": 1, "dice": 0.3, "sensl": 1, "ppvl": 1}),
    # 8/10 outside, both ways.
    "8 of 10 outside": ([(1, 1, 10)], [(1, 9, 18)], {"f1": 0, "sensl": 0, "ppvl": 0}),
    # 8/10 covered by two of 4/8 each: 0.5 < gamma, so both are visited, and lie 0/4 outside. Each
    # prediction's partner lies 2/10 outside.
    "two in one": (
        [(1, 1, 10)],
        [(1, 1, 4), (1, 7, 10)],
        {"f1": 1, "detected_lesions": 1, "true_lesions": 2},
    ),
    # Each reference bar is wholly covered by a bar that lies 4/14 outside; that one is covered by 10/14, in
    # equal parts by bars that lie 0/5 outside.
    "one over two": (
        [(1, 1, 5), (1, 10, 14)],
        [(1, 1, 14)],
        {"f1": 1, "detected_lesions": 2, "true_lesions": 1},
    ),
    # Nothing predicted: PPV 0/0 and PPVL, by the tool's rule, 0.
    "nothing predicted": ([(1, 1, 10)], [], {"ppvl": 0, "sensl": 0, "f1": 0, "dice": 0, "ppv": nan}),
    # 4 + 6 mm^3; the bar of 3 is no lesion.
    "nothing to find": (
        [],
        [(1, 1, 3), (3, 1, 4), (5, 1, 6)],
        {"false_lesions": 2, "false_volume_mm3": 10, "f1": nan, "sensl": nan},
    ),
    # Two pairs of voxels that share an edge, not a face: two objects of 2 mm^3, both dropped.
    "touching by an edge": (
        [(1, 1, 10)],
        [(1, 1, 2), (2, 3, 4)],
        {"f1": 0, "predicted_lesions": 0, "ppvl": 0},
    ),
}


@pytest.mark.parametrize("name", BARS)
def test_bars(name: str) -> None:
    reference, prediction, expected = BARS[name]
    found = metrics.evaluate(_bars(*prediction), _bars(*reference), ONE_MM)
    assert {measure: getattr(found, measure) for measure in expected} == pytest.approx(expected, nan_ok=True)


def test_lesions_found_and_missed_are_counted() -> None:
    """One of two found; one of two predicted is false, with 5 mm^3 of 2 x 0.5 x 1 mm voxels = 5 voxels."""
    found = metrics.evaluate(_bars((1, 1, 10), (8, 1, 5)), _bars((1, 1, 10), (5, 1, 6)), (2.0, 0.5, 1.0))
    assert (found.reference_lesions, found.detected_lesions, found.missed_lesions) == (2, 1, 1)
    assert (found.predicted_lesions, found.true_lesions, found.false_lesions, found.false_volume_mm3) == (
        2,
        1,
        1,
        5.0,
    )
    assert (found.reference_volume_mm3, found.predicted_volume_mm3) == (16.0, 15.0)
    assert (found.sensl, found.ppvl, found.f1) == (0.5, 0.5, 0.5)


def test_an_empty_reference_is_measured_from_3_mm3_whatever_the_minimum() -> None:
    prediction, nothing = _bars((1, 1, 4), (3, 1, 12)), _bars()
    assert (
        metrics.evaluate(prediction, nothing, ONE_MM, DetectionRules(minimum_volume_mm3=10)).false_lesions
        == 2
    )
    assert (
        metrics.evaluate(
            prediction, prediction, ONE_MM, DetectionRules(minimum_volume_mm3=10)
        ).reference_lesions
        == 1
    )  # the bar of 12


def test_both_empty() -> None:
    found = metrics.evaluate(_bars(), _bars(), ONE_MM)
    assert (found.false_lesions, found.false_volume_mm3, found.reference_lesions) == (0, 0, 0)
    assert found.specificity == found.npv == 1
    undefined = (
        "jaccard",
        "dice",
        "sensitivity",
        "ppv",
        "hausdorff_mm",
        "contour_mean_distance_mm",
        "surface_distance_mm",
        "f1",
        "sensl",
        "ppvl",
    )
    assert all(math.isnan(getattr(found, measure)) for measure in undefined)


def test_different_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="wanted one shape"):
        metrics.evaluate(np.zeros((2, 2, 2), np.bool_), np.zeros((2, 2, 3), np.bool_), ONE_MM)


def test_voxel_measures_of_two_labels() -> None:
    """Ten voxels; agreeing on label 1 twice, on label 2 once, once 1 for 2, one false 2, one missed 1, four
    background.

    shared 3; predicted 5, reference 5; union 5 + 5 - 3 = 7; FP = 5 - 3 = 2, FN = 2; two labels: specificity
    4/(4 + 2/2).
    """
    prediction = np.array([1, 1, 2, 1, 2, 0, 0, 0, 0, 0]).reshape(1, 2, 5)
    reference = np.array([1, 1, 2, 2, 0, 1, 0, 0, 0, 0]).reshape(1, 2, 5)
    overlap = metrics.voxel_overlap(prediction, reference)
    assert overlap == metrics.VoxelOverlap(shared=3, predicted=5, reference=5, background=4, labels=2)
    assert (overlap.jaccard, overlap.dice) == pytest.approx((3 / 7, 2 * (3 / 7) / (1 + 3 / 7)))
    assert (overlap.sensitivity, overlap.ppv, overlap.specificity, overlap.npv) == pytest.approx(
        (0.6, 0.6, 0.8, 0.8)
    )
    assert overlap.relative_volume_error_percent == 0


def test_lesions_are_numbered_by_size_and_small_ones_dropped() -> None:
    labels, sizes = metrics.components(_bars((1, 1, 4), (3, 1, 9), (5, 1, 3), (7, 1, 4)), 4)
    assert sizes.tolist() == [9, 4, 4]
    assert [labels[1, row, 1] for row in (1, 3, 5, 7)] == [2, 1, 0, 3]  # equal ones in raster order


def test_matched_lesions_say_where_and_how_much() -> None:
    """A bar of x = 1..10 in row 4 of slice 1: centre 5.5; 3 of 10 voxels covered."""
    matches = metrics.match_lesions(_bars((4, 8, 17)), _bars((4, 1, 10)), (3.0, 1.0, 2.0))
    (lesion,) = matches.reference
    assert lesion == metrics.MatchedLesion(
        voxels=10, volume_mm3=60.0, detected=True, overlap=0.3, centre=(1.0, 4.0, 5.5)
    )
    assert matches.predicted[0].centre == (1.0, 4.0, 12.5)


@pytest.mark.parametrize(
    ("good", "bad", "expected"), [(48, 27, False), (49, 26, True), (60, 20, True), (65, 35, True)]
)
def test_gamma_ends_the_visit(good: int, bad: int, expected: bool) -> None:
    """The good share comes first. The bad one (80 of 100 outside) is visited only if good/(good + bad)
    < 0.65: 48/75 = 0.64, 49/75 = 0.653."""
    table = np.array([[0, 0, 4 * bad], [100 - good - bad, good, bad]])
    assert metrics.detected(table).tolist() == [expected]


def test_of_equal_shares_the_larger_lesion_is_visited_first() -> None:
    """Shares 30 and 30. Column 1 is the larger lesion, lies 90/120 = 0.75 outside, and spoils it; alone the
    other would reach 0.5 < gamma."""
    assert metrics.detected(np.array([[0, 90, 0], [40, 30, 30]])).tolist() == [False]
    assert metrics.detected(
        np.array([[0, 90, 0], [40, 30, 30]]), DetectionRules(gamma=0.5, beta=0.75)
    ).tolist() == [True]


def _detected_slowly(table: np.ndarray, rules: DetectionRules) -> list[bool]:
    """docs/method.md, 6, rule by rule."""
    answers = []
    for i in range(1, len(table)):
        tp = sum(table[i][j] for j in range(1, len(table[0])))
        answer = tp / (tp + table[i][0]) > rules.alpha
        w = 0.0
        for j in sorted(range(1, len(table[0])), key=lambda j: -table[i][j]):
            if not answer or w >= rules.gamma:
                break
            out = table[0][j] / sum(table[k][j] for k in range(len(table)))
            answer = out <= rules.beta
            w += table[i][j] / tp
        answers.append(bool(answer))
    return answers


@given(
    table=hnp.arrays(np.int64, st.tuples(st.integers(1, 6), st.integers(1, 6)), elements=st.integers(0, 9)),
    alpha=st.sampled_from([0.1, 0.3]),
    beta=st.sampled_from([0.3, 0.7]),
    gamma=st.sampled_from([0.5, 0.65, 1.0]),
)
def test_detection_follows_the_rule(table: np.ndarray, alpha: float, beta: float, gamma: float) -> None:
    table[0, :] += table.sum(axis=0) == 0  # no lesion without voxels
    table[:, 0] += table.sum(axis=1) == 0
    rules = DetectionRules(alpha=alpha, beta=beta, gamma=gamma)
    assert metrics.detected(table, rules).tolist() == _detected_slowly(table, rules)


def test_contour_of_a_cube_is_all_but_its_centre() -> None:
    labels = np.zeros((5, 5, 5), np.uint8)
    labels[1:4, 1:4, 1:4] = 1
    contour = distances.contour(labels)
    assert contour.sum() == 26
    assert contour[2, 2, 2] == 0
    labels[:, :, :] = 1  # reaches the edge of the image everywhere, which is no contour
    labels[0, 0, 0] = 0
    assert distances.contour(labels).sum() == 3


def test_distances_of_two_voxels() -> None:
    """Three voxels apart along z (2 mm) and four along y (1.5 mm): sqrt(6^2 + 6^2)."""
    a, b = np.zeros((5, 6, 4), np.bool_), np.zeros((5, 6, 4), np.bool_)
    a[1, 1, 1] = b[4, 5, 1] = True
    found = metrics.evaluate(a, b, (2.0, 1.5, 1.0))
    assert (
        found.hausdorff_mm
        == found.contour_mean_distance_mm
        == found.surface_distance_mm
        == pytest.approx(math.hypot(6, 6))
    )


def test_surface_distance_and_the_tools_own() -> None:
    """Prediction at x = 2, 6, 10; reference at 1, 5, 9, each at 1 from the other's nearest, and one voxel
    more at a distance of 2.

    The mean is (3*1 + 3*1 + 2)/7 = 8/7. With the extra voxel first in raster order (x = 0) the running
    minimum is 2, 1, 1, 1: the same. With it last (x = 12) it is 1, 1, 1, 1: the tool prints 7/7.
    """
    line = np.zeros((3, 1, 1, 16), np.uint8)
    line[0, 0, 0, [2, 6, 10]] = 1
    line[1, 0, 0, [0, 1, 5, 9]] = 1
    line[2, 0, 0, [1, 5, 9, 12]] = 1
    prediction, early, late = line
    assert distances.surface_distance_mm(prediction, early, ONE_MM) == pytest.approx(8 / 7)
    assert distances.surface_distance_mm(prediction, early, ONE_MM, strict=True) == pytest.approx(8 / 7)
    assert distances.surface_distance_mm(prediction, late, ONE_MM) == pytest.approx(8 / 7)
    assert distances.surface_distance_mm(prediction, late, ONE_MM, strict=True) == 1


def _masks(shape: tuple[int, int, int] = (4, 6, 7)) -> st.SearchStrategy[Mask]:
    """Any mask with background."""
    return hnp.arrays(np.bool_, shape, elements=st.booleans()).filter(lambda mask: not mask.all())


@settings(max_examples=40)
@given(a=_masks(), b=_masks(), spacing_mm=st.tuples(*[st.sampled_from([0.5, 1.0, 3.0])] * 3))
def test_distances_and_overlap_agree_with_itk_and_brute_force(
    a: Mask, b: Mask, spacing_mm: metrics.Spacing
) -> None:
    a[0, 0, 0] = b[1, 1, 1] = True
    a[3, 5, 6] = b[3, 5, 6] = False
    images = [sitk.GetImageFromArray(mask.astype(np.uint8)) for mask in (a, b)]
    for picture in images:
        picture.SetSpacing(spacing_mm[::-1])
    found = metrics.evaluate(a, b, spacing_mm)

    hausdorff = sitk.HausdorffDistanceImageFilter()
    hausdorff.Execute(*images)
    assert found.hausdorff_mm == pytest.approx(hausdorff.GetHausdorffDistance(), abs=1e-5)
    overlap = sitk.LabelOverlapMeasuresImageFilter()
    overlap.Execute(*images)
    assert found.dice == pytest.approx(overlap.GetDiceCoefficient())
    assert found.jaccard == pytest.approx(overlap.GetJaccardCoefficient())

    contours = [
        sitk.GetArrayFromImage(sitk.BinaryContour(picture, fullyConnected=False)) > 0 for picture in images
    ]
    distances = cdist(*(np.argwhere(contour) * spacing_mm for contour in contours))
    there, back = distances.min(axis=1), distances.min(axis=0)
    assert found.contour_mean_distance_mm == pytest.approx(max(there.mean(), back.mean()))
    assert found.surface_distance_mm == pytest.approx(np.concatenate([there, back]).mean())


@given(mask=_masks())
def test_a_mask_agrees_with_itself(mask: Mask) -> None:
    found = metrics.evaluate(mask, mask, ONE_MM)
    assert found.false_lesions == found.missed_lesions == 0
    if mask.any():
        assert found.dice == found.jaccard == found.sensitivity == found.ppv == 1
        assert (
            found.hausdorff_mm
            == found.contour_mean_distance_mm
            == found.surface_distance_mm
            == found.relative_volume_error_percent
            == 0
        )
    if found.reference_lesions:
        assert found.f1 == found.sensl == found.ppvl == 1


@given(a=_masks(), b=_masks())
def test_swapped_roles(a: Mask, b: Mask) -> None:
    """Dice, Jaccard and the distances are symmetric; sensitivity and PPV, SensL and PPVL change places."""
    one, other = metrics.evaluate(a, b, ONE_MM), metrics.evaluate(b, a, ONE_MM)
    for measure in ("dice", "jaccard", "hausdorff_mm", "contour_mean_distance_mm", "surface_distance_mm"):
        assert getattr(one, measure) == pytest.approx(getattr(other, measure), nan_ok=True)
    assert (one.sensitivity, one.specificity) == pytest.approx((other.ppv, other.npv), nan_ok=True)
    if a.any() and b.any() and one.reference_lesions and one.predicted_lesions:
        assert (one.sensl, one.ppvl, one.f1) == pytest.approx((other.ppvl, other.sensl, other.f1))


@given(
    a=_masks(),
    b=_masks(),
    before=st.tuples(*[st.integers(0, 3)] * 3),
    after=st.tuples(*[st.integers(1, 3)] * 3),
)
def test_padding_changes_background_counts_alone(
    a: Mask, b: Mask, before: tuple[int, ...], after: tuple[int, ...]
) -> None:
    """The edge of the image is no contour, so a lesion must not touch it: the masks are framed first."""
    a, b = np.pad(a, 1), np.pad(b, 1)
    padding = list(zip(before, after, strict=True))
    plain, padded = (
        metrics.evaluate(a, b, ONE_MM),
        metrics.evaluate(np.pad(a, padding), np.pad(b, padding), ONE_MM),
    )
    for measure in vars(plain):
        if measure not in ("specificity", "npv"):
            assert getattr(padded, measure) == pytest.approx(getattr(plain, measure), nan_ok=True)


@given(
    labels=hnp.arrays(np.int64, (2, 4, 5, 6), elements=st.integers(0, 3)), order=st.permutations([1, 2, 3])
)
def test_renamed_labels_score_the_same(labels: np.ndarray, order: list[int]) -> None:
    labels[:, 0, 0, :3] = [1, 2, 3]  # both have all of them
    renamed = np.array([0, *order])[labels]
    assert metrics.voxel_overlap(*renamed) == metrics.voxel_overlap(*labels)
    before, after = ([distances.contour(volume) for volume in volumes] for volumes in (labels, renamed))
    assert distances.contour_mean_distance_mm(*after, ONE_MM) == pytest.approx(
        distances.contour_mean_distance_mm(*before, ONE_MM)
    )
    assert distances.surface_distance_mm(*after, ONE_MM) == pytest.approx(
        distances.surface_distance_mm(*before, ONE_MM)
    )


@given(a=_masks((6, 6, 6)), b=_masks((6, 6, 6)), axis=st.integers(0, 2))
def test_mirrored_masks_have_the_same_overlap_and_distances(a: Mask, b: Mask, axis: int) -> None:
    plain, mirrored = (
        metrics.evaluate(a, b, ONE_MM),
        metrics.evaluate(np.flip(a, axis), np.flip(b, axis), ONE_MM),
    )
    for measure in (
        "dice",
        "specificity",
        "hausdorff_mm",
        "contour_mean_distance_mm",
        "surface_distance_mm",
        "reference_lesions",
        "predicted_lesions",
    ):
        assert getattr(mirrored, measure) == pytest.approx(getattr(plain, measure), nan_ok=True)
