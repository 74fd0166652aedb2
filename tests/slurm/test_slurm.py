"""Do the lines of docs/cluster.md work as typed? On a Slurm of one node, by `make slurm-test`."""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from app import phantom
from app.images import grids, storage
from benchmarks import stand_in
from tests import typed
from tests.conftest import REPOSITORY

pytestmark = pytest.mark.slurm
PAGE = (REPOSITORY / "docs" / "cluster.md").read_text(encoding="utf-8")
PATIENTS = ("P0", "P1", "P2", "P3")
# quick, and with a network that needs no training
MORE = "--preprocessing none --register never --fast --weights /shared/weights"

DASK = 'if __name__ == "__main__":\n    from dask.__main__ import main\n\n    main()\n'


def _lines(heading: str) -> str:
    """The first block of shell lines below a heading of the page; '' is the top."""
    below = PAGE.split(f"\n## {heading}\n", 1)[1] if heading else PAGE
    found = re.search(r"^```sh\n(.*?)^```", below, re.MULTILINE | re.DOTALL)
    assert found
    # eight threads for each patient would fight for the two cores of a small machine
    return found[1].rstrip().replace("--threads 8", "--threads 1")


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """A Slurm of one node; the environment that leads to it."""
    folder = tmp_path_factory.mktemp("slurm")
    script = REPOSITORY / "tests" / "slurm" / "node.sh"
    subprocess.run([script, "start", folder], check=True)
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    yield {**kept, "SLURM_CONF": str(folder / "slurm.conf")}
    subprocess.run([script, "stop", folder], check=True)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, patient: phantom.Phantom) -> Path:
    """What the page calls /shared: four patients, the program installed, and its folder.

    A patient is the middle slab of one head, twice, with other noise: nothing has to be aligned.
    """
    shared = tmp_path_factory.mktemp("shared")
    rng = np.random.default_rng(0)
    slices = patient.followup.GetSize()[2]
    slab = patient.followup[:, :, int(0.45 * slices) : int(0.75 * slices)]
    for name in PATIENTS:
        for scan in ("flair_time01.nii.gz", "flair_time02.nii.gz"):
            noise = rng.normal(0, 20, grids.array(slab).shape).astype(np.float32)
            noisy = grids.like(np.maximum(grids.array(slab) + noise, 1), slab)
            storage.write(noisy, shared / "patients" / name / scan)
    (shared / "weights").mkdir()
    stand_in.write_weights(shared / "weights")
    (shared / "ms-new-lesions").symlink_to(REPOSITORY)
    _install(shared / "environment")
    return shared


