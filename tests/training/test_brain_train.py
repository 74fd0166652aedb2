"""training/brain_train.py: a stopped run goes on as if it had not stopped, and what it writes is what app/brain.py reads."""

from pathlib import Path

import pytest
import SimpleITK as sitk
import torch

from app.method.brain import BrainExtractor
from tests.training.test_brain_synthesis import ball_head
from training import brain_train
from training.brain_synthesis import labelled_head


@pytest.fixture(autouse=True)
def small_fields_of_view(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.brain_synthesis.FIELD_OF_VIEW", ((30, 32), (30, 32), (30, 32)))


def test_a_stopped_run_goes_on(tmp_path: Path) -> None:
    head = labelled_head(ball_head(88))
    run = brain_train.resume_or_start(tmp_path, seed=1)
    brain_train.train_step(run, head, steps=10)
    brain_train.save_state(run, tmp_path)
    again = brain_train.resume_or_start(tmp_path, seed=1)
    assert again.step == 1
    for one, other in ((run.network, again.network), (run.mean, again.mean)):
        assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))
    moments, kept = run.optimizer.state_dict()["state"], again.optimizer.state_dict()["state"]
    assert all(torch.equal(moments[k]["exp_avg"], kept[k]["exp_avg"]) for k in moments)
    # the same example comes next (the weights after it may differ by the rounding of bf16 sums, which depends on where memory lies)
    assert brain_train.train_step(again, head, steps=10) == brain_train.train_step(run, head, steps=10)


def test_a_gradient_that_is_not_finite_leaves_the_weights_as_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The bfloat16 backward pass of very small volumes gives one now and then; it would end every run."""
    run = brain_train.resume_or_start(tmp_path, seed=1)
    before = [parameter.clone() for parameter in run.network.parameters()]
    monkeypatch.setattr(brain_train, "brain_loss", lambda logits, _: logits.sum() * float("nan"))
    brain_train.train_step(run, labelled_head(ball_head(88)), steps=10)
    assert all(torch.equal(was, now) for was, now in zip(before, run.network.parameters(), strict=True))
    assert run.step == 1
    assert capsys.readouterr().out == "step 1: the gradient is not finite; weights left as they are\n"


def test_the_command_writes_weights_that_work(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "maps").mkdir()
    sitk.WriteImage(sitk.GetImageFromArray(ball_head(88)), str(tmp_path / "maps" / "one.nii.gz"))
    words = [
        "--label-maps",
        str(tmp_path / "maps"),
        "--state",
        str(tmp_path / "state"),
        "--weights",
        str(tmp_path / "brain.pt"),
        "--steps",
        "1",
    ]
    brain_train.main(words)
    assert "step 1 " in capsys.readouterr().out
    extractor = BrainExtractor.from_file(tmp_path / "brain.pt", torch.device("cpu"))
    assert extractor.spacing_mm == 2.0 and extractor.threshold == brain_train.THRESHOLD


def test_learning_rate() -> None:
    # step 0: a hundredth of 2e-3 (cosine at its top); half way, past the rise: (1 + cos(pi/2)) / 2 = half of it; zero at the end
    assert brain_train.learning_rate(0, 1000) == pytest.approx(2e-5)
    assert brain_train.learning_rate(500, 1000) == pytest.approx(1e-3)
    assert brain_train.learning_rate(1000, 1000) == pytest.approx(0)


def test_loss_of_a_perfect_answer_is_small() -> None:
    brain = torch.zeros(4, 4, 4)
    brain[:2] = 1
    # logits of +-20: cross-entropy 2e-9, Dice 1; the opposite: cross-entropy 20, Dice 0
    assert brain_train.brain_loss(40 * brain - 20, brain) == pytest.approx(0, abs=1e-6)
    assert brain_train.brain_loss(20 - 40 * brain, brain) == pytest.approx(21, abs=1e-6)
