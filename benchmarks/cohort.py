"""What do patients side by side gain over one after the other, and does memory grow with the cohort?

    python -m benchmarks.cohort

Made-up patients in 3-mm voxels and an untrained network on a 3-mm grid, one thread a patient. Seconds are of
whole commands, with their start. Memory is the peak of each process; of two processes, the sum.
"""

import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from app import phantom
from app.images import storage
from benchmarks import stand_in


@dataclass(frozen=True)
class Way:
    """How a cohort is done."""

    name: str
    patients: int  # of each process
    jobs: int
    processes: int = 1


WAYS = (
    Way("one after the other", 4, 1),
    Way("two threads", 4, 2),
    Way("two processes", 2, 1, processes=2),
    Way("two threads, 12 patients", 12, 2),
)


def main() -> None:
    with TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "weights").mkdir()
        weights = stand_in.write_weights(folder / "weights")
        patient = phantom.make_phantom(spacing_mm=3.0)
        storage.write(patient.baseline, folder / "time01.nii.gz")
        storage.write(patient.followup, folder / "time02.nii.gz")
        print(
            "| way | patients | wall s a patient | CPU s a patient | peak memory MiB |\n|---|---|---|---|---|"
        )
        for number, way in enumerate(WAYS):
            sources = [
                _cohort(folder, folder / f"in{number}-{process}", way.patients)
                for process in range(way.processes)
            ]
            started = time.perf_counter()
            running = [_start(source, folder / f"out-{source.name}", weights, way.jobs) for source in sources]
            ended = [os.wait4(process.pid, 0) for process in running]
            wall_s = time.perf_counter() - started
            if any(status for _, status, _ in ended):
                sys.exit(f"{way.name}: a run failed")
            count = way.patients * way.processes
            cpu_s = sum(usage.ru_utime + usage.ru_stime for *_, usage in ended)
            peak_mib = sum(usage.ru_maxrss for *_, usage in ended) / 1024
            print(
                f"| {way.name} | {count} | {wall_s / count:.1f} | {cpu_s / count:.1f} | {peak_mib:.0f} |",
                flush=True,
            )


def _cohort(scans: Path, folder: Path, patients: int) -> Path:
    for number in range(patients):
        (folder / f"P{number:02}").mkdir(parents=True)
        for scan in scans.glob("time*.nii.gz"):
            shutil.copy(scan, folder / f"P{number:02}")
    return folder


def _start(source: Path, output: Path, weights: Path, jobs: int) -> subprocess.Popen[bytes]:
    places = ["--input", source, "--output", output, "--weights", weights]
    command = ["run", *places, "--jobs", jobs, "--threads", 1, "--device", "cpu"]
    return subprocess.Popen(
        [sys.executable, "-m", "app", *map(str, command)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


if __name__ == "__main__":
    main()
