"""Where do a file's voxels lie? The numbers of a header become a box at right angles in patient space."""

import logging
import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..errors import InputError

Affine = npt.NDArray[np.float64]  # (3, 4): a voxel's index (x, y, z, 1) to its centre
Sides = tuple[int, int, int]  # voxels along x, y, z

SMALLEST_MM, LARGEST_MM = 10.0, 1000.0  # of the sides of a scan that can show a head or a part of it
NOTICED_MM = 0.1  # a voxel that moves less than this has not moved
LARGEST_TURN_DEG = (
    0.5  # of one axis to make all meet at right angles: rounding and registration stay below it
)

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Box:
    """Spacing, origin and direction as SimpleITK takes them, LPS, mm."""

    spacing_mm: npt.NDArray[np.float64]  # (3,) along x, y, z
    origin_mm: npt.NDArray[np.float64]  # (3,) centre of the first voxel
    direction: npt.NDArray[np.float64]  # (3, 3), a column each for x, y, z


def box(affine: Affine, sides: Sides, wrong: str) -> Box:
    """The box at right angles that is nearest to an affine in mm, with the same centre.

    Warns if a corner moves by more than `NOTICED_MM`. Raises InputError, which begins with `wrong`, if an
    axis turns by more than `LARGEST_TURN_DEG`.
    """
    check_spacing(affine, wrong)
    lengths = np.linalg.norm(affine[:, :3], axis=0).round(12)  # 3 mm, not 3.0000000000000004
    axes = affine[:, :3] / lengths
    left, _, right = np.linalg.svd(axes)
    direction = left @ right  # the nearest matrix with columns at right angles (Schönemann 1966)
    turn_deg = float(np.degrees(np.arccos(np.clip((axes * direction).sum(axis=0), -1, 1)).max()))
    if turn_deg > LARGEST_TURN_DEG:
        raise InputError(
            f"{wrong}: its axes are not at right angles, by {turn_deg:.2g} degrees;"
            f" wanted a scan without shear, or with less than {LARGEST_TURN_DEG:g} degrees of it: "
            "resample it to a grid of its own"
        )
    middle = affine @ [*(np.array(sides) - 1) / 2, 1]
    origin = middle - direction @ (lengths * (np.array(sides) - 1) / 2)
    straight = np.column_stack([direction * lengths, origin])
    moved_mm = apart_mm(affine, straight, sides)
    if moved_mm > NOTICED_MM:
        logger.warning(
            "%s: its axes are not quite at right angles; corners are moved by up to %.2g mm", wrong, moved_mm
        )
    return Box(lengths, origin, direction)


def apart_mm(a: Affine, b: Affine, sides: Sides) -> float:
    """How far the two put one voxel from each other, at most: at a corner."""
    last = np.array(sides) - 1
    corners = np.array(
        [[*(last * [i, j, k]), 1] for i in (0, 1) for j in (0, 1) for k in (0, 1)], dtype=np.float64
    )
    return float(np.linalg.norm((a - b) @ corners.T, axis=0).max())


def check_spacing(affine: Affine, wrong: str) -> None:
    """Raises InputError, which begins with `wrong`, for an affine that does not give three axes."""
    with np.errstate(over="ignore", invalid="ignore"):
        lengths = np.linalg.norm(affine[:, :3], axis=0).round(12)
    flat = not (np.isfinite([*affine.ravel(), *lengths]).all() and lengths.min() > 0)
    if flat or abs(np.linalg.det(affine[:, :3] / lengths)) < 1e-6:
        raise InputError(
            f"{wrong}: voxels of {'x'.join(f'{side:.3g}' for side in lengths)} mm along axes that "
            "give no volume; wanted three positive numbers"
        )


def unit_mm(affine: Affine, unit: float, sides: Sides, wrong: str) -> float:
    """How many mm a length of 1 in a header is, given the `unit` that it names, in mm.

    Many programs write mm under another unit: a unit with which no head would fit, where mm fit, is not
    believed, with a warning.
    """
    if unit != 1 and _head_sized(affine, sides) and not _head_sized(affine * unit, sides):
        logger.warning(
            "%s: its header gives lengths in units of %g mm, too %s for a head; taken as mm",
            wrong,
            unit,
            "long" if unit > 1 else "short",
        )
        return 1.0
    return unit


def check_head_size(spacing_mm: tuple[float, ...], sides: tuple[int, ...], wrong: str) -> None:
    """Raises InputError, which begins with `wrong`, unless a head or a part of it may fill the box."""
    extent_mm = [side * spacing for side, spacing in zip(sides, spacing_mm, strict=True)]
    if not all(SMALLEST_MM <= extent <= LARGEST_MM for extent in extent_mm):
        raise InputError(
            f"{wrong}: a box of {'x'.join(f'{extent:.3g}' for extent in extent_mm)} mm;"
            f" wanted {SMALLEST_MM:g} to {LARGEST_MM:g} mm a side: correct spacing and unit in the header"
        )


def _head_sized(affine: Affine, sides: Sides) -> bool:
    extent_mm = np.linalg.norm(affine[:, :3], axis=0) * sides
    return bool(
        extent_mm.min() >= SMALLEST_MM and extent_mm.max() <= LARGEST_MM and math.isfinite(extent_mm.sum())
    )
