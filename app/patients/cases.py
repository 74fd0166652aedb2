"""Which files of a folder, or of a table, are a patient's baseline and follow-up."""

import csv
import re
from dataclasses import dataclass
from pathlib import Path

from ..errors import InputError
from ..images.headers import SUFFIXES, suffix_of

BASELINE = re.compile(r"time0?1(?!\d)|baseline", re.IGNORECASE)
FOLLOWUP = re.compile(r"time0?2(?!\d)|follow[-_]?up", re.IGNORECASE)


@dataclass(frozen=True)
class Case:
    """One patient's two scans."""

    name: str  # names the output folder; unique in a cohort
    baseline: Path
    followup: Path
    bids: str | None = (
        None  # in a BIDS data set, how the names of the results begin: sub-01/ses-02/anat/sub-01_ses-02
    )


def find_cases(folder: Path, output: Path | None = None) -> tuple[list[Case], list[InputError]]:
    """Every patient below a folder, sorted by name, and what could not be paired.

    What lies below `output`, earlier results, is not looked at.

    Files named *time01* and *time02* (or *baseline* and *followup*) that are otherwise alike are a pair:
    `<id>/flair_time01_on_middle_space.nii.gz` as in MSSEG-2, or `<id>_time01.nii.gz` side by side. A folder
    with just two images and no such names is a plain pair, in the order of their names. Raises InputError if
    the folder is missing or holds no image.
    """
    if not folder.is_dir():
        raise InputError(
            f"{folder}: no such folder; wanted one with a patient's two scans, or one folder a patient"
        )
    images = sorted(
        path
        for path in folder.rglob("*")
        if path.name.lower().endswith(SUFFIXES) and not path.name.startswith(".")
    )
    if output is not None:
        images = [path for path in images if not path.resolve().is_relative_to(output.resolve())]
    if not images:
        raise InputError(f"{folder}: no image in it; wanted scans that end in {', '.join(SUFFIXES)}")
    cases: list[Case] = []
    problems: list[InputError] = []
    for parent in sorted({path.parent for path in images}):
        here = [path for path in images if path.parent == parent]
        found, unpaired = _pairs_by_name(here)
        if not found and not unpaired and len(here) == 2:
            found = {"": (here[0], here[1])}
        elif not found and not unpaired:
            unpaired = [
                f"{parent}: {len(here)} images without time01 or time02 in their names; wanted a "
                "baseline and a follow-up"
            ]
        problems += [InputError(message) for message in unpaired]
        for key, (baseline, followup) in found.items():
            place = parent.relative_to(folder).as_posix()
            names = [
                part
                for part in (place if place != "." else "", key if len(found) > 1 or place == "." else "")
                if part
            ]
            cases.append(Case("_".join(names).replace("/", "_") or "patient", baseline, followup))
    names = [case.name for case in cases]
    for name in sorted({name for name in names if names.count(name) > 1}):
        problems.append(
            InputError(f"{folder}: two patients would be called {name}; wanted names that differ")
        )
        cases = [case for case in cases if case.name != name]
    return sorted(cases, key=lambda case: case.name), problems


COLUMNS = ("patient", "baseline", "followup")


def read_table(path: Path) -> tuple[list[Case], list[InputError]]:
    """The pairs of a CSV table with the columns patient, baseline and followup, sorted by name, and the rows
    that are none.

    Scans are named relative to the table. Other columns are for the reader. Raises InputError if the table
    cannot be read.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            table = csv.DictReader(file)
            header, rows = table.fieldnames or [], list(table)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise InputError(
            f"{path}: cannot be read ({reason}); wanted a table of comma-separated values in UTF-8"
        ) from error
    if not set(COLUMNS) <= set(header):
        raise InputError(f"{path}: columns {', '.join(map(ascii, header))}; wanted {', '.join(COLUMNS)}")
    if not rows:
        raise InputError(f"{path}: no rows; wanted one a patient")
    cases: list[Case] = []
    problems: list[InputError] = []
    for number, row in enumerate(rows, start=2):  # as a text editor or spreadsheet counts
        name, baseline, followup = ((row[column] or "").strip() for column in COLUMNS)
        if not re.fullmatch(r"[^\W_][\w.-]*", name):
            problems.append(
                InputError(
                    f"{path}: row {number}: patient {name!r}; wanted letters, digits, '-', '_' and "
                    "'.', for it names a folder"
                )
            )
        elif not baseline or not followup:
            problems.append(
                InputError(f"{path}: row {number}: a scan is missing; wanted a baseline and a followup")
            )
        elif name in {case.name for case in cases}:
            problems.append(
                InputError(f"{path}: row {number}: {name} once more; wanted patients that differ")
            )
        else:
            cases.append(Case(name, path.parent / baseline, path.parent / followup))
    return sorted(cases, key=lambda case: case.name), problems


def _pairs_by_name(images: list[Path]) -> tuple[dict[str, tuple[Path, Path]], list[str]]:
    """{what both names share: (baseline, follow-up)} of one folder's images, and a line for each that has no
    partner.
    """
    times: dict[str, dict[str, Path]] = {}
    pairs = {}
    unpaired = []
    for path in images:
        for time, pattern in (("baseline", BASELINE), ("follow-up", FOLLOWUP)):
            if pattern.search(path.name):
                found = times.setdefault(pattern.sub("*", path.name, count=1), {})
                if time in found:
                    unpaired.append(f"{path}: a second {time} beside {found[time].name}; wanted one")
                found[time] = path
    for pattern_name, found in times.items():
        if len(found) == 2:
            pairs[_stem(pattern_name)] = (found["baseline"], found["follow-up"])
        else:
            (time, path), *_ = found.items()
            unpaired.append(f"{path}: a {time} alone; wanted its partner beside it")
    return pairs, unpaired


def _stem(name: str) -> str:
    """'sub-1_*_flair.nii.gz' to 'sub-1_flair'; 'flair_*_on_middle_space.nii' to 'flair_on_middle_space'."""
    name = name.removesuffix(name[-len(suffix_of(Path(name))) :])
    return re.sub(r"[_.\- ]*\*[_.\- ]*", "_", name).strip("_")