def _install(environment: Path) -> None:
    """The program and Dask's commands; what they need is borrowed from the environment of the tests."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True)
    (packages,) = environment.glob("lib/python*/site-packages")
    (packages / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    pip = [sys.executable, "-m", "pip", "--python", environment, "install", "--quiet"]
    subprocess.run([*pip, "--no-deps", "--no-build-isolation", REPOSITORY], check=True)
    command = environment / "bin" / "dask"
    command.write_text(f"#!{environment / 'bin' / 'python'}\n{DASK}")
    command.chmod(0o755)


@pytest.fixture(scope="module")
def alone(shared: Path, slurm: dict[str, str]) -> dict[str, sitk.Image]:
    """The masks of one machine."""
    line = f"ms-new-lesions run --input patients --output alone --threads 1 {MORE}"
    _shell(f". environment/bin/activate; {line}", shared, slurm)
    return _masks(shared / "alone", "*/new_lesions.nii.gz")


def _shell(lines: str, shared: Path, environment: dict[str, str]) -> str:
    """Run lines of the page in the folder that it calls /shared; returns their standard output."""
    return typed.run(re.sub(r"(?<!\w)/shared\b", str(shared), lines), shared, environment)


def _masks(folder: Path, pattern: str) -> dict[str, sitk.Image]:
    found = sorted(folder.glob(pattern))
    return {
        path.relative_to(folder).parts[0].removesuffix(".nii.gz"): storage.read_mask(path) for path in found
    }


def _assert_same(found: dict[str, sitk.Image], wanted: dict[str, sitk.Image]) -> None:
    assert sorted(found) == sorted(wanted) == list(PATIENTS)
    for name in PATIENTS:
        assert sitk.Hash(found[name]) == sitk.Hash(wanted[name])
        assert sitk.GetArrayViewFromImage(wanted[name]).any()  # an empty mask would compare nothing


def _cancel_one_at_work(results: Path, environment: dict[str, str], cancelled: list[str]) -> None:
    """Cancel the job of a worker that holds the lock of a folder of unfinished results."""
    while not cancelled:
        time.sleep(0.1)
        for descriptor in Path("/proc").glob("[0-9]*/fd/*"):
            try:
                held = descriptor.readlink()
                process = (descriptor.parents[1] / "environ").read_bytes().split(b"\0")
            except OSError:  # it ended meanwhile
                continue
            if held.parent.parent == results and held.parent.name.startswith(".writing-"):
                slurm = dict(each.decode().split("=", 1) for each in process if each.startswith(b"SLURM_"))
                if "SLURM_ARRAY_JOB_ID" not in slurm:  # the command itself, which writes the cohort's table
                    continue
                job = f"{slurm['SLURM_ARRAY_JOB_ID']}_{slurm['SLURM_ARRAY_TASK_ID']}"
                subprocess.run(["scancel", job], env=environment, check=True)
                cancelled.append(job)
                return


def test_a_cohort_is_done_although_a_worker_is_cancelled(
    shared: Path, slurm: dict[str, str], alone: dict[str, sitk.Image]
) -> None:
    cancelled: list[str] = []
    canceller = threading.Thread(
        target=_cancel_one_at_work, args=(shared / "results", slurm, cancelled), daemon=True
    )
    canceller.start()
    done = _shell(f"{_lines('Slurm')} {MORE}", shared, slurm)
    assert "4 of 4 patients done" in done
    (job,) = cancelled
    said = subprocess.run(["scontrol", "show", "job", job], env=slurm, capture_output=True, text=True)
    assert "JobState=CANCELLED" in said.stdout
    _assert_same(_masks(shared / "results", "*/new_lesions.nii.gz"), alone)
    assert list(shared.glob(".slurm-*")) == []  # the key is gone
    while subprocess.run(["squeue", "--noheader"], env=slurm, capture_output=True, check=True).stdout:
        time.sleep(0.2)  # the jobs end


def test_a_job_for_each_line(shared: Path, slurm: dict[str, str], alone: dict[str, sitk.Image]) -> None:
    lines = _lines("Slurm without Dask")
    assert "--threads 1" in lines
    _shell(lines.replace("--threads 1", f"--threads 1 {MORE}"), shared, slurm)
    _assert_same(_masks(shared / "masks", "*.nii.gz"), alone)


def test_the_lines_for_machines_without_slurm(
    shared: Path, slurm: dict[str, str], alone: dict[str, sitk.Image]
) -> None:
    """The scheduler's environment has Dask, not the program."""
    lines = [line for line in _lines("").splitlines() if line[:1] not in ("", "#")]
    install, scheduler, worker, run = [line.replace("10.0.0.1", "127.0.0.1") for line in lines]
    assert install.startswith("pip install '.[cluster]'")
    run = run.replace("/shared/results", "/shared/others")
    without = f"{sys.executable} -m {scheduler}"
    # Dask warns that the versions differ where the tests' environment lacks what it asks for
    ran = _shell(
        f". environment/bin/activate; {without} & scheduler=$!; {worker} & worker=$!; "
        "trap 'kill $worker $scheduler; wait' EXIT; "
        "until (exec 3<>/dev/tcp/127.0.0.1/8786) 2>/dev/null; do sleep 0.2; done; "
        f"{run} --threads 1 {MORE}",
        shared,
        slurm,
    )
    assert "4 of 4 patients done" in ran
    _assert_same(_masks(shared / "others", "*/new_lesions.nii.gz"), alone)


def test_without_slurm_one_line_says_so(tmp_path: Path) -> None:
    done = subprocess.run(
        [shutil.which("bash") or "", REPOSITORY / "slurm.sh", "--array=1-2", "--", "--input", "patients"],
        env={"PATH": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr == (
        "Error: sbatch is not in PATH; wanted it here and on the nodes (docs/cluster.md)\n"
    )
