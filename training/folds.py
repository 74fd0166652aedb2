"""Which patients validate which fold: drawn once from a seed, and written down."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from app.errors import InputError
from app.files import writing

FILE = "folds.json"  # in the prepared folder


def draw(changed: Mapping[str, bool], count: int, seed: int) -> dict[str, int]:
    """{patient: fold from 1 to `count`}; `changed` says who has new lesions, and every fold gets its share of
    those and of the others.

    Raises InputError for fewer than two folds, or more than patients with new lesions: each needs one to be
    validated on.
    """
    if not 2 <= count <= sum(changed.values()):
        raise InputError(
            f"{count} folds of {sum(changed.values())} patients with new lesions; wanted at least "
            "2, and a patient for each"
        )
    rng = np.random.default_rng(seed)
    order = [
        str(name)
        for group in (True, False)
        for name in rng.permutation(sorted(name for name in changed if changed[name] is group))
    ]
    return {name: position % count + 1 for position, name in enumerate(order)}


def write(prepared: Path, folds: Mapping[str, int], seed: int) -> None:
    with writing(prepared / FILE) as path:
        path.write_text(json.dumps({"seed": seed, "folds": dict(sorted(folds.items()))}, indent=1))


def read(prepared: Path) -> dict[str, int]:
    """{patient: fold} of a prepared folder. Raises InputError if it has no folds."""
    path = prepared / FILE
    if not path.is_file():
        raise InputError(f"{path}: no such file; wanted a folder written by training.msseg2")
    folds: dict[str, int] = json.loads(path.read_text())["folds"]
    return folds


def split(prepared: Path, fold: int) -> tuple[list[str], list[str]]:
    """Who trains, and who is held out and validates. Raises InputError for a fold that was not drawn."""
    folds = read(prepared)
    if fold not in folds.values():
        raise InputError(f"{prepared / FILE}: no fold {fold}; wanted one of 1 to {max(folds.values())}")
    return sorted(name for name in folds if folds[name] != fold), sorted(
        name for name in folds if folds[name] == fold
    )
