"""How good a probability map of a validation pair is, at every operating point tried.

Without SimpleITK, so that training can ask too.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from app.arrays import Array, Mask
from app.config import OperatingPoint
from app.method.detection import lesion_mask, without_known
from app.scoring import metrics
from app.scoring.metrics import CaseMetrics
from training.cases import SPACING_MM, VOXEL_MM3, Case
from training.config import OPERATING_POINTS

FALSE_LESION_COST = 0.01  # of the selection score, for each false lesion of the case without new ones


def found(probability: Array, channels: Array, point: OperatingPoint) -> Mask:
    """The new lesions (z, y, x) of a pair with `channels` (2, z, y, x), as app.pipeline finds them."""
    return lesion_mask(without_known(probability, channels, point, SPACING_MM[0]), point, VOXEL_MM3)


def score(probability: Array, case: Case, point: OperatingPoint) -> CaseMetrics:
    """The official measures of one case at one operating point."""
    return measure(found(probability, case.channels, point), case)


def measure(mask: Mask, case: Case) -> CaseMetrics:
    """The official measures of a mask of one case."""
    return metrics.evaluate(mask & ~case.ignore, case.truth, SPACING_MM, distances=False)


def table(
    probabilities: Mapping[str, Array],
    cases: Sequence[Case],
    points: Sequence[OperatingPoint] = OPERATING_POINTS,
) -> dict[OperatingPoint, dict[str, CaseMetrics]]:
    """{operating point: {case: measures}}."""
    return {
        point: {case.name: score(probabilities[case.name], case, point) for case in cases} for point in points
    }


def best(
    results: Mapping[OperatingPoint, Mapping[str, CaseMetrics]], cases: Sequence[Case]
) -> list[OperatingPoint]:
    """The operating points of `table`, best first; of equals the one that drops the fewest small lesions."""
    return sorted(results, key=lambda point: (-selection(results[point], cases), point.minimum_volume_mm3))


def in_words(point: OperatingPoint) -> str:
    """'threshold 0.9, more than 30 mm^3 above 0.99, 0.5 of its signal gained'."""
    gained = "" if point.gain is None else f", {point.gain:g} of its signal gained"
    return (
        f"threshold {point.threshold:g}, more than {point.minimum_volume_mm3:g} mm^3 above "
        f"{point.certain:g}{gained}"
    )


def summary(measures: Mapping[str, CaseMetrics], cases: Sequence[Case]) -> tuple[float, float, int]:
    """Mean F1 and mean Dice of the cases with new lesions, and the false lesions of the others."""
    changed = [measures[case.name] for case in cases if case.has_new]
    false = sum(measures[case.name].false_lesions for case in cases if not case.has_new)
    return float(np.mean([m.f1 for m in changed])), float(np.mean([m.dice for m in changed])), false


def selection(measures: Mapping[str, CaseMetrics], cases: Sequence[Case]) -> float:
    """What chooses among weights and operating points: the mean of F1 and Dice, less a little for each false
    lesion.
    """
    f1, dice, false = summary(measures, cases)
    return (f1 + dice) / 2 - FALSE_LESION_COST * false
