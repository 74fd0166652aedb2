"""What do all scores of a challenge come to? Per rater, ranked, and two by two, as in summary.json.

Cases with and without new lesions are kept apart, as the challenge does. A rater is a method or an expert.
Methods are ranked among themselves. Experts stand beside them without a rank: they are measured against a
consensus that they helped to make, and a method's rank must not depend on whether they are there.
"""

import dataclasses
import itertools
import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from .. import __version__
from ..errors import InputError
from . import metrics, statistics
from .challenge import BINS, Score
from .masks import ALL_EXPERTS, Job, is_expert
from .metrics import CaseMetrics

VOLUME_EDGES_MM3 = (3, 10, 30, 100, 300, 1000, 3000, math.inf)  # bins of lesion size
GROUPS = {  # group: its measures, those of the official ranking first
    "with_new_lesions": ("f1", "dice", "sensl", "ppvl"),
    "without_new_lesions": ("false_lesions", "false_volume_mm3"),
}
OFFICIAL = {  # measure of the challenge's ranking: whether more is better
    "f1": True,
    "dice": True,
    "false_lesions": False,
    "false_volume_mm3": False,
}

Summary = dict[str, Any]  # a part of summary.json
Raters = dict[str, list[Score]]  # methods in the order given, then experts


def group_scores(scores: Iterable[Score], names: Sequence[str]) -> Raters:
    """Scores by rater, each sorted by case: methods in the order of `names`, other methods, then experts.

    Raises InputError if a mask was scored twice, or a case against two different references.
    """
    raters: dict[str, dict[str, Score]] = {}
    volumes: dict[str, tuple[float, str]] = {}
    order = {name: place for place, name in enumerate(dict.fromkeys(names))}
    for score in sorted(scores, key=lambda score: (_place(score.rater, order), score.case)):
        own = raters.setdefault(score.rater, {})
        if not _equal(own.setdefault(score.case, score), score):
            raise InputError(f"{score.rater}: case {score.case} has two different scores; wanted one")
        volume = score.metrics.reference_volume_mm3
        other, rater = volumes.setdefault(score.case, (volume, score.rater))
        if not math.isclose(volume, other, rel_tol=1e-5, abs_tol=1e-3):
            raise InputError(
                f"{score.rater}: case {score.case} was scored against {volume:g} mm3 of lesions, in {rater} "
                f"against {other:g}; wanted one reference"
            )
    return {rater: list(own.values()) for rater, own in raters.items()}


def expected_cases(names: Iterable[str], jobs: Sequence[Job], scores: Sequence[Score]) -> dict[str, set[str]]:
    """{rater: the cases that it should have}: all of them for methods, those with a mask for experts."""
    cases = {score.case for score in scores} | {job.case for job in jobs}
    expected = {name: cases for name in names if not is_expert(name)}
    for job in jobs:
        if is_expert(job.rater):
            expected.setdefault(job.rater, set()).add(job.case)
    return expected


def summarise(raters: Raters, expected: dict[str, set[str]]) -> Summary:
    """All of summary.json. `expected` is that of `expected_cases`."""
    experts = [score for rater, own in raters.items() if is_expert(rater) for score in own]
    together = {ALL_EXPERTS: experts} if experts else {}
    methods = {rater: own for rater, own in raters.items() if not is_expert(rater)}
    return {
        "version": __version__,
        "rules": dataclasses.asdict(metrics.OFFICIAL),
        "bootstrap": {"resamples": statistics.RESAMPLES, "seed": statistics.SEED},
        "missing": {rater: [score.case for score in own if score.missing] for rater, own in methods.items()},
        "left_out": {
            rater: sorted(cases - {score.case for score in raters.get(rater, ())})
            for rater, cases in expected.items()
        },
        "raters": {rater: _summarise_rater(own) for rater, own in (raters | together).items()},
        "ranking": rank(methods) if len(methods) > 1 else None,
        "comparisons": compare(raters),
    }


