"""The comparison with a long run, on counts made up."""

import pytest

from app.method.grade import Found, SelfGrade
from benchmarks import self_grade


def test_the_long_run_lies_within_the_interval_or_not(capsys: pytest.CaptureFixture[str]) -> None:
    """5 of 10 is 0.24 to 0.76: 11 of 20 lie within; 10 of 10 is 0.72 to 1: 12 of 20 do not."""
    grades = [
        SelfGrade((Found(30.0, 10, small), Found(100.0, 10, large)), seed)
        for seed, (small, large) in enumerate([(5, 10), (6, 7), (5, 5)])
    ]
    assert self_grade.compare(grades) == [True, False]
    printed = capsys.readouterr().out
    assert "30 mm3: 5 of 10 (0.24 to 0.76); long run 11 of 20 (0.55)" in printed
    assert "long run 12 of 20 (0.60): outside" in printed
