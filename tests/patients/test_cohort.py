"""A cohort from files to files. An untrained network stands in for the trained one: what it finds does not
matter here.
"""

import csv
import dataclasses
import errno
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
import SimpleITK as sitk
from click.testing import CliRunner, Result

from app import pipeline
from app.cli.main import main
from app.errors import InputError
from app.files import writing_set
from app.images.scan import Scan
from app.patients import cohort
from app.patients.cohort import Outcome
from app.patients.segmenter import Segmenter
from app.patients.visits import Case
from app.pipeline import Steps
from app.results import record
from app.results.outputs import Outputs
from tests.conftest import REPOSITORY
from tests.results.made_up_result import make_result
from tests.results.test_record import DONE

NAMES = [
    *("changes.nii.gz", "lesions.csv", "lesions.json", "new_lesions.nii.gz", "probability.nii.gz"),
    *("report.html", "report.txt", "run.json", "thumbnails.png"),
]


def _run(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["run", *map(str, arguments), "--threads", "1", "--device", "cpu"])


def _patients(folder: Path, scans: tuple[Path, Path], *names: str) -> Path:
    for name in names:
        (folder / name).mkdir(parents=True)
        for scan in scans:
            shutil.copy(scan, folder / name / f"flair_{scan.name}")
    return folder


def _summary(output: Path) -> dict[str, dict[str, str]]:
    with (output / "summary.csv").open(newline="") as file:
        return {row["patient"]: row for row in csv.DictReader(file)}


def _leftovers(output: Path) -> list[Path]:
    """Also while they come and go: `rglob` fails where a folder vanishes under it, `walk` goes on."""
    return [
        Path(folder, name)
        for folder, folders, files in os.walk(output)
        for name in (*folders, *files)
        if name.startswith(".writing")
    ]


@pytest.fixture(scope="module")
def segmenter(weights: Path) -> Segmenter:
    return Segmenter.load(weights, "cpu", 1)


@pytest.fixture
def case(scans: tuple[Path, Path], tmp_path: Path) -> Case:
    folder = _patients(tmp_path / "input", scans, "P1") / "P1"
    return Case("P1", folder / "flair_time01.nii.gz", folder / "flair_time02.nii.gz")


@pytest.mark.slow
def test_a_broken_patient_is_reported_and_a_second_run_does_only_what_is_missing(
    scans: tuple[Path, Path], weights: Path, tmp_path: Path
) -> None:
    source, output = _patients(tmp_path / "input", scans, "013", "014", "015"), tmp_path / "output"
    broken = source / "015" / "flair_time02.nii.gz"
    broken.write_text("not an image")
    alone = _patients(source, scans, "016") / "016" / "flair_time02.nii.gz"
    alone.unlink()

    first = _run("--input", source, "--output", output, "--weights", weights, "--jobs", 2)
    assert first.exit_code == 1
    assert "2 of 3 patients done: " in first.stdout
    assert sorted(path.name for path in output.iterdir()) == ["013", "014", "index.html", "summary.csv"]
    for name in ("013", "014"):
        assert sorted(path.name for path in (output / name).iterdir()) == NAMES
    # the two were in work side by side, and have the same scans
    assert (output / "013" / "new_lesions.nii.gz").read_bytes() == (
        output / "014" / "new_lesions.nii.gz"
    ).read_bytes()
    before = _summary(output)
    assert {name: row["status"] for name, row in before.items()} == {
        "013": "done",
        "014": "done",
        "015": "failed",
    }
    assert before["015"]["problem"].startswith("follow-up: truncated or damaged")
    rows = list(csv.DictReader((output / "013" / "lesions.csv").read_text().splitlines()))
    for column, kind in (("new_lesions", "new"), ("vanished", "vanished"), ("possible", "possible")):
        assert int(before["013"][column]) == sum(row["kind"] == kind for row in rows)
    progress = re.findall(r"^\[(\d)/3\] (\d+): (failed|\d+ new lesion)", first.stderr, re.MULTILINE)
    assert [count for count, *_ in progress] == ["1", "2", "3"]
    assert sorted(name for _, name, _ in progress) == ["013", "014", "015"]
    assert re.search(r"; about \d+ (s|min) left$", first.stderr, re.MULTILINE)
    assert "016/flair_time01.nii.gz: a baseline alone" in first.stderr
    assert str(tmp_path) not in (output / "summary.csv").read_text()

    untouched = {path: path.stat().st_mtime_ns for path in output.glob("*/*")}
    shutil.copy(scans[1], broken)
    shutil.copy(scans[1], alone)
    second = _run("--input", source, "--output", output, "--weights", weights)
    assert second.exit_code == 0, second.output
    assert "4 of 4 patients done (2 of them before)" in second.stdout
    assert re.search(r"^\[\d/4\] 013: .*, finished before", second.stderr, re.MULTILINE)
    assert {path: path.stat().st_mtime_ns for path in untouched} == untouched
    after = _summary(output)
    assert {name: after[name] for name in ("013", "014")} == {name: before[name] for name in ("013", "014")}
    assert {row["status"] for row in after.values()} == {"done"}
    assert _leftovers(output) == []


