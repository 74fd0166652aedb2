import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given
from hypothesis import strategies as st

from app.config import OperatingPoint
from app.method import detection, lesions


def test_nothing_above_the_threshold_is_an_empty_mask() -> None:
    mask = detection.lesion_mask(np.zeros((3, 4, 5), dtype=np.float32), OperatingPoint(), voxel_mm3=1.0)
    assert mask.shape == (3, 4, 5)
    assert not mask.any()
    assert (
        lesions.describe(mask, np.zeros(mask.shape, dtype=np.float32), sitk.Image(5, 4, 3, sitk.sitkUInt8))
        == []
    )


def test_a_lesion_by_hand() -> None:
    """2 x 2 x 2 voxels of 1 x 1 x 3 mm from index (z, y, x) = (1, 2, 3): 24 mm3, centre index (1.5, 2.5,
    3.5), LPS (3.5, 2.5, 4.5).
    """
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
    mask = detection.lesion_mask(
        probability, OperatingPoint(threshold=threshold, minimum_volume_mm3=minimum), voxel_mm3=2.0
    )
    listed = lesions.describe(mask, probability, sitk.Image(8, 7, 6, sitk.sitkUInt8))
    assert (probability[mask] > threshold).all()
    assert all(lesion.voxels * 2.0 > minimum for lesion in listed)
    assert sum(lesion.voxels for lesion in listed) == mask.sum()
    assert [lesion.voxels for lesion in listed] == sorted((lesion.voxels for lesion in listed), reverse=True)
