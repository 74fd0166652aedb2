from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from app.config import MAPS, Config, NetworkConfig, OperatingPoint, WindowConfig
from app.errors import InputError
from app.method import checkpoint, predictor
from app.method.model import UNet3D
from app.method.predictor import Predictor, sliding_window, window_starts, windows_over

SMALL = Config(network=NetworkConfig(features=8, levels=1, dropout=0.0), windows=WindowConfig(side=16))


CPU = torch.device("cpu")


@pytest.fixture
def float32(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a machine without bfloat16."""
    monkeypatch.setattr(predictor, "has_fast_bfloat16", lambda _device: False)


def _line(side: int, first: int = 0, last: int | None = None) -> Tensor:
    line = torch.zeros(side, dtype=torch.bool)
    line[first:last] = True
    return line


def test_windows_along_a_line_by_hand() -> None:
    """side 100, window 64, overlap 1/2: steps of at most 32, so ceil(36/32) + 1 = 3 windows, at 0, 18, 36."""
    assert window_starts(_line(100), 64, 0.5) == [0, 18, 36]
    assert window_starts(_line(64), 64, 0.5) == [0]
    assert window_starts(_line(65), 64, 0.0) == [0, 1]
    assert window_starts(_line(300, 150, 250), 64, 0.5) == [150, 168, 186]  # the same 100 voxels anywhere
    assert window_starts(_line(100, 40, 50), 20, 0.5) == [35]  # 10 voxels in the middle of 20
    assert window_starts(_line(100, 2, 5), 20, 0.5) == [0]  # as far as the border lets it
    assert window_starts(_line(100, 97, 98), 20, 0.5) == [80]
    assert window_starts(torch.zeros(100, dtype=torch.bool), 20, 0.5) == []


@given(side=st.integers(16, 200), window=st.integers(4, 16), overlap=st.floats(0, 0.75))
def test_windows_cover_the_side_and_overlap_enough(side: int, window: int, overlap: float) -> None:
    starts = window_starts(_line(side), window, overlap)
    assert starts[0] == 0
    assert starts[-1] == side - window
    steps = np.diff(starts)
    assert (steps <= window * (1 - overlap) + 1).all()  # one voxel of rounding


def test_each_slab_has_rows_of_its_own_by_hand() -> None:
    """An L, windows of 4: its column is 4 wide and 8 high and takes 2, its foot is 12 wide and 4 high and
    takes 3. The square around it has 9.
    """
    inside = torch.zeros(20, 20, dtype=torch.bool)
    inside[4:16, 6:10] = True
    inside[12:16, 6:18] = True
    found = [(rows.start, columns.start) for rows, columns in windows_over(inside, 4, 0.0)]
    assert found == [(4, 6), (8, 6), (12, 6), (12, 10), (12, 14)]


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 1000), overlap=st.sampled_from([0.0, 0.25, 0.5]))
def test_windows_cover_what_is_inside(seed: int, overlap: float) -> None:
    inside = torch.rand(20, 24, 28, generator=torch.Generator().manual_seed(seed)) > 0.995
    covered = torch.zeros_like(inside)
    for block in windows_over(inside, 8, overlap):
        assert inside[block].any()
        assert inside[block].shape == (8, 8, 8)
        covered[block] = True
    assert covered[inside].all()


def _ellipsoid(grid: tuple[int, int, int], half_axes: tuple[float, float, float]) -> Tensor:
    axes = (
        ((torch.arange(side) - side // 2) / half) ** 2 for side, half in zip(grid, half_axes, strict=True)
    )
    z, y, x = axes
    return z[:, None, None] + y[:, None] + x <= 1


def test_windows_depend_on_the_brain_not_on_the_head_around_it() -> None:
    """An ellipsoid as large as a brain, 135 x 169 x 125 voxels: its box has 5 x 7 x 5 = 175 windows of 48
    that overlap by half.
    """
    tight = len(list(windows_over(_ellipsoid((140, 172, 128), (67, 84, 62)), 48, 0.5)))
    wide = len(list(windows_over(_ellipsoid((256, 256, 176), (67, 84, 62)), 48, 0.5)))
    assert tight == wide
    assert tight <= 0.85 * 175


def _peak_bytes(side: int) -> int:
    """The most that torch held while windows of 16 went over a cube, above the cube and what marks its
    inside.
    """
    volume, inside = torch.rand(2, side, side, side), torch.ones(side, side, side, dtype=torch.bool)
    with torch.profiler.profile(
        activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True
    ) as profile:
        sliding_window(volume, lambda windows: windows[:, :1], 16, 0.5, inside)
    sizes = [
        event.nbytes() for event in profile.profiler.kineto_results.events() if event.name() == "[memory]"
    ]
    return int(np.cumsum(sizes).max())


def test_memory_is_two_floats_a_voxel() -> None:
    """The sum of the outputs and that of the weights, 4 bytes each; what one batch of windows needs is the
    same for both cubes.
    """
    assert _peak_bytes(80) - _peak_bytes(64) == 8 * (80**3 - 64**3)


@settings(max_examples=25, deadline=None)
@given(sides=st.tuples(*[st.integers(1, 40)] * 3), overlap=st.sampled_from([0.0, 0.25, 0.5]))
def test_blending_the_identity_gives_the_volume(sides: tuple[int, int, int], overlap: float) -> None:
    volume = torch.rand(2, *sides, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(sliding_window(volume, lambda windows: windows, 16, overlap), volume)


def test_without_brain_is_no_window() -> None:
    """One plane at 2 in 40: one window of 16, at 0; nothing is known from 16 on."""
    inside = torch.zeros(40, 16, 16, dtype=torch.bool)
    inside[2] = True
    blended = sliding_window(torch.ones(1, 40, 16, 16), lambda windows: windows, 16, 0.0, inside)
    assert blended[0, :16].eq(1).all()
    assert blended[0, 16:].eq(0).all()


def test_no_brain_at_all_is_an_error() -> None:
    with pytest.raises(ValueError, match="no voxel"):
        sliding_window(
            torch.ones(1, 16, 16, 16),
            lambda windows: windows,
            16,
            0.0,
            torch.zeros(16, 16, 16, dtype=torch.bool),
        )


def _network(seed: int) -> UNet3D:
    torch.manual_seed(seed)
    return UNet3D(SMALL.network)


@pytest.mark.usefixtures("float32")
def test_one_window_is_the_network_itself() -> None:
    network = _network(0)
    channels = np.random.default_rng(0).random((2, 16, 16, 16), dtype=np.float32)
    brain = np.ones((16, 16, 16), dtype=bool)
    with torch.inference_mode():
        wanted = network.eval()(torch.from_numpy(channels)[None]).softmax(dim=1)[0, 1].numpy()
    found = Predictor([network], SMALL, CPU)(channels, brain)
    np.testing.assert_allclose(found, wanted, atol=1e-6)


@pytest.mark.usefixtures("float32")
def test_an_ensemble_is_the_mean_of_its_networks() -> None:
    channels = np.random.default_rng(0).random((2, 20, 18, 22), dtype=np.float32)
    brain = np.zeros((20, 18, 22), dtype=bool)
    brain[2:19, 1:17, 3:20] = True
    alone = [Predictor([_network(seed)], SMALL, CPU)(channels, brain) for seed in (0, 1)]
    together = Predictor([_network(0), _network(1)], SMALL, CPU)(channels, brain)
    np.testing.assert_allclose(together, np.mean(alone, axis=0), atol=1e-6)
    assert (together[~brain] == 0).all()
    assert together.shape == brain.shape


@pytest.mark.usefixtures("float32")
def test_four_maps_are_four_sigmoids() -> None:
    config = Config(
        network=NetworkConfig(channels_out=4, features=8, levels=1, dropout=0.0),
        windows=WindowConfig(side=16),
        outputs="maps",
    )
    torch.manual_seed(0)
    network = UNet3D(config.network)
    channels = np.random.default_rng(0).random((2, 16, 16, 16), dtype=np.float32)
    brain = np.ones((16, 16, 16), dtype=bool)
    with torch.inference_mode():
        wanted = network.eval()(torch.from_numpy(channels)[None]).sigmoid()[0].numpy()
    found = Predictor([network], config, CPU).maps(channels, brain)
    for map_name, values in zip(MAPS, wanted, strict=True):
        np.testing.assert_allclose(getattr(found, map_name), values, atol=1e-6)
    two_classes = Predictor([_network(0)], SMALL, CPU).maps(channels, brain)
    assert (two_classes.vanished, two_classes.baseline, two_classes.followup) == (None, None, None)


class _SmallGpu(UNet3D):
    """A network on a GPU that holds so many windows, or none so many times."""

    def __init__(self, windows: int, failures: int = 1_000_000) -> None:
        torch.manual_seed(0)
        super().__init__(SMALL.network)
        self.windows, self.failures = windows, failures

    def forward(self, scans: Tensor) -> Tensor:
        if len(scans) > self.windows and self.failures:
            self.failures -= 1
            raise torch.OutOfMemoryError("CUDA out of memory")
        return super().forward(scans)


HEAD = np.random.default_rng(0).random((2, 24, 24, 24), dtype=np.float32)
BRAIN = np.ones((24, 24, 24), dtype=bool)


@pytest.mark.usefixtures("float32")
def test_out_of_memory_takes_fewer_windows_at_a_time_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    wanted = Predictor([_network(0)], SMALL, CPU)(HEAD, BRAIN)
    assert caplog.messages == []
    found = Predictor([_SmallGpu(windows=1)], SMALL, CPU)(HEAD, BRAIN)
    np.testing.assert_allclose(found, wanted, atol=1e-5)
    assert caplog.messages == [
        "out of GPU memory with 2 windows at a time: went on with 1; slower, the result is the same"
    ]


@pytest.mark.usefixtures("float32")
def test_out_of_memory_with_one_window_goes_to_the_cpu_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    """Two failures: of two windows and of one; then the CPU, which holds them."""
    found = Predictor([_SmallGpu(windows=0, failures=2)], SMALL, CPU)(HEAD, BRAIN)
    np.testing.assert_allclose(found, Predictor([_network(0)], SMALL, CPU)(HEAD, BRAIN), atol=1e-6)
    assert [message.split(":")[0] for message in caplog.messages] == [
        "out of GPU memory with a single window"
    ]


def test_out_of_memory_everywhere_is_an_error() -> None:
    with pytest.raises(torch.OutOfMemoryError):
        Predictor([_SmallGpu(windows=0)], SMALL, CPU)(HEAD, BRAIN)


@pytest.mark.skipif(not predictor.has_fast_bfloat16(CPU), reason="this CPU has no bfloat16")
def test_bfloat16_is_near_float32_and_the_same_every_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """bfloat16 keeps 8 bits: 1/256 of a logit of order one, a little more after four convolutions."""
    once, again = (Predictor([_network(0)], SMALL, CPU)(HEAD, BRAIN) for _ in range(2))
    np.testing.assert_array_equal(once, again)
    monkeypatch.setattr(predictor, "has_fast_bfloat16", lambda _device: False)
    exact = Predictor([_network(0)], SMALL, CPU)(HEAD, BRAIN)
    np.testing.assert_allclose(once, exact, atol=0.01)
    assert not np.array_equal(once, exact)


@pytest.mark.skipif(not Path("/proc/cpuinfo").is_file(), reason="not Linux")
def test_bfloat16_is_what_the_processor_says() -> None:
    assert predictor.has_fast_bfloat16(CPU) == ("avx512_bf16" in Path("/proc/cpuinfo").read_text().split())


def test_a_folder_of_folds_is_an_ensemble(tmp_path: Path) -> None:
    for seed in (1, 2):
        checkpoint.save(tmp_path / f"lesions{seed}.pt", _network(seed), SMALL, {})
    loaded = Predictor.from_folder(tmp_path, CPU)
    assert len(loaded.networks) == 2
    assert loaded.config == SMALL


def test_a_folder_without_weights_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no lesions\*\.pt"):
        Predictor.from_folder(tmp_path, CPU)


def test_networks_of_different_settings_are_refused(tmp_path: Path) -> None:
    checkpoint.save(tmp_path / "lesions1.pt", _network(1), SMALL, {})
    other = Config(network=SMALL.network, windows=SMALL.windows, point=OperatingPoint(threshold=0.9))
    checkpoint.save(tmp_path / "lesions2.pt", _network(2), other, {})
    with pytest.raises(InputError, match="other settings"):
        Predictor.from_folder(tmp_path, CPU)


def test_the_gaussian_is_symmetric_and_positive() -> None:
    weight = predictor._gaussian(8)
    torch.testing.assert_close(weight, weight.flip(0, 1, 2))
    assert weight.min() > 0
