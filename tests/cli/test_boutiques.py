"""The descriptor for Boutiques platforms (VIP): valid, and in step with the command it describes."""

import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest

from app import __version__
from app.cli.main import segment
from app.images import grids, storage
from tests.conftest import REPOSITORY

DESCRIPTOR = REPOSITORY / "boutiques.json"
NOT_ON_A_PLATFORM = {
    "--weights",  # those in the image
    "--device",  # auto: the platform decides what there is
    "--baseline-series",  # DICOM: platforms hand over files, not folders
    "--followup-series",
    *("--sr", "--key-image"),  # DICOM, too
    "--visits",  # two values for one option
    *("--verbose", "--quiet", "--log"),  # a platform keeps what is said
}


def _descriptor() -> dict[str, Any]:
    content: dict[str, Any] = json.loads(DESCRIPTOR.read_text())
    return content


def _bosh(*arguments: str) -> str:
    """What `bosh` prints. Raises if it fails."""
    command = [str(Path(sys.executable).with_name("bosh")), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, cwd=REPOSITORY).stdout


def _command(printed: str) -> list[str]:
    """The words of the command line in the output of `bosh exec simulate`."""
    return shlex.split(printed.splitlines()[-1])


def _parse(command: list[str]) -> dict[str, Any]:
    """The parameters that `segment` takes from a command line; fails for one it does not know, or a value it
    refuses.
    """
    assert command[:4] == ["python", "-m", "app", "segment"]
    parameters: dict[str, Any] = segment.make_context("segment", command[4:]).params
    return parameters


def test_the_descriptor_is_valid() -> None:
    assert _bosh("validate", str(DESCRIPTOR)).strip() == "OK"


def test_the_challenge_s_two_files_give_the_challenge_s_command(tmp_path: Path) -> None:
    """Names relative to the working directory, as VIP hands them over (docs/method.md, 7)."""
    (tmp_path / "inputs.json").write_text(
        json.dumps({"baseline": "flair_time01.nii.gz", "followup": "flair_time02.nii.gz"})
    )
    command = _command(_bosh("exec", "simulate", str(DESCRIPTOR), "-i", str(tmp_path / "inputs.json")))
    wanted = (
        "python -m app segment -t1 flair_time01.nii.gz -t2 flair_time02.nii.gz -o output_segmentation.nii.gz"
    )
    assert command == wanted.split()


def _launch(folder: Path) -> "subprocess.CompletedProcess[str]":
    """`bosh exec launch` of the challenge's two files in a working directory, without a container: this
    Python stands for the image's.
    """
    (folder / "inputs.json").write_text(
        json.dumps({"baseline": "flair_time01.nii.gz", "followup": "flair_time02.nii.gz"})
    )
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(REPOSITORY),
    }
    command = [
        str(Path(sys.executable).with_name("bosh")),
        "exec",
        "launch",
        "--no-container",
        "--skip-data-collection",
        str(DESCRIPTOR),
        "inputs.json",
    ]
    return subprocess.run(command, capture_output=True, text=True, cwd=folder, env=environment, check=False)


@pytest.mark.slow
def test_a_launch_on_what_is_no_scan_ends_with_the_described_code(tmp_path: Path) -> None:
    for time in (1, 2):
        (tmp_path / f"flair_time0{time}.nii.gz").write_text("not an image")
    launched = _launch(tmp_path)
    assert launched.returncode == 1
    assert "flair_time01.nii.gz: truncated or damaged" in launched.stdout
    assert _descriptor()["error-codes"][0]["description"] in launched.stdout
    assert not (tmp_path / "output_segmentation.nii.gz").exists()


@pytest.mark.slow
def test_a_launch_writes_the_mask_beside_the_scans(scans: tuple[Path, Path], tmp_path: Path) -> None:
    for scan in scans:
        shutil.copy(scan, tmp_path / f"flair_{scan.name}")
    launched = _launch(tmp_path)
    assert launched.returncode == 0, launched.stdout
    assert grids.same_grid(storage.read_mask(tmp_path / "output_segmentation.nii.gz"), storage.read(scans[1]))


def test_every_input_reaches_its_option(tmp_path: Path) -> None:
    values: dict[str, object] = {
        "baseline": "a.nii.gz",
        "followup": "b.nii.gz",
        "output": "m.nii.gz",
        "probability": "p.nii.gz",
        "lesions": "l.csv",
        "report": "r.html",
        "record": "r.json",
        "changes": "c.nii.gz",
        "text": "t.txt",
        "text_template": "own.txt",
        "pdf": "p.pdf",
        "label": "patient 7",
        "baseline_lesions": "old.nii.gz",
        "brain_mask": "brain.nii.gz",
        "preprocessing": "native",
        "register": "always",
        "fast": True,
        "strict": True,
        "threads": 2,
    }
    assert set(values) == {one["id"] for one in _descriptor()["inputs"]}
    (tmp_path / "inputs.json").write_text(json.dumps(values))
    parameters = _parse(
        _command(_bosh("exec", "simulate", str(DESCRIPTOR), "-i", str(tmp_path / "inputs.json")))
    )
    assert {name: str(parameters[name]) for name in values} == {
        name: str(value) for name, value in values.items()
    }


@pytest.mark.parametrize("completeness", [[], ["-c"]])
def test_whatever_bosh_makes_up_is_a_command_that_segment_takes(completeness: list[str]) -> None:
    _parse(_command(_bosh("exec", "simulate", str(DESCRIPTOR), *completeness)))


def test_descriptor_and_help_are_in_step() -> None:
    """Every flag is an option of `segment` with the same choices, and no option is forgotten."""
    options = {
        name: option
        for option in segment.params
        if isinstance(option, click.Option)
        for name in (*option.opts, *option.secondary_opts)
    }
    flags = {one["command-line-flag"]: one for one in _descriptor()["inputs"]}
    assert set(flags) <= set(options)
    described = {options[flag].name for flag in flags}
    forgotten = {
        name for name, option in options.items() if option.name not in described and name.startswith("--")
    }
    assert forgotten == NOT_ON_A_PLATFORM
    for flag, one in flags.items():
        kind = options[flag].type
        assert one.get("value-choices") == (list(kind.choices) if isinstance(kind, click.Choice) else None)
        assert options[flag].required <= (not one["optional"] or "default-value" in one)


def test_version_and_image_are_this_program_s() -> None:
    assert _descriptor()["tool-version"] == __version__
    assert _descriptor()["container-image"]["image"] == f"ms-new-lesions:{__version__}"
