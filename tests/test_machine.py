import os
from pathlib import Path

import pytest
import torch

from app import machine
from app.errors import InputError

ALL = len(os.sched_getaffinity(0))


def test_without_a_quota_the_affinity_counts(tmp_path: Path) -> None:
    assert machine.available_cpus(tmp_path) == ALL


@pytest.mark.parametrize(("content", "cpus"), [("max 100000", ALL), ("100000 100000", 1), ("50000 100000", 1), ("9900000 100000", ALL)])
def test_cgroup_v2(tmp_path: Path, content: str, cpus: int) -> None:
    (tmp_path / "cpu.max").write_text(content + "\n")
    assert machine.available_cpus(tmp_path) == cpus


@pytest.mark.parametrize(("quota", "cpus"), [("-1", ALL), ("100000", 1)])
def test_cgroup_v1(tmp_path: Path, quota: str, cpus: int) -> None:
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text(quota + "\n")
    (tmp_path / "cpu" / "cpu.cfs_period_us").write_text("100000\n")
    assert machine.available_cpus(tmp_path) == cpus


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
    assert machine.choose_device("auto") == torch.device("cpu")
