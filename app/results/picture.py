"""Slices of a scan as pictures, with the outline of a mask."""

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk
from scipy import ndimage

from ..arrays import Array, Mask
from ..errors import InputError
from ..files import temporary
from ..method.preprocessing import Pair

Rgb = npt.NDArray[np.uint8]
Grey = npt.NDArray[np.uint8]
Values = TypeVar("Values", bound=np.generic)

WHITE = 1.8  # scaled intensity shown white at first; the brain's mode is 1
BRIGHTEST = 2.5  # the brightest that a picture or the viewer can be set to show
STEEPEST = 1.0  # change of scaled intensity, four spreads, shown white or black
FINER = 2  # pixels of a crop a voxel: a browser's own enlarging is too coarse
OUTLINE = (255, 40, 40)
JPEG_QUALITY = 85
ENDS = {".png": b"IEND\xaeB`\x82", ".jpg": b"\xff\xd9"}


def plane(
    volume: npt.NDArray[Values], axis: int, centre: tuple[int, ...], half_width: int
) -> npt.NDArray[Values]:
    """A slice through `centre` (z, y, x) across `axis`, as read on screen: the top is superior or anterior,
    the left is the patient's right or front.

    Returns (2 half_width, 2 half_width), 0 beyond the volume.
    """
    whole = np.take(volume, centre[axis], axis)
    middle = [centre[other] for other in range(3) if other != axis]
    spans = [np.arange(position - half_width, position + half_width) for position in middle]
    there = [(span >= 0) & (span < side) for span, side in zip(spans, whole.shape, strict=True)]
    cut = np.zeros((2 * half_width, 2 * half_width), dtype=volume.dtype)
    cut[np.ix_(*there)] = whole[np.ix_(*(span[ok] for span, ok in zip(spans, there, strict=True)))]
    return (
        cut if axis == 0 else cut[::-1]
    )  # rows run to posterior in an axial slice, to superior in the others


def slice_rgb(scan: Array, mask: Mask, axis: int, centre: tuple[int, ...], half_width: int) -> Rgb:
    """That plane as colours (2 half_width, 2 half_width, 3): scan values 0 to BRIGHTEST as grey, the mask's
    outline in red.
    """
    inside = plane(mask, axis, centre, half_width)
    outline = inside & ~ndimage.binary_erosion(inside, border_value=1)
    grey = np.clip(plane(scan, axis, centre, half_width) / BRIGHTEST, 0, 1) * 255
    return np.stack([np.where(outline, colour, grey) for colour in OUTLINE], axis=-1).astype(np.uint8)


def outline_path(mask: Mask) -> str:
    """The edges between the pixels inside and outside a mask (rows, columns) as an SVG path in pixels:
    'M1 1h3M1 4h3...'.
    """
    box = ndimage.find_objects(mask.astype(np.uint8))
    if not box:
        return ""
    top, left = (side.start for side in box[0])
    padded = np.pad(mask[box[0]], 1).astype(np.int8)
    steps = []
    for edges, first, across, line in (
        (np.diff(padded, axis=0)[:, 1:-1], top, left, "M{1} {0}h{2}"),
        (np.diff(padded, axis=1)[1:-1].T, left, top, "M{0} {1}v{2}"),
    ):
        for at, row in enumerate(edges):
            runs, count = ndimage.label(row != 0)
            for run in ndimage.find_objects(runs, count):
                steps.append(line.format(first + at, across + run[0].start, run[0].stop - run[0].start))
    return "".join(steps)


def crop(scan: Array, axis: int, centre: tuple[int, ...], half_width: int, white: float = BRIGHTEST) -> Grey:
    """That plane as grey values, 0 to `white` as black to white, `FINER` pixels a voxel by cubic splines."""
    return _grey(_finer(plane(scan, axis, centre, half_width)) / white)


def difference(pair: Pair, axis: int, centre: tuple[int, ...], half_width: int) -> Grey:
    """Follow-up minus baseline in that plane: grey where nothing changes, white where it becomes brighter."""
    before, after = (plane(scan, axis, centre, half_width) for scan in (pair.baseline, pair.followup))
    change = (after - before) * plane(pair.brain, axis, centre, half_width)
    return _grey(0.5 + _finer(change) / STEEPEST / 2)


def mosaic(volume: npt.NDArray[Values], starts: Sequence[int], columns: int) -> npt.NDArray[Values]:
    """Axial slices (z, y, x) of these z side by side, row after row of `columns`.

    0 where the last row is not full.
    """
    rows = -(-len(starts) // columns)
    _, height, width = volume.shape
    sheet = np.zeros((rows * height, columns * width), dtype=volume.dtype)
    for number, start in enumerate(starts):
        top, left = number // columns * height, number % columns * width
        sheet[top : top + height, left : left + width] = volume[start]
    return sheet


def _finer(cut: Array) -> Array:
    """Pixels divided by `FINER`, edges kept where they are, so that outlines in voxels fit."""
    finer: Array = ndimage.zoom(cut, FINER, order=3, mode="nearest", grid_mode=True)
    return finer


def _grey(shares: npt.NDArray[np.floating]) -> Grey:
    grey: Grey = np.rint(np.clip(shares, 0, 1) * 255).astype(np.uint8)
    return grey


def grey(scan: npt.NDArray[np.float32]) -> Grey:
    """Scaled intensities as bytes, 0 to BRIGHTEST as black to white."""
    return _grey(scan / BRIGHTEST)


def overview(pair: Pair) -> Rgb:
    """Baseline above follow-up: three slices through the brain's middle, one a plane, the brain outlined."""
    centre = tuple(int(np.median(positions)) for positions in np.nonzero(pair.brain))
    half_width = max(pair.brain.shape) // 2 + 4
    rows = [
        np.concatenate([slice_rgb(scan, pair.brain, axis, centre, half_width) for axis in range(3)], axis=1)
        for scan in (pair.baseline, pair.followup)
    ]
    return np.concatenate(rows, axis=0)


def png(picture: Rgb) -> bytes:
    """(rows, columns, 3) or, grey, (rows, columns) as the bytes of a PNG file."""
    return _packed(picture, ".png")


def jpeg(picture: Rgb) -> bytes:
    """The same as the bytes of a JPEG file: a fifth of the size, for what is looked at as a whole."""
    return _packed(picture, ".jpg")


def _packed(picture: Rgb, suffix: str) -> bytes:
    image = sitk.GetImageFromArray(np.ascontiguousarray(picture), isVector=picture.ndim == 3)
    with temporary() as folder:
        path = folder / f"picture{suffix}"
        sitk.WriteImage(image, str(path), useCompression=True, compressionLevel=JPEG_QUALITY)
        content = path.read_bytes()
    if not content.endswith(ENDS[suffix]):  # ITK does not notice a full disk
        raise InputError("the temporary folder is full; wanted room in it, or TMPDIR to name another")
    return content
