"""Real pairs with painted lesions: what is painted is what changes, what really changed is labelled or left
out, and who is held out is never opened.
"""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from app.arrays import Mask
from training.config import AcquisitionConfig, DistractorConfig, LesionConfig, SynthesisConfig
from training.dataset import PairStream
from training.synthesis.lesions import Shapes, read_shapes
from training.synthesis.pair import Sample
from training.synthesis.visits import make_real_sample, read_visits

CPU = torch.device("cpu")
SIDE = 56
STILL = LesionConfig(lesion_free=1.0, old=(0.0,))
EXACT = AcquisitionConfig(leftover=0.0)
NOTHING = DistractorConfig(
    **{field.name: 0.0 for field in dataclasses.fields(DistractorConfig)} | {"radius_mm": (8.0, 22.0)}
)
PLAIN = SynthesisConfig(
    patch=32,
    iqda="none",
    match_sharpness=False,
    low=0.0,
    lesions=STILL,
    acquisition=EXACT,
    in_real_pairs=NOTHING,
)
REAL_RISE = 0.75  # of a channel: 3 z


def ball(centre: tuple[int, int, int], radius: float) -> Mask:
    offsets = np.indices((SIDE, SIDE, SIDE)) - np.array(centre)[:, None, None, None]
    inside: Mask = (offsets**2).sum(axis=0) < radius**2
    return inside


NEW, MAYBE = ball((28, 20, 28), 4), ball((28, 36, 28), 4)


@pytest.fixture
def pair(tmp_path: Path) -> Path:
    """White matter alike at both visits; one lesion is new, of another it is not known whether it is."""
    brain = ball((28, 28, 28), 25)
    texture = np.random.default_rng(0).normal(-0.3, 0.3, brain.shape)
    channels = np.stack([1 + texture / 4] * 2) * brain
    channels[1] += REAL_RISE * (NEW | MAYBE)
    none = np.zeros_like(brain)
    arrays = {"truth_forward": NEW, "ignore_forward": MAYBE, "truth_backward": none, "ignore_backward": none}
    np.savez(tmp_path / "P1_T1_T2.npz", channels=channels.astype(np.float16), brain=brain, **arrays)
    return tmp_path / "P1_T1_T2.npz"


@pytest.fixture
def shapes(prepared: Path) -> Shapes:
    return read_shapes(prepared / "lesions.npz", CPU)


def draw(path: Path, shapes: Shapes, config: SynthesisConfig, count: int = 12) -> list[Sample]:
    rng = torch.Generator().manual_seed(0)
    visits = read_visits(path, CPU)
    return [make_real_sample(visits, shapes, config, rng) for _ in range(count)]


def test_a_real_change_is_new_in_one_order_and_vanished_in_the_other(pair: Path, shapes: Shapes) -> None:
    seen = set()
    for sample in draw(pair, shapes, PLAIN):
        rise = sample.scans[1] - sample.scans[0]
        for number, sign in ((0, 1), (1, -1)):
            changed = sample.truth[number] > 0.5
            if changed.sum() > 100:  # a part of the lesion is mostly its border
                seen.add(sign)
                assert float((sign * rise)[changed].mean()) == pytest.approx(REAL_RISE, rel=0.25)
    assert seen == {1, -1}


def test_where_it_is_not_known_whether_something_changed_nothing_is_scored(
    pair: Path, shapes: Shapes
) -> None:
    seen = 0
    for sample in draw(pair, shapes, PLAIN):
        rise = sample.scans[1] - sample.scans[0]
        for number, sign in ((0, 1), (1, -1)):
            changed = sign * rise > 0.5 * REAL_RISE
            unknown = changed & (sample.truth[number] < 0.05)
            seen += int(unknown.sum())
            assert not sample.scored[number][unknown].any()
        assert not sample.scored[2:].any()  # no mask of all lesions
    assert seen > 100


def test_what_lights_up_at_the_brain_s_edge_is_scored_as_nothing_new(pair: Path, shapes: Shapes) -> None:
    """Blobs at the surface of either visit change more than the real lesion does, and are in no truth."""
    config = dataclasses.replace(PLAIN, in_real_pairs=dataclasses.replace(NOTHING, edge=1.0))
    wrong = 0
    for still, lit in zip(draw(pair, shapes, PLAIN), draw(pair, shapes, config), strict=True):
        rise = (lit.scans[1] - lit.scans[0]).abs()
        wrong += int(((rise > REAL_RISE) & (lit.truth[:2].amax(0) < 0.05) & lit.scored[0]).sum())
        assert still.truth.shape == lit.truth.shape
    assert wrong > 100


def test_a_painted_lesion_is_what_changes(pair: Path, shapes: Shapes) -> None:
    lesions = dataclasses.replace(
        STILL, lesion_free=0.0, new=(4.0,), resolving=0.0, enlarging=0.0, shrinking=0.0
    )
    with np.load(pair) as arrays:
        same = {name: np.zeros_like(arrays[name]) for name in arrays.files if name != "brain"}
        same["channels"] = arrays["channels"][[0, 0]]
        np.savez(pair, **same, brain=arrays["brain"])
    rises = []
    for sample in draw(pair, shapes, dataclasses.replace(PLAIN, lesions=lesions)):
        new, vanished = sample.truth[:2]
        rise = sample.scans[1] - sample.scans[0]
        assert float(vanished.max()) < 0.2
        rises.append(float(rise[new > 0.5].mean()))
        # two copies of one scan differ where something was painted and nowhere else
        assert float(rise[(new == 0) & sample.scored[0]].abs().max()) < 0.05
    assert np.nanmedian(rises) > 0.125  # half a z


def test_lesions_that_both_visits_show_are_not_new(pair: Path, shapes: Shapes) -> None:
    with np.load(pair) as arrays:
        kept = {
            name: np.zeros_like(arrays[name]) for name in arrays.files if name not in ("brain", "channels")
        }
        channels = np.repeat(arrays["channels"][1:], 2, axis=0)
        np.savez(pair, **kept, brain=arrays["brain"], channels=channels, lesions=np.stack([NEW, NEW]))
    samples = draw(pair, shapes, PLAIN)
    assert not any(sample.truth[:2].any() for sample in samples)
    assert any((sample.truth[2:] > 0.5).sum() > 100 for sample in samples)
    assert all(sample.scored[2].any() for sample in samples)


def test_half_of_the_patches_are_real_and_a_seed_repeats(
    prepared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = (PairStream(prepared, PLAIN, 3, CPU, ["patient01"]) for _ in range(2))
    for number in (2, 0, 3, 1):
        assert torch.equal(first.sample(number).scans, second.sample(number).scans)
    monkeypatch.setattr("training.dataset.make_sample", lambda *_: "made")
    monkeypatch.setattr("training.dataset.make_real_sample", lambda *_: "real")
    kinds = [first.sample(number) for number in range(400)]
    assert 160 < kinds.count("real") < 240  # type: ignore[arg-type]


def test_who_is_held_out_is_not_opened(prepared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    real = np.load
    monkeypatch.setattr(
        np, "load", lambda path, *rest: (opened.append(Path(path).stem), real(path, *rest))[1]
    )
    PairStream(prepared, PLAIN, 3, CPU, ["patient01"])
    assert "patient01" in opened
    assert "patient03" not in opened
