"""What is said of two scans besides their new lesions: what was held back, vanished, or could be missed."""

from dataclasses import replace

import numpy as np
import SimpleITK as sitk

from . import intensity
from .arrays import Array, Labels, Mask
from .config import OperatingPoint
from .images import grids
from .method import change, detection, findings, grade, painting
from .method.findings import Findings, Marks
from .method.grade import SelfGrade
from .method.lesions import Lesion
from .method.painting import Look
from .method.predictor import LesionMaps, Predictor
from .method.preprocessing import Pair
from .method.quality import ScanQuality
from .method.registration import Aligned
from .method.verdict import Verdict


def vanished(maps: LesionMaps, pair: Pair, predictor: Predictor) -> Array:
    """Probability (z, y, x) of a lesion at baseline that the follow-up does not show.

    Networks without such a map look at the scans in the other order.
    """
    swapped = pair.channels()[::-1].copy()
    probability = predictor(swapped, pair.brain) if maps.vanished is None else maps.vanished
    config = predictor.config
    return detection.without_known(probability, swapped, config.point, config.preprocess.spacing_mm)


def without_changes(
    aligned: Aligned, pair: Pair, new: Array, gone: Array | None, point: OperatingPoint
) -> Aligned:
    """The alignment, and what it leaves where nothing is new or vanished by these probabilities."""
    changed = (new if gone is None else np.maximum(new, gone)) > point.threshold
    residual = aligned.residual.apart_from(grids.like(changed.astype(np.float32), pair.grid))
    return replace(aligned, residual=residual)


def marks(
    maps: LesionMaps,
    new: Array,
    gone: Array | None,
    pair: Pair,
    followup: sitk.Image,
    aligned: Aligned,
    point: OperatingPoint,
    verdict: Verdict,
    drawn: Mask | None,
) -> Marks:
    """All marks on the follow-up's grid.

    `new` and `gone` are probabilities in middle space without what is known. `drawn` are the lesions at
    baseline as a site has them, (z, y, x) on the follow-up's grid.
    """

    def carried(values: Array) -> Array:
        return grids.array(to_followup(values, pair, followup, aligned))

    voxel_mm3 = grids.voxel_mm3(followup)
    probability = carried(new)
    mask = detection.lesion_mask(probability, point, voxel_mm3)
    if drawn is not None:
        mask = change.without_old(mask, drawn)
    smallest_mm3 = point.minimum_volume_mm3
    possible = {
        why: detection.larger(carried(held.astype(np.float32)) > 0.5, smallest_mm3, voxel_mm3)
        for why, held in _held_back(maps.new, new, pair, point).items()
    }
    swapped = None if gone is None else carried(gone)
    lost = None if swapped is None else detection.lesion_mask(swapped, point, voxel_mm3)
    apart = {findings.MISFIT: aligned.residual.incomparable(followup, aligned.to_followup.GetInverse())}
    if pair.one_sided is not None:
        apart[findings.ONE_SIDED] = carried(pair.one_sided.astype(np.float32)) > 0.5
    if verdict.grade == "not comparable":
        possible = {findings.NOT_COMPARABLE: mask, **possible}
        mask = np.zeros_like(mask)
    else:
        for why, there in apart.items():
            possible = {why: detection.mostly_in(mask, there), **possible}
            mask = mask & ~possible[why]
    if lost is not None:
        for there in apart.values():
            lost &= ~detection.mostly_in(lost, there)
    before, after = None, None
    if maps.baseline is not None and maps.followup is not None:
        before, after = detection.all_lesions([carried(maps.baseline), carried(maps.followup)], voxel_mm3)
    return Marks(
        new=mask,
        probability=probability,
        vanished=lost,
        swapped=swapped,
        possible=possible,
        baseline=before if drawn is None else drawn,
        followup=after,
        drawn=drawn is not None,
    )


def _held_back(probability: Array, new: Array, pair: Pair, point: OperatingPoint) -> dict[str, Mask]:
    """{why it is not in the mask: candidates (z, y, x)}; `new` is what is left of the probability."""
    candidates = detection.candidates(probability, point, grids.voxel_mm3(pair.grid))
    known = candidates & (new <= point.threshold)
    fluid = detection.in_fluid(known, pair.channels()[0])
    return {
        findings.SHOWN_BEFORE: known & ~fluid,
        findings.IN_FLUID: fluid,
        findings.UNCERTAIN: candidates & ~known,
    }


def looked_at(
    found: Findings, shown: Labels, pair: Pair, baseline: sitk.Image, followup: sitk.Image, aligned: Aligned
) -> Findings:
    """The same findings with each lesion's brightness at both visits and its slices in both scans.

    `shown` (z, y, x) are the lesions' numbers in middle space.
    """
    voxels = np.bincount(shown.ravel(), minlength=len(found.all()) + 1)
    sums = [
        np.bincount(shown.ravel(), intensity.z_of(scan).ravel(), minlength=len(voxels))
        for scan in (pair.baseline, pair.followup)
    ]
    to_middle = aligned.to_followup.GetInverse()

    def seen(lesion: Lesion) -> Lesion:
        right, anterior, superior = lesion.centre_ras_mm
        at_followup = (-right, -anterior, superior)
        at_baseline = aligned.to_baseline.TransformPoint(to_middle.TransformPoint(at_followup))
        count = voxels[lesion.number]
        z = (float(sums[0][lesion.number] / count), float(sums[1][lesion.number] / count)) if count else None
        return replace(
            lesion,
            z=z,
            slices=(grids.slice_number(baseline, at_baseline), grids.slice_number(followup, at_followup)),
        )

    new, changed, possible = (
        [seen(lesion) for lesion in listed] for listed in (found.new, found.changed, found.possible)
    )
    return replace(found, new=new, changed=changed, possible=possible)


def graded(
    pair: Pair,
    shown: Labels,
    followup: sitk.Image,
    aligned: Aligned,
    quality: ScanQuality,
    predictor: Predictor,
    seed: int = grade.SEED,
) -> SelfGrade:
    """How many of the lesions that are painted into the follow-up are found by the same way as real ones."""
    config, spacing_mm = predictor.config, predictor.config.preprocess.spacing_mm
    painted = painting.paint(
        pair.followup,
        painting.white_matter(pair.baseline, pair.followup, pair.brain, spacing_mm),
        shown > 0,
        grade.SIZES_MM3 * grade.EACH,
        Look(
            grade.CONTRAST_SPREADS,
            quality.edge_width_mm,
            quality.slice_mm,
            grids.slice_axis(followup, pair.grid),
        ),
        spacing_mm,
        np.random.default_rng(seed),
    )
    channels = replace(pair, followup=painted.scan).channels()
    probability = detection.without_known(predictor(channels, pair.brain), channels, config.point, spacing_mm)
    on_followup = grids.array(to_followup(probability, pair, followup, aligned))
    mask = detection.lesion_mask(on_followup, config.point, grids.voxel_mm3(followup))
    labels = grids.labels_on(
        grids.like(painted.labels, pair.grid), followup, aligned.to_followup.GetInverse()
    )
    return SelfGrade(grade.count_found(sitk.GetArrayFromImage(labels), painted.sizes_mm3, mask), seed)


def to_followup(values: Array, pair: Pair, followup: sitk.Image, aligned: Aligned) -> sitk.Image:
    """Values (z, y, x) of middle space on the follow-up's grid; untouched if the two are one grid."""
    return grids.resample(grids.like(values, pair.grid), followup, aligned.to_followup.GetInverse())
