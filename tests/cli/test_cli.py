"""The commands, from files to files.

A small untrained network stands in for the trained ones where the answer does not matter.
"""

import csv
import dataclasses
import json
import logging
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import numpy as np
import pytest
import SimpleITK as sitk
from click.testing import CliRunner, Result
from scipy import ndimage

from app.cli import speech
from app.cli.main import main
from app.images import grids, storage
from app.images.scan import Scan
from app.method import checkpoint
from app.patients.segmenter import Segmenter
from app.phantom import Phantom
from app.results.outputs import Outputs
from benchmarks.stand_in import COARSE
from tests.conftest import REPOSITORY
from tests.images.bad_files import BAD_FILES, write_bad_file


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[Path]:
    """A folder for outputs; whatever the test does, nothing unfinished may stay."""
    folder = tmp_path / "output"
    folder.mkdir()
    yield folder
    assert [path.name for path in folder.rglob(".writing*")] == []


# for tests of what is written or said, not of what is found
QUICK = ("--preprocessing", "none", "--register", "never", "--fast")


def _run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def _geometry(path: Path) -> tuple[object, ...]:
    volume = sitk.ReadImage(str(path))
    return volume.GetSize(), volume.GetSpacing(), volume.GetOrigin(), volume.GetDirection()


def test_segment_writes_what_is_asked_for_on_the_follow_up_s_grid(
    scans: tuple[Path, Path], weights: Path, empty: Path
) -> None:
    names = {"--probability": "p.nii.gz", "--lesions": "l.csv", "--report": "r.html", "-o": "mask.nii.gz"}
    options = [part for flag, name in names.items() for part in (flag, empty / name)]
    result = _run(
        "segment", "-t1", scans[0], "-t2", scans[1], *options, "--weights", weights, "--device", "cpu"
    )
    assert result.exit_code == 0, result.output
    assert sorted(path.name for path in empty.iterdir()) == sorted(names.values())
    for name in ("mask.nii.gz", "p.nii.gz"):
        assert _geometry(empty / name) == _geometry(scans[1])

    mask, probability = (
        sitk.ReadImage(str(empty / "mask.nii.gz")),
        grids.array(storage.read(empty / "p.nii.gz")),
    )
    assert mask.GetPixelID() == sitk.sitkUInt8
    assert set(np.unique(sitk.GetArrayFromImage(mask))) <= {0, 1}
    assert 0 <= probability.min() <= probability.max() <= 1
    assert (probability[sitk.GetArrayFromImage(mask) > 0] > COARSE.point.threshold).all()

    rows = [row for row in csv.DictReader((empty / "l.csv").open()) if row["kind"] == "new"]
    counted = int(re.match(r"(\d+) new lesion", result.stdout).group(1))  # type: ignore[union-attr]
    assert len(rows) == counted
    assert sum(int(row["voxels"]) for row in rows) == sitk.GetArrayFromImage(mask).sum()
    assert "<h1>" in (empty / "r.html").read_text()
    for name in ("l.csv", "r.html"):  # a path may name a patient
        assert scans[0].name not in (empty / name).read_text()
        assert str(scans[0].parent) not in (empty / name).read_text()


def test_the_same_scan_twice_warns_and_goes_on(scans: tuple[Path, Path], weights: Path, empty: Path) -> None:
    result = _run(
        *("segment", "-t1", scans[1], "-t2", scans[1], "-o", empty / "mask.nrrd", "--weights", weights),
        *QUICK,
    )
    assert result.exit_code == 0, result.output
    assert "given as baseline and as follow-up" in result.stderr
    assert (empty / "mask.nrrd").is_file()


def test_in_the_same_scan_twice_nothing_is_new_to_weights_that_ask_for_a_gain(
    scans: tuple[Path, Path], weights: Path, empty: Path, tmp_path: Path
) -> None:
    """The untrained network finds something all over; the baseline shows all of it."""
    strict = shutil.copytree(weights, tmp_path / "strict")
    loaded = checkpoint.load(strict / "lesions1.pt")
    config = dataclasses.replace(COARSE, point=dataclasses.replace(COARSE.point, gain=0.5))
    checkpoint.save(strict / "lesions1.pt", loaded.network, config, {})
    found = {}
    for folder in (weights, strict):
        result = _run(
            *("segment", "-t1", scans[1], "-t2", scans[1], "-o", empty / "mask.nii.gz", "--weights", folder),
            *QUICK,
        )
        assert result.exit_code == 0, result.output
        found[folder] = int(sitk.GetArrayFromImage(sitk.ReadImage(str(empty / "mask.nii.gz"))).sum())
    assert found[weights] > 1000
    assert found[strict] == 0


