"""How good is a scan? Resolution, noise and sharpness within the slices, from the brain's own voxels."""

import logging
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from .. import intensity
from ..arrays import Array, Mask
from ..images import grids
from .preprocessing import Pair
from .registration import Aligned

THICK_MM = 3.1  # guidelines for MS ask for slices of 3 mm or less
UNLIKE = 2.0  # times noisier or less sharp than the other scan

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ScanQuality:
    """One scan, as it came.

    Interpolation before, as by some scanners, lowers the noise and hides the true resolution.
    """

    grid: str  # as it came, in words: '320x320x36 voxels of 0.72x0.72x4 mm'
    slice_mm: float  # the longest spacing
    noise_percent: float  # standard deviation, of the brain's median
    edge_width_mm: float  # full width at half maximum of the blur that the steepest edges show


def judge_pair(
    baseline: sitk.Image, followup: sitk.Image, aligned: Aligned, pair: Pair
) -> tuple[ScanQuality, ScanQuality]:
    """Both scans of a patient, in the brain that `pair` shows.

    Warns about what makes small lesions uncertain.
    """
    brain = grids.like(pair.brain.astype(np.float32), pair.grid)
    ways = (baseline, aligned.to_baseline), (followup, aligned.to_followup)
    before, after = (
        judge(scan, grids.array(grids.resample(brain, scan, to_scan.GetInverse())) > 0.5)
        for scan, to_scan in ways
    )
    for name, scan in (("baseline", before), ("follow-up", after)):
        if scan.slice_mm > THICK_MM:
            logger.warning(
                "the %s has slices of %.1f mm: lesions smaller than that can be missed; prefer "
                "scans of 3 mm or less",
                name,
                scan.slice_mm,
            )
    for what, values in (
        ("noise", (before.noise_percent, after.noise_percent)),
        ("sharpness", (before.edge_width_mm, after.edge_width_mm)),
    ):
        if max(values) > UNLIKE * min(values):
            logger.warning(
                "the two scans differ much in %s: a lesion may seem new for that alone; look at "
                "both scans at each lesion",
                what,
            )
    return before, after


def judge(scan: sitk.Image, brain: Mask) -> ScanQuality:
    """Judge one scan within its brain (z, y, x), on its own grid.

    Noise and edges are measured within the slices, which lie across the longest spacing.
    """
    spacing_mm = grids.spacing_mm(scan)
    through = int(np.argmax(spacing_mm))
    first, second = (axis for axis in range(3) if axis != through)
    box = ndimage.find_objects(brain.astype(np.uint8))[0]
    values, brain = grids.array(scan)[box], brain[box]
    inside = values[brain]
    median = float(np.median(inside))
    noise = noise_sd(values, brain, first, second)
    slopes = np.hypot(*(np.gradient(values, spacing_mm[axis], axis=axis)[brain] for axis in (first, second)))
    contrast = median - float(np.percentile(inside, 2))  # the darkest of the brain is its fluid
    # The slope of a step blurred by a Gaussian is greatest in its middle: contrast / (sigma sqrt(2 pi)); its
    # width at half maximum is 2.355 sigma.
    sigma_mm = contrast / max(float(np.percentile(slopes, 99)) * np.sqrt(2 * np.pi), 1e-9)
    return ScanQuality(
        grids.describe_grid(scan),
        max(spacing_mm),
        100 * noise / max(abs(median), 1e-9),
        float(np.sqrt(8 * np.log(2)) * sigma_mm),
    )


def noise_sd(values: Array, brain: Mask, first: int, second: int) -> float:
    """Standard deviation of white noise in a volume (z, y, x).

    Compares each voxel of the brain with its four neighbours along two axes.

    The middle half of the differences counts, so that edges do not.
    """
    neighbours = np.mean(
        [np.roll(values, step, axis) for axis in (first, second) for step in (-1, 1)], axis=0
    )
    # of independent voxels, the variance of this difference is 1 + 1/4 that of one
    difference = (values - neighbours)[brain] * np.sqrt(4 / 5)
    return intensity.spread(difference)
