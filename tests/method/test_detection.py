from collections.abc import Callable

import numpy as np
import pytest
from scipy import ndimage

from app.config import OperatingPoint
from app.method import detection


def test_the_threshold_and_the_minimum_volume_are_strict() -> None:
    """Bars of 3 and 4 voxels of 1 mm3, minimum 3 mm3: the 4 alone stays.

    A voxel at the threshold is not above it.
    """
    probability = np.zeros((5, 5, 8), dtype=np.float32)
    probability[1, 1, :3] = 0.9
    probability[3, 1, :4] = 0.9
    probability[3, 3, :8] = 0.5
    mask = detection.lesion_mask(
        probability, OperatingPoint(threshold=0.5, minimum_volume_mm3=3.0), voxel_mm3=1.0
    )
    wanted = np.zeros_like(mask)
    wanted[3, 1, :4] = True
    np.testing.assert_array_equal(mask, wanted)


def test_a_lesion_reaches_as_far_as_the_threshold_and_counts_by_what_is_certain_of_it() -> None:
    """Bars of 8 voxels at 0.6, 4 of them at 0.99 in the first, 3 in the second; more than 3 mm3 must be
    certain: the first stays, all 8 of it.
    """
    probability = np.zeros((5, 5, 8), dtype=np.float32)
    probability[1, 1] = probability[3, 3] = 0.6
    probability[1, 1, :4] = probability[3, 3, :3] = 0.99
    mask = detection.lesion_mask(
        probability, OperatingPoint(threshold=0.5, certain=0.9, minimum_volume_mm3=3.0), voxel_mm3=1.0
    )
    wanted = np.zeros_like(mask)
    wanted[1, 1] = True
    np.testing.assert_array_equal(mask, wanted)


def test_voxels_that_share_an_edge_only_are_two_lesions() -> None:
    """2 + 2 voxels touching by an edge: two objects of 2 mm3, both dropped (docs/method.md, 6, last worked
    case).
    """
    probability = np.zeros((4, 4, 4), dtype=np.float32)
    probability[1, 1, :2] = probability[1, 2, 2:] = 1
    assert not detection.lesion_mask(probability, OperatingPoint(), voxel_mm3=1.0).any()


