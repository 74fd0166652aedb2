"""How large is the image, how soon does it start, and what does one patient take in it?

`make image-test` builds it first.
"""

import json
import re
import shutil
import statistics
import tempfile
import time
from pathlib import Path

from benchmarks import open_data
from benchmarks.engine import IMAGE, Engine, folder_of_the_caller

FIRST_OF_OURS = "apt-get install"  # the final stage's first layer; those below it are the base image's
SIZE = re.compile(r"([0-9.]+) ?(B|kB|MB|GB)")
MEGABYTES = {"B": 1e-6, "kB": 1e-3, "MB": 1, "GB": 1e3}
# run by the image's Python: the command itself, then its peak memory
MEASURE = """
import json, resource, subprocess, sys, time
start = time.perf_counter()
subprocess.run(["ms-new-lesions", "-v", "run"], check=True)
seconds = time.perf_counter() - start
print(json.dumps([seconds, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024]))
"""


def layers(engine: Engine) -> list[tuple[float, str]]:
    """MB and command of each layer of ours, last first."""
    rows = []
    for line in engine.call(
        "history", "--no-trunc", "--format={{.Size}}\t{{.CreatedBy}}", IMAGE
    ).stdout.splitlines():
        size, command = line.split("\t", 1)
        number, unit = SIZE.fullmatch(size).groups()  # type: ignore[union-attr]
        rows.append((float(number) * MEGABYTES[unit], command))
        if FIRST_OF_OURS in command:
            break
    return [(megabytes, command) for megabytes, command in rows if megabytes > 0]


def median_seconds(engine: Engine, *arguments: str, options: tuple[str, ...] = ()) -> float:
    """Of five containers, from start to end."""
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        if engine.run(*arguments, options=options).returncode != 0:
            raise RuntimeError(f"{arguments}: failed")
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def one_patient(engine: Engine, data: Path) -> tuple[float, float]:
    """Seconds and peak MiB of a run (contract A) on the raw scans of patient 01, with 4 GB of memory and no
    network.
    """
    with tempfile.TemporaryDirectory() as name:
        scans, output = Path(name) / "in", folder_of_the_caller(Path(name) / "out")
        scans.mkdir()
        for time_point in (1, 2):
            shutil.copy(
                open_data.raw_scan(data, f"01/study{time_point}"), scans / f"flair_time0{time_point}.nii.gz"
            )
        ran = engine.run(
            "-c",
            MEASURE,
            options=("--entrypoint=/opt/venv/bin/python", f"-v={scans}:/input:ro", f"-v={output}:/output"),
        )
    print(ran.stderr)
    if ran.returncode != 0:
        raise RuntimeError("the run failed")
    seconds, mebibytes = json.loads(ran.stdout.splitlines()[-1])
    return seconds, mebibytes


def main() -> None:
    data = open_data.command_line(__doc__).parse_args().data
    engine = Engine.find()
    ours = layers(engine)
    print("| MB | layer |\n|---|---|")
    for megabytes, command in ours:
        print(f"| {megabytes:.1f} | {command[:90]} |")
    print(f"| {sum(megabytes for megabytes, _ in ours):.0f} | all of ours, without the base image |")
    print(f"\n--help: {median_seconds(engine, '--help'):.2f} s; a container that does nothing: ", end="")
    print(f"{median_seconds(engine, options=('--entrypoint=/bin/true',)):.2f} s (medians of 5)")
    seconds, mebibytes = one_patient(engine, data)
    print(f"patient 01, raw scans: {seconds:.0f} s, peak memory {mebibytes:.0f} MiB")


if __name__ == "__main__":
    main()