def rank(methods: Raters) -> Summary:
    """The official measures of the cases that all methods have: rank of the mean, and how firm it is.

    The overall rank is that of the mean of the four ranks.
    """
    measures, resampled = {}, {}
    for measure, higher_is_better in OFFICIAL.items():
        new_lesions = measure in GROUPS["with_new_lesions"]
        cases = _common(methods.values(), new_lesions)
        if not cases:
            continue
        values = np.array([_values(own, measure, cases) for own in methods.values()])
        ranked = statistics.ranks(values.mean(axis=1), higher_is_better)
        means = statistics.resampled_means(values, group=0 if new_lesions else 1)
        resampled[measure] = statistics.ranks(means, higher_is_better)
        measures[measure] = {
            "cases": len(cases),
            "mean": values.mean(axis=1).tolist(),
            **statistics.stability(ranked, resampled[measure]),
        }
    if measures:
        mean_ranks = np.mean([part["rank"] for part in measures.values()], axis=0)
        redrawn = np.mean(list(resampled.values()), axis=0)
        ranked, again = (statistics.ranks(part, higher_is_better=False) for part in (mean_ranks, redrawn))
        measures["overall"] = {"mean": mean_ranks.tolist(), **statistics.stability(ranked, again)}
    return {"methods": list(methods), "measures": measures}


def compare(raters: Raters) -> list[Summary]:
    """Every two methods, and every method with every expert, on the cases that both have.

    Differences are the second less the first. `wilcoxon_p_holm` is corrected for the number of comparisons.
    """
    twos = [(first, second) for first, second in itertools.combinations(raters, 2) if not is_expert(first)]
    compared: list[Summary] = [{"first": first, "second": second} for first, second in twos]
    for group, names in GROUPS.items():
        for measure in names:
            parts = [_compare(raters[a], raters[b], measure, group == "with_new_lesions") for a, b in twos]
            corrected = statistics.holm([part["wilcoxon_p"] for part in parts])
            for whole, part, p in zip(compared, parts, corrected, strict=True):
                whole.setdefault(group, {})[measure] = part | {"wilcoxon_p_holm": p}
    return compared


def _summarise_rater(scores: Sequence[Score]) -> Summary:
    new = [score.metrics for score in scores if score.new_lesions]
    none = [score.metrics for score in scores if not score.new_lesions]
    return {
        "cases": len(scores),
        "with_new_lesions": {
            "cases": len(new),
            "lesions": sum(case.reference_lesions for case in new),
            "detected_lesions": sum(case.detected_lesions for case in new),
            "missed_lesions": sum(case.missed_lesions for case in new),
            "false_lesions": sum(case.false_lesions for case in new),
            **_describe(new, GROUPS["with_new_lesions"]),
        },
        "without_new_lesions": {
            "cases": len(none),
            "cases_without_false_lesion": sum(case.false_lesions == 0 for case in none),
            **_describe(none, GROUPS["without_new_lesions"]),
        },
        "patients": _summarise_patients(scores),
        "sizes": _summarise_sizes(scores),
        "calibration": _summarise_calibration(scores),
    }


def _describe(cases: Sequence[CaseMetrics], names: Sequence[str]) -> Summary:
    return {name: statistics.describe([getattr(case, name) for case in cases]) for name in names}


def _summarise_patients(scores: Sequence[Score]) -> Summary:
    """The question of triage: has a case any new lesion? It is called so if a lesion is predicted."""
    new = [score for score in scores if score.new_lesions]
    none = [score for score in scores if not score.new_lesions]
    found = sum(score.metrics.predicted_lesions > 0 for score in new)
    spared = sum(score.metrics.predicted_lesions == 0 for score in none)
    summary: Summary = {
        "sensitivity": statistics.rate(found, len(new)),
        "specificity": statistics.rate(spared, len(none)),
        "by_volume": _curve(*([score.metrics.predicted_volume_mm3 for score in own] for own in (new, none))),
        "by_probability": None,
    }
    peaks = [[score.peak_probability for score in own] for own in (new, none)]
    if scores and not any(peak is None for own in peaks for peak in own):
        summary["by_probability"] = _curve(*peaks)
    return summary


def _curve(new: Sequence[float | None], none: Sequence[float | None]) -> Summary:
    positives, negatives = np.array(new, float), np.array(none, float)
    return {
        "auc": statistics.auc(positives, negatives),
        "roc": statistics.roc(positives, negatives) if new and none else [],
    }