def test_a_result_tells_its_warnings_and_the_seconds_of_each_step(
    scans: tuple[Path, Path], weights: Path, empty: Path
) -> None:
    """Warnings name no file: a path may name a patient."""
    result = Segmenter.load(weights, "cpu", None).segment_files(
        Scan(scans[1]), Scan(scans[1]), Outputs(empty / "mask.nrrd")
    )
    assert result.warnings == ("follow-up: given as baseline and as follow-up; nothing can be new",)
    assert list(result.seconds) == [
        "brain",
        "align",
        "bias",
        "predict",
        "swap",
        "quality",
        "lesions",
        "grade",
    ]
    assert all(seconds >= 0 for seconds in result.seconds.values())


@pytest.mark.parametrize(("kind", "message"), BAD_FILES.items())
@pytest.mark.parametrize("time", ["-t1", "-t2"])
def test_a_bad_scan_ends_in_one_line(
    kind: str, message: str, time: str, scans: tuple[Path, Path], weights: Path, empty: Path, tmp_path: Path
) -> None:
    bad = write_bad_file(kind, tmp_path)
    baseline, followup = (bad, scans[1]) if time == "-t1" else (scans[0], bad)
    result = _run(
        "segment", "-t1", baseline, "-t2", followup, "-o", empty / "mask.nii.gz", "--weights", weights
    )
    assert result.exit_code == 1
    assert re.fullmatch(
        f"INFO: device: .*; CPU threads: \\d+\nError: {re.escape(str(bad))}: .*{re.escape(message)}.*\n",
        result.stderr,
    )
    assert list(empty.iterdir()) == []


def test_scans_that_do_not_overlap_are_refused(
    scans: tuple[Path, Path], weights: Path, empty: Path, tmp_path: Path
) -> None:
    """Two brain masks' worth of scan a metre apart on one axis cannot be one patient's; neither can be
    aligned nor compared.
    """
    flat = sitk.GetImageFromArray(np.random.default_rng(0).random((4, 5, 6)).astype(np.float32))
    storage.write(flat, tmp_path / "crumb.nii.gz")
    result = _run(
        "segment",
        "-t1",
        tmp_path / "crumb.nii.gz",
        "-t2",
        scans[1],
        "-o",
        empty / "mask.nii.gz",
        "--weights",
        weights,
    )
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1].startswith("Error: ")
    assert list(empty.iterdir()) == []


@pytest.mark.parametrize("name", ["mask.png", "mask"])
def test_an_output_of_an_unknown_kind_is_refused_before_any_work(
    name: str, scans: tuple[Path, Path], empty: Path
) -> None:
    result = _run("segment", "-t1", scans[0], "-t2", scans[1], "-o", empty / name)
    assert result.exit_code == 1
    assert "not an image name" in result.stderr
    assert list(empty.iterdir()) == []


def test_a_table_of_an_unknown_kind_is_refused_before_any_work(scans: tuple[Path, Path], empty: Path) -> None:
    result = _run(
        "segment",
        "-t1",
        scans[0],
        "-t2",
        scans[1],
        "-o",
        empty / "mask.nii.gz",
        "--lesions",
        empty / "lesions.xlsx",
    )
    assert result.exit_code == 1
    assert "wanted one that ends in .csv or .json" in result.stderr


@pytest.mark.parametrize(
    ("option", "name", "wanted"),
    [
        ("--report", "report.pdf", ".html"),
        ("--pdf", "report.html", ".pdf"),
        ("--sr", "report.json", ".dcm"),
        ("--key-image", "key.png", ".dcm"),
        ("--record", "run.html", ".json"),
    ],
)
def test_a_name_of_another_kind_is_refused_before_any_work(
    scans: tuple[Path, Path], empty: Path, option: str, name: str, wanted: str
) -> None:
    paths = ["-t1", scans[0], "-t2", scans[1], "-o", empty / "mask.nii.gz", option, empty / name]
    result = _run("segment", *paths)
    assert result.exit_code == 1
    assert result.stderr.endswith(f"wanted one with {wanted}\n")
    assert list(empty.iterdir()) == []


