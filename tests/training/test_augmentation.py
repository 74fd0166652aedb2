"""The three degradations against their formulas, and what may be drawn."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from torch import Tensor

from app.method.sharpness import missing_blur
from training.augmentation import average_slices, blur, degrade, equally_sharp, sharpen, uniform
from training.config import PAPER, V2, WIDE, IqdaConfig


def noise(*sides: int) -> Tensor:
    return torch.rand(*sides, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("sigma", [0.5, 1.0, 1.75])
def test_blur_is_scipys_gaussian(sigma: float) -> None:
    scan = noise(24, 20, 22)
    wanted = ndimage.gaussian_filter(scan.numpy(), sigma, mode="nearest", truncate=round(4 * sigma) / sigma)
    np.testing.assert_allclose(blur(scan, sigma).numpy(), wanted, atol=1e-6)


def test_blur_of_one_axis_leaves_the_others() -> None:
    # A plane of ones across z stays what it is when only y and x are blurred.
    scan = torch.zeros(9, 9, 9)
    scan[4] = 1
    torch.testing.assert_close(blur(scan, (0.0, 1.0, 1.0)), scan)
    assert blur(scan, (1.0, 0.0, 0.0))[3, 4, 4] > 0.2


def test_blur_of_a_point_gives_the_kernel() -> None:
    # sigma 1: exp(-1/2) = 0.6065 between neighbours along an axis.
    scan = torch.zeros(17, 17, 17)
    scan[8, 8, 8] = 1
    blurred = blur(scan, 1.0)
    assert blurred.sum() == pytest.approx(1, abs=1e-5)
    assert float(blurred[9, 8, 8] / blurred[8, 8, 8]) == pytest.approx(np.exp(-0.5), abs=1e-5)


def test_sharpening_is_unsharp_masking() -> None:
    scan = noise(12, 12, 12)
    torch.testing.assert_close(sharpen(scan, 0.8, 2.0), scan + 2 * (scan - blur(scan, 0.8)))


def test_three_slices_are_averaged_along_z() -> None:
    # A bright slice of 3 becomes three slices of 1.
    scan = torch.zeros(9, 4, 4)
    scan[4] = 3
    averaged = average_slices(scan, 3)
    assert averaged[:, 0, 0].tolist() == pytest.approx([0, 0, 0, 1, 1, 1, 0, 0, 0])


def test_two_slices_are_this_one_and_the_one_below() -> None:
    # Slice i becomes the mean of i - 1 and i; the lowest has only itself.
    scan = torch.arange(5.0)[:, None, None].expand(5, 2, 2)
    assert average_slices(scan, 2)[:, 0, 0].tolist() == pytest.approx([0, 0.5, 1.5, 2.5, 3.5])


@settings(max_examples=20, deadline=None)
@given(value=st.floats(-3, 3), sigma=st.floats(0.1, 2), amount=st.floats(0, 5), count=st.integers(1, 5))
def test_constant_in_constant_out(value: float, sigma: float, amount: float, count: int) -> None:
    scan = torch.full((2, 8, 8, 8), value)
    for degraded in (blur(scan, sigma), sharpen(scan, sigma, amount), average_slices(scan, count)):
        torch.testing.assert_close(degraded, scan, atol=1e-4, rtol=0)


def test_no_strength_changes_nothing() -> None:
    scan = noise(2, 8, 8, 8)
    for degraded in (blur(scan, 0), sharpen(scan, 1.0, 0), sharpen(scan, 0, 3.0), average_slices(scan, 1)):
        torch.testing.assert_close(degraded, scan)


def test_drawn_degradations_are_as_likely_as_the_preset_says() -> None:
    # A ramp along x: averaging slices leaves it as it is; blurring lifts its low end, sharpening lowers it.
    scan = torch.arange(10.0).expand(6, 6, 10)
    preset = IqdaConfig(blur=0.2, sharpen=0.3, average_slices=0.4)
    rng = torch.Generator().manual_seed(1)
    ends = torch.tensor([float(degrade(scan, preset, rng)[0, 0, 0]) for _ in range(400)])
    # standard deviations of such counts are below .025
    assert float((ends > 1e-3).float().mean()) == pytest.approx(0.2, abs=0.08)
    assert float((ends < -1e-3).float().mean()) == pytest.approx(0.3, abs=0.08)


def test_one_seed_one_degradation() -> None:
    scan = noise(8, 8, 8)
    first, second = (degrade(scan, V2, torch.Generator().manual_seed(7)) for _ in range(2))
    assert torch.equal(first, second)


def test_presets_are_those_of_the_paper_of_the_later_code_and_wider_than_the_papers() -> None:
    assert (PAPER.sigma, PAPER.counts) == ((0.5, 1.75), (2, 3, 4))
    assert (V2.sigma, V2.amount, V2.counts, V2.sigma_per_axis) == (
        (0.25, 1.0),
        (1.0, 5.0),
        (1, 2, 3, 4, 5),
        True,
    )
    assert (WIDE.sigma, WIDE.amount, WIDE.counts) == (PAPER.sigma, (0.5, 3.0), (2, 3, 4, 5, 6))
    assert round(1 - V2.blur - V2.sharpen - V2.average_slices, 6) == 0.1


def test_uniform_stays_in_its_range() -> None:
    rng = torch.Generator().manual_seed(0)
    drawn = [uniform(rng, 0.5, 1.75) for _ in range(200)]
    assert 0.5 <= min(drawn) < 0.6
    assert 1.65 < max(drawn) <= 1.75


def test_a_degraded_followup_and_its_baseline_are_made_equally_sharp() -> None:
    rng = torch.Generator().manual_seed(1)
    scan = blur(torch.randn(48, 48, 48, generator=rng), 0.6)
    brain = torch.ones(48, 48, 48, dtype=torch.bool)
    followup = blur(scan, 1.2)
    baseline, sharper = equally_sharp([scan, followup], brain)
    inside = brain.numpy()
    assert missing_blur(baseline.numpy(), sharper.numpy(), inside) == pytest.approx([0] * 3, abs=0.4)
    assert float(sharper.std()) > float(followup.std())
    sharp = equally_sharp([followup, scan], brain)
    assert all(
        torch.allclose(one, other, atol=1e-5) for one, other in zip(sharp, [followup, scan], strict=True)
    )
