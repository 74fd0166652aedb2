"""Everything that needs an NVIDIA GPU, in one command: driver, tests, the GPU rows of the benchmarks.

    make gpu-check PAIR=runs/pair01 PREPARED=runs/prepared

PAIR is a folder of `python -m app prepare`, PREPARED one of training.prepare. What cannot be run is printed,
with the reason, and the exit code is 1.
"""

import argparse
import importlib.util
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import torch

OLDEST_DRIVER = 580  # of CUDA 13, which torch 2.13 and newer bring (README.md)
GPU_TESTS = (
    "tests/method/test_denoising.py",
    "tests/method/test_predictor.py",
    "tests/test_machine.py",
    "tests/training/test_train.py",
)


@dataclass(frozen=True)
class Check:
    """One step: a command, and why it cannot be run, if it cannot."""

    name: str
    command: list[str]
    missing: str = ""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pair", type=Path)
    parser.add_argument("--prepared", type=Path)
    arguments = parser.parse_args()
    said = [driver()]
    print(said[0], flush=True)
    for check in checks(arguments.pair, arguments.prepared):
        result = check.missing and f"not run: {check.missing}"
        if not result:
            print(f"\n== {check.name}: {' '.join(check.command)}", flush=True)
            code = subprocess.run(check.command, check=False).returncode
            result = "done" if code == 0 else f"failed, exit code {code}"
        said.append(f"{check.name}: {result}")
    print("\n".join(["", *said]))
    sys.exit(any("not run: " in line or "failed" in line for line in said))


def driver() -> str:
    """What NVIDIA's driver and torch say of each other."""
    if shutil.which("nvidia-smi") is None:
        return "driver: not run: no nvidia-smi; wanted NVIDIA's driver"
    asked = ["nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]
    ran = subprocess.run(asked, capture_output=True, text=True, check=False)
    if ran.returncode != 0 or not ran.stdout.strip():
        return f"driver: failed: {(ran.stderr or ran.stdout).strip()[:200]}"
    version = ran.stdout.split(",")[1].strip()
    built = torch.version.cuda or "the CPU alone"
    words = f"driver: {ran.stdout.strip()}; torch {torch.__version__} for CUDA {built}"
    if int(version.split(".")[0]) < OLDEST_DRIVER:
        return f"{words}; failed: wanted driver {OLDEST_DRIVER} or newer"
    return words if torch.cuda.is_available() else f"{words}; failed: torch sees no GPU"


def checks(pair: Path | None, prepared: Path | None) -> list[Check]:
    """What there is to run."""
    absent = "" if torch.cuda.is_available() else "no CUDA device is visible to torch"
    peers = (
        "" if importlib.util.find_spec("nnunetv2") else "no peers here; wanted .venv-peers of `make peers`"
    )
    python = [sys.executable, "-m"]
    segment = ["app", "demo", "--device", "cuda", "--output", "runs/gpu-demo"]
    tests = ["pytest", "-q", "-rs", "-m", "not container and not slurm", *GPU_TESTS]
    inference = ["benchmarks.inference", "--pair", str(pair)]
    # its lines say how many patches a second, and the share of time spent drawing them
    training = ["training.train", "--prepared", str(prepared), "--run", "runs/gpu-training"]
    training += ["--steps", "100", "--device", "cuda"]
    no_tests = "" if importlib.util.find_spec("pytest") else "no pytest here; wanted .venv of `make setup`"
    return [
        Check("tests", [*python, *tests], absent or no_tests),
        Check("a patient", [*python, *segment], absent),
        Check("inference", [*python, *inference], absent or peers or ("" if pair else "no --pair given")),
        Check("training", [*python, *training], absent or ("" if prepared else "no --prepared given")),
    ]


if __name__ == "__main__":
    main()
