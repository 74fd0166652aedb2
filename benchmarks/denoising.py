"""How fast is the denoiser, and how much memory does it take?

    python -m benchmarks.denoising [--data DIR]

A raw scan of the open data, and a 256 x 256 x 176 head of our own making (Rician noise of sigma 5 on shells
of 60 to 120). The search reaches +-3 voxels, on 1 and on 2 threads, each in a process of its own. The factor
is against animaNLMeans -n 3: 28 s for 320 x 320 x 36 voxels on one thread (docs/method.md, 5). Wall-clock
seconds mean something only on an idle machine. So the processor's seconds stand beside them, with the factor
that they would give if all threads ran at once without waiting, and the load when the run began. Memory is
the peak above the scan itself.
"""

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch

from app.arrays import Array
from app.images import grids, storage
from app.method.denoising import denoise
from benchmarks import open_data

ANIMA_SECONDS_PER_MEGAVOXEL = 28 / (320 * 320 * 36 / 1e6)
SCAN, HEAD = "01/study1", "head"
HEADINGS = (
    "scan",
    "threads",
    "s",
    "s a megavoxel",
    "times as fast as Anima",
    "CPU s a megavoxel",
    "so idle, times as fast",
    "peak memory in scans",
    "load",
)


def main() -> None:
    parser = open_data.command_line(__doc__)
    parser.add_argument("--scan", help=argparse.SUPPRESS)  # a process of this benchmark
    parser.add_argument("--threads", type=int, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.scan:
        measure(chosen.scan, chosen.threads)
        return
    print("|", " | ".join(HEADINGS), "|\n|" + "---|" * len(HEADINGS), flush=True)
    for scan in (str(open_data.raw_scan(chosen.data, SCAN)), HEAD):
        for threads in (1, 2):
            options = ["--scan", scan, "--threads", str(threads)]
            subprocess.run([sys.executable, "-m", "benchmarks.denoising", *options], check=True)


def measure(name: str, threads: int) -> None:
    """Print one row of the table."""
    torch.set_num_threads(threads)
    scan = _head() if name == HEAD else grids.array(storage.read(Path(name)))
    denoise(np.arange(64, dtype=np.float32).reshape(4, 4, 4))  # libraries are loaded
    load = os.getloadavg()[0]
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from here
    before = _kilobytes("VmHWM")
    wall, cpu = time.perf_counter(), time.process_time()
    denoise(scan)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    memory = (_kilobytes("VmHWM") - before) * 1024 / scan.nbytes
    megavoxels = scan.size / 1e6
    shape = " x ".join(map(str, scan.shape))
    factor = ANIMA_SECONDS_PER_MEGAVOXEL * megavoxels / wall
    idle_factor = ANIMA_SECONDS_PER_MEGAVOXEL * megavoxels / cpu * threads
    cells = (
        shape,
        str(threads),
        f"{wall:.1f}",
        f"{wall / megavoxels:.2f}",
        f"{factor:.1f}",
        f"{cpu / megavoxels:.2f}",
        f"{idle_factor:.1f}",
        f"{memory:.2f}",
        f"{load:.1f}",
    )
    print("|", " | ".join(cells), "|", flush=True)


def _kilobytes(field: str) -> int:
    """A line of /proc/self/status."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field))


def _head() -> Array:
    """(176, 256, 256): grey and white shells in the dark, with the noise of a magnitude image."""
    rng = np.random.default_rng(0)
    z, y, x = np.ogrid[-1:1:176j, -1:1:256j, -1:1:256j]
    radius = np.sqrt(z * z + y * y + x * x, dtype=np.float32)
    truth = np.select([radius < 0.5, radius < 0.7, radius < 0.8], [90, 120, 60], 0)
    return np.hypot(truth + rng.normal(0, 5, truth.shape), rng.normal(0, 5, truth.shape)).astype(np.float32)


if __name__ == "__main__":
    main()
