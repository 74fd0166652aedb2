"""Two aligned scans to the network's two channels: bias field, brain, intensity.

The order is the authors': N4 on the unmasked head, then the brain, then the intensity of each scan alone.
"""

import logging
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk
from scipy import ndimage

from .. import intensity
from ..arrays import Array, Mask
from ..config import PreprocessConfig
from ..errors import InputError
from ..images import grids
from . import denoising, sharpness
from .registration import Aligned

CHANNEL_VOXELS = 3  # half the width of what is too narrow to be the edge of a scan
MINIMUM_BRAIN_ML = 50.0  # below it, the brain was not found; a newborn's has 350 ml

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Pair:
    """Both scans on one grid, in the network's unit."""

    baseline: Array  # (z, y, x), the whole head, brain mode at 1, range [0, 3]
    followup: Array
    brain: Mask  # (z, y, x), where both scans show brain
    grid: sitk.Image  # places the arrays in middle space
    shared: float = 1.0  # of the brain that was found, the part that both scans show
    one_sided: Mask | None = None  # of it, what is brain in one scan's mask alone; None: nothing
    # (z, y, x), the baseline blurred as much as the follow-up is after sharpening; None: it stays as it is
    blurred: Array | None = None
    missing: sharpness.Deviations | None = None  # the blur that the follow-up had; None: it stays as it is

    def channels(self) -> Array:
        """(2, z, y, x), as the network sees them: baseline, follow-up, 0 outside the brain."""
        baseline, followup = self.baseline, self.followup
        if self.blurred is not None and self.missing is not None:
            baseline, followup = self.blurred, sharpness.sharpened(followup, self.brain, self.missing)
        return intensity.in_range(np.stack([baseline, followup]) * self.brain)


def to_working_grid(
    baseline: sitk.Image, followup: sitk.Image, aligned: Aligned, config: PreprocessConfig
) -> tuple[sitk.Image, sitk.Image]:
    """Both scans on the network's grid in middle space, each interpolated once."""
    native = grids.canonical_grid(followup, config.spacing_mm)
    grid = grids.moved_grid(native, aligned.to_followup.GetInverse())
    return (
        grids.resample(baseline, grid, aligned.to_baseline),
        grids.resample(followup, grid, aligned.to_followup),
    )


def correct(baseline: sitk.Image, followup: sitk.Image, brain: Mask, config: PreprocessConfig) -> Pair:
    """Two scans on one grid, in any unit, and their brain (z, y, x) to the network's input.

    Raises InputError if too little of the brain lies in both fields of view.
    """
    common, shared = in_both_views((baseline, followup), brain)
    before, after = (without_artefacts(scan, common, config) for scan in (baseline, followup))
    if config.match_histogram:
        after = match_histogram(after, template=before, brain=common)
    return replace(scale(before, after, common), shared=shared)


def in_both_views(scans: tuple[sitk.Image, sitk.Image], brain: Mask) -> tuple[Mask, float]:
    """The part of a brain (z, y, x) that was measured in both scans on its grid, and its share."""
    seen = [field_of_view(grids.array(scan)) for scan in scans]
    common: Mask = brain & seen[0] & seen[1]
    return common, float(common.sum()) / max(float(brain.sum()), 1.0)


def without_artefacts(scan: sitk.Image, brain: Mask, config: PreprocessConfig) -> sitk.Image:
    """The scan without its bias field and, if asked for, its noise; 0 outside the brain (z, y, x) if that is
    masked first.
    """
    if config.bias_order == "mask-then-n4":
        scan = sitk.Mask(scan, grids.like(brain, scan))
    corrected = correct_bias(scan, config.bias_fwhm)
    if config.denoising == "none":
        return corrected
    return grids.like(
        denoising.denoise(grids.array(corrected), rician=config.denoising == "rician"), corrected
    )


def match_histogram(scan: sitk.Image, template: sitk.Image, brain: Mask) -> sitk.Image:
    """Map the brain's intensities onto those of the template's, both on one grid; 0 outside `brain` (z, y,
    x).

    ITK's HistogramMatching as the organisers call it (docs/method.md, 5): 100 levels, 15 points, what is
    darker than the image's mean left out.
    """
    inside = grids.like(brain, scan)
    return sitk.HistogramMatching(sitk.Mask(scan, inside), sitk.Mask(template, inside), 100, 15, True)


