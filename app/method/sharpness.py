"""How much less detail does the follow-up show than the baseline? Without SimpleITK, so that training can ask
too.

A blurred or thick-sliced follow-up shows a new lesion lower and wider, and every edge of the baseline beside
it. An unsharp mask gives back a part of its detail; a baseline that is blurred by the rest shows the same
edges: the lesion alone differs.
"""

import numpy as np
import numpy.typing as npt
from scipy import fft, ndimage

from ..arrays import Array, Mask

# Cycles a voxel. Lower ones are bias, higher ones noise. Slices of 6 voxels keep a tenth of what varies
# so fast.
FREQUENCIES = (0.03, 0.15)
# The brain fades out so far from its border: the border would be what both scans share.
FROM_EDGE_VOXELS, SOFT_VOXELS = 3, 1.5
FEWEST_VOXELS = 5000  # of brain: below it nothing can be said
MOST_VOXELS = 3.0  # the strongest blur, in standard deviations: that of slices of a centimetre
# Times the unsharp mask. Once gives back the coarse detail that a Gaussian took, and less of the fine, which
# is noise as well. Twice found more new lesions in blurred and in thick-sliced follow-ups, with noise on
# them and without; an exact inverse found fewer where there was noise (training/LOG.md).
SHARPENING = 2.0

Deviations = npt.NDArray[np.float64]


def equally_sharp(baseline: Array, followup: Array, brain: Mask) -> tuple[Array, Array, Deviations]:
    """Both scans (z, y, x) with as much detail, 0 outside the brain, and the blur that the follow-up had.

    The follow-up is sharpened first, then the baseline blurred by what is left. Both stay as they are where
    the follow-up is as sharp.
    """
    missing = missing_blur(baseline, followup, brain)
    if not missing.any():
        return baseline, followup, missing
    sharper = sharpened(followup, brain, missing)
    return blurred(baseline, brain, missing_blur(baseline, sharper, brain)), sharper, missing


def missing_blur(baseline: Array, followup: Array, brain: Mask) -> Deviations:
    """(3,): the standard deviations in voxels, along z, y and x, of the Gaussian that blurs the baseline as
    much as the follow-up is; 0 where it is no sharper.

    Of one anatomy, blurred twice, the logarithm of the power at each frequency differs by the square of the
    frequency times the difference of both variances: a straight line through many frequencies, found by least
    squares. `baseline`, `followup` and `brain` are (z, y, x), in any unit.
    """
    core = ndimage.binary_erosion(brain, iterations=FROM_EDGE_VOXELS)
    if np.count_nonzero(core) < FEWEST_VOXELS:
        return np.zeros(3)
    box = ndimage.find_objects(brain.astype(np.uint8))[0]
    baseline, followup, core = baseline[box], followup[box], core[box]
    weight = ndimage.gaussian_filter(core.astype(np.float32), SOFT_VOXELS)
    steps = np.meshgrid(*map(fft.fftfreq, weight.shape[:2]), fft.rfftfreq(weight.shape[2]), indexing="ij")
    squares = [step**2 for step in steps]
    low, high = FREQUENCIES
    within = (sum(squares) > low**2) & (sum(squares) < high**2)
    powers = [np.abs(_spectrum(scan, weight)[within]) ** 2 for scan in (baseline, followup)]
    lost = np.log(np.maximum(powers[0], 1e-12)) - np.log(np.maximum(powers[1], 1e-12))
    known = np.stack([np.ones_like(lost), *(square[within] for square in squares)], axis=1)
    slopes = np.linalg.lstsq(known, lost, rcond=None)[0][1:]
    variances = slopes / (4 * np.pi**2)
    deviations: Deviations = np.sqrt(np.clip(variances, 0, MOST_VOXELS**2))
    return deviations


def sharpened(scan: Array, brain: Mask, deviations: Deviations) -> Array:
    """The scan (z, y, x) with an unsharp mask along the axes on which it was blurred by so many voxels; 0
    outside the brain.
    """
    sharper: Array = (scan + np.float32(SHARPENING) * (scan - blurred(scan, brain, deviations))) * brain
    return sharper


def blurred(scan: Array, brain: Mask, deviations: Deviations) -> Array:
    """The scan (z, y, x) blurred by a Gaussian of so many voxels along z, y and x, from its brain alone; 0
    outside.
    """
    smooth = np.zeros(scan.shape, np.float32)
    box = ndimage.find_objects(brain.astype(np.uint8))[0]
    inside = brain[box]
    values, weights = scan[box] * inside, inside.astype(np.float32)
    for axis, deviation in enumerate(deviations):
        if deviation > 0:
            values = ndimage.gaussian_filter1d(values, deviation, axis, mode="constant")
            weights = ndimage.gaussian_filter1d(weights, deviation, axis, mode="constant")
    smooth[box] = np.where(inside, values / np.maximum(weights, 1e-6), 0)
    return smooth


def _spectrum(scan: Array, weight: Array) -> npt.NDArray[np.complex64]:
    """Of what differs from the mean, where the weight is."""
    mean = float((scan * weight).sum() / weight.sum())
    spectrum: npt.NDArray[np.complex64] = fft.rfftn((scan - mean) * weight)
    return spectrum
