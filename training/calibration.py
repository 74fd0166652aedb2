"""What a mark's score is worth: the share of marks with that score that are real, as a monotone fit, and how
far off a fit is.

Painted pairs hold far more lesions than patients do, so each real mark counts as the share that a pair of
visits would have: `NEW_A_PAIR` lesions.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from training.marks import Marked

# assumed new lesions of a pair; the open pairs have 0 to 16, most follow-ups of treated patients none
NEW_A_PAIR = 2.0
BINS = 5  # of the reliability diagram, of equal weight
Knots = tuple[tuple[float, float], ...]  # (score, probability), both rising

Values = npt.NDArray[np.float64]


def scored_marks(marked: Sequence[Marked]) -> tuple[Values, Values, Values]:
    """Score, 1 if real, and weight of every mark that counts."""
    painted = sum(len(one.volumes_mm3) for one in marked) / len(marked)
    rows = [
        (mark.score, float(bool(mark.lesions)), NEW_A_PAIR / painted if mark.lesions else 1.0)
        for one in marked
        for mark in one.marks
        if mark.lesions or mark.false
    ]
    score, real, weight = np.array(rows, dtype=np.float64).reshape(-1, 3).T
    return score, real, weight


def fit(score: Values, real: Values, weight: Values) -> Knots:
    """The rising step function of least squares (pool adjacent violators, Ayer 1955), as the middle of each
    step.

    Between the steps a reader of the knots draws straight lines.
    """
    order = np.argsort(score)
    blocks: list[list[float]] = []  # weight, sum of weight * real, sum of weight * score
    for s, r, w in zip(score[order], real[order], weight[order], strict=True):
        blocks.append([w, w * r, w * s])
        while len(blocks) > 1 and blocks[-2][1] * blocks[-1][0] >= blocks[-1][1] * blocks[-2][0]:
            last = blocks.pop()
            blocks[-1] = [a + b for a, b in zip(blocks[-1], last, strict=True)]
    return tuple((scores / w, hits / w) for w, hits, scores in blocks)


def probability(score: Values, knots: Knots) -> Values:
    """Straight lines between the knots, held at the ends."""
    at, worth = zip(*knots, strict=True)
    said: Values = np.interp(score, at, worth)
    return said


def reliability(said: Values, real: Values, weight: Values) -> list[tuple[float, float, float]]:
    """(said, true, share of the weight) of bins of equal weight, by rising probability."""
    order = np.argsort(said, kind="stable")
    part = np.minimum((np.cumsum(weight[order]) / weight.sum() * BINS - 1e-9).astype(int), BINS - 1)
    rows = []
    for number in range(BINS):
        own = order[part == number]
        if len(own):
            total = weight[own].sum()
            rows.append(
                (
                    float((said[own] * weight[own]).sum() / total),
                    float((real[own] * weight[own]).sum() / total),
                    float(total / weight.sum()),
                )
            )
    return rows


def expected_error(rows: Sequence[tuple[float, float, float]]) -> float:
    """Expected calibration error of the bins of `reliability`."""
    return sum(share * abs(said - true) for said, true, share in rows)


def left_out_lines(chosen_on: Sequence[Marked], judged: Sequence[Marked]) -> list[str]:
    """Reliability of each patient's marks under the fit of the other patients, all together."""
    parts = []
    for patient in sorted({one.patient for one in judged}):
        knots = fit(*scored_marks([one for one in chosen_on if one.patient != patient]))
        score, real, weight = scored_marks([one for one in judged if one.patient == patient])
        if knots and len(score):
            parts.append((probability(score, knots), real, weight))
    if not parts:
        return ["  calibration: too few marks"]
    said, real, weight = (np.concatenate(column) for column in zip(*parts, strict=True))
    rows = reliability(said, real, weight)
    cells = "; ".join(f"said {said:.2f}, true {true:.2f}" for said, true, _ in rows)
    return [f"  calibration: {cells}; expected error {expected_error(rows):.3f}"]
