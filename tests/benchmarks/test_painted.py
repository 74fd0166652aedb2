"""benchmarks/painted.py: what is painted is exactly what is to be found."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from app.config import OperatingPoint
from benchmarks import painted
from training.cases import Case
from training.prepare import pack_shapes
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
    pair = painted.paint(case, shapes, torch.Generator().manual_seed(0))
    assert len(pair.contrasts_z) > 5
    assert np.unique(pair.labels).tolist() == list(range(len(pair.contrasts_z) + 1))
    assert np.array_equal(pair.channels[0], case.channels[0])
    rise = 4 * (pair.channels[1] - case.channels[1])
    assert rise[pair.labels > 0].min() > 0.4  # half a spread, times how solid the tissue is there
    assert rise[(pair.labels == 0) & case.brain].max() <= painted.VISIBLE_Z + 1e-5
    assert not (pair.labels[case.truth] > 0).any()
    for number, contrast in enumerate(pair.contrasts_z, start=1):
        assert rise[pair.labels == number].max() <= contrast + 1e-5


def test_found_and_false_lesions_are_counted(case: Case, shapes: Shapes) -> None:
    pair = painted.paint(case, shapes, torch.Generator().manual_seed(0))
    probability = ((pair.labels == 1) | (pair.labels == 2) | case.truth).astype(
        np.float32
    )  # a real change is no false lesion
    point = OperatingPoint(threshold=0.5, certain=0.5, minimum_volume_mm3=3.0)
    rows, false = painted.score(probability, pair, point)
    assert rows[:, 2].tolist() == [1.0, 1.0] + [0.0] * (len(rows) - 2)
    assert rows[:, 0].tolist() == [
        np.count_nonzero(pair.labels == number) for number in range(1, len(rows) + 1)
    ]
    assert false == 0
    nowhere = (pair.labels == 0) & ~pair.known & case.brain
    spot = np.argwhere(ndimage.distance_transform_edt(nowhere) > 4)[0]
    probability[tuple(slice(at - 1, at + 2) for at in spot)] = 1.0
    assert painted.score(probability, pair, point)[1] == 1