ALTERED = (
    *(
        "another baseline",
        "another follow-up",
        "other weights",
        "another threshold",
        "other steps",
        "another program",
    ),
    "no report",
)
UNKNOWN = ("no record", "half a record")


def _alter(
    what: str, case: Case, folder: Path, segmenter: Segmenter, monkeypatch: pytest.MonkeyPatch
) -> Segmenter:
    """Alter something since P1 was done; the segmenter of the next run."""
    if what == "another baseline":
        case.baseline.write_bytes(case.baseline.read_bytes() + b"more")
    elif what == "another follow-up":
        case.followup.write_bytes(case.followup.read_bytes() + b"more")
    elif what == "other weights":
        return dataclasses.replace(segmenter, weights={"lesions1.pt": "0" * 64})
    elif what == "another threshold":
        return _with_threshold(segmenter, 0.9)
    elif what == "other steps":
        return dataclasses.replace(segmenter, steps=Steps(register="always"))
    elif what == "another program":
        monkeypatch.setattr("app.patients.segmenter.__version__", "9.9.9")
    elif what == "other threads":
        return dataclasses.replace(segmenter, threads=7)
    elif what == "no record":
        (folder / "run.json").unlink()
    elif what == "half a record":
        (folder / "run.json").write_text('{"schema_version": 1,')
    elif what == "no report":
        (folder / "report.html").unlink()
    return segmenter


def _with_threshold(segmenter: Segmenter, threshold: float) -> Segmenter:
    predictor = segmenter.networks.predictor
    config = dataclasses.replace(
        predictor.config, point=dataclasses.replace(predictor.config.point, threshold=threshold)
    )
    other = object.__new__(type(predictor))
    other.__dict__.update(predictor.__dict__, config=config)
    return dataclasses.replace(segmenter, networks=dataclasses.replace(segmenter.networks, predictor=other))


