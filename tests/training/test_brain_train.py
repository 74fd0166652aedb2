"""training/brain_train.py: a stopped run goes on as if it had not stopped, and what it writes is what
app/brain.py reads.
"""

from pathlib import Path

import pytest
import SimpleITK as sitk
import torch

from app.errors import InputError
from app.method.brain import BrainExtractor
from app.method.model import UNet3D
from tests.training.test_brain_synthesis import ball_head
from training import brain_train
from training.brain_synthesis import labelled_head
from training.run import Run, begin, resume, save

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def small_fields_of_view(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.brain_synthesis.FIELD_OF_VIEW", ((30, 32), (30, 32), (30, 32)))


def begun(folder: Path) -> Run:
    """A new run, or the one saved in a folder."""
    torch.manual_seed(1)
    run = begin(UNet3D(brain_train.NETWORK), CPU)
    resume(run, folder, CPU)
    return run


def test_a_stopped_run_goes_on(tmp_path: Path) -> None:
    head = labelled_head(ball_head(88))
    run = begun(tmp_path)
    brain_train.train_step(run, head, 10, torch.Generator().manual_seed(0))
    save(run, tmp_path)
    again = begun(tmp_path)
    assert again.progress.step == 1
    for one, other in ((run.network, again.network), (run.average, again.average)):
        assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))
    moments, kept = run.optimiser.state_dict()["state"], again.optimiser.state_dict()["state"]
    assert all(torch.equal(moments[k]["exp_avg"], kept[k]["exp_avg"]) for k in moments)
    # the weights after the next step may differ by the rounding of bf16 sums, which depends on where memory
    # lies
    losses = [brain_train.train_step(one, head, 10, torch.Generator().manual_seed(1)) for one in (run, again)]
    assert losses[0] == losses[1]


def test_a_gradient_that_is_not_finite_leaves_the_weights_as_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The bfloat16 backward pass of very small volumes gives one now and then; it would end every run."""
    run = begun(tmp_path)
    before = [parameter.clone() for parameter in run.network.parameters()]
    monkeypatch.setattr(brain_train, "brain_loss", lambda logits, _: logits.sum() * float("nan"))
    brain_train.train_step(run, labelled_head(ball_head(88)), 10, torch.Generator().manual_seed(0))
    assert all(torch.equal(was, now) for was, now in zip(before, run.network.parameters(), strict=True))
    assert run.progress.step == 1
    assert capsys.readouterr().out == "step 1: the gradient is not finite; weights left as they are\n"


def test_the_command_writes_weights_that_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    maps = tmp_path / "data" / "SynthSeg" / "training_label_maps"
    words = ["--data", str(tmp_path / "data"), "--run", str(tmp_path / "run")]
    words += ["--weights", str(tmp_path / "brain.pt"), "--steps", "1"]
    monkeypatch.setattr("sys.argv", ["brain_train", *words])
    with pytest.raises(InputError, match="no SynthSeg/training_label_maps"):
        brain_train.main()
    maps.mkdir(parents=True)
    sitk.WriteImage(sitk.GetImageFromArray(ball_head(88)), str(maps / "one.nii.gz"))
    brain_train.main()
    assert "step 1 " in capsys.readouterr().out
    extractor = BrainExtractor.from_file(tmp_path / "brain.pt", CPU)
    assert extractor.spacing_mm == 2.0 and extractor.threshold == brain_train.THRESHOLD


def test_loss_of_a_perfect_answer_is_small() -> None:
    brain = torch.zeros(4, 4, 4)
    brain[:2] = 1
    # logits of +-20: cross-entropy 2e-9, Dice 1; the opposite: cross-entropy 20, Dice 0
    assert brain_train.brain_loss(40 * brain - 20, brain) == pytest.approx(0, abs=1e-6)
    assert brain_train.brain_loss(20 - 40 * brain, brain) == pytest.approx(21, abs=1e-6)
