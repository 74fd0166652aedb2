"""What do the numbers of many cases come to? Intervals, tests, ranks and curves, from arrays alone.

Every bootstrap draws cases with replacement, `RESAMPLES` times from one `SEED`, so that results repeat. Ranks
and their stability follow Wiesenfarth et al., "Methods and open-source toolkit for analyzing and visualizing
challenge results", Scientific Reports 11:2369 (2021): the mean over the cases is ranked, then the cases are
drawn again and again.
"""

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import stats

SEED = 2021
RESAMPLES = 10_000
DECIMALS = 6  # of the tables, and of what is compared: a difference of 1e-17 is none

Floats = npt.NDArray[np.float64]


@lru_cache(maxsize=8)  # thirty methods make some thousand comparisons of the same cases
def drawn(cases: int, group: int = 0) -> npt.NDArray[np.int64]:
    """Indices of the cases of every resample: (RESAMPLES, cases).

    The same for the same group and number of cases; groups of cases are drawn independently of each other.
    """
    seed = [SEED, group] if group else SEED
    indices = np.random.default_rng(seed).integers(cases, size=(RESAMPLES, cases))
    indices.flags.writeable = False
    return indices


def drawn_counts(cases: int, group: int = 0) -> Floats:
    """How often each case is in every resample of `drawn`: (RESAMPLES, cases)."""
    counts = np.zeros((RESAMPLES, cases))
    np.add.at(counts, (np.arange(RESAMPLES)[:, None], drawn(cases, group)), 1)
    return counts


def interval(values: Floats, statistic: Callable[..., Any]) -> tuple[float, float]:
    """95 % percentile bootstrap interval of a statistic that takes `axis`; nan without values."""
    if not values.size:
        return math.nan, math.nan
    return _middle_95(statistic(values[drawn(values.size)], axis=1))


def describe(values: Sequence[float]) -> dict[str, Any]:
    """Mean and median with their 95 % bootstrap intervals.

    Values that are nan are left out; `cases` counts the others.
    """
    known = np.array([value for value in values if not math.isnan(value)], float)
    described: dict[str, Any] = {"cases": known.size}
    for name, statistic in (("mean", np.mean), ("median", np.median)):
        described[name] = float(statistic(known)) if known.size else math.nan
        described[f"{name}_95"] = list(interval(known, statistic))
    return described


def rate(part: int, whole: int) -> dict[str, Any]:
    """A part of a whole with its 95 % Wilson interval, which takes the counted things as independent."""
    low, high = math.nan, math.nan
    if whole:
        low, high = stats.binomtest(part, whole).proportion_ci(0.95, method="wilson")
    return {
        "part": part,
        "whole": whole,
        "value": part / whole if whole else math.nan,
        "value_95": [float(low), float(high)],
    }


def wilcoxon_p(difference: Floats) -> float:
    """Two-sided Wilcoxon signed-rank test of paired differences; 1 where nothing differs, nan without cases.

    Differences are rounded to `DECIMALS`, since the test would rank rounding errors.
    """
    difference = np.round(difference, DECIMALS)
    if not difference.size:
        return math.nan
    return float(stats.wilcoxon(difference).pvalue) if difference.any() else 1.0


def holm(p_values: Sequence[float]) -> list[float]:
    """p values corrected for their number; nan stays nan.

    Source: Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of
    Statistics 6 (1979).
    """
    known = [place for place, p in enumerate(p_values) if not math.isnan(p)]
    corrected, largest = [math.nan] * len(p_values), 0.0
    for step, place in enumerate(sorted(known, key=lambda place: p_values[place])):
        largest = max(largest, min(1.0, (len(known) - step) * p_values[place]))
        corrected[place] = largest
    return corrected


def ranks(values: Floats, higher_is_better: bool) -> npt.NDArray[np.int64]:
    """Rank of each value along the last axis, 1 for the best; equal ones share a rank: 1, 2, 2, 4."""
    rounded = np.round(-values if higher_is_better else values, DECIMALS)
    ranked: npt.NDArray[np.int64] = stats.rankdata(rounded, method="min", axis=-1).astype(np.int64)
    return ranked


def resampled_means(values: Floats, group: int = 0) -> Floats:
    """Mean over the cases of every resample of a group: (RESAMPLES, raters). `values`: (raters, cases)."""
    means: Floats = drawn_counts(values.shape[1], group) @ values.T / values.shape[1]
    return means


def kendall_tau(first: npt.NDArray[np.int64], others: npt.NDArray[np.int64]) -> Floats:
    """Kendall's tau-b of one ranking (raters,) with many (n, raters): (n,).

    1: the same order; -1: the reverse. Where a ranking has nothing but ties tau is not defined: nan.
    """
    i, j = np.triu_indices(first.size, 1)
    ours, theirs = np.sign(first[i] - first[j]), np.sign(others[:, i] - others[:, j])
    size = np.sqrt(np.count_nonzero(ours) * np.count_nonzero(theirs, axis=1))
    tau: Floats = np.divide(theirs @ ours, size, out=np.full(len(others), math.nan), where=size > 0)
    return tau


def stability(ranked: npt.NDArray[np.int64], resampled: npt.NDArray[np.int64]) -> dict[str, Any]:
    """How firm a ranking (raters,) is, seen in the rankings of the resamples (RESAMPLES, raters).

    `rank_95` is the interval of each rater's rank, `frequency` the part of the resamples in which it has rank
    1, 2, ..., and `kendall_tau` the mean agreement of the resamples' order with the ranking.
    """
    places = np.arange(1, ranked.size + 1)
    tau = kendall_tau(ranked, resampled)
    return {
        "rank": ranked.tolist(),
        "rank_95": [list(_middle_95(column)) for column in resampled.T],
        "frequency": [[float((column == place).mean()) for place in places] for column in resampled.T],
        "kendall_tau": float(np.nanmean(tau)) if np.isfinite(tau).any() else math.nan,
    }


def roc(positives: Floats, negatives: Floats) -> list[tuple[float, float, float]]:
    """(threshold, sensitivity, specificity), from the strictest threshold to the loosest.

    A patient is called positive if its value is at least the threshold. The first threshold is infinite.
    """
    descending = -np.unique(-np.concatenate([positives, negatives]))
    thresholds = [math.inf, *(descending + 0.0)]  # + 0.0: no threshold of -0
    return [(float(at), float((positives >= at).mean()), float((negatives < at).mean())) for at in thresholds]


def auc(positives: Floats, negatives: Floats) -> dict[str, Any]:
    """Area under the ROC curve with its 95 % bootstrap interval, for which both groups are drawn apart.

    It is the chance that a positive patient has the larger value, equal ones counting half; nan if a group
    is empty.
    """
    if not (positives.size and negatives.size):
        return {"value": math.nan, "value_95": [math.nan, math.nan]}
    wins = (np.sign(positives[:, None] - negatives[None, :]) + 1) / 2
    resampled = (drawn_counts(positives.size) @ wins * drawn_counts(negatives.size, group=1)).sum(axis=1)
    return {"value": float(wins.mean()), "value_95": list(_middle_95(resampled / wins.size))}


def _middle_95(values: npt.NDArray[Any]) -> tuple[float, float]:
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)