def scale(baseline: sitk.Image, followup: sitk.Image, brain: Mask) -> Pair:
    """The last step of `correct`: scans without a bias field to the network's input.

    Raises InputError if there is too little brain.
    """
    brain_ml = np.count_nonzero(brain) * grids.voxel_mm3(baseline) / 1000
    if brain_ml < MINIMUM_BRAIN_ML:
        raise InputError(
            f"baseline and follow-up: {brain_ml:.0f} ml of brain in both; wanted two FLAIR scans of "
            "one head (or give a brain mask)"
        )
    return Pair(
        scale_intensity(grids.array(baseline), brain),
        scale_intensity(grids.array(followup), brain),
        brain,
        baseline,
    )


def equally_sharp(pair: Pair) -> Pair:
    """The pair whose channels are equally sharp (app.method.sharpness)."""
    baseline, _, missing = sharpness.equally_sharp(pair.baseline, pair.followup, pair.brain)
    if not missing.any():
        return pair
    logger.info("the follow-up is blurred by %.1f, %.1f and %.1f voxels more than the baseline", *missing)
    return replace(pair, blurred=baseline, missing=missing)


def nonzero_brain(baseline: sitk.Image, followup: sitk.Image) -> Mask:
    """The brain (z, y, x) of scans whose skull was stripped before: not 0 in either, without holes."""
    either = (sitk.GetArrayViewFromImage(baseline) != 0) | (sitk.GetArrayViewFromImage(followup) != 0)
    filled: Mask = ndimage.binary_fill_holes(either)
    return filled


def correct_bias(scan: sitk.Image, fwhm: float) -> sitk.Image:
    """Divide out the bias field.

    N4 with the parameters of animaN4BiasCorrection -B `fwhm` (Tustison 2010; docs/method.md, 5); values are
    not rescaled.
    """
    inside = sitk.OtsuThreshold(scan, 0, 1, 200)
    shrink = [min(4, side) for side in scan.GetSize()]
    n4 = sitk.N4BiasFieldCorrectionImageFilter()
    n4.SetMaximumNumberOfIterations([50, 40, 30])
    n4.SetConvergenceThreshold(1e-4)
    n4.SetSplineOrder(3)
    n4.SetNumberOfControlPoints([4, 4, 4])
    n4.SetWienerFilterNoise(0.01)
    n4.SetBiasFieldFullWidthAtHalfMaximum(fwhm)
    n4.Execute(sitk.Shrink(scan, shrink), sitk.Shrink(inside, shrink))
    return scan / sitk.Exp(sitk.Cast(n4.GetLogBiasFieldAsImage(scan), sitk.sitkFloat32))


def field_of_view(values: Array) -> Mask:
    """Where a scan `(z, y, x)` was measured: all but the exact zeros that reach the volume's border, one
    voxel in from their edge.

    Zeros come from resampling beyond the scan or from a skull stripped before; nothing can be new there.
    Channels of zeros less than `CHANNEL_VOXELS` to a side, as the sulci of a stripped scan, are kept.
    """
    labels, _ = ndimage.label(values == 0)
    border = np.zeros(values.shape, dtype=bool)
    for axis in range(3):
        border.swapaxes(0, axis)[[0, -1]] = True
    zeros = np.isin(labels, np.setdiff1d(labels[border], 0))
    core = ndimage.binary_erosion(zeros, iterations=CHANNEL_VOXELS, border_value=1)
    unmeasured = ndimage.binary_dilation(core, iterations=CHANNEL_VOXELS, mask=zeros)
    measured: Mask = ~ndimage.binary_dilation(unmeasured)
    return measured


def scale_intensity(values: Array, brain: Mask) -> Array:
    """Scale a head so that the brain's mode is 1 and one unit is four spreads of the brain; clip to [0, 3].

    The paper divides by the mode, which leaves each scanner its own contrast. Dividing by the spread as well
    makes two scanners alike.
    """
    inside = values[brain]
    spread = intensity.spread(inside)
    if spread == 0:
        raise InputError("half of the brain has one single value; wanted a FLAIR scan")
    return intensity.for_network(values, histogram_mode(inside), spread)


def histogram_mode(inside: npt.NDArray[np.float32]) -> float:
    """The most frequent value: highest peak of the density up to the 99th percentile.

    The authors smooth (docs/method.md, 5) with p99 / 80; twice that keeps the peak from jumping between grey
    and white matter (0.17 to 0.21 spreads above the median on the four scans of open pairs 01 and 03, against
    0.18 to 0.25).
    """
    top = float(np.percentile(inside, 99))
    counts, edges = np.histogram(inside, bins=800, range=(min(0.0, top), max(top, 1e-6)))
    density = ndimage.gaussian_filter1d(counts.astype(float), sigma=800 / 40, mode="constant")
    peak = int(density.argmax())
    return float((edges[peak] + edges[peak + 1]) / 2)
