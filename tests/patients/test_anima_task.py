"""What a run by Anima's programs depends on is part of its task, from the command line to run.json."""

import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from click.testing import CliRunner

from app import pipeline
from app.cli.main import main
from app.images import grids, storage
from app.images.scan import file_sha256
from app.machine import choose_device
from app.method import anima
from app.phantom import Phantom
from app.pipeline import Networks, Steps
from tests.made_up_anima import install

# it finds the brain of a scan without skull
EXTRACTION = """
import sys
import SimpleITK as sitk
scan, mask = (sys.argv[sys.argv.index(option) + 1] for option in ("-i", "--mask"))
sitk.WriteImage(sitk.ReadImage(scan) > 0, mask)
"""


@pytest.fixture
def stripped(patient: Phantom, tmp_path: Path) -> Path:
    """A folder with one patient, whose two scans have no skull and lie on one grid."""
    inside = np.where(grids.array(patient.brain) > 0, grids.array(patient.followup), 0)
    healed = inside * (1 - 0.4 * grids.array(patient.new_lesions))
    for time, values in (("time01", healed), ("time02", inside)):
        storage.write(grids.like(values, patient.followup), tmp_path / "scans" / "P1" / f"{time}.nii.gz")
    return tmp_path / "scans"


def test_what_one_scan_does_not_reach_is_no_brain(
    stripped: Path, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The baseline ends half-way up. Anima's programs, whose mask alone counts here, see brain above."""
    before, after = (storage.read(stripped / "P1" / f"{time}.nii.gz") for time in ("time01", "time02"))
    top = before.GetSize()[2] // 2
    values = grids.array(before).copy()
    values[top:] = 0
    before = grids.like(values, before)
    monkeypatch.setattr(anima, "find", lambda: None)

    def preprocess(baseline: sitk.Image, followup: sitk.Image, _installed: None) -> anima.Corrected:
        return anima.Corrected(baseline, followup, grids.like(grids.array(followup) > 0, followup))

    monkeypatch.setattr(anima, "preprocess", preprocess)
    networks = Networks.load(weights, choose_device("cpu"))
    _, pair = pipeline.prepare(
        before, after, networks.brain, networks.predictor.config.preprocess, steps=Steps("anima", "never")
    )
    assert pair.brain[:top].any()
    assert not pair.brain[top:].any()
    assert pair.shared < 0.9


@pytest.mark.slow
def test_another_script_program_or_atlas_is_another_task(
    stripped: Path, weights: Path, scan: sitk.Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = tmp_path / "anima"
    monkeypatch.setenv("ANIMA_CONFIG", str(install(installed, scan)))
    script = installed / "scripts" / anima.EXTRACTION
    script.write_text(EXTRACTION)
    output = tmp_path / "output"

    def run() -> bool:
        """Whether the patient was done anew; its record tells the files of now."""
        paths = ["--input", stripped, "--output", output, "--weights", weights]
        options = ["--preprocessing", "anima", "--register", "never", "--fast", "--threads", "1"]
        done = CliRunner().invoke(main, ["run", *options, *map(str, paths)])
        assert done.exit_code == 0, done.output
        assert "1 of 1 patients done" in done.stdout
        hashes = json.loads((output / "P1" / "run.json").read_text())["settings"]["anima"]
        for path in files:
            assert hashes[path.name] == file_sha256(path)
        return "(1 of them before)" not in done.stdout

    files = (script, installed / "programs" / "animaThrImage", installed / "data" / anima.ATLAS[0])
    assert run()
    assert not run()
    for path in files:
        path.write_bytes(path.read_bytes() + b"\n")
        assert run()
    assert not run()