def _summarise_sizes(scores: Sequence[Score]) -> list[Summary]:
    """For each bin of lesion volume: how many true lesions were found, how many predicted ones are false."""
    lesions = [lesion for score in scores for lesion in score.lesions]
    parts = []
    for low, high in itertools.pairwise(VOLUME_EDGES_MM3):
        inside = [lesion for lesion in lesions if low <= lesion.volume_mm3 < high]
        true = [lesion.detected for lesion in inside if lesion.mask == "reference"]
        predicted = [lesion.detected for lesion in inside if lesion.mask == "predicted"]
        parts.append(
            {
                "from_mm3": low,
                "to_mm3": None if math.isinf(high) else high,
                "detected": statistics.rate(sum(true), len(true)),
                "false_lesions": len(predicted) - sum(predicted),
            }
        )
    return parts


def _summarise_calibration(scores: Sequence[Score]) -> Summary | None:
    """How far probabilities can be believed; None if no case has a map, other cases are left out.

    `voxels` and `lesions` have a part for each bin of probability: how many there are, their mean
    probability, and what part of them is true. `calibration_error` is the mean distance of the two over the
    bins, each weighed by its number (expected calibration error). For voxels it leaves out the lowest bin,
    which is nearly the whole head.
    """
    own = [score for score in scores if score.peak_probability is not None]
    if not own:
        return None
    voxels, lesions = np.zeros((BINS, 3)), np.zeros((BINS, 3))  # number, sum of probabilities, true ones
    for score in own:
        for part in score.reliability:
            voxels[part.bin] += part.voxels, part.probability_sum, part.lesion_voxels
        for lesion in score.lesions:
            if lesion.mean_probability is not None:
                mean = round(lesion.mean_probability, statistics.DECIMALS)  # as in lesions.csv
                place = min(int(mean * BINS), BINS - 1)
                lesions[place] += 1, lesion.mean_probability, lesion.detected
    return {
        "cases": len(own),
        "voxels": _bins(voxels),
        "voxel_calibration_error": _calibration_error(voxels[1:]),
        "lesions": _bins(lesions),
        "lesion_calibration_error": _calibration_error(lesions),
    }


def _bins(counts: statistics.Floats) -> list[Summary]:
    return [
        {
            "from": place / BINS,
            "to": (place + 1) / BINS,
            "mean_probability": float(total / number) if number else math.nan,
            "true": statistics.rate(int(true), int(number)),
        }
        for place, (number, total, true) in enumerate(counts)
    ]


def _calibration_error(counts: statistics.Floats) -> float:
    number, total, true = counts.T
    return float(np.abs(total - true).sum() / number.sum()) if number.any() else math.nan


def _compare(first: Sequence[Score], second: Sequence[Score], measure: str, new_lesions: bool) -> Summary:
    """Paired differences of the cases where the measure is defined for both."""
    cases = _common([first, second], new_lesions)
    a, b = (np.array(_values(scores, measure, cases)) for scores in (first, second))
    both = np.isfinite(a) & np.isfinite(b)
    difference = np.round(b[both] - a[both], statistics.DECIMALS)
    described = statistics.describe(difference.tolist())
    return {
        "cases": described.pop("cases"),
        "mean_first": float(a[both].mean()) if both.any() else math.nan,
        "mean_second": float(b[both].mean()) if both.any() else math.nan,
        **{f"difference_{name}": value for name, value in described.items()},
        "wilcoxon_p": statistics.wilcoxon_p(difference),
    }


def _common(raters: Iterable[Sequence[Score]], new_lesions: bool) -> list[str]:
    """The cases, with or without new lesions, that all raters have; sorted."""
    sets = [{score.case for score in own if score.new_lesions == new_lesions} for own in raters]
    return sorted(set.intersection(*sets))


def _values(scores: Sequence[Score], measure: str, cases: Sequence[str]) -> list[float]:
    """Rounded as in the tables, so that it makes no difference whether they were read or scored now."""
    value = {score.case: float(getattr(score.metrics, measure)) for score in scores}
    return [round(value[case], statistics.DECIMALS) for case in cases]


def _place(rater: str, order: dict[str, int]) -> tuple[bool, int, str]:
    """Sorts raters; the length puts expert10 behind expert9."""
    return is_expert(rater), order.get(rater, len(order)), f"{len(rater):4}{rater}"


def _equal(first: Score, second: Score) -> bool:
    """Whether two scores of one mask agree, but for the rounding of the tables."""
    a, b = (dataclasses.astuple(score.metrics) for score in (first, second))
    return bool(np.allclose(a, b, rtol=0, atol=10**-statistics.DECIMALS, equal_nan=True))
