"""Monotone fits and their error, by hand."""

import numpy as np
import pytest

from training import calibration
from training.marks import Mark, Marked

ONES = np.ones(4)


def test_pooled_by_hand() -> None:
    # 0, 1, 0, 1 in the order of their scores: the second and third are pooled to one half
    knots = calibration.fit(np.array([0.1, 0.2, 0.4, 0.9]), np.array([0.0, 1.0, 0.0, 1.0]), ONES)
    assert [worth for _, worth in knots] == [0.0, 0.5, 1.0]
    assert [at for at, _ in knots] == pytest.approx([0.1, 0.3, 0.9])
    said = calibration.probability(np.array([0.0, 0.3, 0.6, 1.0]), knots)
    assert said == pytest.approx([0.0, 0.5, 0.75, 1.0])


def test_weights_count() -> None:
    knots = calibration.fit(np.array([0.1, 0.2]), np.array([1.0, 0.0]), np.array([3.0, 1.0]))
    assert [worth for _, worth in knots] == [0.75]


def test_perfect_and_wrong_calibration() -> None:
    rng = np.random.default_rng(0)
    said = rng.random(20_000)
    real = (rng.random(20_000) < said).astype(float)
    rows = calibration.reliability(said, real, np.ones_like(said))
    assert len(rows) == calibration.BINS
    assert [share for _, _, share in rows] == pytest.approx([0.2] * 5, abs=1e-3)
    assert calibration.expected_error(rows) < 0.02
    wrong = calibration.reliability(np.full(4, 0.9), np.zeros(4), ONES)
    assert calibration.expected_error(wrong) == pytest.approx(0.9)


def test_painted_lesions_count_as_many_as_a_pair_has() -> None:
    marks = [
        Mark(0.9, 10, {1: 5}, {1: 5}, False, "unread"),
        Mark(0.8, 10, {}, {}, False, "not visible"),
        Mark(0.7, 10, {}, {}, True, "unread"),  # known to change
        Mark(0.6, 10, {}, {}, False, "clear"),  # a reader saw a change
    ]
    marked = [Marked("a forward", "a", marks, np.full(40, 20), np.full(40, 10), np.ones(40))]
    score, real, weight = calibration.scored_marks(marked)
    assert score.tolist() == [0.9, 0.8]  # a mark on what is known to change does not count
    assert real.tolist() == [1.0, 0.0]
    assert weight.tolist() == [2 / 40, 1.0]


def test_without_marks_nothing_is_said() -> None:
    nothing = [
        Marked(f"{name} forward", name, [], np.array([20]), np.array([10]), np.ones(1)) for name in "ab"
    ]
    assert calibration.fit(*calibration.scored_marks(nothing)) == ()
    assert calibration.left_out_lines(nothing, nothing) == ["  calibration: too few marks"]
