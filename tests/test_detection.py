import numpy as np

from app import detection
from app.config import PredictConfig


def test_the_threshold_and_the_minimum_volume_are_strict() -> None:
    """Bars of 3 and 4 voxels of 1 mm3, minimum 3 mm3: the 4 alone stays. A voxel at the threshold is not above it."""
    probability = np.zeros((5, 5, 8), dtype=np.float32)
    probability[1, 1, :3] = 0.9
    probability[3, 1, :4] = 0.9
    probability[3, 3, :8] = 0.5
    mask = detection.lesion_mask(probability, PredictConfig(threshold=0.5, minimum_volume_mm3=3.0), voxel_mm3=1.0)
    wanted = np.zeros_like(mask)
    wanted[3, 1, :4] = True
    np.testing.assert_array_equal(mask, wanted)


def test_a_lesion_reaches_as_far_as_the_threshold_and_counts_by_what_is_certain_of_it() -> None:
    """Bars of 8 voxels at 0.6, 4 of them at 0.99 in the first, 3 in the second; more than 3 mm3 must be certain: the first stays, all 8 of it."""
    probability = np.zeros((5, 5, 8), dtype=np.float32)
    probability[1, 1] = probability[3, 3] = 0.6
    probability[1, 1, :4] = probability[3, 3, :3] = 0.99
    mask = detection.lesion_mask(probability, PredictConfig(threshold=0.5, certain=0.9, minimum_volume_mm3=3.0), voxel_mm3=1.0)
    wanted = np.zeros_like(mask)
    wanted[1, 1] = True
    np.testing.assert_array_equal(mask, wanted)


def test_voxels_that_share_an_edge_only_are_two_lesions() -> None:
    """2 + 2 voxels touching by an edge: two objects of 2 mm3, both dropped (METHOD 10, last row)."""
    probability = np.zeros((4, 4, 4), dtype=np.float32)
    probability[1, 1, :2] = probability[1, 2, 2:] = 1
    assert not detection.lesion_mask(probability, PredictConfig(), voxel_mm3=1.0).any()
