"""A mask to a list of lesions."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from ..arrays import Array, Labels, Mask
from ..images import grids
from .change import Kind
from .place import Anatomy, Place


@dataclass(frozen=True)
class Lesion:
    """A lesion, or a mark that may be one: voxels that share a face, as in the official score."""

    number: int  # 1 is the largest new one
    voxels: int
    volume_mm3: float
    diameter_mm: float  # of the ball of that volume
    centre_ras_mm: tuple[float, float, float]  # centre of mass: right, anterior, superior
    mean_probability: float  # of a change, as the network has it; of a lesion drawn by somebody else 0
    peak_probability: float
    place: Place | None  # None where no brain was looked at
    kind: Kind | Literal["possible"] = "new"
    baseline_mm3: float | None = None  # volume at each visit; None: not known
    followup_mm3: float | None = None
    z: tuple[float, float] | None = None  # mean at baseline and follow-up, in spreads above the brain's mode
    slices: tuple[int, int] | None = (
        None  # of baseline and follow-up, nearest to the centre: from 1, as stored
    )
    why: str = ""  # of a possible one: what speaks against it


def numbered(mask: Mask) -> Labels:
    """The lesions of a mask (z, y, x) numbered from 1, largest first; equal ones in array order."""
    components, count = ndimage.label(mask)
    voxels = np.bincount(components.ravel(), minlength=count + 1)[1:]
    numbers = np.zeros(count + 1, dtype=np.int32)
    numbers[1 + np.argsort(-voxels, kind="stable")] = np.arange(1, count + 1)
    labels: Labels = numbers[components]
    return labels


def describe(
    mask: Mask, probability: Array, grid: sitk.Image, anatomy: Anatomy | None = None
) -> list[Lesion]:
    """The lesions of a mask (z, y, x) in the order of `numbered`.

    `grid` places the voxels in the patient, as does that of `anatomy`.
    """
    return describe_labels(numbered(mask), probability, grid, anatomy)


def describe_labels(
    labels: Labels, probability: Array, grid: sitk.Image, anatomy: Anatomy | None = None
) -> list[Lesion]:
    """The same for lesions that have their numbers, 1, 2, ... (z, y, x), 0 elsewhere."""
    lesions = []
    for number, box in enumerate(ndimage.find_objects(labels), start=1):
        index = np.argwhere(labels[box] == number) + [side.start for side in box]
        inside = probability[tuple(index.T)]
        volume_mm3 = len(index) * grids.voxel_mm3(grid)
        lesions.append(
            Lesion(
                number=number,
                voxels=len(index),
                volume_mm3=volume_mm3,
                diameter_mm=float((6 * volume_mm3 / np.pi) ** (1 / 3)),
                centre_ras_mm=grids.to_ras_mm(grid, tuple(index.mean(axis=0))),
                mean_probability=float(inside.mean(dtype=np.float64)),
                peak_probability=float(inside.max()),
                place=anatomy.place(grids.points(index, grid)) if anatomy else None,
            )
        )
    return lesions
