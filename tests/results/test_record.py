"""run.json: its schema, what it must not hold, and that it reads back."""

import dataclasses
import hashlib
import json
import platform
from pathlib import Path

import jsonschema
import numpy
import pytest
import SimpleITK as sitk
import torch

from app import __version__
from app.errors import InputError
from app.images.scan import Scan
from app.patients.segmenter import Segmenter
from app.results import record
from app.results.outputs import Outputs
from app.results.record import Record, Task
from benchmarks.stand_in import COARSE
from tests.conftest import REPOSITORY

SCHEMA = json.loads((REPOSITORY / "app" / "results" / "schemas" / "run.schema.json").read_text())
DIGEST = "0" * 64
DONE = Record(
    task=Task(
        "0.1.0",
        {"brain.pt": DIGEST, "lesions1.pt": DIGEST},
        {
            "preprocessing": "none",
            "register": "auto",
            "fast": True,
            "network": {},
            "preprocess": {},
            "windows": {},
            "point": {},
            "outputs": "new",
            "calibration": [],
        },
        {},
    ),
    versions={"python": "3.11.0", "torch": "2.13.0", "SimpleITK": "2.5.7", "numpy": "2.4.6"},
    device="cpu",
    threads=2,
    seconds={"read": 0.5, "predict": 1.5, "write": 0.25},
    warnings=["follow-up: odd"],
    alignment={
        "one_grid": True,
        "apart_mm": 3.1,
        "moved": True,
        "stretch_percent": 1.5,
        "residual_mm": 0.9,
        "verdict": "same head",
    },
    comparison={"verdict": "with caution", "reasons": ["thick slices"]},
    self_grade=None,
    lesions={
        "new": 2,
        "enlarged": None,
        "unchanged": None,
        "shrunken": None,
        "vanished": None,
        "possible": 1,
    },
    volume_ml=0.125,
)


def test_a_segmented_patient_is_recorded_as_the_schema_says(
    scans: tuple[Path, Path], weights: Path, tmp_path: Path
) -> None:
    segmenter = Segmenter.load(weights, "cpu", 1)
    result = segmenter.segment_files(
        *map(Scan, scans), Outputs(tmp_path / "mask.nii.gz", record=tmp_path / "run.json")
    )
    text = (tmp_path / "run.json").read_text()
    document = json.loads(text)
    jsonschema.validate(document, SCHEMA)

    assert document["program"] == __version__
    assert document["versions"] == {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "SimpleITK": sitk.Version.VersionString(),
        "numpy": numpy.__version__,
    }
    assert document["weights"] == {
        name: hashlib.sha256((weights / name).read_bytes()).hexdigest()
        for name in ("brain.pt", "lesions1.pt")
    }
    assert document["inputs"] == {
        name: hashlib.sha256(scan.read_bytes()).hexdigest()
        for name, scan in zip(("baseline", "followup"), scans, strict=True)
    }
    assert document["settings"] == {
        "preprocessing": "native",
        "register": "auto",
        "fast": False,
        **COARSE.plain(),
    }
    assert (document["device"], document["threads"]) == ("cpu", 1)
    assert list(document["seconds"]) == ["read", *result.seconds, "write"]
    assert document["result"]["lesions"]["new"] == len(result.lesions)
    assert document["result"]["volume_ml"] == round(result.volume_ml, 3)
    assert document["comparison"]["verdict"] == result.verdict.grade
    assert result.grade is not None
    assert [size["found"] for size in document["self_grade"]["sizes"]] == [
        one.found for one in result.grade.found
    ]
    # no path, no machine: neither where the scans lie, nor this repository, nor the host's name
    assert str(scans[0].parent) not in text
    assert str(REPOSITORY) not in text
    assert platform.node() not in text
    # it reads back as what decides the result
    assert record.read_record(tmp_path / "run.json").task == segmenter.task(*map(Scan, scans))  # type: ignore[union-attr]


def test_a_record_reads_back(tmp_path: Path) -> None:
    record.write_record(DONE, tmp_path / "run.json")
    assert record.read_record(tmp_path / "run.json") == DONE


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        "null",
        "{}",
        '{"schema_version": 1}',
        '{"schema_version": 2, "program": "0.1.0"}',
        '{"schema_version": 3, "program": "0.1.0"}',
        b"\xff",
    ],
)
def test_what_is_no_record_reads_as_none(content: str | bytes, tmp_path: Path) -> None:
    (tmp_path / "run.json").write_bytes(content if isinstance(content, bytes) else content.encode())
    assert record.read_record(tmp_path / "run.json") is None


def test_a_cut_or_lengthened_record_reads_as_none(tmp_path: Path) -> None:
    record.write_record(DONE, tmp_path / "run.json")
    document = json.loads((tmp_path / "run.json").read_text())
    for altered in (
        {**document, "more": 1},
        {name: value for name, value in document.items() if name != "result"},
    ):
        (tmp_path / "run.json").write_text(json.dumps(altered))
        assert record.read_record(tmp_path / "run.json") is None
    assert record.read_record(tmp_path / "nowhere.json") is None


def test_the_schema_refuses_what_it_does_not_know(tmp_path: Path) -> None:
    record.write_record(
        dataclasses.replace(
            DONE, task=dataclasses.replace(DONE.task, inputs={"baseline": DIGEST, "followup": DIGEST})
        ),
        tmp_path / "r",
    )
    document = json.loads((tmp_path / "r").read_text())
    jsonschema.validate(document, SCHEMA)
    for altered in (
        {**document, "patient": "Doe"},
        {**document, "inputs": {"baseline": DIGEST}},
        {**document, "device": "abacus"},
    ):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(altered, SCHEMA)


def test_a_missing_input_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere\.nii: no such file"):
        Scan(tmp_path / "nowhere.nii").sha256()
