"""Seconds and memory of one call."""

import ctypes
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MIB = 2**20


@dataclass(frozen=True)
class Cost:
    """What a call took. On a machine with other work the processor's seconds say more than the clock's."""

    wall_s: float
    cpu_s: float  # of all threads
    above_mib: float  # the process's peak, above what it held before; of the GPU where the call ran on one


def cost(call: Callable[[], object], device: str = "cpu", warm: bool = False) -> Cost:
    """Call once and measure.

    `warm`: freed buffers stay at hand, as in the middle of a run; the memory then means nothing on a CPU.
    """
    if device == "cuda":
        import torch

        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
    else:
        if not warm:
            ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from here
        before = peak_bytes()
    wall, cpu = time.perf_counter(), time.process_time()
    call()
    if device == "cuda":
        torch.cuda.synchronize()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    peak = torch.cuda.max_memory_allocated() if device == "cuda" else peak_bytes()
    return Cost(wall, cpu, (peak - before) / MIB)


def peak_bytes() -> int:
    """The most memory this process has held since its start, or since its peak was cleared."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


class Worker:
    """A process that measures when it is told to, so that several methods take turns on one machine, each
    with memory of its own.
    """

    def __init__(self, module: str, arguments: Sequence[str], environment: Mapping[str, str]) -> None:
        self.name = " ".join([module, *arguments])
        ours, theirs = socket.socketpair()
        command = [sys.executable, "-m", module, *arguments]
        with theirs:
            self.process = subprocess.Popen(
                command, stdin=theirs.fileno(), stdout=sys.stderr.fileno(), env={**os.environ, **environment}
            )
        self.line = ours.makefile("rw", buffering=1)
        self.answer()  # it has loaded what it needs

    def __call__(self) -> dict[str, Any]:
        self.line.write("go\n")
        return self.answer()

    def stop(self) -> None:
        self.line.close()
        self.process.terminate()
        self.process.wait()

    def answer(self) -> dict[str, Any]:
        line = self.line.readline()
        if not line:
            raise RuntimeError(f"{self.name}: ended with {self.process.wait()}")
        answer: dict[str, Any] = json.loads(line)
        return answer


def answer_when_asked(call: Callable[[], dict[str, Any]]) -> None:
    """The other side of a Worker: one line of JSON when ready, and one for each line read.

    Standard input is a socket to the parent.
    """
    with socket.socket(fileno=0) as parent, parent.makefile("rw", buffering=1) as line:
        line.write("{}\n")
        for _ in line:
            line.write(json.dumps(call()) + "\n")


def heading() -> str:
    """'2026-11-24, commit 0123abc, 2 CPUs (AMD EPYC), load 1.2, no GPU, torch 2.13.0'."""
    import torch

    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    ).stdout.strip()
    models = [
        line.split(":")[1].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    gpu = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ", no GPU"
    cpus = f"{len(os.sched_getaffinity(0))} CPUs ({models[0]}), load {os.getloadavg()[0]:.1f}"
    return (
        f"{time.strftime('%Y-%m-%d', time.gmtime())}, commit {commit or 'unknown'}, {cpus}{gpu}, "
        f"torch {torch.__version__}"
    )
