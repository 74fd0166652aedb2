"""Visits that differ by an affine, and what is new between their masks."""

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from scipy import ndimage

from app.images import grids
from training import mslesseg


def test_neighbouring_visits_are_pairs(tmp_path: Path) -> None:
    for name in ("P14_T1", "P14_T2", "P14_T3", "P18_T1", "P2_T1", "P2_T2"):
        (tmp_path / f"{name}_FLAIR.nii.gz").touch()
    assert mslesseg.pairs(tmp_path) == [("P14", 1, 2), ("P14", 2, 3), ("P2", 1, 2)]


def test_half_of_a_motion_twice_is_the_whole() -> None:
    matrix = [1.02, 0.01, 0.0, -0.01, 0.99, 0.03, 0.0, -0.02, 1.01]
    whole = sitk.AffineTransform(matrix, [1.0, -2.0, 0.5])
    whole.SetCenter((10.0, 20.0, 30.0))
    to_baseline, to_followup = mslesseg.halfway(whole)
    for point in ((0.0, 0.0, 0.0), (40.0, -30.0, 20.0)):
        # from the follow-up to half way and on to the baseline
        there = to_baseline.TransformPoint(to_followup.GetInverse().TransformPoint(point))
        assert there == pytest.approx(whole.TransformPoint(point), abs=1e-6)


def test_new_is_what_only_the_later_mask_has_and_what_got_brighter() -> None:
    marked = np.zeros((2, 24, 24, 24), bool)
    marked[0, 2:6, 2:6, 2:6] = True
    marked[1, 2:6, 2:6, 2:8] = True  # drawn two voxels wider, but no brighter
    marked[1, 12:17, 12:17, 12:17] = True  # 125 mm^3, brighter
    marked[1, 20:22, 20:22, 20:22] = True  # brighter, but 8 mm^3
    channels = np.ones((2, 24, 24, 24), np.float32)
    channels[1, 11:18, 11:18, 11:18] = channels[1, 19:23, 19:23, 19:23] = 2.0  # by four spreads
    new = mslesseg.new_pieces(channels, marked)
    assert np.array_equal(
        new, marked[1] & (np.indices(new.shape).min(0) >= 12) & (np.indices(new.shape).max(0) < 17)
    )


@pytest.mark.slow
def test_an_affine_is_found() -> None:
    """A head of random blobs, moved by an affine of the size that visits of MSLesSeg differ by: found to half
    a voxel.
    """
    rng = np.random.default_rng(0)
    inside = np.linalg.norm((np.indices((90, 100, 90)).T - (45, 50, 45)) / (38, 42, 38), axis=-1).T < 1
    texture = ndimage.gaussian_filter(rng.standard_normal(inside.shape), 3)
    scan = grids.like(
        ((100 + 600 * texture) * inside).clip(0).astype(np.float32), sitk.Image(90, 100, 90, sitk.sitkUInt8)
    )
    wanted = sitk.AffineTransform([1.01, 0.005, 0.0, 0.0, 0.99, 0.02, 0.0, -0.02, 1.015], [0.5, -1.0, 0.8])
    wanted.SetCenter((45.0, 50.0, 45.0))
    moved = sitk.Resample(
        scan, scan, wanted, sitk.sitkLinear
    )  # moved(p) = scan(wanted(p)): the visit to align is the follow-up
    visits = [(one, one > 1) for one in (scan, moved)]
    found = mslesseg.affine(visits[0], visits[1])
    for point in ((20.0, 20.0, 45.0), (70.0, 60.0, 20.0), (45.0, 80.0, 70.0)):
        assert np.linalg.norm(np.subtract(found.TransformPoint(point), wanted.TransformPoint(point))) < 0.5
