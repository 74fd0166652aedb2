"""What of this machine may be used: the device, and how many threads."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from app.errors import InputError

if TYPE_CHECKING:  # torch takes seconds to import, and counting CPUs does not need it
    import torch


def choose_device(name: str) -> "torch.device":
    """'auto' (CUDA where there is one), 'cpu' or 'cuda'. Raises InputError if CUDA is asked for and absent."""
    import torch

    if name == "cuda" and not torch.cuda.is_available():
        raise InputError("--device cuda: no CUDA device is visible; wanted one (docker run --gpus all), or --device auto")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


def use_threads(count: int | None) -> int:
    """Let torch and ITK use so many threads, by default all this process may use; returns how many."""
    import SimpleITK as sitk
    import torch

    allowed = available_cpus()
    used = min(count, allowed) if count else allowed
    torch.set_num_threads(used)
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(used)
    return used


def available_cpus(cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """CPUs this process may use: its affinity, or the container's quota (cgroup v2, v1) where that is less; at least 1."""
    cpus = len(os.sched_getaffinity(0))
    v2, v1 = cgroup / "cpu.max", cgroup / "cpu"
    if v2.is_file():
        quota, period = v2.read_text().split()
    elif (v1 / "cpu.cfs_quota_us").is_file():
        quota, period = (v1 / "cpu.cfs_quota_us").read_text().strip(), (v1 / "cpu.cfs_period_us").read_text().strip()
    else:
        return cpus
    if quota in ("max", "-1"):
        return cpus
    return max(1, min(cpus, int(quota) // int(period)))
