"""Which scans of a BIDS data set are a pair, and what makes the results a BIDS derivative?

Names after the Brain Imaging Data Structure 1.10 (bids-specification.readthedocs.io): raw scans
`sub-*/ses-*/anat/*_FLAIR.nii.gz`.
"""

import csv
import json
import os
import re
from collections.abc import Collection
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from .. import __version__
from ..errors import InputError
from ..files import write_bytes
from ..results.meaning import LINK
from . import visits
from .cases import BASELINE
from .visits import Case, Pairs, Scanned

FLAIR = ("_FLAIR.nii.gz", "_FLAIR.nii")
IMAGE = "MS_NEW_LESIONS_IMAGE"  # in the environment: the name of the container image, where there is one
NOT_BIDS = (
    *("thumbnails.png", "lesions.csv", "lesions.json", "report.html", "report.txt", "run.json"),
    *("numbers.nii.gz", "visits.nii.gz", "follow.html", "follow.csv", "follow.json"),
)
PAIRS_HINT = "or name the pairs in a CSV table"


def is_bids(folder: Path) -> bool:
    """Whether a folder says that it is a BIDS data set, or holds a FLAIR scan where BIDS has it."""
    return (folder / "dataset_description.json").is_file() or any(
        _flairs(place) for subject in folder.glob("sub-*") for place in _sessions(subject)
    )


def find_cases(
    folder: Path,
    pairs: Pairs = "consecutive",
    subjects: Collection[str] = (),
    sessions: Collection[str] = (),
) -> tuple[list[Case], list[InputError]]:
    """Every subject's sessions with a FLAIR scan as pairs, sorted by name, and what could not be paired.

    Of `subjects` and `sessions` alone where some are given, by their labels without sub- and ses-. A session
    without a FLAIR scan is no time point. A session with several ends no pair and begins none, and is a
    problem. Raises InputError if no subject has a FLAIR scan, and for a label that nobody has.
    """
    cases: list[Case] = []
    problems: list[InputError] = []
    found = sorted(path for path in folder.glob("sub-*") if path.is_dir())
    if not any(_flairs(place) for subject in found for place in _sessions(subject)):
        raise InputError(
            f"{folder}: no FLAIR scan in this BIDS data set; wanted sub-*/ses-*/anat/*_FLAIR.nii.gz"
        )
    _check_labels(folder, "sub", subjects, {subject.name for subject in found})
    chosen = [subject for subject in found if not subjects or subject.name.removeprefix("sub-") in subjects]
    there = {session.name for subject in chosen for session in subject.glob("ses-*")}
    _check_labels(folder, "ses", sessions, there)
    wanted = {f"ses-{label}" for label in sessions} or there
    for subject in chosen:
        try:
            scanned = _visits(subject, wanted, problems)
        except InputError as error:
            problems.append(error)
            continue
        for case in visits.cases(subject.name, scanned, pairs, wanted, by_visit=True):
            cases.append(replace(case, bids=_stem(case)))
    return sorted(cases, key=lambda case: case.name), problems


def _check_labels(folder: Path, entity: str, labels: Collection[str], there: set[str]) -> None:
    for label in labels:
        if f"{entity}-{label}" not in there:
            raise InputError(
                f"{folder}: no {entity}-{label} in it; wanted one of {', '.join(sorted(there)[:9])}"
            )


def _visits(subject: Path, wanted: Collection[str], problems: list[InputError]) -> list[Scanned]:
    """A subject's sessions with a FLAIR scan, in the order of time. Raises InputError."""
    scans = {session.name: found for session in subject.glob("ses-*") if (found := _flairs(session))}
    for session, found in sorted(scans.items()):
        if len(found) > 1 and session in wanted:
            names = ", ".join(scan.name for scan in found)
            problems.append(
                InputError(f"{subject / session}: {names}; wanted one FLAIR scan a session ({PAIRS_HINT})")
            )
    count = sum(session in wanted for session in scans)
    if count < 2:
        raise InputError(f"{subject}: sessions (ses-*) with a FLAIR scan: {count}; wanted two or more")
    return [
        Scanned(session, scans[session][0] if len(scans[session]) == 1 else None)
        for session in _in_order(subject, sorted(scans))
    ]


def _stem(case: Case) -> str:
    """How the names of a pair's results begin.

    What is new since the session before is newLesions; since another one, newLesionsSince and that one's
    label.
    """
    earlier, later = case.visits or (None, None)
    if earlier is None or later is None:
        raise ValueError(f"{case.name} has no sessions")
    scan = case.followup.name.removesuffix(FLAIR[0]).removesuffix(FLAIR[1])
    label = "".join(letter for letter in earlier.label.removeprefix("ses-") if letter.isalnum())
    since = "" if later.number == earlier.number + 1 else f"Since{label}"
    return f"{case.patient}/{later.label}/anat/{scan}_desc-newLesions{since}"


