"""Which files of a folder, or of a table, are a patient's visits."""

import csv
import logging
import re
from collections import Counter
from pathlib import Path

from ..errors import InputError, is_formula
from ..folders import walk
from ..images.headers import SUFFIXES, suffix_of
from . import order, visits
from .visits import Case, Pairs, Scanned

BASELINE = re.compile(r"time0*1(?!\d)|baseline", re.IGNORECASE)
VISIT = re.compile(r"time(?P<number>\d+)|(?P<baseline>baseline)|follow[-_]?up", re.IGNORECASE)
TIMES = {1: "baseline", 2: "follow-up"}
COLUMNS = ("patient", "baseline", "followup")  # of a table with a row a pair
VISIT_COLUMNS = ("patient", "visit", "scan")  # of one with a row a visit
TABLES = {".csv": ",", ".tsv": "\t"}
LONGEST = 200  # bytes of a patient's name: a file system takes 255, and a BIDS name goes on

logger = logging.getLogger(__name__)


def find_cases(
    folder: Path, output: Path | None = None, pairs: Pairs = "consecutive"
) -> tuple[list[Case], list[InputError]]:
    """Every patient below a folder, sorted by name, and what could not be paired.

    Files named *time01*, *time02* and so on (or *baseline* and *followup*) that are otherwise alike are one
    patient's visits: `<id>/flair_time01_on_middle_space.nii.gz` as in MSSEG-2, or `<id>_time01.nii.gz` side
    by side. A folder with just two images and no such names is a plain pair, in the order that their names
    tell (`app.patients.order`), which is said in the log. Where some names of a folder say FLAIR, the others
    are not looked at, nor is what lies below `output`, earlier results. Links to folders are followed. Raises
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
            found_here, unpaired = _visits(parent, sorted(here))
        except InputError as error:
            problems.append(error)
            continue
        problems += [InputError(message) for message in unpaired]
        for key, times in found_here.items():
            place = parent.relative_to(folder).as_posix()
            names = [
                part
                for part in (
                    place if place != "." else "",
                    key if len(found_here) > 1 or place == "." else "",
                )
                if part
            ]
            cases += visits.cases("_".join(names).replace("/", "_") or "patient", times, pairs)
    return _with_names_of_their_own(cases, folder, problems), problems


def read_table(path: Path, pairs: Pairs = "consecutive") -> tuple[list[Case], list[InputError]]:
    """The pairs of a table, sorted by name, and the rows that are none.

    A row is a pair (columns patient, baseline, followup), or a visit (patient, visit, scan): then a
    patient's rows come in the order of time. Values are separated by commas, or in a .tsv by tabs. Scans are
    named relative to the table. Other columns are for the reader; empty rows are none. Raises InputError if
    the table cannot be read.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = csv.reader(file, delimiter=TABLES[path.suffix.lower()], skipinitialspace=True)
            header = [name.strip() for name in next(lines, [])]
            rows = [(lines.line_num, [value.strip() for value in line]) for line in lines]
            if any("\0" in value for _, row in rows for value in row):
                raise csv.Error("NUL bytes")  # no path holds one
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise InputError(
            f"{path}: cannot be read ({reason}); wanted a table of comma-separated values in UTF-8"
        ) from error
    fitting = [
        columns for columns in (COLUMNS, VISIT_COLUMNS) if all(header.count(one) == 1 for one in columns)
    ]
    if not fitting:
        raise InputError(
            f"{path}: columns {', '.join(map(ascii, header))}; wanted {', '.join(COLUMNS)}, "
            f"or {', '.join(VISIT_COLUMNS)}, each once"
        )
    named = [(number, dict(zip(header, values, strict=False))) for number, values in rows if any(values)]
    if not named:
        raise InputError(f"{path}: no rows; wanted one a patient")
    cells = [(number, [row.get(column, "") for column in fitting[0]]) for number, row in named]
    cases, problems = _pair_rows(path, cells) if fitting[0] == COLUMNS else _visit_rows(path, cells, pairs)
    return sorted(cases, key=lambda case: case.name), problems


Rows = list[tuple[int, list[str]]]  # line, as a text editor counts, and its values


def _pair_rows(path: Path, rows: Rows) -> tuple[list[Case], list[InputError]]:
    """A row a pair."""
    cases: dict[str, Case] = {}
    problems: list[InputError] = []
    for number, (name, baseline, followup) in rows:
        if problem := _wrong_name("patient", name):
            pass
        elif not baseline or not followup:
            problem = "a scan is missing; wanted a baseline and a followup"
        elif name in cases:
            problem = f"{name} once more; wanted patients that differ"
        else:
            cases[name] = Case(name, path.parent / baseline, path.parent / followup, patient=name)
            continue
        problems.append(InputError(f"{path}: row {number}: {problem}"))
    return list(cases.values()), problems


