"""How many painted lesions were found, and how sure that is."""

import numpy as np
import pytest

from app.method import grade
from app.method.grade import Found


@pytest.mark.parametrize(
    ("found", "painted", "low", "high"),
    [(5, 10, 0.237, 0.763), (0, 10, 0.0, 0.278), (10, 10, 0.722, 1.0), (81, 263, 0.255, 0.366)],
)
def test_wilson_s_interval(found: int, painted: int, low: float, high: float) -> None:
    """The last one is printed in Newcombe (Stat Med 17:857, 1998), the others follow from the formula."""
    assert Found(30, painted, found).interval() == pytest.approx((low, high), abs=5e-4)


def test_nothing_painted_says_nothing() -> None:
    assert Found(30, 0, 0).interval() == (0.0, 1.0)


def test_more_than_a_tenth_must_be_covered() -> None:
    labels = np.zeros((1, 4, 30), dtype=np.int32)
    labels[0, 0, :20] = 1  # 2 of 20 voxels covered: a tenth, not more
    labels[0, 1, :20] = 2  # 3 of 20
    labels[0, 2, :30] = 3  # none
    mask = np.zeros(labels.shape, dtype=bool)
    mask[0, 0, :2] = mask[0, 1, :3] = True
    mask[0, 3] = True  # a mark elsewhere
    assert grade.count_found(labels, (20.0, 20.0, 30.0), mask) == (Found(20.0, 2, 1), Found(30.0, 1, 0))
