"""No command writes on what it did not make, and what it writes is whole or absent."""

import errno
import resource
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from app import phantom, pipeline
from app.cli.main import main
from app.files import locked
from app.phantom import Phantom
from tests.cli.test_cli import QUICK
from tests.conftest import REPOSITORY
from tests.results.made_up_result import make_result
from tests.scoring.challenge import lay_out

OTHERS = {
    "-o": "mask.nii.gz",
    "--probability": "p.nii.gz",
    "--report": "r.html",
    "--lesions": "l.csv",
    "--record": "r.json",
}


def _run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def _contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def given(scans: tuple[Path, Path], tmp_path: Path) -> Path:
    """A folder with both scans under names that any kind of output may have."""
    for time, scan in zip((1, 2), scans, strict=True):
        for suffix in ("nii.gz", "html", "csv", "json"):
            (tmp_path / f"time0{time}.{suffix}").hardlink_to(shutil.copy(scan, tmp_path / f"{time}.{suffix}"))
    return tmp_path


@pytest.mark.parametrize("flag", OTHERS)
@pytest.mark.parametrize("time", [1, 2])
def test_no_output_takes_the_place_of_a_scan(flag: str, time: int, given: Path, weights: Path) -> None:
    """Whatever the kind of the output: its name is a link to a scan."""
    before = _contents(given)
    names = OTHERS | {flag: f"{time}." + OTHERS[flag].split(".", 1)[1]}
    options = [part for name, file in names.items() for part in (name, given / file)]
    scans = ("-t1", given / "time01.nii.gz", "-t2", given / "time02.nii.gz")
    for kind in ("html", "csv", "json"):
        (given / f"{time}.{kind}").unlink()
        (given / f"{time}.{kind}").hardlink_to(given / f"time0{time}.nii.gz")
    before = _contents(given)
    (given / f"{time}.nii.gz").unlink()
    (given / f"{time}.nii.gz").symlink_to(given / f"time0{time}.nii.gz")
    result = _run("segment", *scans, *options, "--weights", weights)
    assert result.exit_code == 1
    assert "an input, and named as an output" in result.stderr
    assert _contents(given) == before


def test_two_outputs_of_one_name_are_refused(scans: tuple[Path, Path], weights: Path, tmp_path: Path) -> None:
    names = ("-o", tmp_path / "m.nii.gz", "--probability", tmp_path / "x" / ".." / "m.nii.gz")
    result = _run("segment", "-t1", scans[0], "-t2", scans[1], *names, "--weights", weights)
    assert result.exit_code == 1
    assert "named for two outputs" in result.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("names", [("baseline", "followup"), ("one", "followup"), ("one", "brain")])
def test_prepare_writes_on_no_scan_and_on_no_stranger_s_file(
    names: tuple[str, str], scans: tuple[Path, Path], weights: Path, tmp_path: Path
) -> None:
    paths = [shutil.copy(scan, tmp_path / f"{name}.nii.gz") for name, scan in zip(names, scans, strict=True)]
    before = _contents(tmp_path)
    given = paths if names[1] != "brain" else list(scans)
    result = _run("prepare", "-t1", given[0], "-t2", given[1], "-o", tmp_path, "--weights", weights)
    assert result.exit_code == 1
    assert len(result.stderr.splitlines()) == 1
    assert _contents(tmp_path) == before


def test_demo_writes_on_no_stranger_s_file(weights: Path, tmp_path: Path) -> None:
    (tmp_path / "baseline.nii.gz").write_text("a scan")
    result = _run("demo", "--output", tmp_path, "--weights", weights)
    assert result.exit_code == 1
    assert "baseline.nii.gz: is there already" in result.stderr
    assert _contents(tmp_path) == {"baseline.nii.gz": b"a scan"}


@pytest.mark.parametrize("names", [("new_lesions", "probability"), ("time01", "new_lesions")])
def test_run_replaces_no_scan(
    names: tuple[str, str], scans: tuple[Path, Path], weights: Path, tmp_path: Path
) -> None:
    (tmp_path / "P1").mkdir()
    for name, scan in zip(names, scans, strict=True):
        shutil.copy(scan, tmp_path / "P1" / f"{name}.nii.gz")
    (tmp_path / "pairs.csv").write_text(
        "patient,baseline,followup\nP1," + ",".join(f"P1/{name}.nii.gz" for name in names) + "\n"
    )
    before = _contents(tmp_path)
    result = _run("run", "--input", tmp_path / "pairs.csv", "--output", tmp_path, "--weights", weights)
    assert result.exit_code == 1
    assert "an input, and named as an output" in result.stderr
    assert _contents(tmp_path) == before


