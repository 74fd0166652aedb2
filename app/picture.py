"""Slices of a scan as pictures, with the outline of a mask."""

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk
from scipy import ndimage

from app.image import Array, Mask
from app.preprocessing import Pair

Rgb = npt.NDArray[np.uint8]

BRIGHTEST = 2.5  # scaled intensity shown white; the brain's mode is 1
OUTLINE = (255, 40, 40)


def slice_rgb(scan: Array, mask: Mask, axis: int, centre: tuple[int, ...], half_width: int) -> Rgb:
    """A slice through `centre` (z, y, x) across `axis`, as read on screen: top is superior or anterior, left is the patient's right.

    Returns (2 half_width, 2 half_width, 3): scan values 0 to BRIGHTEST as grey, the mask's outline in red, black beyond the volume.
    """
    plane, inside = np.take(scan, centre[axis], axis), np.take(mask, centre[axis], axis)
    outline = inside & ~ndimage.binary_erosion(inside)
    grey = np.clip(plane / BRIGHTEST, 0, 1) * 255
    rgb = np.stack([np.where(outline, colour, grey) for colour in OUTLINE], axis=-1).astype(np.uint8)
    middle = [centre[other] for other in range(3) if other != axis]
    spans = [np.arange(position - half_width, position + half_width) for position in middle]
    there = [(span >= 0) & (span < side) for span, side in zip(spans, plane.shape, strict=True)]
    picture = np.zeros((2 * half_width, 2 * half_width, 3), dtype=np.uint8)
    picture[np.ix_(*there)] = rgb[np.ix_(*(span[ok] for span, ok in zip(spans, there, strict=True)))]
    return picture if axis == 0 else picture[::-1]  # rows run to posterior in an axial slice, to superior in the others


def overview(pair: Pair) -> Rgb:
    """Baseline above follow-up: axial, coronal and sagittal slices through the brain's middle, the brain outlined."""
    centre = tuple(int(np.median(positions)) for positions in np.nonzero(pair.brain))
    half_width = max(pair.brain.shape) // 2 + 4
    rows = [
        np.concatenate([slice_rgb(scan, pair.brain, axis, centre, half_width) for axis in range(3)], axis=1)
        for scan in (pair.baseline, pair.followup)
    ]
    return np.concatenate(rows, axis=0)


def png(rgb: Rgb) -> bytes:
    """(rows, columns, 3) as the bytes of a PNG file."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "slice.png"
        sitk.WriteImage(sitk.GetImageFromArray(np.ascontiguousarray(rgb), isVector=True), str(path))
        return path.read_bytes()