def _pair(baseline_rise: float, followup_rise: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A flat brain of 1 in which 3^3 voxels rise: scans, the network's probability, which is sure of them,
    and where they are.
    """
    lesion = np.zeros((24, 24, 24), dtype=bool)
    lesion[10:13, 10:13, 10:13] = True
    scans = np.stack([1 + rise * lesion.astype(np.float32) for rise in (baseline_rise, followup_rise)])
    return scans, 0.99 * lesion.astype(np.float32), lesion


HALF = OperatingPoint(threshold=0.6, certain=0.9, gain=0.5)


def test_a_lesion_is_new_if_half_of_its_signal_is_gained() -> None:
    """Of a rise of 1 the baseline shows 0.5: half is gained, just enough.

    It shows 0.625: known, and no longer above the threshold.
    """
    scans, probability, lesion = _pair(0.5, 1.0)
    np.testing.assert_array_equal(
        detection.without_known(probability, scans, HALF, spacing_mm=1.0), probability
    )
    scans, probability, lesion = _pair(0.625, 1.0)
    np.testing.assert_array_equal(
        detection.without_known(probability, scans, HALF, spacing_mm=1.0), np.float32(0.6) * lesion
    )
    assert not detection.lesion_mask(
        detection.without_known(probability, scans, HALF, 1.0), HALF, voxel_mm3=1.0
    ).any()


def test_what_is_as_dark_as_before_is_known() -> None:
    scans, probability, _ = _pair(-0.5, -0.5)
    assert detection.without_known(probability, scans, HALF, spacing_mm=1.0).max() == np.float32(0.6)


def test_without_a_gain_asked_for_nothing_is_known() -> None:
    scans, probability, _ = _pair(1.0, 1.0)
    np.testing.assert_array_equal(
        detection.without_known(probability, scans, OperatingPoint(), spacing_mm=1.0), probability
    )


@pytest.mark.parametrize("time", [0, 1])
@pytest.mark.parametrize(
    "degrade",
    [
        lambda scan: ndimage.gaussian_filter(scan, 0.8),
        lambda scan: 2 * scan - ndimage.gaussian_filter(scan, 0.8),
    ],
)
def test_blur_and_edge_enhancement_gain_nothing(
    time: int, degrade: Callable[[np.ndarray], np.ndarray]
) -> None:
    """They change an old lesion's peak, not its signal: it is known. A new one stays new."""
    for before, known in ((1.0, True), (0.0, False)):
        scans, probability, lesion = _pair(before, 1.0)
        scans[time] = degrade(scans[time])
        assert (
            detection.without_known(probability, scans, HALF, spacing_mm=1.0)[lesion].max() <= np.float32(0.6)
        ) == known


def test_a_displacement_gains_nothing() -> None:
    """By half a voxel: one side of the lesion is brighter than before, the other darker."""
    scans, probability, _ = _pair(1.0, 1.0)
    scans[0] = ndimage.shift(scans[0], 0.5, order=1, mode="nearest")
    assert detection.without_known(probability, scans, HALF, spacing_mm=1.0).max() <= np.float32(0.6)


def test_another_scaling_and_the_brain_s_edge_do_not_matter() -> None:
    """The baseline is brighter all over, and the brain ends beside the lesion."""
    scans, probability, _ = _pair(0.0, 1.0)
    scans[0] += 0.5
    scans[:, :, :, 14:] = 0
    np.testing.assert_array_equal(
        detection.without_known(probability, scans, HALF, spacing_mm=1.0), probability
    )


def test_each_lesion_is_judged_alone(caplog: pytest.LogCaptureFixture) -> None:
    """A known lesion 2 mm from a new one: the new one stays, and what is below the threshold or not certain
    is left as it is.
    """
    scans, probability, _ = _pair(0.0, 1.0)
    scans[:, 10:13, 10:13, 15:18] += 1
    probability[10:13, 10:13, 15:18] = 0.95
    probability[2, 2, :5] = 0.7
    probability[3, 3, :5] = 0.5
    wanted = probability.copy()
    wanted[10:13, 10:13, 15:18] = 0.6
    with caplog.at_level("INFO"):
        np.testing.assert_array_equal(
            detection.without_known(probability, scans, HALF, spacing_mm=1.0), wanted
        )
    assert caplog.messages == ["candidates left out: 1 that the baseline shows, too, 0 in its fluid"]


def test_in_unrest_a_mark_is_worth_less() -> None:
    """Around it the rise lies evenly between -0.4 and 0.4, so half of it within 0.2 of 0; its own mean is 1.

    The odds 9 of 0.9 become 9 / (6 * 0.2 * 1.4826); a mark below the minimum volume stays as it is.
    """
    scans, probability, lesion = _pair(0.0, 1.0)
    unrest = np.where(lesion, 0, np.random.default_rng(0).uniform(-0.4, 0.4, lesion.shape))
    scans[1] += unrest
    probability[lesion] = 0.9
    probability[2, 2, :3] = 0.8
    left = detection.without_known(probability, scans, HALF, spacing_mm=1.0)
    odds = 9 / (6 * 0.2 * 1.4826)
    assert left[lesion] == pytest.approx(odds / (1 + odds), abs=0.02)
    np.testing.assert_array_equal(left[~lesion], probability[~lesion])
    scans[1] += 99 * unrest
    left = detection.without_known(probability, scans, HALF, spacing_mm=1.0)
    assert (left[lesion] > np.float32(0.6)).all()  # its shape stays
    assert left[lesion].max() < 0.61


@pytest.mark.parametrize(("voxels", "flows"), [(0, False), (1, False), (2, True), (10, True)])
def test_a_mark_with_more_than_a_tenth_in_fluid_begins_in_it(voxels: int, flows: bool) -> None:
    """Bars of 10 voxels, the last ones where the baseline is fluid, which lies below and above the bar, too;
    the follow-up has gained all of both.

    The other bar lies in tissue and stays.
    """
    scans = np.ones((2, 12, 24, 24), dtype=np.float32)
    scans[0, :, :12, 15 - voxels :] = 0.0
    scans[0, [3, 9], :12] = 0.0
    scans[1, 6, 6, 5:15] = scans[1, 6, 18, 5:15] = 3.0
    probability = (scans[1] > 2) * np.float32(0.99)
    marks = detection.in_fluid(probability > 0.5, scans[0])
    assert (marks[6, 6, 5:15].all(), marks.any()) == (flows, flows)
    left = detection.without_known(probability, scans, HALF, spacing_mm=1.0)
    assert (left[6, 6, 5:15] <= np.float32(0.6)).all() == flows
    assert (left[6, 18, 5:15] == np.float32(0.99)).all()


def test_a_large_lesion_that_reaches_into_a_ventricle_begins_in_tissue() -> None:
    """A block with 2 of 10 layers in fluid is no flow: half of it is more than three voxels away. One with 2
    of 5 layers in it is.
    """
    baseline = np.ones((24, 24, 24), dtype=np.float32)
    baseline[:, :, 15:] = 0.0
    block = np.zeros(baseline.shape, dtype=bool)
    block[7:17, 7:17, 7:17] = True
    assert not detection.in_fluid(block, baseline).any()
    shallow = np.zeros_like(block)
    shallow[7:17, 7:17, 12:17] = True
    assert (detection.in_fluid(shallow, baseline) == shallow).all()


def test_the_score_is_the_voxel_after_the_minimum_volume() -> None:
    probability = np.zeros((3, 3, 8), np.float32)
    probability[1, 1, :6] = [0.6, 0.9, 0.8, 0.95, 0.7, 0.99]
    probability[1, 1, 7] = 1.0  # a component of its own, of one voxel
    components = ndimage.label(probability > 0.5)[0]
    # more than 3 voxels above the cut: the fourth highest decides, 0.99 0.95 0.9 [0.8]; one voxel is never
    # enough
    assert detection.scores(probability, components, 3.0, voxel_mm3=1.0).tolist() == pytest.approx([0.8, 0.0])


def test_a_mark_lies_mostly_in_a_part_with_half_of_its_voxels() -> None:
    mask, part = np.zeros((3, 12), dtype=bool), np.zeros((3, 12), dtype=bool)
    mask[0, :6] = mask[2, :6] = True
    part[0, 3:] = part[2, 4:] = True  # 3 of 6, 2 of 6
    assert detection.mostly_in(mask, part).sum(axis=1).tolist() == [6, 0, 0]
    assert not detection.mostly_in(mask, np.zeros_like(part)).any()


def test_all_lesions_are_drawn_where_one_visit_is_certain() -> None:
    """Of three bars of 6 mm3, one is certain at baseline in 4, one in 3 alone, one at follow-up."""
    baseline, followup = np.full((2, 1, 8, 12), 0.1, dtype=np.float32)
    for visit in (baseline, followup):
        visit[0, :6:2, :6] = 0.7
    baseline[0, 0, :4] = baseline[0, 2, :3] = followup[0, 4, :5] = 0.99
    followup[0, 0, 2:] = 0.3
    drawn = detection.all_lesions([baseline, followup], voxel_mm3=1.0)
    assert [mask.sum(axis=(0, 2)).tolist() for mask in drawn] == [
        [6, 0, 0, 0, 6, 0, 0, 0],
        [2, 0, 0, 0, 6, 0, 0, 0],
    ]


def test_candidates_are_larger_than_the_smallest_and_certain_in_one_voxel() -> None:
    """Of three bars of 6 voxels of 1 mm3, one has a certain voxel; one of 3 has, too, but is too small."""
    probability = np.zeros((1, 8, 12), dtype=np.float32)
    probability[0, 0, :6] = probability[0, 2, :6] = 0.7
    probability[0, 4, :3] = 0.99
    probability[0, 2, 5] = 0.96
    point = OperatingPoint(threshold=0.6, certain=0.95, minimum_volume_mm3=3.0)
    assert detection.candidates(probability, point, 1.0).sum(axis=(0, 2)).tolist() == [0, 0, 6, 0, 0, 0, 0, 0]