def _visit_rows(path: Path, rows: Rows, pairs: Pairs) -> tuple[list[Case], list[InputError]]:
    """A row a visit."""
    patients: dict[str, list[Scanned]] = {}
    problems: list[InputError] = []
    for number, (name, label, scan) in rows:
        before = patients.setdefault(name, [])
        if problem := _wrong_name("patient", name) or _wrong_name("visit", label):
            pass
        elif not scan:
            problem = "its scan is missing; wanted one"
        elif label in [visit.label for visit in before]:
            problem = f"visit {label} of {name} once more; wanted visits that differ"
        else:
            before.append(Scanned(label, path.parent / scan))
            continue
        problems.append(InputError(f"{path}: row {number}: {problem}"))
    cases = []
    for name, found in patients.items():
        if len(found) == 1:
            problems.append(InputError(f"{path}: one visit of {name}; wanted two or more"))
        cases += visits.cases(name, found, pairs)
    return cases, problems


def _wrong_name(what: str, name: str) -> str:
    """Why a name cannot be part of a folder's; '' if it can."""
    if re.fullmatch(r"[^\W_][\w.-]*", name) and len(name.encode()) <= LONGEST:
        return ""
    return (
        f"{what} {name[:80]!r}; wanted letters, digits, '-', '_' and '.', {LONGEST} at most, "
        "for it names a folder"
    )


def _visits(folder: Path, images: list[Path]) -> tuple[dict[str, list[Scanned]], list[str]]:
    """{what their names share: visits, in the order of time} of one folder's images, and a line for what has
    no partner.

    Raises InputError if there is a pair whose order cannot be told.
    """
    flairs = order.flairs(images)
    found, unpaired = _visits_by_name(flairs)
    if found or unpaired:
        return found, unpaired
    timed, _ = _visits_by_name(images)
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
    doubt = (
        f"which scan is the earlier one was told by {told.by}: check it, "
        "or write time01 and time02 into their names"
    )
    return {"": [Scanned("time01", told.baseline), Scanned("time02", told.followup, doubt)]}, []


def _with_names_of_their_own(cases: list[Case], folder: Path, problems: list[InputError]) -> list[Case]:
    """The cases, sorted by name, without those whose name is another's too, or too long.

    Those are added to `problems`.
    """
    counts = Counter(case.name for case in cases)
    for name in sorted(name for name, count in counts.items() if count > 1):
        problems.append(
            InputError(f"{folder}: two patients would be called {name}; wanted names that differ")
        )
    for name in sorted(name for name in counts if is_formula(name)):
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
            if counts[case.name] == 1 and case.name not in long and not is_formula(case.name)
        ),
        key=lambda case: case.name,
    )


def _visits_by_name(images: list[Path]) -> tuple[dict[str, list[Scanned]], list[str]]:
    """{what their names share: visits, in the order of time} of one folder's images, and a line for each that
    has no partner.
    """
    times: dict[str, dict[int, Path]] = {}
    unpaired = []
    for path in images:
        if told := VISIT.search(path.name):
            number = 1 if told["baseline"] else int(told["number"] or 2)
            found = times.setdefault(VISIT.sub("*", path.name, count=1), {})
            if number in found:
                unpaired.append(f"{path}: a second {_time(number)} beside {found[number].name}; wanted one")
            found[number] = path
    visited = {}
    for pattern_name, found in times.items():
        if len(found) > 1:
            visited[_stem(pattern_name)] = [
                Scanned(f"time{number:02d}", path) for number, path in sorted(found.items())
            ]
        else:
            ((number, path),) = found.items()
            unpaired.append(f"{path}: a {_time(number)} alone; wanted its partner beside it")
    return visited, unpaired


def _time(number: int) -> str:
    return TIMES.get(number, f"time{number:02d}")


def _stem(name: str) -> str:
    """'sub-1_*_flair.nii.gz' to 'sub-1_flair'; 'flair_*_on_middle_space.nii' to 'flair_on_middle_space'."""
    name = name.removesuffix(name[-len(suffix_of(Path(name))) :])
    return re.sub(r"[_.\- ]*\*[_.\- ]*", "_", name).strip("_")
