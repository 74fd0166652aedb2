"""What was done for one patient, in run.json: enough to repeat it, and to know whether it must be."""

import dataclasses
import importlib.metadata
import json
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..files import write_bytes
from ..images import grids
from ..method import checkpoint
from ..method.change import KINDS
from ..method.findings import Findings
from ..method.grade import CONTRAST_SPREADS, SelfGrade
from ..method.registration import Aligned
from ..method.verdict import Verdict

SCHEMA_VERSION = 2  # of schemas/run.schema.json
LIBRARIES = ("torch", "SimpleITK", "numpy")


@dataclass(frozen=True)
class Task:
    """What decides the result: a task that was done need not be done again."""

    program: str  # version of this program
    weights: dict[str, str]  # file name: SHA-256
    settings: dict[str, Any]  # how the scans are prepared, and the config that the weights carry
    inputs: dict[str, str]  # baseline, follow-up and, if given, the masks: SHA-256


@dataclass(frozen=True)
class Record:
    """A task that was done. It holds no path, and no name of a patient or of the machine."""

    task: Task
    versions: dict[str, str]  # of Python and the libraries that compute
    device: str  # cpu, cuda or mps
    threads: int  # of the CPU
    seconds: dict[str, float]  # wall-clock of each step, in order
    warnings: list[str]
    alignment: dict[str, Any]  # how the two heads lay: see `alignment_of`
    comparison: dict[str, Any]  # verdict and reasons
    self_grade: dict[str, Any] | None  # what was painted and found; None: not tried
    lesions: dict[str, int | None]  # how many of each kind; None: not looked for
    volume_ml: float  # of all new lesions together

    @property
    def new_lesions(self) -> int:
        """How many are new."""
        return self.lesions["new"] or 0


def comparison(verdict: Verdict) -> dict[str, Any]:
    """A verdict as the record has it."""
    return {"verdict": verdict.grade, "reasons": [reason.words for reason in verdict.reasons]}


def self_grade(grade: SelfGrade | None) -> dict[str, Any] | None:
    """A self-grade as the record has it."""
    if grade is None:
        return None
    sizes = [
        {
            "size_mm3": found.size_mm3,
            "painted": found.painted,
            "found": found.found,
            "interval": [round(limit, 3) for limit in found.interval()],
        }
        for found in grade.found
    ]
    return {"contrast_spreads": CONTRAST_SPREADS, "seed": grade.seed, "sizes": sizes}


def smallest_found_mm3(done: Record) -> str:
    """The smallest painted size of which more than half was found; '' where none was, or none was painted."""
    sizes = done.self_grade["sizes"] if done.self_grade else []
    return next((f"{one['size_mm3']:g}" for one in sizes if 2 * one["found"] > one["painted"]), "")


def counts(findings: Findings) -> dict[str, int | None]:
    """How many lesions of each kind there are. None: not looked for."""
    found: dict[str, int | None] = {kind: len(findings.of_kind(kind)) for kind in (*KINDS, "possible")}
    if not findings.looked_for_vanished:
        found["vanished"] = None
    if findings.load_mm3 is None:
        found |= dict.fromkeys(("enlarged", "unchanged", "shrunken"))
    return found


def weights_sha256(folder: Path) -> dict[str, str]:
    """{file name: SHA-256} of the trained weights that a run loads from a folder."""
    return {
        path.name: checkpoint.verified_sha256(path)
        for path in (folder / checkpoint.BRAIN_NETWORK, *checkpoint.lesion_networks(folder))
    }


def alignment_of(aligned: Aligned) -> dict[str, Any]:
    """How the two heads lay, and what was done about it."""
    return {
        "one_grid": aligned.one_grid,
        "apart_mm": round(aligned.apart_mm, 3),
        "moved": aligned.moved,
        "stretch_percent": round(aligned.stretch_percent, 3),
        "residual_mm": round(aligned.residual.mean_mm, 3),
        "verdict": aligned.residual.verdict,
        "followup_to_baseline": [
            [round(number, 9) for number in row] for row in grids.affine(aligned.followup_to_baseline())
        ],
    }


def versions() -> dict[str, str]:
    """Versions of Python and of the libraries that compute."""
    return {
        "python": platform.python_version(),
        **{library: importlib.metadata.version(library) for library in LIBRARIES},
    }


def write_record(record: Record, path: Path) -> None:
    """Write run.json, aside first."""
    write_bytes((json.dumps(_document(record), indent=1) + "\n").encode(), path)


def read_record(path: Path) -> Record | None:
    """A record, or None if the file is missing or is none of this version's."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        if document.pop("schema_version") != SCHEMA_VERSION:
            return None
        parts = {field.name: document.pop(field.name) for field in dataclasses.fields(Task)}
        result = document.pop("result")
        return Record(task=Task(**parts), **result, **document)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def is_record(path: Path) -> bool:
    """Whether a file is the record of any version: what lies beside it is then a result of this program."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(document, dict) and {"schema_version", "program", "weights"} <= document.keys()


def _document(record: Record) -> dict[str, Any]:
    parts = dataclasses.asdict(record)
    result = {"lesions": parts.pop("lesions"), "volume_ml": parts.pop("volume_ml")}
    return {"schema_version": SCHEMA_VERSION, **parts.pop("task"), **parts, "result": result}
