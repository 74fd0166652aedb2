import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from app import machine
from app.errors import InputError
from app.method import predictor

ALL = len(os.sched_getaffinity(0))
V2, V1 = "0::", "3:cpuset:/elsewhere\n1:cpu,cpuacct:"


def _cpus(tmp_path: Path, own: str, files: dict[str, str]) -> int:
    """CPUs allowed to a process of the groups `own`, with these files below /sys/fs/cgroup."""
    (tmp_path / "own").write_text(own + "\n")
    for name, content in files.items():
        file = tmp_path / "cgroup" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content + "\n")
    return machine.available_cpus(tmp_path / "cgroup", tmp_path / "own")


def test_without_a_control_group_the_affinity_counts(tmp_path: Path) -> None:
    assert machine.available_cpus(tmp_path, tmp_path / "missing") == ALL
    assert _cpus(tmp_path, f"{V2}/", {}) == ALL


# 0.5 and 1.5 CPUs are rounded down, but not to 0; more than there are is no limit
@pytest.mark.parametrize(
    ("content", "cpus"),
    [
        ("max 100000", ALL),
        ("100000 100000", 1),
        ("50000 100000", 1),
        ("150000 100000", 1),
        ("9900000 100000", ALL),
    ],
)
def test_cgroup_v2(tmp_path: Path, content: str, cpus: int) -> None:
    assert _cpus(tmp_path, f"{V2}/", {"cpu.max": content}) == cpus


@pytest.mark.parametrize(("quota", "cpus"), [("-1", ALL), ("100000", 1), ("150000", 1), ("9900000", ALL)])
@pytest.mark.parametrize("mount", ["cpu", "cpu,cpuacct"])
def test_cgroup_v1(tmp_path: Path, quota: str, cpus: int, mount: str) -> None:
    assert (
        _cpus(
            tmp_path, f"{V1}/", {f"{mount}/cpu.cfs_quota_us": quota, f"{mount}/cpu.cfs_period_us": "100000"}
        )
        == cpus
    )


@pytest.mark.parametrize("limited", ["jobs/one", "jobs", "."])
def test_the_smallest_quota_from_the_own_group_up_to_the_root_counts(tmp_path: Path, limited: str) -> None:
    unlimited = {f"{folder}/cpu.max": "max 100000" for folder in (".", "jobs", "jobs/one")}
    assert _cpus(tmp_path, f"{V2}/jobs/one", unlimited) == ALL
    assert _cpus(tmp_path, f"{V2}/jobs/one", unlimited | {f"{limited}/cpu.max": "100000 100000"}) == 1


def test_other_groups_set_no_limit(tmp_path: Path) -> None:
    assert _cpus(tmp_path, f"{V2}/jobs/one", {"jobs/two/cpu.max": "100000 100000"}) == ALL


def test_a_container_sees_its_group_as_the_root_whatever_its_name_outside(tmp_path: Path) -> None:
    assert (
        _cpus(
            tmp_path,
            f"{V1}/docker/0123",
            {"cpu/cpu.cfs_quota_us": "100000", "cpu/cpu.cfs_period_us": "100000"},
        )
        == 1
    )
    assert _cpus(tmp_path, f"{V2}/../../docker/0123", {"cpu.max": "100000 100000"}) == 1


def test_the_real_control_groups_can_be_read() -> None:
    assert 1 <= machine.available_cpus() <= ALL


def test_numpy_s_blas_starts_no_threads_of_its_own() -> None:
    """One for each CPU of the host would break a quota, and a limit of processes; ours are torch's, ITK's."""
    code = """if True:
        import runpy, sys
        from pathlib import Path
        sys.argv = ["app", "--help"]
        try:
            runpy.run_module("app", run_name="__main__")
        except SystemExit:
            import numpy, scipy.linalg
            print(Path("/proc/self/status").read_text())
    """
    environment = {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")} | {
        "GLIBC_TUNABLES": ""
    }
    said = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    ).stdout
    assert "\nThreads:\t1\n" in said


def test_threads_are_limited_by_what_is_allowed() -> None:
    before = torch.get_num_threads()
    try:
        assert machine.use_threads(1) == 1
        assert torch.get_num_threads() == 1
        assert machine.use_threads(10_000) == machine.available_cpus()
    finally:
        machine.use_threads(before)


@pytest.mark.skipif(torch.cuda.is_available(), reason="a CUDA device is there")
def test_cuda_that_is_absent_is_refused() -> None:
    with pytest.raises(InputError, match="no CUDA device is visible"):
        machine.choose_device("cuda")


def test_a_mac_s_gpu_that_is_absent_is_refused() -> None:
    with pytest.raises(InputError, match="no GPU of a Mac is visible"):
        machine.choose_device("mps")


def test_a_mac_s_gpu_is_taken_where_it_is_asked_for(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """`auto` does not take it. No Mac was at hand: that the networks run there is not tested."""
    caplog.set_level("INFO", "app.machine")
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert machine.choose_device("auto") == torch.device("cpu")
    assert machine.choose_device("mps") == torch.device("mps")
    assert caplog.messages[-1].startswith("device: GPU of this Mac; ")
    assert not predictor.has_fast_bfloat16(torch.device("mps"))


@pytest.mark.parametrize(
    "name",
    [
        "auto",
        "cpu",
        pytest.param(
            "cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
        ),
    ],
)
def test_the_device_that_is_taken_is_said(name: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "app.machine")
    device = machine.choose_device(name)
    assert device == torch.device("cuda" if torch.cuda.is_available() and name != "cpu" else "cpu")
    named = "CPU" if device.type == "cpu" else torch.cuda.get_device_name(0)
    assert caplog.messages == [f"device: {named}; CPU threads: {torch.get_num_threads()}"]


@pytest.mark.parametrize(
    ("own", "file"), [(f"{V2}/job", "job/memory.max"), ("4:memory:/job", "memory/job/memory.limit_in_bytes")]
)
def test_a_group_s_limit_of_memory_counts(own: str, file: str, tmp_path: Path) -> None:
    (tmp_path / "own").write_text(own + "\n")
    limit = tmp_path / "cgroup" / file
    limit.parent.mkdir(parents=True)
    limit.write_text("1048576\n")
    assert machine.available_memory(tmp_path / "cgroup", tmp_path / "own") == 2**20
    limit.unlink()
    assert machine.available_memory(tmp_path / "cgroup", tmp_path / "own") > 2**20


def test_ulimit_counts() -> None:
    code = (
        "import resource; resource.setrlimit(resource.RLIMIT_AS, (2**30, 2**30)); from app "
        "import machine; print(machine.available_memory())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 0 < int(done.stdout) < 2**30
