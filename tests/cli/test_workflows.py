"""The examples of docs/workflows.md, run by their engines; untrained weights stand in for trained ones."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

PAGE = (REPOSITORY / "docs" / "workflows.md").read_text(encoding="utf-8")


def _blocks(heading: str) -> list[str]:
    """The code below a heading of the page."""
    section = PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    return re.findall(r"```python\n(.*?)```", section, re.DOTALL)


@pytest.fixture
def environment(weights: Path, tmp_path: Path) -> dict[str, str]:
    """Where `ms-new-lesions` is a command, and quick."""
    command = tmp_path / "bin" / "ms-new-lesions"
    command.parent.mkdir()
    command.write_text(
        f'#!/bin/sh\nexec "{sys.executable}" -m app "$@" --weights "{weights}" --fast --device cpu\n'
    )
    command.chmod(0o755)
    return {
        **os.environ,
        "PATH": f"{command.parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(REPOSITORY),
        "NIPYPE_NO_ET": "1",
    }


def _run(environment: dict[str, str], folder: Path, *command: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, *command], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


@pytest.mark.slow
@pytest.mark.skipif(
    importlib.util.find_spec("nipype") is None,
    reason="nipype is not installed: pip install --group platforms",
)
def test_the_nipype_node_gives_a_mask(
    scans: tuple[Path, Path], environment: dict[str, str], tmp_path: Path
) -> None:
    for scan in scans:
        shutil.copy(scan, tmp_path / f"flair_{scan.name}")
    (tmp_path / "node.py").write_text("\n".join(_blocks("Nipype")))
    ran = _run(environment, tmp_path, "node.py")
    assert ran.returncode == 0, ran.stderr
    mask = Path(ran.stdout.splitlines()[-1])
    assert mask == tmp_path / "work" / "new_lesions" / "new_lesions.nii.gz"
    assert {path.name for path in mask.parent.iterdir()} >= {
        "new_lesions.nii.gz",
        "lesions.csv",
        "report.html",
    }


@pytest.mark.slow
@pytest.mark.skipif(
    importlib.util.find_spec("snakemake") is None,
    reason="snakemake is not installed: pip install --group platforms",
)
def test_snakemake_does_a_patient_once(
    scans: tuple[Path, Path], environment: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "patients" / "P1").mkdir(parents=True)
    for scan in scans:
        shutil.copy(scan, tmp_path / "patients" / "P1" / f"flair_{scan.name}")
    (tmp_path / "Snakefile").write_text("\n".join(_blocks("Snakemake")))
    ran = _run(environment, tmp_path, "-m", "snakemake", "--cores", "2")
    assert ran.returncode == 0, ran.stderr
    written = sorted(path.name for path in (tmp_path / "results" / "P1").iterdir())
    assert written == ["lesions.csv", "new_lesions.nii.gz", "report.html", "run.json"]
    again = _run(environment, tmp_path, "-m", "snakemake", "--cores", "2")
    assert "Nothing to be done" in again.stderr