def write_description(folder: Path, source: Path) -> None:
    """Write what makes a folder of results a BIDS derivative of `source`; what is there already stays."""
    link = Path(os.path.relpath(source.resolve(), folder.resolve())).as_posix()
    program: dict[str, object] = {"Name": "ms-new-lesions", "Version": __version__}
    if image := os.environ.get(IMAGE):
        kind = "apptainer" if "APPTAINER_CONTAINER" in os.environ else "docker"
        program["Container"] = {"Type": kind, "Tag": image}
    description = {
        "Name": "New MS lesions between sessions",
        "BIDSVersion": "1.10.0",
        "DatasetType": "derivative",
        "GeneratedBy": [program],
        "SourceDatasets": [_source(source, link)],
        "DatasetLinks": {LINK: link},
    }
    ignored = ["summary.csv", "index.html", *(f"*_{ending}" for ending in NOT_BIDS)]
    files = {
        "dataset_description.json": json.dumps(description, indent=1) + "\n",
        ".bidsignore": "".join(f"{name}\n" for name in ignored),
    }
    for name, text in files.items():
        if not (folder / name).exists():
            write_bytes(text.encode(), folder / name)


def _source(source: Path, link: str) -> dict[str, str]:
    """A data set as SourceDatasets names it: by its DOI where it says one, and where it lies from here."""
    try:
        described = json.loads((source / "dataset_description.json").read_text(encoding="utf-8"))
        doi = described.get("DatasetDOI")
    except (OSError, ValueError, AttributeError):
        doi = None
    return {"URL": link} | ({"DOI": doi} if isinstance(doi, str) else {})


def _sessions(subject: Path) -> list[Path]:
    """Where a subject's scans may be: in the folders of its sessions or, without any, in its own."""
    return [subject, *subject.glob("ses-*")]


def _flairs(place: Path) -> list[Path]:
    """FLAIR scans of a session, or of a subject without sessions.

    Not macOS's files of attributes, which begin with a dot.
    """
    return sorted(
        path for path in place.glob("anat/*") if path.name.endswith(FLAIR) and not path.name.startswith(".")
    )


def _in_order(subject: Path, sessions: list[str]) -> list[str]:
    """Sessions by time: by acq_time of sub-*_sessions.tsv if it has all of them, else by the numbers in their
    labels.

    A label that says baseline comes first; the others must be alike but for their numbers (ses-01, ses-02;
    ses-M6, ses-M12).
    Raises InputError if times and labels contradict each other, or tell no order.
    """
    times = _acquisition_times(subject)
    by_label = _by_label(sessions)
    if len({times.get(session) for session in sessions} - {None}) == len(sessions):
        by_time = sorted(sessions, key=lambda session: times[session])
        if by_label and by_label != by_time:
            raise InputError(
                f"{subject}: {', '.join(by_time)} by the acq_time of {subject.name}_sessions.tsv, "
                f"{', '.join(by_label)} by their labels; "
                f"wanted one order ({PAIRS_HINT})"
            )
        return by_time
    if by_label:
        return by_label
    wanted = f"numbers in their labels, or {subject.name}_sessions.tsv with acq_time"
    raise InputError(f"{subject}: {', '.join(sessions)} in no order that can be told; wanted {wanted}")


def _by_label(sessions: list[str]) -> list[str] | None:
    """Sessions by the numbers in their labels; None if those tell no order."""
    numbers = {
        session: tuple(map(int, re.findall(r"\d+", session)))
        for session in sessions
        if not BASELINE.search(session)
    }
    words = {re.sub(r"\d+", "", session) for session in numbers}
    if len(words) > 1 or len(set(numbers.values())) < len(numbers) or len(numbers) < len(sessions) - 1:
        return None
    return sorted(sessions, key=lambda session: (session in numbers, numbers.get(session, ())))


def _acquisition_times(subject: Path) -> dict[str, datetime]:
    """{session: when} of the subject's sessions.tsv; sessions without a time, or with one that is none, are
    left out.
    """
    path = subject / f"{subject.name}_sessions.tsv"
    if not path.is_file():
        return {}
    try:
        with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
            rows = list(csv.DictReader(file, delimiter="\t"))
    except (OSError, csv.Error) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise InputError(f"{path}: cannot be read ({reason}); wanted a table of tabs, or none") from error
    times = {}
    for row in rows:
        with suppress(KeyError, TypeError, ValueError):
            times[row["session_id"]] = datetime.fromisoformat(row["acq_time"]).replace(tzinfo=None)
    return times
