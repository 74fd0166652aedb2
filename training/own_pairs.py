"""Which pairs a laboratory has annotated, what is wrong with them, and their arrays.

A pair is found as `ms-new-lesions run` finds it (docs/cohort.md). Its mask of new lesions lies beside the
follow-up, on its grid, or is named in the table's column `mask`.
"""

import csv
import functools
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import SimpleITK as sitk

from app.config import PreprocessConfig
from app.errors import InputError
from app.images import grids, storage
from app.images.headers import SUFFIXES
from app.images.scan import Scan, file_sha256
from app.method.brain import BrainExtractor
from app.patients import cohort, order
from app.patients.cases import TABLES
from app.patients.visits import Case
from app.pipeline import Chain
from training.msseg2 import arrays_of
from training.prepare import Arrays, save_arrays

EXPERT = re.compile(r"expert|rater", re.IGNORECASE)


@dataclass(frozen=True)
class OwnPair:
    """A patient's two scans and the mask of what is new in the second."""

    name: str
    patient: str  # whose pairs are in one fold
    baseline: Scan
    followup: Scan
    mask: Path
    new_mm3: float
    sha256: str  # of scans and mask

    @property
    def code(self) -> str:
        """The name of its arrays, which says nothing of the patient: 'a1b2c3d4_0f1e2d3c'."""
        return f"{code_of(self.patient)}_{self.sha256[:8]}"


def code_of(patient: str) -> str:
    """What stands for a patient in folds and weights."""
    return hashlib.sha256(patient.encode()).hexdigest()[:8]


def find(data: Path, out: Path) -> tuple[list[OwnPair], list[InputError]]:
    """Every pair that can be used, and a line for everything that cannot. Reads all files.

    Raises InputError if there is no pair at all.
    """
    cases, problems = cohort.find(data, out)
    named = _masks_of_table(data) if data.is_file() else {}
    pairs = []
    for case in cases:
        try:
            mask = named[case.name] if data.is_file() else _mask_beside(case, cases, data)
            pairs.append(_read(case, mask, data))
        except InputError as error:
            problems.append(error)
    return pairs, problems


def _read(case: Case, mask: Path, data: Path) -> OwnPair:
    """Read both scans and the mask, to know that they can be. Raises InputError."""
    baseline, followup = Scan.find(case.baseline), Scan.find(case.followup)
    baseline.read()
    drawn = storage.read_mask(mask, followup.read())
    contents = "".join((baseline.sha256(), followup.sha256(), file_sha256(mask)))
    digest = hashlib.sha256(contents.encode()).hexdigest()
    new_mm3 = float(sitk.GetArrayViewFromImage(drawn).sum()) * grids.voxel_mm3(drawn)
    return OwnPair(case.name, _patient_of(case, data), baseline, followup, mask, new_mm3, digest)


def _patient_of(case: Case, data: Path) -> str:
    """Whose pair it is: the BIDS subject, or the folder in the data's that holds it; else a patient of its
    own.
    """
    if case.bids is not None:
        return case.bids.split("/")[0]
    if data.is_file():
        return case.name
    place = case.followup.relative_to(data).parts
    return place[0] if len(place) > 1 else case.name


def _masks_of_table(table: Path) -> dict[str, Path]:
    """{patient: mask} of the table's column `mask`. Raises InputError if a row has none."""
    with table.open(encoding="utf-8-sig", newline="") as file:
        lines = csv.DictReader(file, delimiter=TABLES[table.suffix.lower()], skipinitialspace=True)
        rows = [{(key or "").strip(): value for key, value in row.items()} for row in lines]
    masks = {
        (row.get("patient") or "").strip(): (row.get("mask") or "").strip()
        for row in rows
        if any(row.values())
    }
    missing = sorted(patient for patient, mask in masks.items() if not mask)
    if missing:
        raise InputError(f"{table}: no mask for {', '.join(missing)}; wanted one in the column mask")
    return {patient: table.parent / mask for patient, mask in masks.items()}


def _mask_beside(case: Case, cases: Sequence[Case], data: Path) -> Path:
    """The one mask of a pair. Raises InputError if there is none, or more than one."""
    folder = case.followup.parent
    if case.bids is not None:
        session = case.bids.split("_desc-")[0]
        found = sorted({*data.glob(f"{session}_*"), *data.glob(f"derivatives/*/{session}_*")})
    else:
        found = sorted(folder.iterdir())
    masks = [path for path in found if _is_mask(path)]
    if case.bids is None and sum(other.followup.parent == folder for other in cases) > 1:
        key = case.name.rsplit("_", 1)[-1] if folder != data else case.name
        masks = [
            path for path in masks if re.match(rf"{re.escape(key)}(?![a-z0-9])", path.name, re.IGNORECASE)
        ]
    # the challenge has one of each expert beside their consensus
    masks = [path for path in masks if not EXPERT.search(path.name)] or masks
    if len(masks) != 1:
        names = f" ({', '.join(path.name for path in masks)})" if masks else ""
        raise InputError(
            f"{case.followup}: {len(masks)} masks for this pair{names}; wanted one beside it with mask, "
            "truth, seg, label or lesions in its name (all 0 where nothing is new), or a table with the "
            "column mask"
        )
    return masks[0]


def _is_mask(path: Path) -> bool:
    words = set(re.split(r"[^a-z0-9]+", path.name.lower()))
    return (
        path.name.lower().endswith(SUFFIXES)
        and not order.MASKS.isdisjoint(words)
        and "brain" not in path.name.lower()
    )


def prepare(
    pairs: Sequence[OwnPair],
    folder: Path,
    extractor: BrainExtractor,
    config: PreprocessConfig,
    preprocessing_by: Chain,
) -> None:
    """Write `pairs/<code>.npz`; those that are there already are kept."""
    for pair in pairs:
        make = functools.partial(_arrays, pair, extractor, config, preprocessing_by)
        save_arrays(folder / "pairs" / f"{pair.code}.npz", make)


def _arrays(
    pair: OwnPair, extractor: BrainExtractor, config: PreprocessConfig, preprocessing_by: Chain
) -> Arrays:
    baseline, followup = pair.baseline.read(), pair.followup.read()
    masks = [storage.read_mask(pair.mask, followup)]
    return arrays_of(baseline, followup, masks, extractor, config, preprocessing_by)
