"""Folds: everyone validates once, each fold has its share of patients with new lesions, the draw repeats."""

from collections import Counter
from pathlib import Path

import pytest

from app.errors import InputError
from training import folds

CHANGED = {f"{number:03d}": number % 4 != 0 for number in range(1, 41)}  # 30 with new lesions, 10 without


def test_every_fold_gets_its_share() -> None:
    drawn = folds.draw(CHANGED, 5, seed=1)
    assert set(drawn) == set(CHANGED)
    assert Counter(drawn.values()) == dict.fromkeys(range(1, 6), 8)
    assert Counter(drawn[name] for name in CHANGED if CHANGED[name]) == dict.fromkeys(range(1, 6), 6)


def test_the_draw_depends_on_the_seed_alone() -> None:
    assert folds.draw(CHANGED, 5, seed=1) == folds.draw(dict(reversed(CHANGED.items())), 5, seed=1)
    assert folds.draw(CHANGED, 5, seed=1) != folds.draw(CHANGED, 5, seed=2)


def test_written_and_split(tmp_path: Path) -> None:
    drawn = folds.draw(CHANGED, 5, seed=1)
    folds.write(tmp_path, drawn, seed=1)
    training, held_out = folds.split(folds.of(tmp_path), 3)
    assert held_out == sorted(name for name in drawn if drawn[name] == 3)
    assert sorted(training + held_out) == sorted(CHANGED)
    with pytest.raises(InputError, match="no fold 6; wanted one of 1 to 5"):
        folds.split(folds.of(tmp_path), 6)


@pytest.mark.parametrize("count", [1, 31])
def test_folds_without_someone_to_validate_on_are_refused(count: int) -> None:
    with pytest.raises(InputError, match="wanted at least 2"):
        folds.draw(CHANGED, count, seed=1)


def test_no_folds(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        folds.read(tmp_path)
