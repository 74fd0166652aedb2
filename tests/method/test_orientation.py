"""Mirrored heads and mislabelled axes are refused; what no image tells is not."""

import numpy as np
import pytest
import SimpleITK as sitk
from scipy import ndimage

from app.errors import InputError
from app.images import grids
from app.method import orientation, registration
from app.phantom import Phantom


def _textured(scan: sitk.Image) -> sitk.Image:
    """The scan with details of some 12 mm, a tenth brighter or darker: its halves are too alike."""
    details = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=scan.GetSize()[::-1]), 2)
    return grids.like(grids.array(scan) * (1 + 0.1 * details / details.std()).astype(np.float32), scan)


def _flipped(scan: sitk.Image, axis: int) -> sitk.Image:
    """The voxels in reverse order along an axis (z, y, x) under the old header: a mirrored head."""
    return grids.like(np.ascontiguousarray(np.flip(grids.array(scan), axis)), scan)


@pytest.mark.parametrize(
    ("axis", "reason"),
    [
        (2, "one of them is mirrored left to right"),
        pytest.param(
            *(0, "the follow-up's left, back and top are read as left, back, bottom"), marks=pytest.mark.slow
        ),
    ],
)
def test_other_axes_are_refused(patient: Phantom, axis: int, reason: str) -> None:
    scan = _textured(patient.followup)
    turn = sitk.Euler3DTransform((0, 0, 0), 0.06, -0.04, 0.05, (4, -3, 5))
    moved = sitk.Resample(scan, scan, turn, sitk.sitkLinear, 0.0)
    registration.align(scan, moved)
    with pytest.raises(InputError, match=f"baseline and follow-up: one head only if {reason}"):
        registration.align(scan, _flipped(moved, axis))


def test_every_way_to_read_axes() -> None:
    """3! orders times 2^3 signs, less the right way and its mirror image."""
    ways = orientation._every()
    assert len({way.tobytes() for way in ways}) == 48 - 2
    assert all((way @ way.T == np.eye(3)).all() for way in ways)
    assert orientation.MIRRORED.tobytes() not in {way.tobytes() for way in ways}


def test_axes_in_words() -> None:
    assert orientation.in_words(orientation.MIRRORED) == "one of them is mirrored left to right"
    # the scan's left points to the back, its back to the right, its top stays
    turned = np.array([[0, -1, 0], [1, 0, 0], [0, 0, 1]])
    assert orientation.in_words(turned) == "the follow-up's left, back and top are read as back, right, top"
