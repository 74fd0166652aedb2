"""Which files of a folder, or of a table, are a patient's baseline and follow-up."""

import csv
import logging
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from ..errors import InputError
from ..folders import walk
from ..images.headers import SUFFIXES, suffix_of
from . import order

BASELINE = re.compile(r"time0?1(?!\d)|baseline", re.IGNORECASE)
FOLLOWUP = re.compile(r"time0?2(?!\d)|follow[-_]?up", re.IGNORECASE)
COLUMNS = ("patient", "baseline", "followup")
TABLES = {".csv": ",", ".tsv": "\t"}
FORMULAS = ("=", "+", "-", "@")
LONGEST = 200  # bytes of a patient's name: a file system takes 255, and a BIDS name goes on

logger = logging.getLogger(__name__)


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

    Files named *time01* and *time02* (or *baseline* and *followup*) that are otherwise alike are a pair:
    `<id>/flair_time01_on_middle_space.nii.gz` as in MSSEG-2, or `<id>_time01.nii.gz` side by side. A folder
    with just two images and no such names is a plain pair, in the order that their names tell
    (`app.patients.order`), which is said in the log. Where some names of a folder say FLAIR, the others are
    not looked at, nor is what lies below `output`, earlier results. Links to folders are followed. Raises
    InputError if the folder is missing or holds no image.
    """
    if not folder.is_dir():
        found = "not a folder" if folder.exists() else "no such folder"
        raise InputError(
            f"{folder}: {found}; wanted one with a patient's two scans, or one folder a patient, "
            f"or a table ({', '.join(TABLES)})"
        )
    problems: list[InputError] = []
    images: dict[Path, list[Path]] = {}
    for path in walk(folder, problems, output):
        if path.name.lower().endswith(SUFFIXES):
            images.setdefault(path.parent, []).append(path)
    if not images:
        raise InputError(f"{folder}: no image in it; wanted scans that end in {', '.join(SUFFIXES)}")
    cases: list[Case] = []
    for parent, here in sorted(images.items()):
        try:
            found_here, unpaired = _pairs(parent, sorted(here))
        except InputError as error:
            problems.append(error)
            continue
        problems += [InputError(message) for message in unpaired]
        for key, (baseline, followup) in found_here.items():
            place = parent.relative_to(folder).as_posix()
            names = [
                part
                for part in (
                    place if place != "." else "",
                    key if len(found_here) > 1 or place == "." else "",
                )
                if part
            ]
            cases.append(Case("_".join(names).replace("/", "_") or "patient", baseline, followup))
    return _with_names_of_their_own(cases, folder, problems), problems


def read_table(path: Path) -> tuple[list[Case], list[InputError]]:
    """The pairs of a table with the columns patient, baseline and followup, sorted by name, and the rows that
    are none.

    Its values are separated by commas, or in a .tsv by tabs. Scans are named relative to the table. Other
    columns are for the reader; empty rows are none. Raises InputError if the table cannot be read.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = csv.reader(file, delimiter=TABLES[path.suffix.lower()], skipinitialspace=True)
            header = [name.strip() for name in next(lines, [])]
            rows = [(lines.line_num, [value.strip() for value in line]) for line in lines]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise InputError(
            f"{path}: cannot be read ({reason}); wanted a table of comma-separated values in UTF-8"
        ) from error
    if any(header.count(column) != 1 for column in COLUMNS):
        raise InputError(
            f"{path}: columns {', '.join(map(ascii, header))}; wanted {', '.join(COLUMNS)}, each once"
        )
    rows = [(number, values) for number, values in rows if any(values)]
    if not rows:
        raise InputError(f"{path}: no rows; wanted one a patient")
    cases: dict[str, Case] = {}
    problems: list[InputError] = []
    for number, values in rows:  # as a text editor counts
        row = dict(zip(header, values, strict=False))
        name, baseline, followup = (row.get(column, "") for column in COLUMNS)
        if not re.fullmatch(r"[^\W_][\w.-]*", name) or len(name.encode()) > LONGEST:
            problem = (
                f"patient {name[:80]!r}; wanted letters, digits, '-', '_' and '.', {LONGEST} at most, "
                "for it names a folder"
            )
        elif not baseline or not followup:
            problem = "a scan is missing; wanted a baseline and a followup"
        elif name in cases:
            problem = f"{name} once more; wanted patients that differ"
        else:
            cases[name] = Case(name, path.parent / baseline, path.parent / followup)
            continue
        problems.append(InputError(f"{path}: row {number}: {problem}"))
    return sorted(cases.values(), key=lambda case: case.name), problems


def _pairs(folder: Path, images: list[Path]) -> tuple[dict[str, tuple[Path, Path]], list[str]]:
    """{what both names share: (baseline, follow-up)} of one folder's images, and a line for what is no pair.

    Raises InputError if there is a pair whose order cannot be told.
    """
    flairs = order.flairs(images)
    found, unpaired = _pairs_by_name(flairs)
    if found or unpaired:
        return found, unpaired
    timed, _ = _pairs_by_name(images)
    if len(flairs) != 2 or timed:
        names = ", ".join(path.name for path in images[:6])
        return {}, [
            f"{folder}: {len(images)} images ({names}), {len(flairs)} of which may be a FLAIR scan by their "
            "names, without time01 or time02; wanted a baseline and a follow-up"
        ]
    told = order.of_two(*flairs)
    logger.warning(
        "%s: %s is taken as the baseline, %s as the follow-up, by %s; "
        "wanted time01 and time02 in their names, or a table",
        *(folder, told.baseline.name, told.followup.name, told.by),
    )
    return {"": (told.baseline, told.followup)}, []


def _with_names_of_their_own(cases: list[Case], folder: Path, problems: list[InputError]) -> list[Case]:
    """The cases, sorted by name, without those whose name is another's too, or too long.

    Those are added to `problems`.
    """
    counts = Counter(case.name for case in cases)
    for name in sorted(name for name, count in counts.items() if count > 1):
        problems.append(
            InputError(f"{folder}: two patients would be called {name}; wanted names that differ")
        )
    for name in sorted(name for name in counts if name.startswith(FORMULAS)):
        problems.append(
            InputError(
                f"{folder}: a patient would be called {name[:80]}, which a spreadsheet takes for a formula; "
                "wanted a name that begins with a letter or digit, or a table"
            )
        )
    long = [name for name in counts if len(name.encode()) > LONGEST]
    problems += [
        InputError(
            f"{folder}: a patient would be called {name[:80]}..., {len(name.encode())} bytes; "
            f"wanted {LONGEST} at most, or a table"
        )
        for name in long
    ]
    return sorted(
        (
            case
            for case in cases
            if counts[case.name] == 1 and case.name not in long and not case.name.startswith(FORMULAS)
        ),
        key=lambda case: case.name,
    )


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