@pytest.mark.parametrize("text", ["patient,age\n", "patient,baseline,followup\nP1,a.nii,b.nii\n"])
def test_run_replaces_no_other_summary(text: str, weights: Path, tmp_path: Path) -> None:
    (tmp_path / "summary.csv").write_text(text)
    (tmp_path / "pairs.csv").write_text("patient,baseline,followup\nP1,a.nii,b.nii\n")
    table = tmp_path / ("pairs.csv" if "age" in text else "summary.csv")
    result = _run("run", "--input", table, "--output", tmp_path, "--weights", weights)
    assert result.exit_code == 1
    assert "summary.csv: " in result.stderr
    assert (tmp_path / "summary.csv").read_text() == text


@pytest.mark.parametrize(
    "mask",
    [
        "mask.mha",
        *(pytest.param(f"mask.{kind}", marks=pytest.mark.slow) for kind in ("nrrd", "nii", "nii.gz")),
    ],
)
def test_a_file_cut_by_a_limit_leaves_nothing(
    mask: str, scans: tuple[Path, Path], weights: Path, tmp_path: Path
) -> None:
    """Not one of the call's files stays, though the tables and the record are small enough."""
    names = {"-o": mask, "--probability": f"p{mask}", "--lesions": "l.csv", "--record": "r.json"}
    options = [str(part) for name, file in names.items() for part in (name, tmp_path / file)]
    command = [sys.executable, "-m", "app", "segment", "-t1", str(scans[0]), "-t2", str(scans[1])]

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))

    done = subprocess.run(
        [*command, *options, *QUICK, "--weights", str(weights), "--threads", "1"],
        cwd=REPOSITORY,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        preexec_fn=limit,
    )
    assert done.returncode == 1, done.stderr
    assert done.stderr.splitlines()[-1].startswith("Error: ")
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("command", "last"),
    [
        ("score", "b_global.xml"),
        ("evaluate", "summary.md"),
        ("prepare", "picture.png"),
        ("demo", "run.json"),
    ],
)
def test_a_disk_that_fails_at_the_last_file_leaves_none(
    command: str,
    last: str,
    patient: Phantom,
    scans: tuple[Path, Path],
    weights: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The second time all are there, as it does not fail any more."""
    predicted, references = lay_out(tmp_path)
    mask, output = next(references.rglob("*.nii.gz")), tmp_path / "out"
    found = make_result()
    monkeypatch.setattr(phantom, "make_phantom", lambda: patient)
    monkeypatch.setattr(pipeline, "prepare", lambda *_arguments: (found.aligned, found.pair))
    monkeypatch.setattr(pipeline, "segment", lambda *_arguments: found)
    rename = Path.replace

    def full(path: Path, target: Path) -> Path:
        if target == output / last:
            raise OSError(errno.ENOSPC, "No space left on device")
        return rename(path, target)

    arguments: dict[str, tuple[object, ...]] = {
        "score": ("-i", mask, "-r", mask, "-o", output / "b", "-X", "-T"),
        "evaluate": ("--predictions", predicted, "--references", references, "--output", output),
        "prepare": ("-t1", scans[0], "-t2", scans[1], "--weights", weights, "-o", output),
        "demo": ("--weights", weights, "--output", output),
    }
    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", full)
        failed = _run(command, *arguments[command])
    assert failed.exit_code == 1
    assert "out: cannot be written (No space left on device)" in failed.stderr
    assert not output.exists()
    assert _run(command, *arguments[command]).exit_code == 0
    assert (output / last).is_file()


def test_evaluate_writes_on_no_stranger_s_file_and_on_no_evaluation_that_it_reads(tmp_path: Path) -> None:
    for folder in ("masks", "truth", "out", "earlier"):
        (tmp_path / folder).mkdir()
    for stranger in ("cases.csv", "sizes.png", "summary.md"):
        (tmp_path / "out" / stranger).write_text("mine")
        result = _run(
            *("evaluate", "--predictions", tmp_path / "masks", "--references", tmp_path / "truth"),
            *("--output", tmp_path / "out"),
        )
        assert result.exit_code == 1
        assert "is there already, and nothing says that this program made it" in result.stderr
    assert _contents(tmp_path) == {
        f"out/{name}": b"mine" for name in ("cases.csv", "sizes.png", "summary.md")
    }
    for name in ("cases.csv", "summary.json"):
        (tmp_path / "earlier" / name).touch()
    result = _run("evaluate", "--predictions", tmp_path / "earlier", "--output", tmp_path / "earlier")
    assert result.exit_code == 1
    assert "an input, and named as an output" in result.stderr


def test_a_name_longer_than_a_file_system_takes_is_one_line(
    scans: tuple[Path, Path], weights: Path, tmp_path: Path
) -> None:
    output = tmp_path / f"{'x' * 250}.nii.gz"
    result = _run("segment", "-t1", scans[0], "-t2", scans[1], "-o", output, "--weights", weights)
    assert result.exit_code == 1
    assert "a name of more than 255 bytes" in result.stderr


def test_a_second_run_into_one_folder_is_refused(
    scans: tuple[Path, Path], weights: Path, tmp_path: Path
) -> None:
    for scan in scans:
        (tmp_path / "in" / "P1").mkdir(parents=True, exist_ok=True)
        shutil.copy(scan, tmp_path / "in" / "P1")
    with locked(tmp_path / "out" / ".run", "process 7"):
        result = _run("run", "--input", tmp_path / "in", "--output", tmp_path / "out", "--weights", weights)
    assert result.exit_code == 1
    assert "out: in use by process 7; wanted one run at a time" in result.stderr
    assert not (tmp_path / "out" / "summary.csv").exists()


def test_a_scan_s_name_that_the_system_refuses_is_one_line(tmp_path: Path) -> None:
    long = tmp_path / ("n" * 300 + ".nii.gz")
    result = _run("segment", "-t1", long, "-t2", long, "-o", tmp_path / "mask.nii.gz")
    assert result.exit_code == 1
    assert result.stderr.startswith(f"Error: {long}: File name too long; wanted ")
    assert len(result.stderr.splitlines()) == 1


def test_a_file_in_the_place_of_a_patient_s_folder_stays(
    scans: tuple[Path, Path], weights: Path, tmp_path: Path
) -> None:
    (tmp_path / "pairs.csv").write_text(f"patient,baseline,followup\nP1,{scans[0]},{scans[1]}\n")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "P1").write_text("mine")
    result = _run(
        "run", "--input", tmp_path / "pairs.csv", "--output", tmp_path / "out", "--weights", weights
    )
    assert result.exit_code == 1
    assert (tmp_path / "out" / "P1").read_text() == "mine"
    assert "P1: " in result.stderr.splitlines()[-1]
    assert "cannot be written to" in result.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        ("ValueError", 1, "Error: unexpected ValueError in <string>, line 2; please report"),
        ("KeyboardInterrupt", -signal.SIGINT, "Aborted!\n"),
    ],
)
def test_an_error_that_nobody_foresaw_quotes_nothing(error: str, code: int, said: str) -> None:
    script = (
        "import app.cli.main as cli, app.__main__ as start\n"
        f"def fail(): raise {error}('Doe^Jane')\n"
        "cli.main = fail\nstart.start()"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=REPOSITORY,
        env={"GLIBC_TUNABLES": "", "PATH": ""},
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    assert done.returncode == code
    assert done.stderr.startswith(said)
    assert "Doe" not in done.stderr


@pytest.mark.parametrize("before", [True, False], ids=["before the command", "after it"])
def test_a_log_takes_the_place_of_nothing_but_a_log(before: bool, given: Path) -> None:
    """What is refused here ends before any scan is read: -t2 is not there."""
    contents = _contents(given)
    words = [
        "segment",
        "-t1",
        given / "time01.nii.gz",
        "-t2",
        given / "none.nii.gz",
        "-o",
        given / "m.nii.gz",
    ]

    def run(log: Path) -> Result:
        option = ["--log", log]
        return _run(*option, *words) if before else _run(*words, *option)

    refused = run(given / "time01.nii.gz")
    assert refused.exit_code == 1
    assert "is there already, and nothing says that this program made it" in refused.stderr
    assert _contents(given) == contents
    (given / "own.log").write_bytes(b"")
    for _ in range(2):
        assert "none.nii.gz" in run(given / "own.log").stderr
