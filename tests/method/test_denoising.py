import itertools
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from app.arrays import Array
from app.images import grids, storage
from app.method import denoising
from app.method.denoising import denoise, noise_variance, patch_statistics

DEVICES = [
    "cpu",
    pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")),
]


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Volumes this small are slower on two."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def plain(scan: Array, search: int, beta: float, rician: bool, lightest: float = 0.0) -> np.ndarray:
    """The definition at the head of app/denoising.py, one voxel and one candidate at a time, in double
    precision.
    """
    x = scan.astype(np.float64)
    edged = np.pad(x, 1, mode="edge")
    around = {p: edged[tuple(slice(i, i + 3) for i in p)] for p in np.ndindex(*x.shape)}
    mean = {p: patch.mean() for p, patch in around.items()}
    variance = {p: patch.var(ddof=1) for p, patch in around.items()}
    six = [(0, 1, 1), (2, 1, 1), (1, 0, 1), (1, 2, 1), (1, 1, 0), (1, 1, 2)]
    sigma2 = np.mean(
        [6 / 7 * (patch[1, 1, 1] - np.mean([patch[i] for i in six])) ** 2 for patch in around.values()]
    )

    def alike(one: float, other: float, ratio: float) -> bool:
        return other != 0 and ratio * (1 + 1e-6) < one / other < (1 - 1e-6) / ratio

    result = np.empty_like(x)
    for p in np.ndindex(*x.shape):
        weights, samples = [], []
        first, stop = [max(i - 1, 0) for i in p], [min(i + 2, n) for i, n in zip(p, x.shape, strict=True)]
        patch = x[tuple(map(slice, first, stop))]
        for shift in itertools.product(range(-search, search + 1), repeat=3):
            first_q, stop_q = np.add(first, shift), np.add(stop, shift)
            if shift == (0, 0, 0) or (first_q < 0).any() or (stop_q > x.shape).any():
                continue
            q = tuple(np.add(p, shift))
            if alike(mean[p], mean[q], 0.95) and alike(variance[p], variance[q], 0.5):
                moved = x[tuple(map(slice, first_q, stop_q))]
                weight = math.exp(-((patch - moved) ** 2).sum() / (2 * beta * sigma2 * patch.size))
                if weight > lightest:
                    weights.append(weight)
                    samples.append(x[q])
        if not weights:
            result[p] = x[p]
        else:
            value = np.average(
                [s * s if rician else s for s in (*samples, x[p])], weights=[*weights, max(weights)]
            )
            result[p] = math.sqrt(max(value - 2 * sigma2, 0)) if rician else value
    return result


