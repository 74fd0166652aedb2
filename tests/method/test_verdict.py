"""Whether two scans can be compared, and why not."""

from dataclasses import replace

import numpy as np
import pytest

from app.method import verdict
from app.method.preprocessing import Pair
from app.method.quality import ScanQuality
from app.results import words
from tests.results.made_up_result import make_result

RESULT = make_result()
FINE = ScanQuality("176x256x256 voxels of 1x1x1 mm", 1.0, 4.0, 1.2)
EVEN = Pair(RESULT.pair.baseline, RESULT.pair.baseline, RESULT.pair.brain, RESULT.pair.grid)


def _judge(
    baseline: ScanQuality = FINE,
    followup: ScanQuality = FINE,
    likeness: float = 0.9,
    shared: float = 1.0,
    residual_mm: float = 0.0,
    pair: Pair = EVEN,
) -> verdict.Verdict:
    residual = replace(RESULT.aligned.residual, likeness=likeness, mean_mm=residual_mm)
    return verdict.judge((baseline, followup), residual, replace(pair, shared=shared))


def test_two_good_scans_of_one_scanner_are_comparable() -> None:
    assert _judge() == verdict.Verdict("comparable", ())
    assert words.verdict(_judge()) == "Comparable"


@pytest.mark.parametrize(
    ("changed", "grade", "word"),
    [
        ({"likeness": 0.0}, "not comparable", "not of one head"),
        ({"residual_mm": 0.8}, "comparable", ""),
        ({"residual_mm": 1.4}, "with caution", "1.4 mm of misalignment"),
        ({"residual_mm": 3.5}, "not comparable", "3.5 mm of misalignment"),
        ({"shared": 0.8}, "with caution", "80 % of the brain"),
        ({"shared": 0.4}, "not comparable", "40 % of the brain"),
        ({"baseline": replace(FINE, slice_mm=3.0)}, "with caution", "3.0 times as thick"),
        (
            {"followup": replace(FINE, slice_mm=4.0)},
            "with caution",
            "the follow-up has slices of 4.0 mm",
        ),
        ({"followup": replace(FINE, noise_percent=9.0)}, "with caution", "2.2 times as noisy"),
        ({"followup": replace(FINE, edge_width_mm=3.0)}, "with caution", "2.5 times as blurred"),
    ],
)
def test_each_reason_lowers_the_verdict(changed: dict[str, float], grade: str, word: str) -> None:
    found = _judge(**changed)  # type: ignore[arg-type]
    assert found.grade == grade
    assert word in words.verdict(found)


def test_slices_of_3_mm_in_both_are_noted_but_comparable() -> None:
    thick = replace(FINE, slice_mm=3.0)
    found = _judge(thick, thick)
    assert found.grade == "comparable"
    assert [reason.words for reason in found.reasons] == [
        f"the {name} has voxels of up to 3.0 mm; 3-D with 1 mm is recommended"
        for name in ("baseline", "follow-up")
    ]


def test_the_gravest_reason_comes_first() -> None:
    found = _judge(replace(FINE, slice_mm=4.0), likeness=0.0)
    assert [reason.grade for reason in found.reasons] == ["not comparable", "with caution", "with caution"]
    assert words.verdict(found) == f"Not comparable: {found.reasons[0].words}"


def test_what_a_header_tells_is_added_and_the_gravest_stays_first() -> None:
    more = verdict.acquired_in_slices("baseline")
    assert verdict.with_reasons(_judge(FINE, FINE), [more]) == verdict.Verdict("comparable", (more,))
    found = verdict.with_reasons(_judge(replace(FINE, slice_mm=4.0), FINE), [more])
    assert (found.grade, found.reasons[-1]) == ("with caution", more)


def test_another_contrast_is_told_in_spreads() -> None:
    """The brighter tissue, 1.1 of the mode, at 1.3 in the follow-up: 0.8 spreads."""
    brighter = np.where(EVEN.baseline > 1.05, EVEN.baseline + 0.2, EVEN.baseline).astype(np.float32)
    pair = Pair(EVEN.baseline, brighter, EVEN.brain, EVEN.grid)
    assert verdict.drift_spreads(pair) == pytest.approx(0.8, abs=0.01)
    assert "0.8 spreads" in words.verdict(_judge(pair=pair))
