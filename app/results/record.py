"""What was done for one patient, in run.json: enough to repeat it, and to know whether it must be."""

import dataclasses
import hashlib
import importlib.metadata
import json
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import __version__
from ..errors import InputError
from ..files import writing
from ..method import checkpoint

if TYPE_CHECKING:  # DICOM's packages are optional
    from ..images.dicom import Series

SCHEMA_VERSION = 1  # of schemas/run.schema.json
LIBRARIES = ("torch", "SimpleITK", "numpy")


@dataclass(frozen=True)
class Task:
    """What decides the result: a task that was done need not be done again."""

    program: str  # version of this program
    weights: dict[str, str]  # file name: SHA-256
    settings: dict[str, Any]  # how the scans are prepared, and the config that the weights carry
    inputs: dict[str, str]  # baseline, follow-up and, if given, brain mask: SHA-256


@dataclass(frozen=True)
class Record:
    """A task that was done. It holds no path, and no name of a patient or of the machine."""

    task: Task
    versions: dict[str, str]  # of Python and the libraries that compute
    device: str  # cpu or cuda
    threads: int  # of the CPU
    seconds: dict[str, float]  # wall-clock of each step, in order
    warnings: list[str]
    new_lesions: int
    volume_ml: float  # of all new lesions together


def task(inputs: dict[str, "Path | Series"], weights: dict[str, str], settings: dict[str, Any]) -> Task:
    """The task of this program on files or folders of files. Raises InputError if one is missing."""
    return Task(__version__, weights, settings, {name: input_sha256(path) for name, path in inputs.items()})


def weights_sha256(folder: Path) -> dict[str, str]:
    """{file name: SHA-256} of the trained weights that a run loads from a folder."""
    return {
        path.name: checkpoint.verified_sha256(path)
        for path in (folder / checkpoint.BRAIN_NETWORK, *checkpoint.lesion_networks(folder))
    }


def input_sha256(scan: "Path | Series") -> str:
    """SHA-256 of a file, or of the sorted hashes of the files in a folder or a DICOM series, whatever their names.

    Raises InputError if there is none.
    """
    try:
        if isinstance(scan, Path) and not scan.is_dir():
            return checkpoint.sha256(scan)
        files = [file for file in scan.rglob("*") if file.is_file()] if isinstance(scan, Path) else scan.files
        members = sorted(checkpoint.sha256(file) for file in files)
    except OSError as error:
        raise InputError(f"{scan}: cannot be read ({error.strerror}); wanted a scan") from error
    return hashlib.sha256("".join(members).encode()).hexdigest()


def versions() -> dict[str, str]:
    """Versions of Python and of the libraries that compute."""
    return {
        "python": platform.python_version(),
        **{library: importlib.metadata.version(library) for library in LIBRARIES},
    }


def write(record: Record, path: Path) -> None:
    """Write run.json, aside first."""
    with writing(path) as unfinished:
        unfinished.write_text(json.dumps(_document(record), indent=1) + "\n", encoding="utf-8")


def read(path: Path) -> Record | None:
    """A record, or None if the file is missing or is none of this version's."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        if document.pop("schema_version") != SCHEMA_VERSION:
            return None
        parts = {field.name: document.pop(field.name) for field in dataclasses.fields(Task)}
        return Record(task=Task(**parts), **document.pop("result"), **document)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _document(record: Record) -> dict[str, Any]:
    parts = dataclasses.asdict(record)
    result = {"new_lesions": parts.pop("new_lesions"), "volume_ml": parts.pop("volume_ml")}
    return {"schema_version": SCHEMA_VERSION, **parts.pop("task"), **parts, "result": result}
