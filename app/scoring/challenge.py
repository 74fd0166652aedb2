"""What does every mask of a challenge score?"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from typing import Literal

import numpy as np
import SimpleITK as sitk

from ..arrays import Array, Mask
from ..errors import InputError
from ..images import grids
from . import masks, metrics
from .distances import Spacing
from .masks import Job
from .metrics import CaseMetrics, MatchedLesion

BINS = 10  # of probability, of equal width


@dataclass(frozen=True)
class ScoredLesion:
    """One lesion of a reference or of a prediction, seen against the other mask."""

    mask: Literal["reference", "predicted"]
    number: int  # 1 is the mask's largest
    voxels: int
    volume_mm3: float
    detected: bool  # by the official rules; for a predicted lesion: it is a true one
    overlap: float  # part of it that lesions of the other mask cover, 0 to 1
    centre_ras_mm: tuple[float, float, float]  # right, anterior, superior
    mean_probability: float | None  # over its voxels; None without a probability map


@dataclass(frozen=True)
class Reliability:
    """Voxels of one case whose probability lies in one bin."""

    bin: int  # 0: below 0.1; BINS - 1: from 0.9
    voxels: int
    probability_sum: float
    lesion_voxels: int  # of them, those in the reference


@dataclass(frozen=True)
class Score:
    """One mask scored."""

    case: str
    rater: str
    missing: bool  # no mask was there, and an empty one was scored
    metrics: CaseMetrics
    lesions: tuple[ScoredLesion, ...]
    peak_probability: float | None  # of the case; None without a probability map
    reliability: tuple[Reliability, ...]  # a bin each, empty bins left out; () without a probability map

    @property
    def new_lesions(self) -> bool:
        """Whether the reference holds any voxel: cases with and without are ranked apart."""
        return self.metrics.reference_volume_mm3 > 0


def score_job(job: Job) -> Score:
    """Score one mask.

    Raises InputError if a file is unusable, holds other values than a mask or a probability, or lies on
    another grid than its reference.
    """
    reference, grid = masks.read_mask(job.reference)
    prediction = masks.read_prediction(job, grid)
    probability = masks.read_probability(job, grid)
    spacing_mm = grids.spacing_mm(grid)
    matches = metrics.match_lesions(prediction, reference, spacing_mm)
    means = None if probability is None else _mean_probabilities(prediction, probability, spacing_mm)
    return Score(
        case=job.case,
        rater=job.rater,
        missing=job.prediction is None,
        metrics=metrics.case_metrics(prediction, reference, spacing_mm, matches),
        lesions=(
            *_describe("reference", matches.reference, grid),
            *_describe("predicted", matches.predicted, grid, means),
        ),
        peak_probability=None if probability is None else float(probability.max()),
        reliability=() if probability is None else reliability(probability, reference),
    )


def score_all(jobs: Sequence[Job], threads: int, problems: list[str]) -> Iterator[Score]:
    """Score all masks, in the order in which they are done.

    Each one that cannot be scored adds a line to `problems`. Threads do, since numpy and scipy let go of the
    interpreter; they need no /dev/shm.
    """
    pool = ThreadPoolExecutor(threads)
    try:
        for done in as_completed([pool.submit(score_job, job) for job in jobs]):
            try:
                yield done.result()
            except InputError as error:
                problems.append(str(error))
    finally:
        pool.shutdown(cancel_futures=True)


def reliability(probability: Array, reference: Mask) -> tuple[Reliability, ...]:
    """How often the voxels of each bin of probability are lesion. Both arrays `(z, y, x)`, of one shape."""
    bins = np.minimum((probability * BINS).astype(np.intp), BINS - 1).ravel()
    voxels = np.bincount(bins, minlength=BINS)
    sums = np.bincount(bins, weights=probability.ravel(), minlength=BINS)
    lesion_voxels = np.bincount(bins[reference.ravel()], minlength=BINS)
    return tuple(
        Reliability(number, int(voxels[number]), float(sums[number]), int(lesion_voxels[number]))
        for number in np.flatnonzero(voxels).tolist()
    )


def _mean_probabilities(prediction: Mask, probability: Array, spacing_mm: Spacing) -> list[float]:
    """Mean probability over the voxels of each predicted lesion, in the order of `metrics.match_lesions`."""
    minimum = metrics.minimum_voxels(spacing_mm, metrics.OFFICIAL.minimum_volume_mm3)
    labels, voxels = metrics.components(prediction, minimum)
    inside = labels > 0
    sums = np.bincount(labels[inside], weights=probability[inside], minlength=voxels.size + 1)[1:]
    return [float(mean) for mean in sums / voxels]


def _describe(
    mask: Literal["reference", "predicted"],
    matched: Sequence[MatchedLesion],
    grid: sitk.Image,
    mean_probabilities: Sequence[float] | None = None,
) -> list[ScoredLesion]:
    return [
        ScoredLesion(
            mask=mask,
            number=number,
            voxels=lesion.voxels,
            volume_mm3=lesion.volume_mm3,
            detected=lesion.detected,
            overlap=lesion.overlap,
            centre_ras_mm=grids.to_ras_mm(grid, lesion.centre),
            mean_probability=None if mean_probabilities is None else mean_probabilities[number - 1],
        )
        for number, lesion in enumerate(matched, start=1)
    ]
