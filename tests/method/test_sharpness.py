"""One anatomy, blurred by known amounts: the blur is found, and both scans show as much afterwards."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from app import pipeline
from app.arrays import Array, Mask
from app.config import PreprocessConfig
from app.images import grids, storage
from app.intensity import in_range
from app.method import preprocessing
from app.method.sharpness import SHARPENING, blurred, equally_sharp, missing_blur, sharpened
from app.pipeline import Networks, Steps
from training.augmentation import average_slices, blur

SIDE = 64


def anatomy(seed: int = 1) -> tuple[Array, Mask]:
    """A ball of structures of every size, as sharp as voxels are."""
    rng = np.random.default_rng(seed)
    scales = (ndimage.gaussian_filter(rng.normal(size=(SIDE,) * 3), s) * s**1.5 for s in (0.6, 1.2, 2.4, 4.8))
    away = np.indices((SIDE,) * 3) - (SIDE - 1) / 2
    return sum(scales).astype(np.float32), (away**2).sum(axis=0) < (0.45 * SIDE) ** 2  # type: ignore[union-attr]


SHARP, BRAIN = anatomy()


@pytest.mark.parametrize(
    "deviations", [(1.25, 1.25, 1.25), (0.75, 0.75, 0.75), (1.8, 0, 0), (0, 0.9, 1.4), (2.2, 0.6, 0.6)]
)
def test_a_blur_is_found(deviations: tuple[float, float, float]) -> None:
    followup = ndimage.gaussian_filter(SHARP, deviations)
    variances = missing_blur(SHARP, followup, BRAIN) ** 2
    assert variances == pytest.approx(np.square(deviations), rel=0.2, abs=0.1)


def test_two_blurs_differ_by_their_variances() -> None:
    scans = [ndimage.gaussian_filter(SHARP, deviation) for deviation in (0.8, 1.4)]
    assert missing_blur(*scans, BRAIN) == pytest.approx([(1.4**2 - 0.8**2) ** 0.5] * 3, abs=0.1)


def test_a_sharper_followup_asks_for_no_blur() -> None:
    assert not missing_blur(ndimage.gaussian_filter(SHARP, 1.0), SHARP, BRAIN).any()
    assert not missing_blur(SHARP, SHARP, BRAIN).any()


def test_thick_slices_are_a_blur_through_them() -> None:
    """A mean over n slices has a variance of (n^2 - 1) / 12."""
    followup = average_slices(torch.from_numpy(SHARP), 5).numpy()
    through, *within = missing_blur(SHARP, followup, BRAIN)
    assert through == pytest.approx(2**0.5, abs=0.25)
    assert max(within) < 0.25


@settings(max_examples=20, deadline=None)
@given(
    gain=st.floats(0.2, 5),
    offset=st.floats(-3, 3),
    noise=st.floats(0, 0.3),
    seed=st.integers(0, 1000),
)
def test_contrast_and_noise_are_no_blur(gain: float, offset: float, noise: float, seed: int) -> None:
    spread = float(SHARP[BRAIN].std())
    noisy = ndimage.gaussian_filter(SHARP, 1.0)
    noisy = noisy + noise * spread * np.random.default_rng(seed).normal(size=noisy.shape)
    assert missing_blur(SHARP, gain * noisy + offset, BRAIN) == pytest.approx([1.0] * 3, abs=0.2)


def test_a_new_lesion_is_no_blur() -> None:
    followup = ndimage.gaussian_filter(SHARP, 1.0)
    followup[30:36, 30:37, 28:34] += 3 * SHARP[BRAIN].std()
    assert missing_blur(SHARP, followup, BRAIN) == pytest.approx([1.0] * 3, abs=0.2)


def test_of_too_little_brain_nothing_is_said() -> None:
    corner = np.zeros_like(BRAIN)
    corner[:16, :16, :16] = True
    assert not missing_blur(SHARP, ndimage.gaussian_filter(SHARP, 1.0), corner).any()


def test_blur_stays_within_the_brain() -> None:
    """A constant stays one up to the border, whatever is outside."""
    scan = np.where(BRAIN, 2.0, 50.0).astype(np.float32)
    found = blurred(scan, BRAIN, np.array([1.0, 2.0, 0.5]))
    assert np.allclose(found[BRAIN], 2.0)
    assert not found[~BRAIN].any()


def test_an_unsharp_mask_along_blurred_axes_alone() -> None:
    """Of a wave of k cycles a voxel the Gaussian leaves exp(-2 (pi k sigma)^2)."""
    whole = np.ones((24,) * 3, bool)
    frequency, sigma = 1 / 8, 1.0
    wave = np.broadcast_to(np.cos(2 * np.pi * frequency * np.arange(24)), (24,) * 3).astype(np.float32)
    left = np.exp(-2 * (np.pi * frequency * sigma) ** 2)
    inner = (slice(8, 16),) * 3
    gained = sharpened(wave, whole, np.array([0, 0, sigma]))[inner]
    assert gained == pytest.approx((1 + SHARPENING * (1 - left)) * wave[inner], abs=1e-3)
    assert sharpened(wave, whole, np.array([sigma, sigma, 0]))[inner] == pytest.approx(wave[inner], abs=1e-5)


def test_what_is_cut_to_the_brain_is_blurred_alike() -> None:
    wide = [np.pad(values, 9) for values in (SHARP, BRAIN)]
    deviations = np.array([1.4, 0.8, 0.6])
    assert np.array_equal(blurred(*wide, deviations)[(slice(9, -9),) * 3], blurred(SHARP, BRAIN, deviations))


def test_both_scans_show_as_much_detail_afterwards() -> None:
    followup = ndimage.gaussian_filter(SHARP, (1.5, 0.7, 0.7))
    before, after, missing = equally_sharp(SHARP, followup, BRAIN)
    assert missing == pytest.approx([1.5, 0.7, 0.7], abs=0.2)
    assert missing_blur(before, after, BRAIN) == pytest.approx([0] * 3, abs=0.3)
    assert missing_blur(followup, after, BRAIN) == pytest.approx([0] * 3, abs=0.01)  # it gained detail
    assert (missing_blur(SHARP, after, BRAIN) < missing).all()


def test_a_pair_is_equally_sharp_afterwards() -> None:
    grid = sitk.GetImageFromArray(SHARP)
    sharp = in_range(1 + (SHARP - SHARP.mean()) / (4 * SHARP.std()))
    pair = preprocessing.Pair(sharp, blur(torch.from_numpy(sharp), [1.5, 0.7, 0.7]).numpy(), BRAIN, grid)
    equal = preprocessing.equally_sharp(pair)
    before, after = equal.channels()
    inner = ndimage.binary_erosion(BRAIN, iterations=6)
    assert missing_blur(before, after, BRAIN) == pytest.approx([0] * 3, abs=0.3)
    lesion = np.where(BRAIN, 0.1, 0).astype(np.float32)  # as painted for the self-grade
    risen = dataclasses.replace(equal, followup=pair.followup + lesion).channels()
    assert risen[1][inner] == pytest.approx(after[inner] + 0.1, abs=1e-4)
    same = preprocessing.Pair(sharp, sharp, BRAIN, grid)
    assert preprocessing.equally_sharp(same) is same


@pytest.mark.parametrize("matched", [True, False])
def test_the_weights_decide_whether_the_network_sees_equal_sharpness(matched: bool, weights: Path) -> None:
    heads = [100 + 10 * scan / SHARP.std() for scan in (SHARP, ndimage.gaussian_filter(SHARP, 1.5))]
    baseline, followup = (sitk.GetImageFromArray((head * BRAIN).astype(np.float32)) for head in heads)
    for scan in (baseline, followup):
        scan.SetSpacing((2.0, 2.0, 2.0))
    config = PreprocessConfig(match_sharpness=matched)
    extractor = Networks.load(weights, torch.device("cpu")).brain
    _, pair = pipeline.prepare(baseline, followup, extractor, config, steps=Steps("none", "never"))
    assert (pair.blurred is not None) == matched
    seen = pair.channels()[0]
    assert (float(np.abs(seen - pair.baseline * pair.brain).max()) > 0.1) == matched
    sharper = pair.channels()[1]
    assert (float(np.abs(sharper - pair.followup * pair.brain).max()) > 0.1) == matched


def test_blurred_real_scans_differ_by_so_much_more(open_data: Path) -> None:
    """Two scanners differ by themselves; a blur of one adds its variance."""
    folder = open_data / "open_ms_pairs" / "patient01"
    scans = [
        grids.array(storage.read(folder / f"flair_time0{time}_on_middle_space.nii.gz")) for time in (1, 2)
    ]
    brain = grids.array(storage.read_mask(folder / "brain_mask.nii.gz")) > 0
    blurs = [
        missing_blur(scans[0], ndimage.gaussian_filter(scans[1], (0, within, within)), brain)
        for within in (1.0, 2.0)
    ]
    rise = np.square(blurs[1]) - np.square(blurs[0])
    assert rise[1:] == pytest.approx([2.0**2 - 1.0**2] * 2, rel=0.2)
    assert abs(rise[0]) < 0.3
