"""Which scans of a BIDS data set are a pair, and what makes the results a BIDS derivative?

Names after the Brain Imaging Data Structure 1.10 (bids-specification.readthedocs.io): raw scans
`sub-*/ses-*/anat/*_FLAIR.nii.gz`.
"""

import csv
import json
import re
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from itertools import pairwise
from pathlib import Path

from .. import __version__
from ..errors import InputError
from ..files import write_bytes
from ..method.change import KINDS
from .cases import BASELINE, Case

FLAIR = ("_FLAIR.nii.gz", "_FLAIR.nii")
LABELS = {kind: 1 + place for place, kind in enumerate(KINDS)}
PAIRS_HINT = "or name the pairs in a CSV table"


def is_bids(folder: Path) -> bool:
    """Whether a folder says that it is a BIDS data set, or holds a FLAIR scan where BIDS has it."""
    return (folder / "dataset_description.json").is_file() or any(
        _flairs(place) for subject in folder.glob("sub-*") for place in _sessions(subject)
    )


def find_cases(folder: Path) -> tuple[list[Case], list[InputError]]:
    """Every subject's consecutive sessions with a FLAIR scan as pairs, sorted by name, and what could not be
    paired.

    A session without a FLAIR scan is no time point. A session with several ends no pair and begins none, and
    is a problem. Raises InputError if no subject has a FLAIR scan.
    """
    cases: list[Case] = []
    problems: list[InputError] = []
    subjects = sorted(path for path in folder.glob("sub-*") if path.is_dir())
    if not any(_flairs(place) for subject in subjects for place in _sessions(subject)):
        raise InputError(
            f"{folder}: no FLAIR scan in this BIDS data set; wanted sub-*/ses-*/anat/*_FLAIR.nii.gz"
        )
    for subject in subjects:
        sessions = {session.name: scans for session in subject.glob("ses-*") if (scans := _flairs(session))}
        for session, scans in sorted(sessions.items()):
            if len(scans) > 1:
                names = ", ".join(scan.name for scan in scans)
                problems.append(
                    InputError(
                        f"{subject / session}: {names}; wanted one FLAIR scan a session ({PAIRS_HINT})"
                    )
                )
        if len(sessions) < 2:
            problems.append(
                InputError(
                    f"{subject}: sessions (ses-*) with a FLAIR scan: {len(sessions)}; wanted two or more"
                )
            )
            continue
        try:
            ordered = _in_order(subject, sorted(sessions))
        except InputError as error:
            problems.append(error)
            continue
        for before, after in pairwise(ordered):
            if len(sessions[before]) == len(sessions[after]) == 1:
                (baseline,), (followup,) = sessions[before], sessions[after]
                stem = followup.name.removesuffix(FLAIR[0]).removesuffix(FLAIR[1])
                cases.append(
                    Case(f"{subject.name}_{after}", baseline, followup, f"{subject.name}/{after}/anat/{stem}")
                )
    return sorted(cases, key=lambda case: case.name), problems


def write_description(folder: Path) -> None:
    """Write what makes a folder of results a BIDS derivative; what is there already stays.

    The desc-newLesions_*.json hold for every subject, by BIDS's principle of inheritance.
    """
    description = {
        "Name": "New MS lesions between consecutive sessions",
        "BIDSVersion": "1.10.0",
        "DatasetType": "derivative",
        "GeneratedBy": [{"Name": "ms-new-lesions", "Version": __version__}],
    }
    since = "since the subject's previous session with a FLAIR scan"
    files = {
        "dataset_description.json": _json(description),
        "desc-newLesions_mask.json": _json(
            {"Type": "Lesion", "Description": f"1 where a lesion is new {since}"}
        ),
        "desc-newLesions_probseg.json": _json(
            {"Description": f"probability of a lesion that is new {since}"}
        ),
        "desc-newLesions_dseg.json": _json(
            {"Description": f"what became of each lesion {since}", "LabelMap": LABELS}
        ),
        ".bidsignore": "summary.csv\nindex.html\n*_desc-newLesions_thumbnails.png\n"
        "*_desc-newLesions_lesions.*\n"
        "*_desc-newLesions_report.*\n*_desc-newLesions_run.json\n",
    }
    for name, text in files.items():
        if not (folder / name).exists():
            write_bytes(text.encode(), folder / name)


def _json(content: Mapping[str, object]) -> str:
    return json.dumps(content, indent=1) + "\n"


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
