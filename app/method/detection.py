"""Which voxels of a probability map are new lesions. Without SimpleITK, so that training can ask too."""

import logging
import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from ..arrays import Array, Labels, Mask
from ..config import OperatingPoint
from ..intensity import spread

NEAR_MM, AROUND_MM = (
    3.0,
    7.0,
)  # of a lesion: as far as blur carries its signal, and the tissue it is compared with

# Of 600 marks on open pairs, by networks that had not seen the patient, no true one had more than a tenth of
# its voxels in what was two spreads darker than the brain's mode at baseline; twelve false ones had. But a
# lesion of 2.3 ml beside a ventricle reaches into it with a tenth: most of it lies deep in tissue, of flow
# never more than an eighth (training/LOG.md).
FLUID = 0.5  # as the network sees it: 1 + z / 4
FLUID_SHARE = 0.1
DEEP_VOXELS = 3  # more than so many voxels from fluid, by their faces
DEEP_SHARE = 0.25
FLUID_SMOOTHING_VOXELS = 0.6

# A rise of so many times the spread of the rise around it stands out as that of a large lesion does; a
# smaller one lowers a mark's odds. Most false marks lie in noise, or beside tissue that moved: at half a
# false mark a pair 0.01 to 0.04 more of painted lesions are found, by two generations of networks
# (training/LOG.md).
STANDS_OUT = 6.0
LEAST = 1e-3  # of the odds that are left

# Of a map of all lesions of a visit: half drawn crumbs, most of them in bright cortex and flow, never reach
# this (training/LOG.md).
ALL_LESIONS = OperatingPoint(threshold=0.5, certain=0.95)

logger = logging.getLogger(__name__)


def lesion_mask(probability: Array, point: OperatingPoint, voxel_mm3: float) -> Mask:
    """Voxels (z, y, x) above the threshold, in components of which more than the minimum volume is certain
    (docs/method.md, 6: strictly more).

    Two probabilities, as in hysteresis thresholding (Canny 1986): a high one alone would cut a lesion short,
    a low one alone would let in false ones.
    """
    components, _ = ndimage.label(probability > point.threshold)
    certain = np.bincount(components[probability > point.certain], minlength=components.max() + 1)
    keep = certain * voxel_mm3 > point.minimum_volume_mm3
    keep[0] = False
    mask: Mask = keep[components]
    return mask


def all_lesions(visits: Sequence[Array], voxel_mm3: float) -> list[Mask]:
    """The lesions of each visit, from its map (z, y, x) of all lesions, by `ALL_LESIONS`.

    What is certain at one visit is drawn at all: else a lesion near the cut would seem to come or go.
    """
    at_any = lesion_mask(np.maximum.reduce([*visits]), ALL_LESIONS, voxel_mm3)
    return [at_any & (probability > ALL_LESIONS.threshold) for probability in visits]


def scores(probability: Array, components: Labels, minimum_volume_mm3: float, voxel_mm3: float) -> Array:
    """Of components 1, 2, ... of `components` (z, y, x): the highest probability that more than the minimum
    volume reaches.

    `lesion_mask` keeps a component whose score exceeds `certain`; the calibration of a checkpoint says what
    it is worth.
    """
    found = np.zeros(components.max(), dtype=np.float32)
    rank = int(minimum_volume_mm3 / voxel_mm3)  # the voxel after so many decides
    for number, box in enumerate(ndimage.find_objects(components), start=1):
        values = np.sort(probability[box][components[box] == number])[::-1]
        found[number - 1] = values[rank] if len(values) > rank else 0.0
    return found


def candidates(probability: Array, point: OperatingPoint, voxel_mm3: float) -> Mask:
    """Voxels (z, y, x) of all components above the minimum volume that are certain in one voxel at least.

    What `lesion_mask` keeps is among them; what is not kept was held back, and a reader should know.
    """
    above = larger(probability > point.threshold, point.minimum_volume_mm3, voxel_mm3)
    components, count = ndimage.label(above)
    keep = np.zeros(count + 1, dtype=bool)
    keep[components[above & (probability > point.certain)]] = True
    mask: Mask = keep[components]
    return mask


def larger(mask: Mask, volume_mm3: float, voxel_mm3: float) -> Mask:
    """The components of a mask (z, y, x) that are larger than a volume."""
    components, _ = ndimage.label(mask)
    keep = np.bincount(components.ravel()) * voxel_mm3 > volume_mm3
    keep[0] = False
    kept: Mask = keep[components]
    return kept


def mostly_in(mask: Mask, part: Mask) -> Mask:
    """The components of a mask (z, y, x) that lie with half of their voxels or more in a part of it all."""
    components, (share,) = _shares(mask, part)
    kept: Mask = (share >= 0.5)[components]
    return kept


def in_fluid(marks: Mask, baseline: Array) -> Mask:
    """The components of a mask (z, y, x) of which more than `FLUID_SHARE` was fluid at baseline, and less
    than `DEEP_SHARE` lies deep in tissue.

    Lesions appear in tissue. What lights up where fluid was is flow, what pulsates in it, or what stripping
    has left beside the brain. `baseline` (z, y, x) is what the network saw.
    """
    if not marks.any():
        return marks
    dark = ndimage.gaussian_filter(baseline, FLUID_SMOOTHING_VOXELS) < FLUID
    deep = ~ndimage.binary_dilation(dark, iterations=DEEP_VOXELS)
    components, (in_dark, in_deep) = _shares(marks, dark, deep)
    flowing: Mask = ((in_dark > FLUID_SHARE) & (in_deep < DEEP_SHARE))[components]
    return flowing


