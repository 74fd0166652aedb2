"""Pairs drawn from heads and scans: what they must and must not contain."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from training.config import AcquisitionConfig, DistractorConfig, LesionConfig, SynthesisConfig
from training.dataset import PairStream
from training.synthesis import Sample, _interpolation, _sample, _slices, make_sample, put, resized

CPU = torch.device("cpu")
QUIET = SynthesisConfig(
    patch=32,
    iqda="none",
    low=0.0,
    lesions=LesionConfig(
        lesion_free=0.0, new=(4.0,), old=(0.0,), resolving=0.0, enlarging=0.0, shrinking=0.0, erased=0.0
    ),
    acquisition=AcquisitionConfig(0, 0, (0, 0), 0, 0.0, 0.0, (2, 2), (1e-3, 1e-3), 0.0, 0.0, 0.0),
    distractors=DistractorConfig(0, 0.0, (8, 8), 0, 0, 0, 0, 0, 0, 0),
)


def draw(prepared: Path, config: SynthesisConfig, count: int, seed: int = 0) -> list[Sample]:
    stream = PairStream(prepared, config, seed, CPU)
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
        assert not sample.truth[~sample.scored].any()
        assert (sample.scored & (sample.scans.sum(0) > 0)).any()


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
        if sample.truth.any():
            rises.append(float((sample.scans[1] - sample.scans[0])[sample.truth].mean()))
    assert len(rises) >= 3
    # at least .5 z, which is an eighth of the network's unit, where the change is labelled; two scanners' contrasts blur that a little
    assert np.median(rises) > 0.125


def test_lesion_free_pairs_have_no_truth(prepared: Path) -> None:
    calm = dataclasses.replace(
        QUIET, lesions=dataclasses.replace(QUIET.lesions, lesion_free=1.0, erased=1.0, old=(3.0,))
    )
    assert not any(sample.truth.any() for sample in draw(prepared, calm, 9))


@pytest.mark.parametrize("kind", ["resolving", "shrinking"])
def test_vanishing_lesions_are_not_new(prepared: Path, kind: str) -> None:
    lesions = dataclasses.replace(QUIET.lesions, new=(0.0,), **{kind: 4.0})
    assert not any(
        sample.truth.any() for sample in draw(prepared, dataclasses.replace(QUIET, lesions=lesions), 9)
    )


def test_enlarging_counts_only_where_told(prepared: Path) -> None:
    found = {}
    for target in (True, False):
        lesions = dataclasses.replace(QUIET.lesions, new=(0.0,), enlarging=4.0, enlarging_is_target=target)
        found[target] = any(
            sample.truth.any() for sample in draw(prepared, dataclasses.replace(QUIET, lesions=lesions), 9)
        )
    assert found == {True: True, False: False}


def test_a_real_lesion_erased_at_baseline_is_new(prepared: Path) -> None:
    lesions = dataclasses.replace(QUIET.lesions, new=(0.0,), erased=1.0)
    stream = PairStream(prepared, dataclasses.replace(QUIET, lesions=lesions, patch=48), 0, CPU)
    samples = [make_sample(stream.scans[0], stream.shapes, stream.config, stream.rng) for _ in range(8)]
    assert any(int(sample.truth.sum()) > 30 for sample in samples)


def test_sampling_at_voxels_gives_the_voxels() -> None:
    volume = torch.rand(12, 14, 16, generator=torch.Generator().manual_seed(0))
    line = [torch.arange(6.0) + first for first in (3, 4, 5)]
    coordinates = torch.stack(torch.meshgrid(*line, indexing="ij"), dim=-1)
    torch.testing.assert_close(_sample([volume], coordinates)[0], volume[3:9, 4:10, 5:11], atol=1e-5, rtol=0)
    half = _sample([volume], coordinates + torch.tensor([0.5, 0.0, 0.0]))[0]
    torch.testing.assert_close(
        half, (volume[3:9, 4:10, 5:11] + volume[4:10, 4:10, 5:11]) / 2, atol=1e-5, rtol=0
    )


def test_interpolation_by_hand() -> None:
    # at 0.25 between knots 0 and 1; beyond the last knot it is held
    assert _interpolation(torch.tensor([0.25, 5.0]), 3).tolist() == [[0.75, 0.25, 0.0], [0.0, 0.0, 1.0]]


def test_slices_average_and_come_back() -> None:
    for seed in range(20):
        rng = torch.Generator().manual_seed(seed)
        slices, back = _slices(40, 3.3, rng)
        torch.testing.assert_close((back @ slices).sum(1), torch.ones(40))
        ramp = torch.arange(40.0)
        torch.testing.assert_close((back @ (slices @ ramp))[5:-5], ramp[5:-5], atol=0.2, rtol=0)


def test_a_scaled_mask_keeps_its_centre_and_scales_its_volume() -> None:
    mask = torch.ones(6, 6, 6)
    grown = resized(mask, 1.5, 0.5)
    assert float(grown.sum()) == pytest.approx(9**3, rel=0.1)
    centre = (
        torch.stack(torch.meshgrid(*[torch.arange(side) for side in grown.shape], indexing="ij")) * grown
    ).flatten(1).sum(1) / grown.sum()
    assert centre.tolist() == pytest.approx([(side - 1) / 2 for side in grown.shape], abs=1e-3)


def test_a_lesion_at_the_border_is_cut() -> None:
    target = torch.zeros(5, 5, 5)
    put(target, torch.ones(3, 3, 3), [0, 2, 4])
    assert int(target.sum()) == 2 * 3 * 2
