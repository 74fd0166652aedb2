import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats

from app.scoring import statistics


def test_interval_of_the_mean_agrees_with_its_standard_error() -> None:
    """Of 400 normal values the 95 % interval reaches 1.96 standard errors to each side, within a tenth."""
    values = np.random.default_rng(0).normal(5, 2, 400)
    described = statistics.describe(values.tolist())
    error = values.std() / math.sqrt(400)
    wanted = [values.mean() - 1.96 * error, values.mean() + 1.96 * error]
    assert described["mean_95"] == pytest.approx(wanted, abs=0.2 * error)


def test_undefined_values_are_left_out_and_counted() -> None:
    described = statistics.describe([1.0, math.nan, 3.0])
    assert (described["cases"], described["mean"], described["mean_95"]) == (2, 2.0, [1.0, 3.0])


def test_wilson_interval() -> None:
    """1 of 10 by the formula: centre (1 + z^2/2)/(10 + z^2), half width z sqrt(0.9 + z^2/4)/(10 + z^2)."""
    z = 1.959964
    centre, half = (1 + z * z / 2) / (10 + z * z), z * math.sqrt(0.9 + z * z / 4) / (10 + z * z)
    rate = statistics.rate(1, 10)
    assert rate["value"] == 0.1
    assert rate["value_95"] == pytest.approx([centre - half, centre + half], abs=1e-6)
    assert math.isnan(statistics.rate(0, 0)["value"])


def test_eight_cases_all_better_by_wilcoxon() -> None:
    """All of eight differences positive: of 2^8 sign patterns one is as extreme, and its mirror image."""
    assert statistics.wilcoxon_p(np.arange(1, 9) / 20) == pytest.approx(2 / 256)
    assert statistics.wilcoxon_p(np.array([1e-17, -1e-17])) == 1
    assert math.isnan(statistics.wilcoxon_p(np.array([])))


def test_holm_on_paper() -> None:
    """Smallest first: 3 * 0.01, 2 * 0.03, 1 * 0.04, which may not fall below the one before it."""
    corrected = statistics.holm([0.04, math.nan, 0.01, 0.03])
    assert corrected == pytest.approx([0.06, math.nan, 0.03, 0.06], nan_ok=True)
    assert statistics.holm([0.6, 0.7]) == [1, 1]


def test_equal_values_share_the_better_rank() -> None:
    assert statistics.ranks(np.array([0.5, 0.9, 0.5 + 1e-9, 0.1]), True).tolist() == [2, 1, 2, 4]
    assert statistics.ranks(np.array([3.0, 0.0, 3.0]), False).tolist() == [2, 1, 2]


@settings(max_examples=50, deadline=None)
@given(hnp.arrays(np.int64, st.tuples(st.integers(1, 4), st.integers(2, 7)), elements=st.integers(1, 5)))
def test_kendall_tau_agrees_with_scipy(rankings: np.ndarray) -> None:
    ours = statistics.kendall_tau(rankings[0], rankings)
    theirs = [stats.kendalltau(rankings[0], other).statistic for other in rankings]
    np.testing.assert_allclose(ours, theirs, atol=1e-12)


def test_how_often_each_rank_is_taken() -> None:
    """Two cases, values (1, 0) and (0, 0.5). Drawn anew: the first case twice in a quarter of the draws, each
    once in half of them, the second twice in a quarter, and only then the second rater is better."""
    means = statistics.resampled_means(np.array([[1.0, 0.0], [0.0, 0.5]]))
    part = statistics.stability(np.array([1, 2]), statistics.ranks(means, higher_is_better=True))
    assert part["frequency"][0] == pytest.approx([0.75, 0.25], abs=0.02)
    assert part["frequency"][1] == pytest.approx([0.25, 0.75], abs=0.02)
    assert part["rank_95"] == [[1, 2], [1, 2]]
    assert part["kendall_tau"] == pytest.approx(0.75 - 0.25, abs=0.04)


def test_groups_of_cases_are_drawn_apart() -> None:
    """Of 20 cases each, the first is drawn k times in both groups at once no more often than by chance."""
    first, second = (statistics.drawn_counts(20, group)[:, 0] for group in (0, 1))
    assert first.mean() == pytest.approx(1, abs=0.05)
    assert np.corrcoef(first, second)[0, 1] == pytest.approx(0, abs=0.04)


def test_a_clear_ranking_is_firm() -> None:
    values = np.array([[0.1, 0.2, 0.3], [0.7, 0.8, 0.9], [0.4, 0.5, 0.6]])
    ranked = statistics.ranks(values.mean(axis=1), True)
    part = statistics.stability(ranked, statistics.ranks(statistics.resampled_means(values), True))
    assert (part["rank"], part["rank_95"][1]) == ([3, 1, 2], [1, 1])
    assert part["kendall_tau"] > 0.9


def test_roc_on_paper() -> None:
    """Positives 3 and 1, negatives 1 and 0. From 3 on one of two is found; from 1 on both, and one false."""
    assert statistics.roc(np.array([3.0, 1.0]), np.array([1.0, 0.0])) == [
        (math.inf, 0.0, 1.0),
        (3.0, 0.5, 1.0),
        (1.0, 1.0, 0.5),
        (0.0, 1.0, 0.0),
    ]
    assert statistics.auc(np.array([3.0, 1.0]), np.array([1.0, 0.0]))["value"] == 3.5 / 4


@settings(max_examples=25, deadline=None)
@given(
    hnp.arrays(np.float64, st.integers(1, 12), elements=st.integers(0, 6).map(float)),
    hnp.arrays(np.float64, st.integers(1, 12), elements=st.integers(0, 6).map(float)),
)
def test_area_agrees_with_mann_whitney_and_with_the_curve(
    positives: np.ndarray, negatives: np.ndarray
) -> None:
    area = statistics.auc(positives, negatives)["value"]
    u = stats.mannwhitneyu(positives, negatives).statistic
    assert area == pytest.approx(u / (positives.size * negatives.size))
    _, sensitivity, specificity = np.array(statistics.roc(positives, negatives)).T
    assert area == pytest.approx(np.trapezoid(sensitivity, 1 - specificity))


def test_interval_of_the_area_agrees_with_scipys_bootstrap() -> None:
    rng = np.random.default_rng(3)
    positives, negatives = rng.normal(1, 1, 40), rng.normal(0, 1, 30)

    def area(a: np.ndarray, b: np.ndarray, axis: int = -1) -> np.ndarray:
        return (np.moveaxis(a, axis, -1)[..., :, None] > np.moveaxis(b, axis, -1)[..., None, :]).mean(
            (-2, -1)
        )

    theirs = stats.bootstrap(
        (positives, negatives), area, n_resamples=2000, method="percentile", vectorized=True, rng=1
    ).confidence_interval
    ours = statistics.auc(positives, negatives)["value_95"]
    assert ours == pytest.approx([theirs.low, theirs.high], abs=0.02)


def test_without_one_group_there_is_no_area() -> None:
    assert math.isnan(statistics.auc(np.array([1.0]), np.array([]))["value"])
