"""Tiny prepared folders, made once: two heads, one scan, two pairs, three shapes; and five patients of a
made-up challenge.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from training import msseg2, prepare, tiny


@pytest.fixture(autouse=True, scope="package")
def _one_thread() -> Iterator[None]:
    """Many small operations: a second thread costs more than it brings."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny")
    tiny.write_open_data(folder / "data", np.random.default_rng(0))
    prepare.prepare_open_data(folder / "data", folder / "prepared")
    return folder / "prepared"


@pytest.fixture(scope="session")
def challenge(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("challenge")
    tiny.write_challenge(folder / "data", np.random.default_rng(0))
    msseg2.prepare_challenge(folder / "data", folder / "prepared", count=2, seed=1, preprocessing_by="none")
    return folder / "prepared"


@pytest.fixture(autouse=True)
def _convolutions_as_before() -> Iterator[None]:
    """Training in float32 turns oneDNN's convolutions off for the whole process: ten times slower."""
    enabled = torch.backends.mkldnn.enabled
    yield
    torch.backends.mkldnn.enabled = enabled
