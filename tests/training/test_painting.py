"""What is painted is exactly what is to be found; marks are counted, cut and measured by hand."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from app.config import OperatingPoint
from training import marks, painting
from training.cases import Case, patient_of
from training.marks import Mark, Marked
from training.prepare import pack_shapes
from training.reading import Read
from training.synthesis.lesions import Shapes

SIDE = 56


@pytest.fixture
def case() -> Case:
    """Even white matter (z -0.3) with noise, and one real change."""
    brain = np.zeros((SIDE, SIDE, SIDE), bool)
    brain[3:-3, 3:-3, 3:-3] = True
    z = -0.3 + 0.1 * np.random.default_rng(0).standard_normal((2, SIDE, SIDE, SIDE)).astype(np.float32)
    truth = np.zeros_like(brain)
    truth[20:24, 20:24, 20:24] = True
    return Case("patient01 forward", (1 + z / 4) * brain, brain, truth, np.zeros_like(brain))


@pytest.fixture
def shapes() -> Shapes:
    arrays = pack_shapes(iter([np.ones((4, 5, 6), bool)]))
    sides = [(4, 5, 6)]
    return Shapes(torch.from_numpy(arrays["bits"]), [0], sides, torch.ones(1))


def test_painted_lesions_are_brighter_at_followup_and_nowhere_else(case: Case, shapes: Shapes) -> None:
    pair = painting.paint(case, shapes, torch.Generator().manual_seed(0))
    assert len(pair.contrasts_z) > 5
    assert np.unique(pair.labels).tolist() == list(range(len(pair.contrasts_z) + 1))
    assert np.array_equal(pair.channels[0], case.channels[0])
    rise = 4 * (pair.channels[1] - case.channels[1])
    assert rise[pair.labels > 0].min() > 0.4  # half a spread, times how solid the tissue is there
    assert rise[(pair.labels == 0) & case.brain].max() <= painting.VISIBLE_Z + 1e-5
    assert not (pair.labels[case.truth] > 0).any()
    for number, contrast in enumerate(pair.contrasts_z, start=1):
        assert rise[pair.labels == number].max() <= contrast + 1e-5


def test_found_and_false_lesions_are_counted(case: Case, shapes: Shapes) -> None:
    pair = painting.paint(case, shapes, torch.Generator().manual_seed(0))
    probability = ((pair.labels == 1) | (pair.labels == 2) | case.truth).astype(
        np.float32
    )  # a real change is no false lesion
    point = OperatingPoint(threshold=0.5, certain=0.5, minimum_volume_mm3=3.0)
    marked = marks.marks_of(probability, pair, point)
    assert marks.found(marked, 0.9).tolist() == [True, True] + [False] * (len(pair.contrasts_z) - 2)
    assert not marks.found(marked, 1.0).any()  # a cut is to be exceeded
    assert marked.volumes_mm3.tolist() == [
        np.count_nonzero(pair.labels == number) for number in range(1, len(pair.contrasts_z) + 1)
    ]
    assert marks.false_marks(marked, 0.5) == 0
    nowhere = (pair.labels == 0) & ~pair.known & case.brain
    spot = np.argwhere(ndimage.distance_transform_edt(nowhere) > 4)[0]
    probability[tuple(slice(at - 1, at + 2) for at in spot)] = 1.0
    assert marks.false_marks(marks.marks_of(probability, pair, point), 0.5) == 1

    z, y, x = (int(at) for at in spot)
    for word, false in (("clear", 0), ("doubtful", 0), ("not visible", 1)):
        read = marks.marks_of(probability, pair, point, [Read(pair.name, (z, y, x + 3), word)])
        assert marks.false_marks(read, 0.5) == false
        assert marks.false_marks(marks.as_unread(read), 0.5) == 1


def test_a_lesion_reaches_to_half_of_its_height(case: Case, shapes: Shapes) -> None:
    pair = painting.paint(case, shapes, torch.Generator().manual_seed(0))
    rise = 4 * (pair.channels[1] - case.channels[1])
    for number, contrast in enumerate(pair.contrasts_z, start=1):
        own = pair.labels == number
        # the shape is a block of at least 3 x 4 x 5 voxels, whose blurred middle keeps most of its height
        assert rise[own & pair.inside].min() > 0.3 * contrast
        assert 0.25 < (own & pair.inside).sum() / own.sum() < 1


def marked(patient: str, scores: list[float], lesions: list[dict[int, int]]) -> Marked:
    """Marks of 10 voxels; three lesions of 20 voxels, half of them within their border."""
    found = [
        Mark(score, 10, touched, {lesion: voxels // 2 for lesion, voxels in touched.items()}, False, "unread")
        for score, touched in zip(scores, lesions, strict=True)
    ]
    return Marked(
        f"{patient} forward", patient, found, np.array([20, 20, 20]), np.array([10, 10, 10]), np.ones(3)
    )


def test_cuts_allow_so_many_false_marks_and_are_chosen_by_others() -> None:
    a = marked("a", [0.9, 0.8, 0.7], [{}, {1: 10}, {}])  # false at 0.9 and 0.7
    b = marked("b", [0.95, 0.6], [{}, {2: 2}])  # false at 0.95
    assert (
        marks.cut_for([a, b], 0.5) == 0.9
    )  # one false mark in two pairs: above 0.9 there is one, above 0.7 two
    assert marks.cut_for([a, b], 1.5) == marks.LOWEST_CUT
    assert marks.left_out_cuts([a, b], 0.5) == {"a": 0.95, "b": 0.9}
    assert marks.found(a, 0.7).tolist() == [True, False, False]
    assert marks.found(b, 0.5).tolist() == [False, False, False]  # 2 of 20 voxels are not more than a tenth
    # 10 voxels marked, 5 of them within the 10 of the lesion's border: Dice 2 * 5 / 20, volume as large
    assert marks.shapes_of_found(a, 0.7).tolist() == [[0.5, 1.0]]


def test_pairs_of_one_patient_belong_together() -> None:
    assert patient_of("P14_T1_T2 backward") == patient_of("P14_T2_T3 forward") == "P14"
    assert patient_of("patient01 forward") == "patient01"
