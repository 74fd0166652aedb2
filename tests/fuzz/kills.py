"""A cohort killed at random instants: what lies in its output is whole, and nothing lies elsewhere."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from app import phantom
from app.cli.options import WEIGHTS
from app.config import Config, NetworkConfig, PreprocessConfig, WindowConfig
from app.files import PREFIX
from app.images import storage
from app.method import checkpoint
from app.method.model import UNet3D

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
RESULTS = (
    "new_lesions.nii.gz",
    "probability.nii.gz",
    "lesions.csv",
    "lesions.json",
)  # the same bytes every time
SPACING_MM = 4.0


def many(kills: int, first: int, folder: Path) -> list[str]:
    """What was wrong after so many kills, and at the end, when the cohort was left to finish."""
    scans, weights, output = folder / "scans", folder / "weights", folder / "output"
    _write(scans, weights)
    before = _bytes(scans)
    whole, seconds = _undisturbed(scans, weights, folder)
    rng = np.random.default_rng(first)
    wrong: list[str] = []
    for kill in range(kills):
        temporary = folder / "temporary"
        temporary.mkdir()
        number = SIGNALS[kill % len(SIGNALS)]
        wait = float(rng.uniform(0, 1.1 * seconds))
        process = _start(scans, weights, output, temporary)
        try:
            process.wait(wait)
        except subprocess.TimeoutExpired:
            process.send_signal(number)
            process.wait()
        words = f"kill {kill}, {number.name} after {wait:.2f} s"
        if number != signal.SIGKILL and any(temporary.iterdir()):
            wrong.append(
                f"{words}: left in the temporary folder: {[path.name for path in temporary.iterdir()]}"
            )
        shutil.rmtree(temporary)
        if _bytes(scans) != before:
            return [*wrong, f"{words}: the scans are not what they were"]
        wrong += [f"{words}: {problem}" for problem in _broken(output, whole)]
        if (output / "summary.csv").is_file():  # it had finished: begin again
            shutil.rmtree(output)
    again = subprocess.run(_command(scans, weights, output), check=False, capture_output=True, text=True)
    if again.returncode or _results(output) != whole or list(output.rglob(f"{PREFIX}*")):
        wrong.append(f"the cohort did not finish as without kills: {again.stderr[-500:]}")
    return wrong


def _write(scans: Path, weights: Path) -> None:
    """Two patients in coarse voxels, the shipped brain network, and an untrained one for lesions."""
    for name, seed in (("01", 0), ("02", 1)):
        patient = phantom.make_phantom(seed, SPACING_MM)
        storage.write(patient.baseline, scans / name / "time01.nii.gz")
        storage.write(patient.followup, scans / name / "time02.nii.gz")
    config = Config(
        network=NetworkConfig(features=8, levels=1),
        preprocess=PreprocessConfig(spacing_mm=SPACING_MM),
        windows=WindowConfig(side=32, overlap=0.25),
    )
    checkpoint.save(checkpoint.lesion_network(weights, 1), UNet3D(config.network), config, {})
    brain = weights / checkpoint.BRAIN_NETWORK
    shutil.copy(WEIGHTS / checkpoint.BRAIN_NETWORK, brain)
    with (weights / checkpoint.SUMS).open("a") as sums:
        sums.write(f"{checkpoint.sha256(brain)}  {brain.name}\n")


def _undisturbed(scans: Path, weights: Path, folder: Path) -> tuple[dict[str, bytes], float]:
    """The results without a kill, and how many seconds they took."""
    started = time.monotonic()
    subprocess.run(_command(scans, weights, folder / "whole"), check=True, capture_output=True)
    return _results(folder / "whole"), time.monotonic() - started


def _command(scans: Path, weights: Path, output: Path) -> list[str]:
    paths = {"--input": scans, "--output": output, "--weights": weights}
    return [
        sys.executable,
        "-m",
        "app",
        "run",
        "--threads",
        "1",
        *[str(word) for pair in paths.items() for word in pair],
    ]


def _start(scans: Path, weights: Path, output: Path, temporary: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        _command(scans, weights, output),
        env={**os.environ, "TMPDIR": str(temporary)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def _results(output: Path) -> dict[str, bytes]:
    """{place: content} of what must be the same every time, whatever lies aside."""
    return {place: content for place, content in _bytes(output).items() if Path(place).name in RESULTS}


def _broken(output: Path, whole: dict[str, bytes]) -> list[str]:
    """What lies under a result's name and is not that result; records of patients without their results."""
    found = _results(output)
    problems = [f"{place} is not whole" for place, content in found.items() if content != whole.get(place)]
    for record in output.glob("*/run.json"):
        missing = [
            place for place in whole if place.startswith(f"{record.parent.name}/") and place not in found
        ]
        problems += [f"a record, but no {place}" for place in missing]
    return problems


def _bytes(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not any(part.startswith(PREFIX) for part in path.relative_to(folder).parts)
    }