def _shares(mask: Mask, *parts: Mask) -> tuple[Labels, npt.NDArray[np.float64]]:
    """The components of a mask, and for each part the share of number 0, 1, 2, ... in it; 0 of the rest."""
    components, count = ndimage.label(mask)
    voxels = np.bincount(components.ravel(), minlength=count + 1)
    inside = np.array([np.bincount(components[part], minlength=count + 1) for part in parts])
    shares = inside / np.maximum(voxels, 1)
    shares[:, 0] = 0
    return components, shares


def without_known(probability: Array, scans: Array, point: OperatingPoint, spacing_mm: float) -> Array:
    """The probability (z, y, x), lower in what hardly stands out from the change around it
    (`against_unrest`), and brought down to the threshold in lesions that the baseline shows, too, and in
    marks that begin in fluid (`in_fluid`).

    `scans` (2, z, y, x) are what the network saw, 0 outside the brain, on an isotropic grid. Blur, slice
    thickness, edge enhancement and small displacements make an old lesion look brighter or larger, but only
    move its signal about: what the follow-up has gained in and near a new lesion is all of the lesion's
    signal, and next to nothing where the scans differ in quality alone. A lesion with less than `point.gain`
    of it is known.
    """
    if point.gain is None:
        return probability
    components, _ = ndimage.label(probability > point.threshold)
    boxes = _boxes(components, spacing_mm)
    new, known = against_unrest(probability, components, boxes, scans, point, spacing_mm), 0
    certain = np.setdiff1d(components[new > point.certain], 0)
    flowing = in_fluid(np.isin(components, certain), scans[0])
    new[flowing] = point.threshold
    begun_in_tissue = np.setdiff1d(certain, components[flowing])
    for number in begun_in_tissue:
        box = boxes[number - 1]
        lesion = components[box] == number
        if not _is_gained(lesion, components[box] > 0, scans[:, *box], point.gain, spacing_mm):
            new[box][lesion] = point.threshold
            known += 1
    in_its_fluid = len(certain) - len(begun_in_tissue)
    logger.info("candidates left out: %d that the baseline shows, too, %d in its fluid", known, in_its_fluid)
    return new


def against_unrest(
    probability: Array,
    components: Labels,
    boxes: list[tuple[slice, ...]],
    scans: Array,
    point: OperatingPoint,
    spacing_mm: float,
) -> Array:
    """The probability (z, y, x), with the odds of each component 1, 2, ... that is larger than the minimum
    volume times its mean rise over `STANDS_OUT` spreads of the rise around it, where that is below 1.

    Each of `boxes` holds a component with what is around it. No voxel falls to the threshold: a mark keeps
    its shape.
    """
    left = probability.copy()
    above = np.nextafter(np.float32(point.threshold), np.float32(1))
    volumes_mm3 = np.bincount(components.ravel())[1:] * spacing_mm**3
    for index in np.flatnonzero(volumes_mm3 > point.minimum_volume_mm3):
        box = boxes[index]
        lesion = components[box] == index + 1
        _, around = _around(lesion, components[box] > 0, scans[:, *box], spacing_mm)
        if not around.any():
            continue
        rise = scans[1][box] - scans[0][box]
        mean, wanted = float(rise[lesion].mean() - np.median(rise[around])), STANDS_OUT * spread(rise[around])
        if wanted > max(mean, 0):
            share, p = max(mean / wanted, LEAST), probability[box][lesion]
            left[box][lesion] = np.maximum(share * p / (share * p + 1 - p), above)
    return left


def _is_gained(lesion: Mask, lesions: Mask, scans: Array, gain: float, spacing_mm: float) -> bool:
    """Whether the follow-up's rise in and near the lesion adds up to that share of its own signal, each above
    the median of the tissue around.
    """
    near, around = _around(lesion, lesions, scans, spacing_mm)
    if not around.any():
        return True
    followup, rise = scans[1], scans[1] - scans[0]
    gained = (rise - np.median(rise[around]))[near].sum()
    signal = (followup - np.median(followup[around]))[lesion].sum()
    return bool(gained > 0 and gained >= gain * signal)


def _around(lesion: Mask, lesions: Mask, scans: Array, spacing_mm: float) -> tuple[Mask, Mask]:
    """The brain in and near a lesion, and around it; other lesions are neither."""
    distance_mm = ndimage.distance_transform_edt(~lesion, sampling=spacing_mm)
    own = scans.any(axis=0) & (lesion | ~lesions)
    return (distance_mm <= NEAR_MM) & own, (distance_mm > NEAR_MM) & (distance_mm <= AROUND_MM) & own


def _boxes(components: Labels, spacing_mm: float) -> list[tuple[slice, ...]]:
    """The box of each component with what is around it."""
    margin = math.ceil(AROUND_MM / spacing_mm)
    return [
        tuple(slice(max(side.start - margin, 0), side.stop + margin) for side in box)
        for box in ndimage.find_objects(components)
    ]
