"""A probability map to a mask, and a mask to a list of lesions."""

from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from app import image
from app.config import PredictConfig
from app.image import Array, Mask


@dataclass(frozen=True)
class Lesion:
    """One new lesion: a component of the mask; voxels that share a face belong together, as in the official score."""

    number: int  # 1 is the largest
    voxels: int
    volume_mm3: float
    diameter_mm: float  # of the ball of that volume
    centre_ras_mm: tuple[float, float, float]  # centre of mass: right, anterior, superior
    mean_probability: float
    peak_probability: float


def lesion_mask(probability: Array, config: PredictConfig, voxel_mm3: float) -> Mask:
    """Voxels (z, y, x) above the threshold, in components of more than the minimum volume (METHOD 6: strictly more)."""
    above = probability > config.threshold
    labels, _ = ndimage.label(above)
    volumes_mm3 = np.bincount(labels.ravel()) * voxel_mm3
    keep = volumes_mm3 > config.minimum_volume_mm3
    keep[0] = False
    mask: Mask = keep[labels]
    return mask


def describe(mask: Mask, probability: Array, grid: sitk.Image) -> list[Lesion]:
    """The lesions of a mask (z, y, x), largest first; equal ones in array order. `grid` places the voxels in the patient."""
    labels, count = ndimage.label(mask)
    index = np.arange(1, count + 1)
    voxels = np.bincount(labels.ravel(), minlength=count + 1)[1:]
    centres = ndimage.center_of_mass(mask, labels, index)
    means = ndimage.mean(probability, labels, index)
    peaks = ndimage.maximum(probability, labels, index)
    lesions = []
    for number, component in enumerate(np.argsort(-voxels, kind="stable"), start=1):
        volume_mm3 = float(voxels[component] * image.voxel_mm3(grid))
        lesions.append(
            Lesion(
                number=number,
                voxels=int(voxels[component]),
                volume_mm3=volume_mm3,
                diameter_mm=float((6 * volume_mm3 / np.pi) ** (1 / 3)),
                centre_ras_mm=image.to_ras_mm(grid, centres[component]),
                mean_probability=float(means[component]),
                peak_probability=float(peaks[component]),
            )
        )
    return lesions