def _scan(shape: tuple[int, int, int], seed: int) -> Array:
    """Two tissues, a bright rim and noise, so that some candidates count and others fail either test."""
    rng = np.random.default_rng(seed)
    values = np.where(np.arange(shape[2]) < shape[2] // 2, 100, 130) + rng.normal(0, 4, shape)
    values[:, 0] += 60
    return values.astype(np.float32)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("rician", [False, True])
@pytest.mark.parametrize(
    ("shape", "search", "beta"),
    [((6, 7, 8), 3, 1.0), ((4, 5, 7), 2, 0.5), ((2, 3, 9), 3, 2.0), ((1, 6, 6), 1, 1.0)],
)
def test_the_kernel_is_the_definition(
    shape: tuple[int, int, int], search: int, beta: float, rician: bool, device: str
) -> None:
    """To 1e-5 relative, over sides shorter than the search and a single slice."""
    scan = _scan(shape, seed=sum(shape))
    wanted = plain(scan, search, beta, rician)
    assert np.abs(wanted - scan).max() > 1  # the filter did something
    np.testing.assert_allclose(denoise(scan, search, beta, rician, device), wanted, rtol=1e-5)


def test_ratios_that_tie_reject() -> None:
    """Whole numbers around 589/27 on the left and 620/27 on the right: many means are in the ratio 19/20
    exactly, and rounding would decide.
    """
    left_half = np.arange(8) < 4
    scan = np.rint(np.random.default_rng(3).normal(np.where(left_half, 589, 620) / 27, 0.7, (6, 6, 8)))
    np.testing.assert_allclose(denoise(scan.astype(np.float32)), plain(scan, 3, 1.0, rician=False), rtol=1e-5)


@pytest.mark.parametrize("rician", [False, True])
def test_a_raw_scan_is_denoised_by_the_definition(open_data: Path, rician: bool) -> None:
    """A piece of head and air, whole numbers as the scanner stored them.

    The Rician mean square is compared before its bias is taken off, which in air leaves a small difference of
    large numbers.
    """
    scan = grids.array(
        storage.read(open_data / "open_ms_data/longitudinal/raw/patient01/study1_FLAIR.nii.gz")
    )[20:26, 60:69, 150:158]
    denoised, wanted = denoise(scan, rician=rician), plain(scan, 3, 1.0, rician)
    if rician:
        bias = 2 * noise_variance(torch.from_numpy(scan))
        denoised, wanted = denoised**2 + np.float32(bias), wanted**2 + bias
    np.testing.assert_allclose(denoised, wanted, rtol=1e-5)


def test_tiles_leave_no_seams(monkeypatch: pytest.MonkeyPatch) -> None:
    scan = _scan((9, 11, 8), seed=1)
    whole = denoise(scan)
    monkeypatch.setitem(denoising.TILE, "cpu", 4)
    np.testing.assert_allclose(denoise(scan), whole, rtol=1e-6)


def test_four_voxels_by_hand() -> None:
    """100 102 100 102 along x.

    All four patches of 27 hold one value a third of the time and the other two thirds: all tests pass.

    A shifted patch fits for one shift a voxel (0 to the right; 1 to the right; 2 to the left; 3 to the left),
    and its partner then has the other value, with one weight, its own being the same: (100 + 102) / 2 = 101
    everywhere. Differences to the mean of the six neighbours, four of which are the voxel itself or its copy:
    2/6 at the ends, 4/6 inside, so sigma^2 = 6/7 (1 + 4 + 4 + 1) / 9 / 4 = 5/21, and the Rician mean is the
    root of (100^2 + 102^2) / 2 - 10/21.
    """
    scan = np.array([[[100, 102, 100, 102]]], dtype=np.float32)
    assert noise_variance(torch.from_numpy(scan)) == pytest.approx(5 / 21)
    np.testing.assert_allclose(denoise(scan, search=1), np.full((1, 1, 4), 101), rtol=1e-6)
    np.testing.assert_allclose(
        denoise(scan, search=1, rician=True), np.full((1, 1, 4), math.sqrt(10202 - 10 / 21)), rtol=1e-6
    )


def test_the_noise_of_one_bright_voxel() -> None:
    """7 in the middle of 27 voxels: 6/7 x 7^2 = 42 there, 6/7 x (7/6)^2 = 7/6 at its six neighbours, 0
    elsewhere: 49 / 27.
    """
    values = torch.zeros(3, 3, 3)
    values[1, 1, 1] = 7
    assert noise_variance(values) == pytest.approx(49 / 27)


def test_patch_statistics_are_those_of_numpy() -> None:
    scan = _scan((10, 5, 6), seed=0) + 1e4
    patches = np.lib.stride_tricks.sliding_window_view(
        np.pad(scan.astype(np.float64), 1, mode="edge"), (3, 3, 3)
    )
    means, variances = patch_statistics(torch.from_numpy(scan))
    np.testing.assert_allclose(means, patches.mean((3, 4, 5)), rtol=1e-7)
    np.testing.assert_allclose(variances, patches.var((3, 4, 5), ddof=1), rtol=1e-6)


@pytest.mark.parametrize("value", [0.0, 0.1])
def test_a_flat_background_stays(value: float) -> None:
    """Its patches have variance 0, and 0 / 0 rejects; nothing of the head bleeds into it."""
    scan = np.full((8, 8, 20), value, dtype=np.float32)
    scan[..., 12:] += np.random.default_rng(0).normal(100, 5, (8, 8, 8)).astype(np.float32)
    denoised = denoise(scan)
    np.testing.assert_array_equal(denoised[..., :11], scan[..., :11])
    assert np.isfinite(denoised).all()


@pytest.mark.parametrize("rician", [False, True])
def test_a_scan_of_one_value_stays(rician: bool) -> None:
    """sigma is 0: there is no noise to remove."""
    scan = np.full((4, 5, 6), 3.7, dtype=np.float32)
    np.testing.assert_array_equal(denoise(scan, rician=rician), scan)


@pytest.mark.parametrize("beta", [0.035, 0.0035])
def test_the_lightest_weights_that_count(beta: float) -> None:
    """Weights down to e^-149 count, although float32 ends at e^-87; a voxel with none but lighter ones keeps
    its value.
    """
    scan = np.full((7, 7, 11), 100, dtype=np.float32)
    scan[:4, :4, :8] += np.random.default_rng(5).normal(0, 2, (4, 4, 8)).astype(np.float32)
    wanted = plain(scan, 3, beta, rician=False, lightest=math.exp(-80) * 1e-30)
    assert (beta < 0.01) == (wanted[:4, :4, :8] == scan[:4, :4, :8]).any()
    np.testing.assert_allclose(denoise(scan, beta=beta), wanted, rtol=1e-5)


@settings(max_examples=10, deadline=None)
@given(
    seed=st.integers(0, 1000),
    axes=st.permutations([0, 1, 2]),
    flipped=st.sets(st.integers(0, 2)),
    gain=st.sampled_from([0.125, 1.0, 1024.0]),
)
def test_no_axis_no_direction_and_no_unit_is_special(
    seed: int, axes: list[int], flipped: set[int], gain: float
) -> None:
    scan = _scan((6, 5, 8), seed)

    def turned(values: Array) -> Array:
        return np.flip(values.transpose(axes), sorted(flipped)) * np.float32(gain)

    np.testing.assert_allclose(denoise(turned(scan), 2), turned(denoise(scan, 2)), rtol=1e-5)


def test_noise_falls_and_the_edge_stays() -> None:
    """Two plateaus of 100 and 200 with noise of 3: less than half of it is left, also beside the edge."""
    truth = np.full((16, 16, 16), 100, dtype=np.float32)
    truth[..., 8:] = 200
    noisy = truth + np.random.default_rng(0).normal(0, 3, truth.shape).astype(np.float32)
    denoised = denoise(noisy)
    assert np.abs(denoised[..., :6] - 100).mean() < 0.5 * np.abs(noisy[..., :6] - 100).mean()
    assert abs(denoised[..., 7].mean() - 100) < 1
    assert abs(denoised[..., 8].mean() - 200) < 1


def test_rician_bias_is_taken_out() -> None:
    """Magnitudes of 10 + noise of sigma 1 in two channels.

    E[m^2] = 100 + 2, so the plain mean is high by about 1 / 20 and the Rician one is not.
    """
    rng = np.random.default_rng(0)
    magnitude = np.hypot(10 + rng.normal(0, 1, (24, 24, 24)), rng.normal(0, 1, (24, 24, 24))).astype(
        np.float32
    )
    assert denoise(magnitude).mean() == pytest.approx(10.05, abs=0.02)
    assert denoise(magnitude, rician=True).mean() == pytest.approx(10.0, abs=0.02)


def test_the_scan_is_not_changed() -> None:
    scan = _scan((5, 5, 5), seed=0)
    before = scan.copy()
    denoise(scan)
    denoise(scan, rician=True)
    np.testing.assert_array_equal(scan, before)
