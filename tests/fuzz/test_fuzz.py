"""Changed files and kills, as many as fit; `make fuzz N=5000 KILLS=200` does more."""

import subprocess
import sys

import pytest

from tests.conftest import REPOSITORY


def _fuzz(*arguments: str) -> None:
    """In a process of its own, for its memory is limited, and it may die."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz", *arguments],
        cwd=REPOSITORY,
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]


def test_changed_files_are_read_right_or_refused_in_one_line() -> None:
    _fuzz("--files", "300")


@pytest.mark.slow
def test_a_cohort_that_is_killed_leaves_only_whole_results() -> None:
    _fuzz("--files", "0", "--kills", "20")