@pytest.mark.parametrize("altered", ["nothing", "other threads", *ALTERED, *UNKNOWN])
def test_a_patient_is_skipped_only_if_nothing_that_decides_the_result_has_changed(
    altered: str, case: Case, segmenter: Segmenter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that must be redone and fails leaves no earlier results. Files that no record tells of stay."""
    folder = tmp_path / "output" / "P1"
    folder.mkdir(parents=True)
    for name in NAMES:
        (folder / name).touch()
    record.write_record(
        dataclasses.replace(DONE, task=segmenter.task(Scan(case.baseline), Scan(case.followup))),
        folder / "run.json",
    )
    other = _alter(altered, case, folder, segmenter, monkeypatch)

    def refuse(*_arguments: object, **_named: object) -> None:
        raise InputError("done again")

    monkeypatch.setattr(Segmenter, "segment_files", refuse)
    outcome = cohort.segment_case(case, tmp_path / "output", other)
    if altered in ("nothing", "other threads"):
        assert outcome == Outcome("P1", record.read_record(folder / "run.json"), skipped=True)
        assert sorted(path.name for path in folder.iterdir()) == NAMES
    elif altered in UNKNOWN:
        assert (
            "new_lesions.nii.gz: is there already, and nothing says that this program made it"
            in outcome.problem
        )
        assert {path.name for path in folder.iterdir()} >= set(NAMES) - {"run.json"}
    else:
        assert outcome == Outcome("P1", None, "done again")
        assert list(folder.iterdir()) == []
    assert _leftovers(tmp_path) == []


def _fake_segment(of: Callable[[Path], None] | None = None) -> Callable[..., None]:
    """Instead of Segmenter.segment_files: `of` the follow-up, then empty outputs and a record, in no time."""

    def segment(
        segmenter: Segmenter,
        baseline: Scan,
        followup: Scan,
        outputs: Outputs,
        doubt: str = "",  # noqa: ARG001
        aside: Path | None = None,
    ) -> None:
        if of is not None:
            of(followup.path)
        with writing_set(outputs.wanted(), aside) as unfinished:
            for path in unfinished.values():
                path.touch()
            done = dataclasses.replace(DONE, task=segmenter.task(baseline, followup))
            record.write_record(done, unfinished["record"])

    return segment


def test_the_steps_asked_for_are_taken_for_every_patient(
    scans: tuple[Path, Path], weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, output = _patients(tmp_path / "input", scans, "013", "014"), tmp_path / "output"
    monkeypatch.setattr(Segmenter, "segment_files", _fake_segment())
    done = _run(
        "--input",
        source,
        "--output",
        output,
        "--weights",
        weights,
        "--preprocessing",
        "none",
        "--register",
        "always",
    )
    assert done.exit_code == 0, done.output
    for name in ("013", "014"):
        settings = json.loads((output / name / "run.json").read_text())["settings"]
        assert (settings["preprocessing"], settings["register"]) == ("none", "always")


@pytest.mark.parametrize("refused", NAMES)
def test_a_disk_that_fails_while_files_are_put_in_place_leaves_no_record(
    refused: str, case: Case, segmenter: Segmenter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename = Path.replace

    def full(path: Path, target: Path) -> Path:
        if target == tmp_path / "output" / "P1" / refused:
            raise OSError(errno.ENOSPC, "No space left on device")
        return rename(path, target)

    def touch(outputs: Outputs, *_arguments: object) -> None:
        for name, path in outputs.wanted().items():
            if name != "record":
                path.touch()

    monkeypatch.setattr(pipeline, "segment", lambda *_arguments: make_result())
    monkeypatch.setattr(Outputs, "write_results", touch)
    monkeypatch.setattr(Path, "replace", full)
    outcome = cohort.segment_case(case, tmp_path / "output", segmenter)
    assert (
        outcome.problem == "output: cannot be written (No space left on device); "
        "wanted a folder with write permission and room on its disk"
    )
    assert list(tmp_path.rglob("output/*")) == []


def test_an_error_that_nobody_foresaw_fails_one_patient(
    scans: tuple[Path, Path], weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = _patients(tmp_path / "input", scans, "A", "B", "C")

    def divide(followup: Path) -> None:
        1 // (followup.parent.name != "B")

    monkeypatch.setattr(Segmenter, "segment_files", _fake_segment(divide))
    result = _run("--input", source, "--output", tmp_path / "output", "--weights", weights)
    assert result.exit_code == 1
    rows = _summary(tmp_path / "output")
    assert {name: row["status"] for name, row in rows.items()} == {"A": "done", "B": "failed", "C": "done"}
    assert re.match(
        r"unexpected ZeroDivisionError in test_cohort.py, line \d+; please report", rows["B"]["problem"]
    )
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "output" / "B").exists()


def test_jobs_are_done_side_by_side_and_the_summary_is_kept_current(
    scans: tuple[Path, Path], weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two of four patients wait for each other, so they must be in work together; the fourth sees the first
    two in the summary.
    """
    source, output = _patients(tmp_path / "input", scans, "A", "B", "C", "D"), tmp_path / "output"
    together = threading.Barrier(2)
    seen: list[int] = []

    def wait(followup: Path) -> None:
        together.wait(timeout=60)
        if followup.parent.name in ("C", "D"):
            deadline = time.monotonic() + 60
            while len(_summary(output)) < 2 and time.monotonic() < deadline:
                time.sleep(0.01)
            seen.append(len(_summary(output)))

    monkeypatch.setattr(Segmenter, "segment_files", _fake_segment(wait))
    result = _run("--input", source, "--output", output, "--weights", weights, "--jobs", 2)
    assert result.exit_code == 0, result.output
    assert seen[0] == 2
    assert list(_summary(output)) == ["A", "B", "C", "D"]


@pytest.mark.parametrize("writes", ["write_summary", "write_index"])
def test_a_run_that_was_killed_between_its_table_and_its_page_goes_on(
    writes: str,
    scans: tuple[Path, Path],
    weights: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Killed twice at one place: the second time, too, it got as far."""

    def killed(*_arguments: object) -> None:
        raise SystemExit(128 + signal.SIGKILL)

    patients = _patients(tmp_path / "patients", scans, "a")
    monkeypatch.setattr(cohort, writes, killed)
    for _ in range(2):
        result = _run("--input", patients, "--output", tmp_path / "output", "--weights", weights)
        assert result.exit_code == 128 + signal.SIGKILL, result.output


@pytest.mark.parametrize(
    ("jobs", "stop", "code"),
    [
        pytest.param(1, signal.SIGTERM, 128 + signal.SIGTERM, marks=pytest.mark.slow),
        (2, signal.SIGTERM, 128 + signal.SIGTERM),
        pytest.param(2, signal.SIGINT, 1, marks=pytest.mark.slow),  # Ctrl-C
    ],
)
def test_a_stopped_run_ends_soon_and_leaves_nothing_half_done(
    jobs: int, stop: signal.Signals, code: int, scans: tuple[Path, Path], weights: Path, tmp_path: Path
) -> None:
    """A signal in the middle of patients, as a container is stopped, or by Ctrl-C."""
    (temporary := tmp_path / "temporary").mkdir()
    source, output = _patients(tmp_path / "input", scans, "A", "B", "C"), tmp_path / "output"
    command = [
        "run",
        "--input",
        source,
        "--output",
        output,
        "--weights",
        weights,
        "--threads",
        "1",
        "--jobs",
        str(jobs),
    ]
    process = subprocess.Popen(
        [sys.executable, "-m", "app", *map(str, command)],
        cwd=REPOSITORY,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(temporary)},
    )
    while (
        not ((output / "summary.csv").exists() and len(_leftovers(output)) == jobs) and process.poll() is None
    ):
        time.sleep(0.01)
    process.send_signal(stop)
    _, said = process.communicate(timeout=60)
    assert process.returncode == code
    assert "Traceback" not in said
    assert list(temporary.iterdir()) == []
    assert sorted(path.name for path in output.iterdir()) == ["index.html", "summary.csv"]
    assert _summary(output) == {}


@pytest.mark.slow
def test_a_killed_run_leaves_nothing_that_looks_whole_and_the_next_completes_it(
    scans: tuple[Path, Path], weights: Path, tmp_path: Path
) -> None:
    source, output = _patients(tmp_path / "input", scans, "A", "B"), tmp_path / "output"
    command = [
        "run",
        "--input",
        source,
        "--output",
        output,
        "--weights",
        weights,
        "--threads",
        "1",
        "--jobs",
        "2",
    ]
    process = subprocess.Popen(
        [sys.executable, "-m", "app", *map(str, command)], cwd=REPOSITORY, stderr=subprocess.DEVNULL
    )
    while not ((output / "summary.csv").exists() and _leftovers(output)) and process.poll() is None:
        time.sleep(0.01)
    process.kill()
    assert process.wait(timeout=60) == -signal.SIGKILL
    assert list(output.glob("[AB]")) == []
    assert _leftovers(output) != []
    result = _run("--input", source, "--output", output, "--weights", weights)
    assert result.exit_code == 0, result.output
    assert {name: row["status"] for name, row in _summary(output).items()} == {"A": "done", "B": "done"}
    assert _leftovers(output) == []


def test_a_bids_data_set_gives_bids_derivatives(
    scans: tuple[Path, Path], weights: Path, tmp_path: Path
) -> None:
    source, output = tmp_path / "raw", tmp_path / "raw" / "derivatives" / "ms-new-lesions"
    for session, scan in zip(("ses-01", "ses-02"), scans, strict=True):
        (source / "sub-7" / session / "anat").mkdir(parents=True)
        shutil.copy(scan, source / "sub-7" / session / "anat" / f"sub-7_{session}_FLAIR.nii.gz")
    result = _run("--input", source, "--output", output, "--weights", weights)
    assert result.exit_code == 0, result.output
    found = sorted(path.relative_to(output).as_posix() for path in output.rglob("*") if path.is_file())
    assert found == [
        ".bidsignore",
        "dataset_description.json",
        "index.html",
        "sub-7/ses-02/anat/sub-7_ses-02_desc-newLesions_dseg.json",
        "sub-7/ses-02/anat/sub-7_ses-02_desc-newLesions_dseg.nii.gz",
        "sub-7/ses-02/anat/sub-7_ses-02_desc-newLesions_lesions.csv",
        "sub-7/ses-02/anat/sub-7_ses-02_desc-newLesions_lesions.json",
        "sub-7/ses-02/anat/sub-7_ses-02_desc-newLesions_mask.json",
        "sub-7/ses-02/anat/sub-7_ses-02_desc-newLesions_mask.nii.gz",
        "sub-7/ses-02/anat/sub-7_ses-02_desc-newLesions_probseg.json",
        "sub-7/ses-02/anat/sub-7_ses-02_desc-newLesions_probseg.nii.gz",
        "sub-7/ses-02/anat/sub-7_ses-02_desc-newLesions_report.html",
        "sub-7/ses-02/anat/sub-7_ses-02_desc-newLesions_report.txt",
        "sub-7/ses-02/anat/sub-7_ses-02_desc-newLesions_run.json",
        "sub-7/ses-02/anat/sub-7_ses-02_desc-newLesions_thumbnails.png",
        "summary.csv",
    ]
    description = json.loads((output / "dataset_description.json").read_text())
    assert description["DatasetType"] == "derivative"
    assert description["GeneratedBy"][0]["Name"] == "ms-new-lesions"
    assert list(_summary(output)) == ["sub-7_ses-02"]
    again = _run("--input", source, "--output", output, "--weights", weights)
    assert "1 of 1 patients done (1 of them before)" in again.stdout


def test_what_the_input_is_decides_how_it_is_read(scans: tuple[Path, Path], tmp_path: Path) -> None:
    _patients(tmp_path / "folder", scans, "A")
    (tmp_path / "pairs.csv").write_text(
        "patient,baseline,followup\nP,folder/A/flair_time01.nii.gz,folder/A/flair_time02.nii.gz\n"
    )
    assert [case.name for case in cohort.find(tmp_path / "folder", tmp_path / "output")[0]] == ["A"]
    (table,) = cohort.find(tmp_path / "pairs.csv", tmp_path / "output")[0]
    assert (table.name, table.followup) == ("P", tmp_path / "folder/A/flair_time02.nii.gz")
    with pytest.raises(InputError, match="the input folder itself"):
        cohort.find(tmp_path / "folder", tmp_path / "folder" / "A" / "..")


def test_time_left() -> None:
    """Two done in 60 s, one skipped, one failed after work: three in 60 s, so 20 s each for the six that are
    left of ten.
    """
    outcomes = [
        Outcome("A", DONE),
        Outcome("B", DONE),
        Outcome("C", DONE, skipped=True),
        Outcome("D", None, "bad"),
    ]
    assert cohort.time_left_s(outcomes, patients=10, elapsed_s=60) == 120
    assert cohort.time_left_s(outcomes[2:3], patients=10, elapsed_s=60) is None
    assert cohort.time_left_s(outcomes, patients=4, elapsed_s=60) == 0


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.4, "0 s"), (89, "89 s"), (91, "2 min"), (89 * 60, "89 min"), (200 * 60, "3 h 20 min")],
)
def test_seconds_in_words(seconds: float, words: str) -> None:
    assert cohort.in_words(seconds) == words


@pytest.mark.slow
def test_more_patients_take_no_more_memory(scans: tuple[Path, Path], weights: Path, tmp_path: Path) -> None:
    """Peak memory of 8 patients is that of 2 within a twentieth.

    One at a time: how far the peaks of two coincide is chance (750 to 920 MiB).
    """
    peaks_mib = []
    for count in (2, 8):
        source = _patients(tmp_path / f"input{count}", scans, *(f"P{number}" for number in range(count)))
        command = [
            "run",
            "--input",
            source,
            "--output",
            tmp_path / f"output{count}",
            "--weights",
            weights,
            "--threads",
            "1",
        ]
        process = subprocess.Popen(
            [sys.executable, "-m", "app", *map(str, command)], cwd=REPOSITORY, stderr=subprocess.DEVNULL
        )
        _, status, usage = os.wait4(process.pid, 0)
        assert status == 0
        peaks_mib.append(usage.ru_maxrss / 1024)
    assert peaks_mib[1] < 1.05 * peaks_mib[0]


def test_a_guessed_order_is_a_warning_in_the_record_and_fails_a_strict_run(
    scans: tuple[Path, Path], weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two images without time01 and time02 in their names. The record says so, without their names."""
    monkeypatch.setattr(pipeline, "segment", lambda *_arguments: make_result())
    for name, scan in zip(("visit_9.nii.gz", "visit_10.nii.gz"), scans, strict=True):
        (tmp_path / "input" / "P1").mkdir(parents=True, exist_ok=True)
        shutil.copy(scan, tmp_path / "input" / "P1" / name)
    words = ("--input", tmp_path / "input", "--output", tmp_path / "output", "--weights", weights)
    done = _run(*words, "--strict")
    assert done.exit_code == 1, done.output
    assert "1 of 1 patients done, 1 warning" in done.stdout
    record_of = record.read_record(tmp_path / "output" / "P1" / "run.json")
    assert record_of is not None
    (warning,) = record_of.warnings
    assert warning.startswith("which scan is the earlier one was told by their numbers: check it")
    assert "visit" not in warning


def test_the_index_counts_patients_not_pairs(tmp_path: Path) -> None:
    pairs = (("P1_2", "P1"), ("P1_3", "P1"), ("P2", "P2"))
    found = [Case(name, tmp_path / "a.nii", tmp_path / "b.nii", patient=who) for name, who in pairs]
    outcomes = [cohort.Outcome(case.name, None, "truncated") for case in found]
    cohort.write_index(outcomes, found, tmp_path)
    page = (tmp_path / "index.html").read_text()
    assert "<h1>3 pairs of 2 patients, 0 with new lesions, 3 failed</h1>" in page
    cohort.write_index(outcomes[2:], found, tmp_path)  # those that have ended
    assert "<h1>1 patient, 0 with new lesions, 1 failed</h1>" in (tmp_path / "index.html").read_text()


def test_a_cell_that_a_spreadsheet_would_run_is_shown(tmp_path: Path) -> None:
    failed = [Outcome("P1", None, "=cmd|' /C calc'!A0"), Outcome("P2", None, "a scan: a-b=c")]
    cohort.write_summary(failed, tmp_path / "summary.csv")
    rows = _summary(tmp_path)
    assert [rows[name]["problem"] for name in ("P1", "P2")] == ["'=cmd|' /C calc'!A0", "a scan: a-b=c"]


def test_results_that_are_gone_at_the_end_are_no_success(
    scans: tuple[Path, Path], weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody removes the first patient's folder while the second is done."""
    source, output = _patients(tmp_path / "input", scans, "A", "B"), tmp_path / "output"

    def remove(followup: Path) -> None:
        if followup.parent.name == "B":
            shutil.rmtree(output / "A")

    monkeypatch.setattr(Segmenter, "segment_files", _fake_segment(remove))
    result = _run("--input", source, "--output", output, "--weights", weights)
    assert result.exit_code == 1
    assert "1 of 2 patients done" in result.stdout
    assert f"Error: A: {cohort.GONE}" in result.stderr
    assert _summary(output)["A"]["status"] == "failed"


def test_a_scan_that_is_replaced_while_it_is_read_fails_its_patient(
    case: Case, segmenter: Segmenter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = Scan.read

    def replace(scan: Scan) -> sitk.Image:
        image = read(scan)
        if scan.path == case.followup:
            shutil.copy(case.baseline, case.followup)
        return image

    monkeypatch.setattr(Scan, "read", replace)
    outcome = cohort.segment_case(case, tmp_path / "output", segmenter)
    assert outcome.problem == "a scan was replaced while it was read; wanted files that nobody changes"
    assert not (tmp_path / "output" / "P1").exists()


def test_a_table_of_twice_the_rows_takes_twice_the_work(tmp_path: Path) -> None:
    """Lines of Python that run until the first patient is begun."""

    def work(rows: int) -> int:
        count = 0

        def trace(_frame: FrameType, event: str, _argument: object) -> Callable[..., Any]:
            nonlocal count
            count += event == "line"
            return trace

        table = tmp_path / "pairs.csv"
        names = [f"P{row},{row}/a.nii,{row}/b.nii" for row in range(rows)]
        table.write_text("\n".join(["patient,baseline,followup", *names]))
        before = sys.gettrace()
        sys.settrace(trace)
        try:
            found, _ = cohort.find(table, tmp_path / "out")
            cohort.check_output(found, table, tmp_path / "out")
        finally:
            sys.settrace(before)
        return count

    assert work(80) < 2.1 * work(40)


def test_a_path_that_the_system_refuses_fails_its_patient(
    case: Case, segmenter: Segmenter, tmp_path: Path
) -> None:
    """A cell of a table may hold anything."""
    case = dataclasses.replace(case, followup=tmp_path / ("n" * 300 + ".nii.gz"))
    outcome = cohort.segment_case(case, tmp_path / "output", segmenter)
    assert outcome.problem.startswith("follow-up: File name too long; wanted ")


def test_what_the_system_refuses_besides_is_an_error_that_names_no_folder(
    case: Case, segmenter: Segmenter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_arguments: object, **_named: object) -> None:
        raise FileNotFoundError(errno.ENOENT, "No such file or directory", str(tmp_path / "library"))

    monkeypatch.setattr(Segmenter, "segment_files", refuse)
    with pytest.raises(FileNotFoundError):  # `outcome_of` says it without the path
        cohort.segment_case(case, tmp_path / "output", segmenter)


@pytest.mark.skipif(os.name == "nt" or os.geteuid() != 0, reason="root alone can become another user")
def test_results_of_another_user_are_one_line_and_stay(
    case: Case, segmenter: Segmenter, tmp_path: Path
) -> None:
    """Results of root in a folder of root, seen by user 65534, who may read but not write."""
    folder = tmp_path / "output" / "P1"
    folder.mkdir(parents=True)
    for name in NAMES:
        (folder / name).touch()
    record.write_record(DONE, folder / "run.json")
    for place in (tmp_path, *tmp_path.parents[:3]):
        place.chmod(place.stat().st_mode | 0o055)
    os.seteuid(65534)
    try:
        outcome = cohort.segment_case(case, tmp_path / "output", segmenter)
    finally:
        os.seteuid(0)
    assert outcome.record is None
    assert re.fullmatch(
        r"[^\n]*cannot be (removed|written) \(Permission denied\); wanted [^\n]*", outcome.problem
    )
    assert str(tmp_path) not in outcome.problem
    assert sorted(path.name for path in folder.iterdir()) == sorted(NAMES)
