from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from app import checkpoint, predictor
from app.config import Config, NetworkConfig, PredictConfig
from app.errors import InputError
from app.model import UNet3D
from app.predictor import Predictor, bounding_box, sliding_window, window_starts

SMALL = Config(network=NetworkConfig(features=8, levels=1, dropout=0.0), predict=PredictConfig(window=16))


def test_windows_by_hand() -> None:
    """side 100, window 64, overlap 1/2: steps of at most 32, so ceil(36/32) + 1 = 3 windows, at 0, 18, 36."""
    assert window_starts(100, 64, 0.5) == [0, 18, 36]
    assert window_starts(64, 64, 0.5) == [0]
    assert window_starts(65, 64, 0.0) == [0, 1]


@given(side=st.integers(16, 200), window=st.integers(4, 16), overlap=st.floats(0, 0.75))
def test_windows_cover_the_side_and_overlap_enough(side: int, window: int, overlap: float) -> None:
    starts = window_starts(side, window, overlap)
    assert starts[0] == 0
    assert starts[-1] == side - window
    steps = np.diff(starts)
    assert (steps <= window * (1 - overlap) + 1).all()  # one voxel of rounding


@settings(max_examples=25, deadline=None)
@given(sides=st.tuples(*[st.integers(1, 40)] * 3), overlap=st.sampled_from([0.0, 0.25, 0.5]))
def test_blending_the_identity_gives_the_volume(sides: tuple[int, int, int], overlap: float) -> None:
    volume = torch.rand(2, *sides, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(sliding_window(volume, lambda windows: windows, 16, overlap), volume)


def test_windows_without_brain_are_skipped() -> None:
    seen = []

    def count(windows: Tensor) -> Tensor:
        seen.append(windows)
        return windows

    inside = torch.zeros(40, 16, 16, dtype=torch.bool)
    inside[2] = True
    volume = torch.ones(1, 40, 16, 16)
    blended = sliding_window(volume, count, 16, 0.0, inside)
    assert len(seen) == 1  # of windows at 0, 12, 24
    assert blended[0, :16].eq(1).all()
    assert blended[0, 16:].eq(0).all()


def test_bounding_box_by_hand() -> None:
    mask = np.zeros((5, 6, 7), dtype=bool)
    mask[1, 2, 3] = mask[3, 2, 5] = True
    assert bounding_box(mask) == (slice(1, 4), slice(2, 3), slice(3, 6))


def _network(seed: int) -> UNet3D:
    torch.manual_seed(seed)
    return UNet3D(SMALL.network)


def test_one_window_is_the_network_itself() -> None:
    network = _network(0)
    channels = np.random.default_rng(0).random((2, 16, 16, 16), dtype=np.float32)
    brain = np.ones((16, 16, 16), dtype=bool)
    with torch.inference_mode():
        wanted = network.eval()(torch.from_numpy(channels)[None]).softmax(dim=1)[0, 1].numpy()
    found = Predictor([network], SMALL, torch.device("cpu"))(channels, brain)
    np.testing.assert_allclose(found, wanted, atol=1e-6)


def test_an_ensemble_is_the_mean_of_its_networks() -> None:
    channels = np.random.default_rng(0).random((2, 20, 18, 22), dtype=np.float32)
    brain = np.zeros((20, 18, 22), dtype=bool)
    brain[2:19, 1:17, 3:20] = True
    cpu = torch.device("cpu")
    alone = [Predictor([_network(seed)], SMALL, cpu)(channels, brain) for seed in (0, 1)]
    together = Predictor([_network(0), _network(1)], SMALL, cpu)(channels, brain)
    np.testing.assert_allclose(together, np.mean(alone, axis=0), atol=1e-6)
    assert (together[~brain] == 0).all()
    assert together.shape == brain.shape


def test_a_folder_of_folds_is_an_ensemble(tmp_path: Path) -> None:
    for seed in (1, 2):
        checkpoint.save(tmp_path / f"fold{seed}.pt", _network(seed), SMALL, {})
    loaded = Predictor.from_folder(tmp_path, torch.device("cpu"))
    assert len(loaded.networks) == 2
    assert loaded.config == SMALL


def test_a_folder_without_weights_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no fold\*\.pt"):
        Predictor.from_folder(tmp_path, torch.device("cpu"))


def test_folds_of_different_settings_are_refused(tmp_path: Path) -> None:
    checkpoint.save(tmp_path / "fold1.pt", _network(1), SMALL, {})
    other = Config(network=SMALL.network, predict=PredictConfig(window=16, threshold=0.9))
    checkpoint.save(tmp_path / "fold2.pt", _network(2), other, {})
    with pytest.raises(InputError, match="other settings"):
        Predictor.from_folder(tmp_path, torch.device("cpu"))


def test_the_gaussian_is_symmetric_and_positive() -> None:
    weight = predictor._gaussian(8)
    torch.testing.assert_close(weight, weight.flip(0, 1, 2))
    assert weight.min() > 0
