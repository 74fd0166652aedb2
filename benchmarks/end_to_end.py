"""From two files to a mask: seconds of each step, memory, many patients against one, and how soon `--help`
answers.

    python -m benchmarks.end_to_end [--data DIR]

Pair 01 of the open data as it came from the scanner, and a made-up pair of 1 mm and 256 x 256 x 176 voxels,
each by `python -m app segment` in a process of its own. The folders of 1, 10 and 20 patients hold one made-up
slab of 60 mm under other names, so that they take minutes. CPU seconds are those of all threads.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import TypeVar

import SimpleITK as sitk

from app import phantom
from app.images import grids, storage
from benchmarks import open_data
from benchmarks.measuring import MIB, heading

SLAB_MM = 60
Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Ended:
    """What a finished process used."""

    wall_s: float
    cpu_s: float
    peak_mib: float


def main() -> None:
    parser = open_data.command_line(__doc__)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--patients", type=int, nargs="*", default=[1, 10, 20])
    arguments = parser.parse_args()
    threads = ["--threads", str(arguments.threads)]
    print(f"{heading()}, {arguments.threads} threads\n")

    answers = [app("--help") for _ in range(5)]
    wall_s, cpu_s = (
        statistics.median(getattr(answer, name) for answer in answers) for name in ("wall_s", "cpu_s")
    )
    print(f"`--help`: {wall_s:.2f} s, of CPU {cpu_s:.2f} s, median of 5\n")

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pairs = {
            "pair 01": [open_data.raw_scan(arguments.data, f"01/study{number}") for number in (1, 2)],
            "1 mm": apart(write_pair, folder),
        }
        rows = {title: segment(pair, folder, threads) for title, pair in pairs.items()}
        steps = list(dict.fromkeys(step for seconds, _ in rows.values() for step in seconds))
        print(
            "| pair | "
            + " | ".join(steps)
            + " | start to end, s | CPU, s | peak memory, MiB |\n|"
            + "---|" * (len(steps) + 4)
        )
        for title, (seconds, ended) in rows.items():
            shares = " | ".join(f"{seconds[step]:.1f}" for step in steps)
            print(
                f"| {title} | {shares} | {ended.wall_s:.1f} | {ended.cpu_s:.1f} | {ended.peak_mib:.0f} |",
                flush=True,
            )

        print("\n| patients | s a patient | CPU s a patient | peak memory, MiB |\n|---|---|---|---|")
        slab = [apart(cut, path) for path in pairs["1 mm"]]
        for count in arguments.patients:
            ended = run(slab, count, folder, threads)
            print(
                f"| {count} | {ended.wall_s / count:.1f} | {ended.cpu_s / count:.1f} | "
                f"{ended.peak_mib:.0f} |",
                flush=True,
            )


def app(*arguments: str) -> Ended:
    """`python -m app`, to its end. Raises RuntimeError if it fails."""
    started = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "app", *arguments], stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    if status:
        raise RuntimeError(
            f"python -m app {' '.join(arguments)}: ended with {os.waitstatus_to_exitcode(status)}"
        )
    return Ended(time.perf_counter() - started, used.ru_utime + used.ru_stime, used.ru_maxrss * 1024 / MIB)


def segment(scans: list[Path], folder: Path, threads: list[str]) -> tuple[dict[str, float], Ended]:
    """Seconds of each step as the program notes them, and what the process used."""
    outputs = {
        option: folder / name
        for option, name in (("-o", "mask.nii.gz"), ("--report", "report.html"), ("--record", "run.json"))
    }
    ended = app(
        "segment",
        "-t1",
        str(scans[0]),
        "-t2",
        str(scans[1]),
        *threads,
        *(str(word) for pair in outputs.items() for word in pair),
    )
    seconds: dict[str, float] = json.loads(outputs["--record"].read_text())["seconds"]
    return seconds, ended


def run(pair: list[Path], count: int, folder: Path, threads: list[str]) -> Ended:
    """So many patients, all alike, in one process."""
    patients, results = folder / f"patients{count}", folder / f"results{count}"
    for number in range(count):
        patient = patients / f"{number:02d}"
        patient.mkdir(parents=True)
        for path, time_point in zip(pair, ("time01", "time02"), strict=True):
            (patient / f"flair_{time_point}.nii.gz").symlink_to(path)
    return app("run", "--input", str(patients), "--output", str(results), *threads)


def apart(call: Callable[[Path], Answer], argument: Path) -> Answer:
    """Call in a process of its own: the peak of a program started here begins at what this process holds."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(call, argument).result()


def write_pair(folder: Path) -> list[Path]:
    """A made-up baseline and follow-up of 1 mm, 256 x 256 sagittal by 176, half a voxel apart: scans on one
    grid would not be aligned.
    """
    patient = phantom.make_phantom()
    missing = [
        wanted - side for wanted, side in zip((176, 256, 256), patient.followup.GetSize(), strict=True)
    ]
    before = [side // 2 for side in missing]
    followup = sitk.ConstantPad(
        patient.followup, before, [side - low for side, low in zip(missing, before, strict=True)]
    )
    elsewhere = sitk.Image(followup)
    elsewhere.SetOrigin([origin + 0.5 for origin in followup.GetOrigin()])
    scans = {"baseline.nii.gz": grids.resample(patient.baseline, elsewhere), "followup.nii.gz": followup}
    for name, scan in scans.items():
        storage.write(scan, folder / name)
    return [folder / name for name in scans]


def cut(path: Path) -> Path:
    """A slab of the middle of a scan, beside it."""
    scan = storage.read(path)
    middle = scan.GetSize()[2] // 2
    slab = path.parent / f"slab_{path.name}"
    storage.write(scan[:, :, middle - SLAB_MM // 2 : middle + SLAB_MM // 2], slab)
    return slab


if __name__ == "__main__":
    main()
