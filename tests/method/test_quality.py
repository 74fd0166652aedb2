"""Resolution, noise and sharpness of volumes whose own are known."""

import logging

import numpy as np
import pytest
import SimpleITK as sitk
from scipy import ndimage

from app.images import grids
from app.method import quality
from app.method.preprocessing import Pair
from tests.made_up_alignment import made_up_alignment

IDENTITY = made_up_alignment(sitk.Euler3DTransform())


def _scan(
    noise: float = 0.0, sigma_mm: float = 1.0, spacing_mm: tuple[float, float, float] = (0.5, 0.5, 3.0)
) -> sitk.Image:
    """A quarter of fluid at 0 beside tissue at 100, the edge blurred in the slices; white noise on top."""
    values = np.zeros((6, 64, 64))
    values[..., 16:] = 100
    values = ndimage.gaussian_filter1d(values, sigma_mm / spacing_mm[0], axis=2)
    values += np.random.default_rng(0).normal(0, noise, values.shape) if noise else 0
    scan = sitk.GetImageFromArray(values.astype(np.float32))
    scan.SetSpacing(spacing_mm)
    return scan


def _pair(scan: sitk.Image) -> Pair:
    values = grids.array(scan)
    return Pair(values, values, np.ones(values.shape, dtype=bool), scan)


def test_noise_is_told_in_percent_of_the_brain() -> None:
    """A brain of tissue alone, at 100."""
    brain = np.zeros((6, 64, 64), dtype=bool)
    brain[..., 24:] = True
    assert quality.judge(_scan(noise=5.0), brain).noise_percent == pytest.approx(5.0, rel=0.05)


@pytest.mark.parametrize("sigma_mm", [1.0, 1.5, 2.0])
def test_the_width_of_a_blurred_edge(sigma_mm: float) -> None:
    """A step blurred by a Gaussian of sigma has a width of 2.355 sigma.

    One column of 64 is steepest, more than a hundredth.
    """
    judged = quality.judge(_scan(sigma_mm=sigma_mm), np.ones((6, 64, 64), dtype=bool))
    assert judged.edge_width_mm == pytest.approx(2.355 * sigma_mm, rel=0.08)


def test_the_grid_in_words() -> None:
    judged = quality.judge(_scan(), np.ones((6, 64, 64), dtype=bool))
    assert (judged.grid, judged.slice_mm) == ("64x64x6 voxels of 0.5x0.5x3 mm", 3.0)


def test_what_makes_small_lesions_uncertain_is_warned_about(caplog: pytest.LogCaptureFixture) -> None:
    sharp, thick = _scan(noise=2.0), _scan(noise=6.0, spacing_mm=(0.5, 0.5, 5.0))
    thick_pair = _pair(thick)
    with caplog.at_level(logging.WARNING):
        quality.judge_pair(grids.like(grids.array(sharp), thick), thick, IDENTITY, thick_pair)
    slices, follow_up_too, noise = caplog.messages
    assert slices.startswith("the baseline has slices of 5.0 mm")
    assert follow_up_too.startswith("the follow-up has slices of 5.0 mm")
    assert "differ much in noise" in noise


def test_two_good_scans_are_not_warned_about(caplog: pytest.LogCaptureFixture) -> None:
    scan = _scan(noise=2.0)
    before, after = quality.judge_pair(scan, scan, IDENTITY, _pair(scan))
    assert before == after
    assert caplog.messages == []
