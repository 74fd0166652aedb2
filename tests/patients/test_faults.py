"""A cohort with one file of each kind of fault: the good patients are finished, each fault is named."""

import csv
import os
import re
from pathlib import Path

import pytest
import SimpleITK as sitk
from click.testing import CliRunner

from app.cli.main import main
from app.images import storage
from app.phantom import Phantom
from tests.images.bad_files import BAD_FILES, write_bad_file
from tests.images.dicom_files import SECRETS, write_series
from tests.images.test_dicom import BROKEN
from tests.images.test_headers import CONTRADICTIONS, REFUSED, edited, write_itk, write_nifti


def _faults(folder: Path, scan: sitk.Image) -> dict[str, tuple[Path, str]]:
    """{kind of fault: a scan that has it, and a pattern of what is said of it}."""
    folder.mkdir()
    found = {kind: (write_bad_file(kind, folder), re.escape(message)) for kind, message in BAD_FILES.items()}
    for kind, (fields, message) in CONTRADICTIONS.items():
        found[f"nifti_{kind}"] = write_nifti(folder / f"nifti_{kind}.nii", **fields), message
    for kind, (suffix, old, new, message) in REFUSED.items():
        path = write_itk(folder / f"{kind}{suffix}", scan, compress=False)
        found[kind] = edited(path, old, new), message
    for kind, (change, _) in BROKEN.items():
        change(write_series(scan, folder / f"dicom_{kind}"), folder / f"dicom_{kind}")
        found[f"dicom_{kind}"] = folder / f"dicom_{kind}", "; wanted "
    os.mkfifo(folder / "pipe.nii.gz")
    found["pipe"] = folder / "pipe.nii.gz", "a folder, pipe or device"
    return found


@pytest.mark.slow
def test_a_cohort_with_every_fault_finishes_its_good_patients(
    patient: Phantom, scan: sitk.Image, weights: Path, tmp_path: Path
) -> None:
    scan.SetOrigin((0, 0, 0))
    scan.SetDirection((1, 0, 0, 0, 1, 0, 0, 0, 1))
    faults = _faults(tmp_path / "faults", scan)
    storage.write(patient.baseline, tmp_path / "before.nii.gz")
    storage.write(patient.followup, tmp_path / "after.nii.gz")
    good = dict.fromkeys(("a_good", "z_good"), tmp_path / "after.nii.gz")
    followups = good | {kind: path for kind, (path, _) in faults.items()}
    table, output = tmp_path / "pairs.csv", tmp_path / "out"
    rows = [f"{name},before.nii.gz,{path}" for name, path in followups.items()]
    table.write_text("\n".join(["patient,baseline,followup", *rows]) + "\n")

    arguments = ["run", "--input", table, "--output", output, "--weights", weights, "--fast"]
    done = CliRunner().invoke(main, [str(word) for word in arguments])
    assert done.exit_code == 1
    assert isinstance(done.exception, SystemExit)
    assert f"2 of {len(followups)} patients done" in done.stdout
    assert not any(secret in done.output + (output / "index.html").read_text() for secret in SECRETS)
    with (output / "summary.csv").open(newline="") as file:
        said = {row["patient"]: row for row in csv.DictReader(file)}
    assert set(said) == set(followups)
    for name in good:
        assert said[name]["status"] == "done"
        assert (output / name / "new_lesions.nii.gz").is_file()
    for kind, (_, message) in faults.items():
        assert said[kind]["status"] == "failed"
        assert re.search(message, said[kind]["problem"]), (kind, said[kind]["problem"])
        assert said[kind]["problem"].startswith("follow-up: ")
        assert str(tmp_path) not in said[kind]["problem"]
        assert not (output / kind).exists()
