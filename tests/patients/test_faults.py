"""A cohort with one file of each kind of fault: the good patients are finished, each fault is named."""

import csv
from pathlib import Path

import pytest
from click.testing import CliRunner

from app.cli.main import main
from app.images import storage
from app.phantom import Phantom
from tests.images.bad_files import BAD_FILES, write_bad_file

OTHER_NAMES = ("missing", "suffix", "text_nii", "spacing_zero")  # no partner of a time01.nii.gz
FAULTS = {kind: message for kind, message in BAD_FILES.items() if kind not in OTHER_NAMES}


@pytest.mark.slow
def test_a_cohort_with_every_fault_finishes_its_good_patients(
    patient: Phantom, weights: Path, tmp_path: Path
) -> None:
    scans, output = tmp_path / "scans", tmp_path / "out"
    for name in ("a_good", *FAULTS, "z_good"):
        storage.write(patient.baseline, scans / name / "time01.nii.gz")
    for name in ("a_good", "z_good"):
        storage.write(patient.followup, scans / name / "time02.nii.gz")
    for kind in FAULTS:
        bad = write_bad_file(kind, scans / kind)
        bad.rename(bad.with_name("time02.nii.gz"))
    arguments = ["run", "--input", scans, "--output", output, "--weights", weights]
    done = CliRunner().invoke(main, [str(word) for word in arguments])
    assert done.exit_code == 1
    assert isinstance(done.exception, SystemExit)
    with (output / "summary.csv").open(newline="") as file:
        rows = {row["patient"]: row for row in csv.DictReader(file)}
    assert set(rows) == {"a_good", "z_good", *FAULTS}
    for name in ("a_good", "z_good"):
        assert rows[name]["status"] == "done"
        assert (output / name / "new_lesions.nii.gz").is_file()
    for kind, message in FAULTS.items():
        assert rows[kind]["status"] == "failed"
        assert message in rows[kind]["problem"]
        assert not (output / kind).exists()