def test_an_output_folder_that_cannot_be_made_is_refused_before_any_work(
    scans: tuple[Path, Path], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    result = _run("segment", "-t1", scans[0], "-t2", scans[1], "-o", tmp_path / "file" / "mask.nii.gz")
    assert result.exit_code == 1
    assert "cannot be written to" in result.stderr


def test_a_brain_mask_on_another_grid_is_refused(
    scans: tuple[Path, Path], weights: Path, empty: Path
) -> None:
    result = _run(
        "segment",
        "-t1",
        scans[0],
        "-t2",
        scans[1],
        "-o",
        empty / "m.nii.gz",
        "--brain-mask",
        scans[0],
        "--weights",
        weights,
    )
    assert result.exit_code == 1
    assert "wanted the scan's grid" in result.stderr
    assert list(empty.iterdir()) == []


def test_altered_weights_are_refused(
    scans: tuple[Path, Path], weights: Path, empty: Path, tmp_path: Path
) -> None:
    altered = shutil.copytree(weights, tmp_path / "altered")
    with (altered / "lesions1.pt").open("ab") as file:
        file.write(b"x")
    result = _run(
        "segment", "-t1", scans[0], "-t2", scans[1], "-o", empty / "mask.nii.gz", "--weights", altered
    )
    assert result.exit_code == 1
    assert "SHA-256" in result.stderr


def test_prepare_writes_a_picture(scans: tuple[Path, Path], weights: Path, empty: Path) -> None:
    result = _run("prepare", "-t1", scans[0], "-t2", scans[1], "-o", empty, "--weights", weights)
    assert result.exit_code == 0, result.output
    names = [
        "baseline.nii.gz",
        "brain.nii.gz",
        "followup.nii.gz",
        "picture.png",
        "to_baseline.tfm",
        "to_followup.tfm",
    ]
    assert sorted(path.name for path in empty.iterdir()) == names
    picture = sitk.GetArrayFromImage(sitk.ReadImage(str(empty / "picture.png")))
    assert picture.shape[2] == 3
    assert picture.std() > 20
    sitk.ReadTransform(str(empty / "to_baseline.tfm"))


@pytest.mark.parametrize("flags", [(), ("--register", "never")])
def test_a_shared_grid_with_a_moved_head_is_aligned_unless_told_not_to(
    flags: tuple[str, ...], patient: Phantom, weights: Path, empty: Path, tmp_path: Path
) -> None:
    """The demo's baseline, its head turned by 0.088 (norm of 0.06, -0.04, 0.05) and moved, resampled onto the
    follow-up's grid.
    """
    storage.write(grids.resample(patient.baseline, patient.followup), tmp_path / "time01.nii.gz")
    storage.write(patient.followup, tmp_path / "time02.nii.gz")
    result = _run(
        "prepare",
        "-t1",
        tmp_path / "time01.nii.gz",
        "-t2",
        tmp_path / "time02.nii.gz",
        "-o",
        empty,
        "--weights",
        weights,
        *flags,
    )
    assert result.exit_code == 0, result.output
    half = sitk.ReadTransform(str(empty / "to_baseline.tfm"))
    moved_mm = np.linalg.norm(np.subtract(half.TransformPoint((0.0, 0.0, 80.0)), (0, 0, 80)))
    assert moved_mm == 0 if flags else moved_mm > 2


def test_stripped_scans_need_no_preprocessing(
    patient: Phantom, weights: Path, empty: Path, tmp_path: Path
) -> None:
    stripped = grids.like(grids.array(patient.followup) * grids.array(patient.brain), patient.followup)
    storage.write(stripped, tmp_path / "time02.nii.gz")
    result = _run(
        *(
            "segment",
            "-t1",
            tmp_path / "time02.nii.gz",
            "-t2",
            tmp_path / "time02.nii.gz",
            "-o",
            empty / "mask.nii.gz",
        ),
        *("--preprocessing", "none", "--fast", "--probability", empty / "p.nii.gz", "--weights", weights),
    )
    assert result.exit_code == 0, result.output
    outside = grids.array(patient.brain) == 0
    assert grids.array(storage.read(empty / "p.nii.gz"))[outside].max() < 1e-6


def test_a_brain_mask_that_would_not_be_used_is_refused(
    patient: Phantom, scans: tuple[Path, Path], weights: Path, empty: Path, tmp_path: Path
) -> None:
    storage.write(patient.brain, tmp_path / "brain.nii.gz", geometry_of=scans[1])
    options = (
        "-o",
        empty / "m.nii.gz",
        "--brain-mask",
        tmp_path / "brain.nii.gz",
        "--preprocessing",
        "none",
        "--weights",
        weights,
    )
    result = _run("segment", "-t1", scans[0], "-t2", scans[1], *options)
    assert result.exit_code == 1
    assert "wanted one of the two" in result.stderr
    assert list(empty.iterdir()) == []


def test_anima_that_is_not_installed_is_named(
    scans: tuple[Path, Path], weights: Path, empty: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANIMA_CONFIG", str(tmp_path / "nowhere.txt"))
    options = ("-o", empty / "mask.nii.gz", "--preprocessing", "anima", "--weights", weights)
    result = _run("segment", "-t1", scans[1], "-t2", scans[1], *options)
    assert result.exit_code == 1
    assert "nowhere.txt" in result.stderr.splitlines()[-1]
    assert list(empty.iterdir()) == []


def test_version_names_the_weights() -> None:
    result = _run("--version")
    assert result.exit_code == 0
    assert re.search(r"^ms-new-lesions \d+\.\d+\.\d+\n(\S+\.pt sha256 [0-9a-f]{64}\n)+$", result.output)
    assert "brain.pt" in result.output
    assert "lesions1.pt" in result.output


def test_it_starts_from_any_folder_without_a_home(tmp_path: Path) -> None:
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(REPOSITORY)}
    started = subprocess.run(
        [sys.executable, "-m", "app", "--help"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert started.stdout.startswith("Usage: python -m app")
    assert started.stderr == ""


def test_help_imports_neither_torch_nor_simpleitk() -> None:
    """They take seconds; `--help` must not."""
    code = (
        "import sys, app.cli.main, app.cli.cohort, app.cli.scoring; print(sorted({'torch', "
        "'SimpleITK', 'scipy', 'numpy'} & set(sys.modules)))"
    )
    assert (
        subprocess.run(
            [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True
        ).stdout
        == "[]\n"
    )


def test_a_stopped_run_leaves_nothing_half_written(
    scans: tuple[Path, Path], weights: Path, empty: Path
) -> None:
    """SIGTERM, as a container is stopped: it ends within 10 s, with the signal's exit code, and without an
    output.
    """
    command = [
        "--verbose",
        "segment",
        "-t1",
        scans[0],
        "-t2",
        scans[1],
        "-o",
        empty / "mask.nii.gz",
        "--weights",
        weights,
        "--threads",
        "1",
    ]
    with subprocess.Popen(
        [sys.executable, "-m", "app", *map(str, command)], cwd=REPOSITORY, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        assert any(
            line.startswith("INFO: brain: ") for line in process.stderr
        )  # the first step is done, four are to come
        process.terminate()
        assert process.wait(timeout=10) == 128 + signal.SIGTERM
    assert list(empty.iterdir()) == []


@pytest.mark.slow
def test_the_shipped_weights_find_the_demo_s_lesions(empty: Path) -> None:
    """Each true lesion of the made-up patient is hit, and at most one thing more is marked."""
    result = _run("demo", "--output", empty)
    assert result.exit_code == 0, result.output
    truth = grids.array(storage.read_mask(empty / "true_new_lesions.nii.gz"))
    found = grids.array(storage.read_mask(empty / "new_lesions.nii.gz"))
    true_lesions, count = ndimage.label(truth)
    hit = set(np.unique(true_lesions[found > 0])) - {0}
    assert hit == set(range(1, count + 1))
    assert ndimage.label(found)[1] <= count + 1


@pytest.mark.slow
@pytest.mark.parametrize("grids", ["one", "two"])
def test_the_large_periventricular_lesion_of_patient_01_is_found(
    grids: str, open_data: Path, empty: Path
) -> None:
    """About 1.5 ml, 25 mm left, 31 mm posterior; the rest of what is found is small."""
    if grids == "one":
        scans = [
            open_data / "open_ms_pairs" / "patient01" / f"flair_time0{time}_on_middle_space.nii.gz"
            for time in (1, 2)
        ]
    else:
        scans = [
            open_data / "open_ms_data" / "longitudinal" / "raw" / "patient01" / f"study{time}_FLAIR.nii.gz"
            for time in (1, 2)
        ]
    result = _run(
        "segment",
        "-t1",
        scans[0],
        "-t2",
        scans[1],
        "-o",
        empty / "mask.nii.gz",
        "--lesions",
        empty / "lesions.json",
    )
    assert result.exit_code == 0, result.output
    assert _geometry(empty / "mask.nii.gz") == _geometry(scans[1])
    largest = json.loads((empty / "lesions.json").read_text())["lesions"][0]
    right_mm, anterior_mm, _ = largest["centre_ras_mm"]
    assert 1000 < largest["volume_mm3"] < 3000
    assert -35 < right_mm < -15
    assert -42 < anterior_mm < -22
    assert (largest["side"], largest["region"]) == ("left", "periventricular")


@pytest.mark.parametrize("command", ["segment", "run", "prepare", "demo", "score", "evaluate"])
def test_every_command_explains_itself(command: str) -> None:
    result = _run(command, "--help")
    assert result.exit_code == 0
    assert command in _run("--help").output


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_loudness_and_log_are_understood_before_and_after_the_command(after: bool, empty: Path) -> None:
    """A missing scan ends the run at once; by then the log is there, and -v with -q is refused."""
    command = ["segment", "-t1", empty / "no.nii.gz", "-t2", empty / "no.nii.gz", "-o", empty / "mask.nii.gz"]
    log = empty / "log.txt"

    def run(*options: object) -> Result:
        return _run(*command, *options) if after else _run(*options, *command)

    assert run("--log", log).exit_code == 1
    assert log.is_file()
    assert "wanted one of them" in run("-v", "-q").output
    assert run("--log", empty / "nowhere" / "log.txt").exit_code == 1


@pytest.mark.parametrize(("option", "said"), [("-q", 1), ("--no", 2), ("-v", 3)])
def test_how_much_is_said(option: str, said: int, capfd: pytest.CaptureFixture[str]) -> None:
    """Of an error, a warning and a note."""
    ctx = click.Context(main)
    ctx.meta["app.cli.speech"] = (
        {"quiet": True} if option == "-q" else {"verbose": True} if option == "-v" else {}
    )
    speech.start(ctx)
    logger = logging.getLogger("app.anything")
    for level in (logging.ERROR, logging.WARNING, logging.INFO):
        logger.log(level, "said")
    assert capfd.readouterr().err.count("said") == said


@pytest.mark.parametrize(("option", "said"), [("quiet", 0), ("no", 1), ("bar", 0)])
def test_a_program_that_takes_minutes_gives_a_sign_of_life(
    option: str, said: int, capfd: pytest.CaptureFixture[str]
) -> None:
    """Where a bar moves, the bar names it."""
    ctx = click.Context(main)
    ctx.meta["app.cli.speech"] = {option: True}
    speech.start(ctx)
    logging.getLogger("app.anything").info("started", extra={"program": "animaN4BiasCorrection"})
    assert capfd.readouterr().err.count("started") == said


def test_a_console_without_a_letter_shows_another() -> None:
    """Windows' consoles lack most of Unicode. What is printed must not end the program: here Latin-2, without
    the 3 of mm³.
    """
    code = """if True:
        import runpy, sys
        sys.argv = ["app", "--help"]
        try:
            runpy.run_module("app", run_name="__main__")
        except SystemExit:
            print("5 mm\\N{SUPERSCRIPT THREE}")
    """
    ran = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONIOENCODING": "iso8859_2", "GLIBC_TUNABLES": ""},
        cwd=REPOSITORY,
        capture_output=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.endswith(b"5 mm?\n")
