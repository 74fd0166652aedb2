"""Which voxels of a scan are brain: a small U-Net on a 2 mm grid, whole head at once.

Brain is what HD-BET calls brain: cortex, white matter, cerebellum, brainstem, ventricles and the
cerebrospinal fluid between the gyri; and the upper 3 cm of the cord, because new lesions lie there too.
Trained by training/brain_train.py.
"""

import logging
from pathlib import Path

import numpy as np
import SimpleITK as sitk
import torch
from scipy import ndimage
from torch import Tensor

from ..arrays import Array
from ..errors import InputError
from ..images.grids import array, averaged, describe_grid, isotropic_grid, like, voxel_mm3
from . import checkpoint
from .model import UNet3D

# the network sees cubes of 2x2x2 voxels as 8 channels: a seventh of the time of the same network on single
# voxels
BLOCK = 2
DARK, BRIGHT = 0.005, 0.995  # quantiles of the scan that become 0 and 1
LIKELY_ML = (
    600.0,
    2200.0,
)  # volume of an adult's brain with its fluid; below, much of it lies outside the field of view

logger = logging.getLogger(__name__)


class BrainExtractor:
    """A trained network and its grid."""

    def __init__(self, network: UNet3D, spacing_mm: float, threshold: float, device: torch.device) -> None:
        self.network = network.eval().to(device)
        self.spacing_mm = spacing_mm
        self.threshold = threshold
        self.device = device

    @staticmethod
    def from_file(path: Path, device: torch.device) -> "BrainExtractor":
        """Read weights made by training/brain_train.py. Raises InputError as `checkpoint.load` does."""
        trained = checkpoint.load(path)
        return BrainExtractor(
            trained.network, trained.config.preprocess.spacing_mm, trained.config.point.threshold, device
        )

    def __call__(self, scan: sitk.Image) -> sitk.Image:
        """The brain as a uint8 mask, 0 or 1, on the scan's own grid: one piece without holes at the network's
        spacing.

        The scan may have any grid, orientation and contrast, with skull or without. Raises InputError if
        there is no brain in it.
        """
        coarse = coarse_scan(scan, self.spacing_mm)
        probability = one_piece(self.probability(array(coarse)), self.threshold)
        brain = _resample(like(probability, coarse), scan) >= self.threshold
        volume_ml = np.count_nonzero(sitk.GetArrayViewFromImage(brain)) * voxel_mm3(scan) / 1000
        if volume_ml == 0:
            raise InputError(
                f"brain extraction: no brain in a scan of {describe_grid(scan)}; wanted a head "
                "scan, or the brain's mask beside it"
            )
        if not LIKELY_ML[0] <= volume_ml <= LIKELY_ML[1]:
            logger.warning(
                "the brain found has %.0f ml; %.0f to %.0f ml are likely: look at the mask",
                volume_ml,
                *LIKELY_ML,
            )
        return brain

    @torch.inference_mode()
    def probability(self, values: Array) -> Array:
        """How likely each voxel is brain, in [0, 1].

        `values` (z, y, x) have any size and range; x runs to the left, y to the back, z up.
        """
        padded, margins = pad(normalise(torch.from_numpy(values)), self.multiple)
        logits = brain_logits(self.network, padded[None, None].to(self.device))
        inside = tuple(
            slice(before, before + side) for before, side in zip(margins, values.shape, strict=True)
        )
        result: Array = torch.sigmoid(logits)[0, 0].cpu().numpy()[inside]
        return result

    @property
    def multiple(self) -> int:
        """Sides that the network takes are multiples of this."""
        return int(BLOCK * 2**self.network.config.levels)


def coarse_scan(scan: sitk.Image, spacing_mm: float) -> sitk.Image:
    """The scan on an isotropic grid over its own field of view.

    Axes are reordered to left, back, up (`LPS`). Finer ones are averaged first.
    """
    upright = sitk.DICOMOrient(scan, "LPS")
    return _resample(
        averaged(sitk.Cast(upright, sitk.sitkFloat32), spacing_mm), isotropic_grid(upright, spacing_mm)
    )


def normalise(values: Tensor) -> Tensor:
    """(z, y, x) of any range -> the same in [0, 1], clipped at the quantiles `DARK` and `BRIGHT`; 0 where the
    scan is constant.
    """
    sample = values[::2, ::2, ::2].flatten()
    last = len(sample) - 1
    low = sample.kthvalue(1 + round(DARK * last)).values
    high = sample.kthvalue(1 + round(BRIGHT * last)).values
    if high <= low:
        return torch.zeros_like(values)
    return ((values - low) / (high - low)).clamp(0, 1)


def pad(values: Tensor, multiple: int) -> tuple[Tensor, tuple[int, int, int]]:
    """(z, y, x) in the middle of zeros, sides up to multiples of `multiple`; with the zeros before it along
    (z, y, x).
    """
    missing = [-side % multiple for side in values.shape]
    before = [m // 2 for m in missing]
    after = [m - b for m, b in zip(missing, before, strict=True)]
    padded = torch.nn.functional.pad(values, (before[2], after[2], before[1], after[1], before[0], after[0]))
    return padded, (before[0], before[1], before[2])


def brain_logits(network: UNet3D, scan: Tensor) -> Tensor:
    """(B, 1, D, H, W) in [0, 1] -> logits (B, 1, D, H, W). The network sees blocks of `BLOCK`^3 voxels."""
    return join_blocks(network(split_blocks(scan)))


def split_blocks(x: Tensor) -> Tensor:
    """(B, 1, D, H, W) -> (B, 8, D/2, H/2, W/2): the eight voxels of a block as channels, (z, y, x) order."""
    b, _, d, h, w = x.shape
    blocks = x.view(b, d // BLOCK, BLOCK, h // BLOCK, BLOCK, w // BLOCK, BLOCK).permute(0, 2, 4, 6, 1, 3, 5)
    return blocks.reshape(b, BLOCK**3, d // BLOCK, h // BLOCK, w // BLOCK)


def join_blocks(x: Tensor) -> Tensor:
    """(B, 8, D, H, W) -> (B, 1, 2D, 2H, 2W): undoes `split_blocks`."""
    b, _, d, h, w = x.shape
    voxels = x.reshape(b, BLOCK, BLOCK, BLOCK, d, h, w).permute(0, 4, 1, 5, 2, 6, 3)
    return voxels.reshape(b, 1, d * BLOCK, h * BLOCK, w * BLOCK)


def one_piece(probability: Array, threshold: float) -> Array:
    """Keep the largest piece at or above `threshold` (6-neighbourhood).

    The others become 0, and its holes 1. Values below the threshold stay.
    """
    pieces, count = ndimage.label(probability >= threshold)
    if count == 0:
        return np.zeros_like(probability)
    largest = pieces == 1 + np.argmax(np.bincount(pieces.ravel())[1:])
    holes = ndimage.binary_fill_holes(largest) & ~largest
    result: Array = np.where(
        holes, np.float32(1), np.where(largest | (pieces == 0), probability, np.float32(0))
    )
    return result


def _resample(image: sitk.Image, grid: sitk.Image) -> sitk.Image:
    """Linear interpolation; half a voxel outside the image its edge goes on."""
    resampler = sitk.ResampleImageFilter()
    resampler.SetReferenceImage(grid)
    resampler.SetInterpolator(sitk.sitkLinear)
    resampler.SetOutputPixelType(sitk.sitkFloat32)
    resampler.UseNearestNeighborExtrapolatorOn()
    return resampler.Execute(image)
