"""How does a lesion of known size and contrast get into a scan?

Plain arrays `(z, y, x)` on an isotropic grid.
Intensities are those of a prepared pair, see app.intensity.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from ..arrays import Array, Labels, Mask
from ..intensity import SPREADS_PER_UNIT, in_range, z_of

# White matter lies a little below the brain's mode on FLAIR; what is further off is cortex, fluid or lesion.
WHITE_SPREADS, WHITE_REACH = -0.3, 1.3
FROM_EDGE_MM = 5.0  # of the brain: no cortex, no sulcus
ROOM_MM, ROOM_SHARE = 7.0, 0.75  # of the cube round a lesion's middle, this share is white matter
AWAY_MM = 8.0  # from what is marked in the scans already
APART_MM = 20.0  # between the middles of two painted lesions: no window of the network sees many
UNEVEN = 0.5  # mm that a lesion's surface wanders in and out, standard deviation


@dataclass(frozen=True)
class Painted:
    """A scan with lesions that were not there."""

    scan: Array
    labels: Labels  # a painted lesion's number, from 1; 0 elsewhere
    sizes_mm3: tuple[float, ...]  # of lesion 1, 2, ...


@dataclass(frozen=True)
class Look:
    """How painted lesions look."""

    contrast: float  # above the tissue around them, spreads of the brain
    blur_mm: float  # full width at half maximum of the scan's blur within its slices
    slice_mm: float  # thickness of the scan's slices
    slice_axis: int  # of the arrays, across the slices


def white_matter(baseline: Array, followup: Array, brain: Mask, spacing_mm: float) -> Mask:
    """Where both scans show white matter with nothing special in it, away from the brain's edge."""
    usual = brain.copy()
    for scan in (baseline, followup):
        usual &= np.abs(z_of(scan) - WHITE_SPREADS) < WHITE_REACH
    usual &= ndimage.distance_transform_edt(brain, sampling=spacing_mm) > FROM_EDGE_MM
    share = ndimage.uniform_filter(usual.astype(np.float32), _odd(ROOM_MM / spacing_mm))
    white: Mask = usual & (share > ROOM_SHARE)
    return white


def paint(
    scan: Array,
    white: Mask,
    marked: Mask,
    sizes_mm3: Sequence[float],
    look: Look,
    spacing_mm: float,
    rng: np.random.Generator,
) -> Painted:
    """Paint lesions of these sizes at random places of `white` matter, away from what is `marked`.

    Each is an uneven ball of that volume, to the voxel, blurred as the scan is, and keeps away from the
    others. Where there is no room for all, the last ones are left out.
    """
    free = white & (ndimage.distance_transform_edt(~marked, sampling=spacing_mm) > AWAY_MM)
    excess = np.zeros(scan.shape, dtype=np.float32)
    labels = np.zeros(scan.shape, dtype=np.int32)
    painted: list[float] = []
    for size_mm3 in sizes_mm3:
        places = np.flatnonzero(free)
        if len(places) == 0:
            break
        spot = np.unravel_index(rng.choice(places), scan.shape)
        shape = _uneven_ball(size_mm3, spacing_mm, rng)
        box, part = _overlap(spot, shape.shape, scan.shape)
        painted.append(size_mm3)
        labels[box][shape[part]] = len(painted)
        excess[box][shape[part]] = look.contrast / SPREADS_PER_UNIT
        free[_ball_about(spot, APART_MM / spacing_mm, scan.shape, free)] = False
    shown = in_range(scan + _as_scanned(excess, look, spacing_mm))
    return Painted(np.where(excess.any(), shown, scan), labels, tuple(painted))


def _uneven_ball(size_mm3: float, spacing_mm: float, rng: np.random.Generator) -> Mask:
    """The voxels nearest to the middle of a box, as many as the volume asks for; the distance is uneven."""
    voxels = max(round(size_mm3 / spacing_mm**3), 1)
    radius = (3 * voxels / (4 * np.pi)) ** (1 / 3)
    half = int(np.ceil(radius + 4 * UNEVEN / spacing_mm)) + 1
    z, y, x = np.mgrid[-half : half + 1, -half : half + 1, -half : half + 1]
    noise = ndimage.gaussian_filter(rng.standard_normal(z.shape), max(radius / 2, 0.5))
    distance = np.sqrt(z**2 + y**2 + x**2) + UNEVEN / spacing_mm * noise / max(float(noise.std()), 1e-9)
    ball = np.zeros(distance.size, dtype=bool)
    ball[np.argsort(distance, axis=None, kind="stable")[:voxels]] = True
    return ball.reshape(distance.shape)


def _as_scanned(excess: Array, look: Look, spacing_mm: float) -> Array:
    """Blurred within the slices as edges are, and averaged over their thickness across them."""
    sigma = look.blur_mm / np.sqrt(8 * np.log(2)) / spacing_mm
    sigmas = [0.0 if axis == look.slice_axis else sigma for axis in range(3)]
    averaged = ndimage.uniform_filter1d(excess, _odd(look.slice_mm / spacing_mm), axis=look.slice_axis)
    if look.slice_mm <= 1.5 * spacing_mm:  # no slices to speak of: one blur along all axes
        sigmas = [sigma] * 3
    blurred: Array = ndimage.gaussian_filter(averaged, sigmas)
    return blurred


def _odd(voxels: float) -> int:
    """The odd number nearest to a width."""
    return 2 * int(voxels / 2) + 1


def _overlap(
    spot: Sequence[np.intp], sides: tuple[int, ...], scan: tuple[int, ...]
) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Where a box of odd `sides` about a voxel lies in the scan, and which part of the box lies inside it."""
    first = [int(at) - side // 2 for at, side in zip(spot, sides, strict=True)]
    low = [max(start, 0) for start in first]
    high = [min(start + side, size) for start, side, size in zip(first, sides, scan, strict=True)]
    box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    return box, tuple(slice(a - s, b - s) for a, b, s in zip(low, high, first, strict=True))


def _ball_about(
    spot: Sequence[np.intp], radius: float, sides: tuple[int, ...], within: Mask
) -> tuple[npt.NDArray[np.intp], ...]:
    """Indices of the True voxels of a mask within `radius` voxels of one."""
    box = tuple(
        slice(max(int(at - radius), 0), min(int(at + radius) + 1, side))
        for at, side in zip(spot, sides, strict=True)
    )
    index = np.argwhere(within[box]) + [side.start for side in box]
    near = ((index - np.array(spot)) ** 2).sum(axis=1) <= radius**2
    return tuple(index[near].T)
