"""Which patients validate which fold: drawn once from a seed, and written down."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from app.errors import InputError
from app.files import writing

FILE = "folds.json"  # in the folder of prepared patients of the challenge
HELD_OUT = "held out"  # key of a checkpoint's provenance: the open pairs' patients whom it was not trained on
# Patients of the open pairs: in each fold one of 2-D scans and one of 3-D, in each new lesions and an order
# without.
OPEN = {"patient01": 1, "P2": 1, "patient03": 2, "P14": 2}


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


def of_challenge(prepared: Path) -> bool:
    """Whether training.msseg2 wrote a folder, so that all its patches are of patients."""
    return (prepared / FILE).is_file()


def of(prepared: Path) -> dict[str, int]:
    """{patient: fold} of a folder of either recipe."""
    return read(prepared) if of_challenge(prepared) else OPEN


def saw(origin: Mapping[str, str], patient: str) -> bool:
    """Whether a network of this provenance was trained on a patient's pairs."""
    return HELD_OUT in origin and patient not in origin[HELD_OUT].split(", ")


def split(of_patient: Mapping[str, int], fold: int) -> tuple[list[str], list[str]]:
    """Who trains, and who is held out and validates. Raises InputError for a fold that there is not."""
    if fold not in of_patient.values():
        raise InputError(f"no fold {fold}; wanted one of 1 to {max(of_patient.values())}")
    return sorted(name for name in of_patient if of_patient[name] != fold), sorted(
        name for name in of_patient if of_patient[name] == fold
    )
