"""What of this machine may be used: the device, and how many threads."""

import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import InputError

if TYPE_CHECKING:  # torch takes seconds to import, and counting CPUs does not need it
    import torch

if sys.platform != "win32":
    import resource

logger = logging.getLogger(__name__)


def choose_device(name: str) -> "torch.device":
    """'auto' (CUDA where there is one), 'cpu', 'cuda' or 'mps' (a Mac's GPU); says in the log which it is.

    Raises InputError if a GPU is asked for and absent: the CPU never takes its place unasked.
    """
    import torch

    if name == "cuda" and not torch.cuda.is_available():
        found = (
            "no CUDA device is visible"
            if torch.version.cuda
            else "no CUDA device is visible to this torch, which is built for the CPU alone"
        )
        raise InputError(f"--device cuda: {found}; wanted one (docker run --gpus all), or --device auto")
    if name == "mps" and not torch.backends.mps.is_available():
        raise InputError("--device mps: no GPU of a Mac is visible to torch; wanted one, or --device auto")
    # `auto` leaves a Mac's GPU alone: nobody has measured it
    kind = "mps" if name == "mps" else "cuda" if name != "cpu" and torch.cuda.is_available() else "cpu"
    device = torch.device(kind)
    if kind == "cuda":
        name = torch.cuda.get_device_name(device)
    else:
        name = "CPU" if kind == "cpu" else "GPU of this Mac"
    logger.info("device: %s; CPU threads: %d", name, torch.get_num_threads())
    return device


def use_threads(count: int | None) -> int:
    """Let torch and ITK use so many threads, by default all this process may use; returns how many."""
    import SimpleITK as sitk
    import torch

    allowed = available_cpus()
    used = min(count, allowed) if count else allowed
    torch.set_num_threads(used)
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(used)
    return used


def available_cpus(cgroups: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")) -> int:
    """CPUs this process may use: its affinity, or the smallest CPU quota of its control group and those above
    it, rounded down; at least 1.

    `own` names the process's groups (man 7 cgroups). A container may see its group as the root of `cgroups`,
    or not see the groups above: what is not there sets no limit.
    """
    if sys.platform != "linux":
        return os.cpu_count() or 1
    cpus = len(os.sched_getaffinity(0))
    for version, group in _control_groups("cpu", cgroups, own):
        cpus = min(cpus, (_quota_v2 if version == 2 else _quota_v1)(group) or cpus)
    return cpus


def available_memory(cgroups: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")) -> int:
    """Bytes that this process may still take: what the system has to give, the limits of its control groups
    (as for CPUs), and `ulimit -v`.
    """
    if sys.platform != "linux":
        return sys.maxsize
    fields = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
    available = int(fields["MemAvailable"].split()[0]) * 1024
    for version, group in _control_groups("memory", cgroups, own):
        file = group / ("memory.max" if version == 2 else "memory.limit_in_bytes")
        limit = file.read_text().strip() if file.is_file() else "max"
        available = available if limit == "max" else min(available, int(limit))
    most, _ = resource.getrlimit(resource.RLIMIT_AS)
    if most != resource.RLIM_INFINITY:
        taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        available = min(available, most - taken)
    return max(available, 0)


def _control_groups(controller: str, cgroups: Path, own: Path) -> Iterator[tuple[int, Path]]:
    """Version and folder of this process's groups of a controller, and of those above them."""
    for line in own.read_text().splitlines() if own.is_file() else ():
        _, controllers, path = line.split(":", 2)
        if controllers == "":  # version 2, alone or beside version 1
            version, roots = 2, (cgroups, cgroups / "unified")
        elif controller in controllers.split(","):
            version, roots = 1, (cgroups / controller, cgroups / controllers)
        else:
            continue
        for root in roots:
            group = root / path.lstrip("/")
            for folder in (group, *group.parents):
                if folder.is_relative_to(root):
                    yield version, folder


def _quota_v2(folder: Path) -> int | None:
    """Whole CPUs, at least 1; None: no limit."""
    file = folder / "cpu.max"
    quota, period = file.read_text().split() if file.is_file() else ("max", "")
    return None if quota == "max" else max(1, int(quota) // int(period))


def _quota_v1(folder: Path) -> int | None:
    """Whole CPUs, at least 1; None: no limit."""
    file = folder / "cpu.cfs_quota_us"
    quota = int(file.read_text()) if file.is_file() else -1
    return None if quota == -1 else max(1, quota // int((folder / "cpu.cfs_period_us").read_text()))
