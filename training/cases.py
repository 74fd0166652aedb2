"""The pairs that networks are judged on, each in one time order, on the network's grid.

Without SimpleITK, so that training can ask too.
"""

import dataclasses
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVar

import numpy as np

from app.arrays import Array, Mask
from app.config import PreprocessConfig
from app.errors import InputError
from app.intensity import in_range
from app.method import sharpness

SPACING_MM, VOXEL_MM3 = (1.0, 1.0, 1.0), 1.0
TINY_MM3 = 30.0  # a truth this small counts as none (patient01 backward, 0.02 ml: data README)


@dataclass(frozen=True)
class Case:
    """One pair in one time order, on the network's grid."""

    name: str  # "<patient> forward" or "<patient> backward"
    channels: Array  # (2, z, y, x), as they were acquired, or `as_seen`
    brain: Mask
    truth: Mask
    ignore: Mask  # taken out of prediction and truth

    @property
    def patient(self) -> str:
        return self.name.rsplit(" ", 1)[0]

    @property
    def has_new(self) -> bool:
        return int(self.truth.sum()) > TINY_MM3


class Scans(Protocol):
    """A dataclass with the scans of a pair: a case, or one with painted lesions."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def channels(self) -> Array: ...

    @property
    def brain(self) -> Mask: ...


AnyPair = TypeVar("AnyPair", bound=Scans)


def patient_of(case: str) -> str:
    """'P14' of 'P14_T1_T2 forward': all pairs of a patient in both orders belong together."""
    return case.split(" ")[0].split("_")[0]


def pairs_of(pairs: Path, patients: Collection[str]) -> list[Path]:
    """The pairs of these patients, each once."""
    return [path for path in sorted(pairs.glob("*.npz")) if {path.stem, patient_of(path.stem)} & {*patients}]


def read_cases(pairs: Path, patients: Collection[str] | None = None) -> list[Case]:
    """Every `pairs/*.npz` (of these patients, or all) in each time order that has a truth.

    Raises InputError if there is none.
    """
    cases = []
    paths = sorted(pairs.glob("*.npz")) if patients is None else pairs_of(pairs, patients)
    if not paths:
        raise InputError(f"{pairs}: no *.npz; wanted pairs written by training.prepare or training.msseg2")
    for path in paths:
        with np.load(path) as arrays:
            channels, brain = arrays["channels"].astype(np.float32), arrays["brain"]
            for order, scans in (("forward", channels), ("backward", channels[::-1].copy())):
                if f"truth_{order}" in arrays:
                    truth, ignore = arrays[f"truth_{order}"] & brain, arrays[f"ignore_{order}"]
                    cases.append(Case(f"{path.stem} {order}", scans, brain, truth & ~ignore, ignore))
    return cases


def as_seen(pair: AnyPair, config: PreprocessConfig) -> AnyPair:
    """The same with its channels as app.method.preprocessing.Pair.channels has them by this config."""
    if not config.match_sharpness:
        return pair
    baseline, followup = pair.channels
    equal = sharpness.equally_sharp(baseline, followup, pair.brain)[:2]
    return dataclasses.replace(pair, channels=in_range(np.stack(equal)))
