"""Pairs drawn from heads and scans: what they must and must not contain."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from training.config import AcquisitionConfig, DistractorConfig, LesionConfig, SynthesisConfig
from training.dataset import PairStream
from training.synthesis import fields
from training.synthesis.acquisition import draw_scanners, slices_and_back
from training.synthesis.fields import interpolation
from training.synthesis.lesions import put, resized, shown
from training.synthesis.pair import Sample, make_sample

CPU = torch.device("cpu")
QUIET = SynthesisConfig(
    patch=32,
    iqda="none",
    match_sharpness=False,
    low=0.0,
    lesions=LesionConfig(
        lesion_free=0.0, new=(4.0,), old=(0.0,), resolving=0.0, enlarging=0.0, shrinking=0.0, erased=0.0
    ),
    acquisition=AcquisitionConfig(
        same=1.0,
        near=0.0,
        rotation_deg=0.0,
        shift_mm=0.0,
        elastic_mm=(0.0, 0.0),
        tone=0.0,
        bias=0.0,
        blur_mm=0.0,
        thick=0.0,
        noise_z=(1e-3, 1e-3),
        log_gamma=0.0,
        leftover=0.0,
    ),
    distractors=DistractorConfig(
        regional=0, noise=0, gyral=0, rim=0, edge=0, flow=0, plexus=0, vessel=0, ventricle=0, flare=0
    ),
)


def draw(prepared: Path, config: SynthesisConfig, count: int, seed: int = 0) -> list[Sample]:
    stream = PairStream(prepared, dataclasses.replace(config, head=0.5), seed, CPU)
    sources = [*stream.heads, *stream.scans]
    return [
        make_sample(sources[number % len(sources)], stream.shapes, config, stream.rng)
        for number in range(count)
    ]


def test_samples_are_what_the_network_sees(prepared: Path) -> None:
    for sample in draw(prepared, SynthesisConfig(patch=32), 8):
        assert sample.scans.shape == (2, 32, 32, 32)
        assert sample.scans.dtype == torch.float32
        assert 0 <= float(sample.scans.min()) <= float(sample.scans.max()) <= 3
        assert sample.truth.shape == sample.scored.shape == (4, 32, 32, 32)
        assert 0 <= float(sample.truth.min()) <= float(sample.truth.max()) <= 1 + 1e-5
        assert (sample.scored[0] & (sample.scans.sum(0) > 0)).any()


def test_one_seed_one_stream(prepared: Path) -> None:
    first, second = (PairStream(prepared, SynthesisConfig(patch=32), 3, CPU) for _ in range(2))
    in_order = [first.sample(number) for number in range(4)]
    for number in (2, 0, 3, 1):  # a sample depends on the seed and its number, not on what was drawn before
        again = second.sample(number)
        assert torch.equal(in_order[number].scans, again.scans)
        assert torch.equal(in_order[number].truth, again.truth)
    assert not torch.equal(in_order[0].scans, in_order[1].scans)


def test_new_lesions_are_brighter_at_followup_only(prepared: Path) -> None:
    rises = []
    for sample in draw(prepared, QUIET, 12):
        new = sample.truth[0] > 0.5
        if new.any():
            rises.append(float((sample.scans[1] - sample.scans[0])[new].mean()))
    assert len(rises) >= 3
    # half of a contrast of 1.5 z at least, where more than half of a voxel is lesion; an eighth is half a z
    assert np.median(rises) > 0.125


def test_lesion_free_pairs_have_no_change(prepared: Path) -> None:
    calm = dataclasses.replace(
        QUIET, lesions=dataclasses.replace(QUIET.lesions, lesion_free=1.0, erased=1.0, old=(3.0,))
    )
    samples = draw(prepared, calm, 9)
    assert not any(sample.truth[:2].any() for sample in samples)
    assert any((sample.truth[2:] > 0.5).any() for sample in samples)


def test_a_region_may_be_noisier(prepared: Path) -> None:
    """Without noise two visits to one scanner are alike; with it they differ, in the middle by nothing."""
    noisy = dataclasses.replace(QUIET.distractors, noise=1.0, noise_z=(1.0, 1.0), noise_mm=(0.4, 0.4))
    calm = dataclasses.replace(QUIET.lesions, lesion_free=1.0)
    rises = [
        4 * (sample.scans[1] - sample.scans[0])[sample.scored[0]]
        for sample in draw(prepared, dataclasses.replace(QUIET, lesions=calm, distractors=noisy), 6)
    ]
    spreads = [float(rise.std()) for rise in rises]
    assert 0.1 < np.median(spreads) < 2**0.5
    assert abs(float(np.median([float(rise.median()) for rise in rises]))) < 0.05


@pytest.mark.parametrize("kind", ["resolving", "shrinking"])
def test_vanishing_lesions_are_not_new(prepared: Path, kind: str) -> None:
    lesions = dataclasses.replace(QUIET.lesions, new=(0.0,), **{kind: 4.0})
    samples = draw(prepared, dataclasses.replace(QUIET, lesions=lesions), 9)
    assert not any((sample.truth[0] > 0.2).any() for sample in samples)
    assert any((sample.truth[1] > 0.5).any() for sample in samples)


def test_enlarging_lesions_are_new_at_their_rim_alone(prepared: Path) -> None:
    lesions = dataclasses.replace(QUIET.lesions, new=(0.0,), enlarging=4.0)
    samples = draw(prepared, dataclasses.replace(QUIET, lesions=lesions), 9)
    assert any((sample.truth[0] > 0.5).any() for sample in samples)
    for sample in samples:
        new, _, baseline, followup = sample.truth
        torch.testing.assert_close(new, (followup - baseline).clamp_min(0), atol=1e-5, rtol=0)


def test_a_real_lesion_erased_at_baseline_is_new(prepared: Path) -> None:
    lesions = dataclasses.replace(QUIET.lesions, new=(0.0,), erased=1.0)
    stream = PairStream(prepared, dataclasses.replace(QUIET, lesions=lesions, patch=48), 0, CPU)
    samples = [make_sample(stream.scans[0], stream.shapes, stream.config, stream.rng) for _ in range(8)]
    assert any(int((sample.truth[0] > 0.5).sum()) > 30 for sample in samples)


def test_lesions_that_nobody_marked_are_not_scored(prepared: Path) -> None:
    stream = PairStream(prepared, QUIET, 0, CPU)
    for all_marked in (True, False):
        source = dataclasses.replace(stream.scans[0], all_marked=all_marked)
        sample = make_sample(source, stream.shapes, QUIET, stream.rng)
        assert bool(sample.scored[2:].any()) == all_marked
        assert sample.scored[:2].any()


def test_a_scanner_is_the_same_at_both_visits_or_half_as_unlike() -> None:
    config = AcquisitionConfig()

    def unlike(likeness: str) -> float:
        pairs = [
            draw_scanners(likeness, 16, config, torch.Generator().manual_seed(seed)) for seed in range(60)
        ]
        return float(np.mean([abs(first.log_exponent - second.log_exponent) for first, second in pairs]))

    assert unlike("same") == 0
    assert unlike("near") == pytest.approx(unlike("far") / 2)


def test_what_is_clear_is_shown_and_little_of_what_noise_alone_shows() -> None:
    new = torch.zeros(32, 32, 32, dtype=torch.bool)
    new[14:18, 14:18, 14:18] = True
    depth_mm = torch.full(new.shape, 20.0)
    noises = [torch.randn(new.shape, generator=torch.Generator().manual_seed(seed)) for seed in range(20)]
    for rise, noise_z, least, most in ((1.5, 0.3, 1.0, 1.0), (0.0, 3.0, 0.0, 0.2), (0.2, 0.0, 0.0, 0.0)):
        rises = [rise * new + noise_z * noise for noise in noises]
        found = [shown(one, new, depth_mm, LesionConfig())[new].float().mean() for one in rises]
        assert least <= float(sum(found)) / len(found) <= most


def test_sampling_at_voxels_gives_the_voxels() -> None:
    volume = torch.rand(12, 14, 16, generator=torch.Generator().manual_seed(0))
    line = [torch.arange(6.0) + first for first in (3, 4, 5)]
    coordinates = torch.stack(torch.meshgrid(*line, indexing="ij"), dim=-1)
    torch.testing.assert_close(
        fields.sample([volume], coordinates)[0], volume[3:9, 4:10, 5:11], atol=1e-5, rtol=0
    )
    half = fields.sample([volume], coordinates + torch.tensor([0.5, 0.0, 0.0]))[0]
    wanted = (volume[3:9, 4:10, 5:11] + volume[4:10, 4:10, 5:11]) / 2
    torch.testing.assert_close(half, wanted, atol=1e-5, rtol=0)


def test_interpolation_by_hand() -> None:
    # at 0.25 between knots 0 and 1; beyond the last knot it is held
    assert interpolation(torch.tensor([0.25, 5.0]), 3).tolist() == [[0.75, 0.25, 0.0], [0.0, 0.0, 1.0]]


def test_slices_average_and_come_back() -> None:
    for seed in range(20):
        rng = torch.Generator().manual_seed(seed)
        slices, back = slices_and_back(40, 3.3, rng)
        torch.testing.assert_close((back @ slices).sum(1), torch.ones(40))
        ramp = torch.arange(40.0)
        torch.testing.assert_close((back @ (slices @ ramp))[5:-5], ramp[5:-5], atol=0.2, rtol=0)


def test_a_scaled_mask_keeps_its_centre_and_scales_its_volume() -> None:
    mask = torch.ones(6, 6, 6)
    grown = resized(mask, 1.5, 0.5)
    assert float(grown.sum()) == pytest.approx(9**3, rel=0.1)
    places = torch.stack(torch.meshgrid(*[torch.arange(side) for side in grown.shape], indexing="ij"))
    centre = (places * grown).flatten(1).sum(1) / grown.sum()
    assert centre.tolist() == pytest.approx([(side - 1) / 2 for side in grown.shape], abs=1e-3)


def test_a_lesion_at_the_border_is_cut() -> None:
    target = torch.zeros(5, 5, 5)
    put(target, torch.ones(3, 3, 3), [0, 2, 4])
    assert int(target.sum()) == 2 * 3 * 2
