"""Can two scans be compared at all? One verdict a pair, with its reasons in plain words."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ..intensity import SPREADS_PER_UNIT
from .preprocessing import Pair
from .quality import THICK_MM, UNLIKE, ScanQuality
from .residual import Residual

Grade = Literal["comparable", "with caution", "not comparable"]
GRADES: tuple[Grade, ...] = ("comparable", "with caution", "not comparable")

# Of what the scans' brains share. A tenth is a slab of some 12 mm; without half, "no new lesion" says little.
LEAST_SHARED = (0.9, 0.5)  # under the first with caution, under the second not at all
# Half a small lesion's width; and more than that of most: then every edge of the brain looks like a change.
RESIDUAL_MM = (1.0, 3.0)
DRIFT_SPREADS = 0.5  # a faint new lesion rises by 1.5 spreads (training/config.py): a third of that
NOISY_PERCENT = 12.0  # of the brain's signal: about one spread, the contrast of a faint lesion

# MAGNIMS-CMSC-NAIMS 2021 (Wattjes et al., Lancet Neurol 20:653): FLAIR in 3-D with cubes of 1 mm; failing
# that, in slices of 3 mm or less. A tenth more than a millimetre is taken for one.
RECOMMENDED_MM = 1.1
DRIFT_PERCENTILES = (5, 25, 75, 95)


@dataclass(frozen=True)
class Reason:
    """Why a pair is less than comparable, or what a reader should know all the same."""

    grade: Grade  # the best that this reason allows
    words: str  # a sentence without a name


@dataclass(frozen=True)
class Verdict:
    """Whether a pair can be compared."""

    grade: Grade
    reasons: tuple[Reason, ...]  # the gravest first


def with_reasons(verdict: Verdict, more: Sequence[Reason]) -> Verdict:
    """The verdict with more reasons than the images gave."""
    reasons = sorted((*verdict.reasons, *more), key=lambda reason: -GRADES.index(reason.grade))
    return Verdict(reasons[0].grade if reasons else "comparable", tuple(reasons))


def acquired_in_slices(name: str) -> Reason:
    """What to say of a 2-D scan. Its slices' thickness is judged apart."""
    return Reason("comparable", f"the {name} was acquired in 2-D; 3-D is recommended")


def judge(quality: tuple[ScanQuality, ScanQuality], residual: Residual, pair: Pair) -> Verdict:
    """The verdict on a pair; `residual` is what the alignment has left."""
    reasons = [
        *_of_alignment(residual),
        *_of_coverage(pair.shared),
        *_of_scan("baseline", quality[0]),
        *_of_scan("follow-up", quality[1]),
        *_of_unlikeness(quality, drift_spreads(pair)),
    ]
    return with_reasons(Verdict("comparable", ()), reasons)


def drift_spreads(pair: Pair) -> float:
    """How far the brain's tissues have moved in brightness: the largest shift of a percentile, in spreads."""
    levels = [np.percentile(scan[pair.brain], DRIFT_PERCENTILES) for scan in (pair.baseline, pair.followup)]
    return float(SPREADS_PER_UNIT * np.abs(levels[1] - levels[0]).max())


def _of_alignment(residual: Residual) -> list[Reason]:
    reasons = []
    if residual.verdict == "not the same head":
        reasons.append(
            Reason("not comparable", "the scans are not of one head, by the details of both brains")
        )
    elif residual.verdict == "doubtful":
        reasons.append(Reason("with caution", "it is doubtful whether both scans are of one head"))
    if residual.mean_mm > RESIDUAL_MM[0]:
        grade: Grade = "not comparable" if residual.mean_mm > RESIDUAL_MM[1] else "with caution"
        words = f"{residual.mean_mm:.1f} mm of misalignment are left: edges can look like lesions"
        reasons.append(Reason(grade, words))
    return reasons


def _of_coverage(shared: float) -> list[Reason]:
    if shared >= LEAST_SHARED[0]:
        return []
    grade: Grade = "not comparable" if shared < LEAST_SHARED[1] else "with caution"
    return [
        Reason(grade, f"both scans show only {100 * shared:.0f} % of the brain: nothing is said of the rest")
    ]


def _of_scan(name: str, scan: ScanQuality) -> list[Reason]:
    thickest, reasons = scan.slice_mm, []
    if thickest > THICK_MM:
        words = f"the {name} has slices of {thickest:.1f} mm: smaller lesions can be missed"
        reasons.append(Reason("with caution", words))
    elif thickest > RECOMMENDED_MM:
        words = f"the {name} has voxels of up to {thickest:.1f} mm; 3-D with 1 mm is recommended"
        reasons.append(Reason("comparable", words))
    if scan.noise_percent > NOISY_PERCENT:
        reasons.append(
            Reason("with caution", f"the {name} is noisy ({scan.noise_percent:.0f} % of the brain's signal)")
        )
    return reasons


def _of_unlikeness(quality: tuple[ScanQuality, ScanQuality], drift: float) -> list[Reason]:
    reasons = []
    for what, values in (
        ("thick are the slices of one scan", [scan.slice_mm for scan in quality]),
        ("noisy is one scan", [scan.noise_percent for scan in quality]),
        ("blurred is one scan", [scan.edge_width_mm for scan in quality]),
    ):
        times = max(values) / max(min(values), 1e-9)
        if times > UNLIKE:
            words = f"{times:.1f} times as {what} as the other's: a lesion may seem new for that alone"
            reasons.append(Reason("with caution", words))
    if drift > DRIFT_SPREADS:
        words = f"the contrast of the tissues differs by {drift:.1f} spreads: another scanner or sequence"
        reasons.append(Reason("with caution", words))
    return reasons
