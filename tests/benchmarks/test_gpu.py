"""What does the check of a GPU say where there is none?"""

import shutil
from pathlib import Path

import pytest
import torch

from benchmarks import gpu


@pytest.mark.skipif(
    torch.cuda.is_available() or shutil.which("nvidia-smi") is not None, reason="there is a GPU"
)
def test_without_a_gpu_nothing_is_called_done() -> None:
    assert gpu.driver() == "driver: not run: no nvidia-smi; wanted NVIDIA's driver"
    found = gpu.checks(Path("pair"), Path("prepared"))
    assert [check.missing for check in found] == ["no CUDA device is visible to torch"] * 4


def test_what_it_runs_is_there() -> None:
    assert all(Path(__file__).parents[2].joinpath(name).is_file() for name in gpu.GPU_TESTS)
