"""A cohort on the workers of a Dask cluster: real scheduler and worker processes on 127.0.0.1."""

import csv
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result

from app import __version__
from app.cli.main import main
from app.patients import cluster
from app.patients.visits import Case, Visit
from app.pipeline import Steps
from app.results import record
from tests.conftest import REPOSITORY

distributed = pytest.importorskip(
    "distributed", reason="dask.distributed is not installed: pip install '.[cluster]'"
)

# The scheduler finds Dask alone, not this program, as on a machine where nobody installed it.
SCHEDULER = {**os.environ, "PYTHONPATH": "", "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "1"}
WORKER = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
# a Python from before 3.9
OLD_SCHEDULER = (
    "import pkgutil; del pkgutil.resolve_name; from distributed.cli.dask_scheduler import main; main()"
)


def _run(source: Path, output: Path, weights: Path, scheduler: str, *more: str) -> Result:
    arguments = [
        "run",
        "--input",
        source,
        "--output",
        output,
        "--weights",
        weights,
        "--scheduler",
        scheduler,
        "--threads",
        "1",
        *more,
    ]
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def _patients(folder: Path, scans: tuple[Path, Path], count: int) -> Path:
    for number in range(count):
        (folder / f"P{number}").mkdir(parents=True)
        for scan in scans:
            shutil.copy(scan, folder / f"P{number}")
    return folder


def _start(environment: dict[str, str], *command: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, *command],
        env=environment,
        cwd="/",
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


@pytest.fixture
def scheduler(tmp_path: Path) -> Iterator[str]:
    with _scheduler(tmp_path, "-m", "distributed.cli.dask_scheduler") as address:
        yield address


@contextmanager
def _scheduler(folder: Path, *command: str) -> Iterator[str]:
    file = folder / "scheduler.json"
    options = ("--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", str(file))
    process = _start(SCHEDULER, *command, *options)
    while not file.is_file() and process.poll() is None:
        time.sleep(0.05)
    with distributed.Client(scheduler_file=str(file), set_as_default=False) as client:
        address = client.scheduler.address
    yield address
    process.terminate()
    process.wait(timeout=60)


def _worker(
    scheduler: str, name: str, *more: str, environment: dict[str, str] = WORKER
) -> subprocess.Popen[bytes]:
    options = (
        *("--host", "127.0.0.1", "--nthreads", "1", "--no-nanny", "--no-dashboard"),
        *("--memory-limit", "0", "--name", name),
    )
    return _start(environment, "-m", "distributed.cli.dask_worker", scheduler, *options, *more)


def _kill_one_at_work(
    scheduler: str, workers: dict[str, subprocess.Popen[bytes]], output: Path, killed: list[str]
) -> None:
    """Kill a worker while it has a patient in work."""
    with distributed.Client(scheduler, set_as_default=False) as client:
        while not killed:
            time.sleep(0.05)
            names = {
                address: worker["name"]
                for address, worker in client.scheduler_info(n_workers=-1)["workers"].items()
            }
            busy = [
                names[address] for address, tasks in client.processing().items() if tasks and address in names
            ]
            # both workers have begun: each writes aside, in a folder of its own
            if len(busy) == len(workers) and len(list(output.glob(".writing-*"))) >= len(workers):
                workers[busy[0]].kill()
                killed.append(busy[0])


@pytest.mark.slow
def test_a_killed_worker_s_patient_is_done_by_the_other_and_every_patient_ends_once(
    scans: tuple[Path, Path], weights: Path, scheduler: str, tmp_path: Path
) -> None:
    source, output = _patients(tmp_path / "input", scans, 3), tmp_path / "output"
    workers = {name: _worker(scheduler, name) for name in ("one", "two")}
    killed: list[str] = []
    killer = threading.Thread(
        target=_kill_one_at_work, args=(scheduler, workers, output, killed), daemon=True
    )
    killer.start()
    try:
        with distributed.Client(scheduler, set_as_default=False) as client:
            client.wait_for_workers(2)
        result = _run(source, output, weights, scheduler)
        assert result.exit_code == 0, result.output
        assert len(killed) == 1
        assert workers[killed[0]].wait(timeout=60) == -signal.SIGKILL
        names = [f"P{number}" for number in range(3)]
        assert sorted(re.findall(r"^\[\d/3\] (P\d): \d+ new lesion", result.stderr, re.MULTILINE)) == names
        with (output / "summary.csv").open(newline="") as file:
            assert [(row["patient"], row["status"]) for row in csv.DictReader(file)] == [
                (name, "done") for name in names
            ]
        assert sorted(path.name for path in output.iterdir()) == [*names, "index.html", "summary.csv"]
        for name in names:
            assert record.read_record(output / name / "run.json") is not None

        again = _run(source, output, weights, scheduler)
        assert "3 of 3 patients done (3 of them before)" in again.stdout
    finally:
        for worker in workers.values():
            worker.kill()
            worker.wait(timeout=60)


def test_a_gpu_is_a_resource_of_a_worker(
    scans: tuple[Path, Path], weights: Path, scheduler: str, tmp_path: Path
) -> None:
    """With --device cuda, a patient waits for a worker that offers a GPU.

    The one that comes here only says so, and the patient fails there.
    """
    if torch.cuda.is_available():
        pytest.skip("there is a GPU: the patient would not fail")
    workers = [_worker(scheduler, "without")]
    with distributed.Client(scheduler, set_as_default=False) as client:
        client.wait_for_workers(1)
    later = threading.Timer(1, lambda: workers.append(_worker(scheduler, "with", "--resources", "GPU=1")))
    later.start()
    try:
        result = _run(
            _patients(tmp_path / "input", scans, 1),
            tmp_path / "output",
            weights,
            scheduler,
            "--device",
            "cuda",
        )
    finally:
        later.join()
        for worker in workers:
            worker.kill()
            worker.wait(timeout=60)
    assert "the cluster has no worker with the resource GPU yet; waiting for one" in result.stderr
    assert "P0: --device cuda: no CUDA device is visible" in result.stderr
    assert result.exit_code == 1


@pytest.mark.slow
def test_a_patient_that_kills_its_workers_is_reported(
    scans: tuple[Path, Path], weights: Path, scheduler: str, tmp_path: Path
) -> None:
    """Two workers die with it, one more than the scheduler was told to allow."""
    source, output = _patients(tmp_path / "input", scans, 1), tmp_path / "output"
    killed: list[str] = []

    def kill_two() -> None:
        for name in ("one", "two"):
            workers = {name: _worker(scheduler, name)}
            for worker in workers.values():
                mine: list[str] = []
                _kill_one_at_work(scheduler, workers, output, mine)
                worker.wait(timeout=60)
                shutil.rmtree(output, ignore_errors=True)
                killed.extend(mine)

    killer = threading.Thread(target=kill_two, daemon=True)
    killer.start()
    result = _run(source, output, weights, scheduler)
    killer.join(timeout=60)
    assert killed == ["one", "two"]
    assert result.exit_code == 1
    assert "P0: one worker after the other died of it" in result.stderr


@pytest.mark.parametrize("program", ["none", "another version"])
def test_a_worker_with_another_program_is_said_once(
    program: str, scans: tuple[Path, Path], weights: Path, scheduler: str, tmp_path: Path
) -> None:
    package = tmp_path / "package" / "app"
    if program == "another version":
        package.mkdir(parents=True)
        (package / "__init__.py").write_text(
            f"__version__ = '0.0.1'\n__path__ = [{str(REPOSITORY / 'app')!r}]\n"
        )
    worker = _worker(scheduler, "other", environment={**os.environ, "PYTHONPATH": str(package.parent)})
    try:
        result = _run(_patients(tmp_path / "input", scans, 2), tmp_path / "output", weights, scheduler)
    finally:
        worker.kill()
        worker.wait(timeout=60)
    assert result.exit_code == 1
    found = {"none": r"it cannot start it \(No module named 'app'\)", "another version": r"version 0\.0\.1"}
    assert re.search(
        rf"^Error: the worker at tcp://127\.0\.0\.1:\d+ has another program: {found[program]}; "
        rf"wanted app {re.escape(__version__)} in the environment that starts the workers",
        result.stderr,
        re.MULTILINE,
    )
    assert "Traceback" not in result.output
    assert len(re.findall("^Error:", result.stderr, re.MULTILINE)) == 1


def test_a_scheduler_that_cannot_read_what_it_is_sent_is_said_once(
    scans: tuple[Path, Path], weights: Path, tmp_path: Path
) -> None:
    source = _patients(tmp_path / "input", scans, 2)
    with _scheduler(tmp_path, "-c", OLD_SCHEDULER) as scheduler:
        result = _run(source, tmp_path / "output", weights, scheduler)
    assert result.exit_code == 1
    errors = re.findall("^Error:.*", result.stderr, re.MULTILINE)
    assert len(errors) == 1
    assert errors[0].startswith("Error: the Dask scheduler cannot read what it is sent: it has Python 3.")


@pytest.mark.parametrize("visits", [None, (Visit(1, "M0"), Visit(3, "M24"))])
def test_what_is_sent_arrives(visits: tuple[Visit, Visit] | None, tmp_path: Path) -> None:
    case = Case("P1_1_3", tmp_path / "a.nii", tmp_path / "b.nii", None, "P1", visits, visits is not None)
    work = cluster.Work(tmp_path / "out", tmp_path / "weights", "cpu", 2, Steps(fast=True))
    assert cluster._read_request(cluster._request(case, work)) == (case, work)


def test_without_dask_the_group_to_install_is_named(
    scans: tuple[Path, Path], weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    result = _run(_patients(tmp_path / "input", scans, 1), tmp_path / "output", weights, "tcp://127.0.0.1:1")
    assert result.exit_code == 1
    assert result.stderr == f"Error: {cluster.MISSING}\n"
    assert "pip install '.[cluster]'" in result.stderr


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:{port}", "nonsense://127.0.0.1"])
def test_a_scheduler_that_does_not_answer_is_named(
    address: str, scans: tuple[Path, Path], weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "CONNECT_S", 1)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = address.format(port=free.getsockname()[1])
        result = _run(_patients(tmp_path / "input", scans, 1), tmp_path / "output", weights, address)
    assert result.exit_code == 1
    assert re.search(
        rf"^Error: --scheduler {re.escape(address)}: no Dask scheduler answers", result.stderr, re.MULTILINE
    )


def test_jobs_are_the_workers_business(weights: Path, tmp_path: Path) -> None:
    result = _run(tmp_path, tmp_path / "output", weights, "tcp://127.0.0.1:1", "--jobs", "2")
    assert result.exit_code == 2
    assert "up to its workers" in result.stderr


# Given to a worker as it starts: the networks are not loaded, and no patient is done in earnest.
NO_WEIGHTS = """
from app.errors import InputError
from app.patients.segmenter import Segmenter
def load(*arguments):
    raise InputError("weights: no such folder")
Segmenter.load = load
"""
DONE_HERE = """
from app.patients import cohort
from app.patients.segmenter import Segmenter
Segmenter.load = lambda *arguments: None
cohort.segment_case = lambda case, *others: cohort.Outcome(case.name, None, "done here")
"""


@pytest.mark.parametrize(
    ("able", "problem"), [(True, "done here"), (False, "weights: no such folder (on every worker)")]
)
def test_a_worker_without_weights_gives_its_patients_back(
    able: bool, problem: str, weights: Path, scheduler: str, tmp_path: Path
) -> None:
    """Each of two workers is given some of six patients; if one of them has weights, it does all."""
    loaded = []
    for name, text in (("one", NO_WEIGHTS), ("two", DONE_HERE if able else NO_WEIGHTS)):
        (tmp_path / f"{name}.py").write_text(text)
        loaded.append(_worker(scheduler, name, "--preload", str(tmp_path / f"{name}.py")))
    cases = [Case(f"P{number}", tmp_path / "a.nii", tmp_path / "b.nii") for number in range(6)]
    try:
        with distributed.Client(scheduler, set_as_default=False) as client:
            client.wait_for_workers(2)
        work = cluster.Work(tmp_path / "output", weights, "cpu", 1, Steps())
        outcomes = list(cluster.on_workers(cases, work, scheduler))
    finally:
        for worker in loaded:
            worker.kill()
            worker.wait(timeout=60)
    assert sorted((one.patient, one.problem) for one in outcomes) == [(case.name, problem) for case in cases]
