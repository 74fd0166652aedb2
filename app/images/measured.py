"""Which voxels of a scan were measured? The rest becomes 0, and the least that was measured is 0 or more."""

import logging
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from ..arrays import Array, Mask
from ..errors import InputError

LARGEST = 1e15  # beyond it a value is as good as infinite: its square would not fit in float32
STRAY_FRACTION = 1e-4  # of the voxels may be NaN, infinite or spikes inside the scan; more is a broken scan
SPIKE = 1000.0  # times the middle 98 in 100 values' range from their median: no tissue, but a broken voxel
DARKEST = (
    0.001  # share of measured voxels that may lie below 0 after the shift, and become 0: ringing, not tissue
)

# A value is a background if it lies solid on the volume's faces: at least so many of its voxels there have
# eight like neighbours (whole numbers of noise, each with a share p of the voxels, have them with p^8), and
# they are so many of all.
SOLID = 0.5
SEEN = 0.001

logger = logging.getLogger(__name__)


def clean(stored: npt.NDArray[Any], wrong: str) -> Array:
    """A scan (z, y, x) as any program may write it, as float32 of 0 or more, 0 where nothing was measured.

    Not measured is what is NaN, infinite or of one value and reaches the volume's border: padding, or what
    is left of a skull stripped before. Scans that were standardised to a mean of 0 are shifted. Raises
    InputError, which begins with `wrong`, if the values are no scan's.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        values: Array = stored.astype(np.float32)
        values[np.abs(values) > LARGEST] = np.inf
    outside = backgrounds(values)
    measured = ~np.logical_or.reduce(list(outside.values()) or [np.zeros(values.shape, dtype=bool)])
    inside = values[measured]
    strays = _strays(inside)
    count = int(np.count_nonzero(strays))
    if count > STRAY_FRACTION * values.size:
        raise InputError(
            f"{wrong}: {count} of {values.size} voxels are NaN or infinite, or spikes;"
            " wanted a scan with finite values"
        )
    if count:
        logger.warning("%s: %d voxels are NaN or infinite, or spikes; taken as 0", wrong, count)
    kept = inside[~strays]
    _check_range(kept, values, measured, wrong)
    inside = np.maximum(inside - np.float32(_zero(kept, list(outside))), 0)
    inside[strays] = 0
    values[:] = 0
    values[measured] = inside
    return values


def backgrounds(values: Array) -> dict[float, Mask]:
    """Where a scan (z, y, x) has one value up to the border, by value; -inf stands for NaN and infinity."""
    values = np.where(np.isfinite(values), values, np.float32(-np.inf))
    return {value: _reaching_border(values == value) for value in _solid_on_faces(values)}


def _zero(kept: npt.NDArray[np.float32], outside: list[float]) -> float:
    """The value that becomes 0, given what was measured (n,) and the values outside.

    It is 0 if nothing measured lies below that. Of a scan that was standardised, background and all, it is
    the background. Where the brain alone was standardised, or padding put far below it, it is about the
    least that was measured.
    """
    if kept.min() >= 0:
        return 0.0
    least, most = (float(part) for part in np.quantile(kept, [DARKEST, 1 - DARKEST]))
    near = [value for value in outside if least - (most - least) <= value <= least]
    return max(near, default=min(least, 0.0))


def _reaching_border(where: Mask) -> Mask:
    """The pieces of a mask (6-neighbourhood) that touch the volume's border."""
    labels, _ = ndimage.label(where)
    on_border = np.unique(np.concatenate([face.ravel() for face in _faces(labels)]))
    touching = np.zeros(int(labels.max()) + 1, dtype=bool)
    touching[on_border] = True
    touching[0] = False
    reaching: Mask = touching[labels]
    return reaching


def _solid_on_faces(values: Array) -> list[float]:
    """The values that lie solid on the six faces."""
    counts: dict[float, int] = {}
    flats: dict[float, int] = {}
    for face in _faces(values):
        _count(face, counts)
        _count(face[ndimage.minimum_filter(face, 3) == ndimage.maximum_filter(face, 3)], flats)
    total = sum(face.size for face in _faces(values))
    return [value for value, flat in flats.items() if flat >= SOLID * counts[value] and flat >= SEEN * total]


def _count(values: Array, counts: dict[float, int]) -> None:
    for value, count in zip(*np.unique(values, return_counts=True), strict=True):
        counts[float(value)] = counts.get(float(value), 0) + int(count)


def _faces(values: npt.NDArray[Any]) -> list[npt.NDArray[Any]]:
    """The six outer planes of a volume."""
    return [values.swapaxes(0, axis)[end] for axis in range(3) for end in (0, -1)]


def _strays(inside: npt.NDArray[np.float32]) -> npt.NDArray[np.bool_]:
    """Which measured values (n,) are NaN, infinite, or too far from all others to be measured."""
    strays: npt.NDArray[np.bool_] = ~np.isfinite(inside)
    finite = inside[~strays]
    if finite.size:
        low, middle, high = (float(part) for part in np.quantile(finite, [0.01, 0.5, 0.99]))
        reach = SPIKE * (high - low)
        if reach > 0:
            with np.errstate(invalid="ignore"):
                strays |= np.abs(inside - np.float32(middle)) > reach
    return strays


def _check_range(kept: npt.NDArray[np.float32], values: Array, measured: Mask, wrong: str) -> None:
    """Refuse what shows nothing: one value, or one value and its background, as in a mask."""
    if kept.size == 0:
        finite = values[np.isfinite(values)]
        found = f"every voxel is {finite[0]:g}" if finite.size else "every voxel is NaN or infinite"
        raise InputError(f"{wrong}: {found}; wanted a scan that shows something")
    low, high = float(kept.min()), float(kept.max())
    if low == high and measured.all():
        raise InputError(f"{wrong}: every voxel is {low:g}; wanted a scan that shows something")
    if np.count_nonzero((kept == low) | (kept == high)) == kept.size:
        raise InputError(f"{wrong}: two values alone, as in a mask; wanted a scan")
