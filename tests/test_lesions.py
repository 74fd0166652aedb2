import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given
from hypothesis import strategies as st

from app import lesions
from app.config import PredictConfig


def test_the_threshold_and_the_minimum_volume_are_strict() -> None:
    """Bars of 3 and 4 voxels of 1 mm3, minimum 3 mm3: the 4 alone stays. A voxel at the threshold is not above it."""
    probability = np.zeros((5, 5, 8), dtype=np.float32)
    probability[1, 1, :3] = 0.9
    probability[3, 1, :4] = 0.9
    probability[3, 3, :8] = 0.5
    mask = lesions.lesion_mask(probability, PredictConfig(threshold=0.5, minimum_volume_mm3=3.0), voxel_mm3=1.0)
    wanted = np.zeros_like(mask)
    wanted[3, 1, :4] = True
    np.testing.assert_array_equal(mask, wanted)


def test_a_lesion_reaches_as_far_as_the_threshold_and_counts_by_what_is_certain_of_it() -> None:
    """Bars of 8 voxels at 0.6, 4 of them at 0.99 in the first, 3 in the second; more than 3 mm3 must be certain: the first stays, all 8 of it."""
    probability = np.zeros((5, 5, 8), dtype=np.float32)
    probability[1, 1] = probability[3, 3] = 0.6
    probability[1, 1, :4] = probability[3, 3, :3] = 0.99
    mask = lesions.lesion_mask(probability, PredictConfig(threshold=0.5, certain=0.9, minimum_volume_mm3=3.0), voxel_mm3=1.0)
    wanted = np.zeros_like(mask)
    wanted[1, 1] = True
    np.testing.assert_array_equal(mask, wanted)


def test_voxels_that_share_an_edge_only_are_two_lesions() -> None:
    """2 + 2 voxels touching by an edge: two objects of 2 mm3, both dropped (METHOD 10, last row)."""
    probability = np.zeros((4, 4, 4), dtype=np.float32)
    probability[1, 1, :2] = probability[1, 2, 2:] = 1
    assert not lesions.lesion_mask(probability, PredictConfig(), voxel_mm3=1.0).any()


def test_nothing_above_the_threshold_is_an_empty_mask() -> None:
    mask = lesions.lesion_mask(np.zeros((3, 4, 5), dtype=np.float32), PredictConfig(), voxel_mm3=1.0)
    assert mask.shape == (3, 4, 5)
    assert not mask.any()
    assert lesions.describe(mask, np.zeros(mask.shape, dtype=np.float32), sitk.Image(5, 4, 3, sitk.sitkUInt8)) == []


def test_a_lesion_by_hand() -> None:
    """2 x 2 x 2 voxels of 1 x 1 x 3 mm from index (z, y, x) = (1, 2, 3): 24 mm3, centre index (1.5, 2.5, 3.5), LPS (3.5, 2.5, 4.5)."""
    grid = sitk.Image(8, 8, 8, sitk.sitkUInt8)
    grid.SetSpacing((1, 1, 3))
    mask = np.zeros((8, 8, 8), dtype=bool)
    mask[1:3, 2:4, 3:5] = True
    mask[6, 6, 6] = True
    probability = np.where(mask, 0.75, 0).astype(np.float32)
    probability[1, 2, 3] = 1.0
    large, small = lesions.describe(mask, probability, grid)
    assert (large.number, large.voxels, large.volume_mm3) == (1, 8, 24.0)
    assert large.centre_ras_mm == pytest.approx((-3.5, -2.5, 4.5))
    assert large.mean_probability == pytest.approx((7 * 0.75 + 1) / 8)
    assert large.peak_probability == 1.0
    assert large.diameter_mm == pytest.approx(3.578, abs=1e-3)  # (6 * 24 / pi) ** (1/3)
    assert (small.number, small.voxels) == (2, 1)


@given(seed=st.integers(0, 2**16), threshold=st.floats(0.1, 0.9), minimum=st.floats(0, 20))
def test_every_kept_lesion_is_large_enough_and_listed(seed: int, threshold: float, minimum: float) -> None:
    probability = np.random.default_rng(seed).random((6, 7, 8)).astype(np.float32)
    mask = lesions.lesion_mask(probability, PredictConfig(threshold=threshold, minimum_volume_mm3=minimum), voxel_mm3=2.0)
    listed = lesions.describe(mask, probability, sitk.Image(8, 7, 6, sitk.sitkUInt8))
    assert (probability[mask] > threshold).all()
    assert all(lesion.voxels * 2.0 > minimum for lesion in listed)
    assert sum(lesion.voxels for lesion in listed) == mask.sum()
    assert [lesion.voxels for lesion in listed] == sorted((lesion.voxels for lesion in listed), reverse=True)
