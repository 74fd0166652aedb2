"""The loop: goes on where it stopped, writes checkpoints that the predictor reads, needs no SimpleITK."""

import csv
import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from app.config import NetworkConfig
from app.predictor import Predictor
from training.config import SynthesisConfig, TrainConfig
from training.publish import publish
from training.train import follow, learning_rate, train

CPU = torch.device("cpu")
CONFIG = TrainConfig(steps=2, validate_steps=2, warmup_steps=2, batch=1, synthesis=SynthesisConfig(patch=32))
NETWORK = NetworkConfig(features=8, dropout=0.1)


def test_rate_warms_up_and_decays() -> None:
    config = TrainConfig(steps=101, warmup_steps=10, learning_rate=1.0, final_rate=0.02)
    assert learning_rate(0, config) == pytest.approx(0.1)
    assert learning_rate(50, config) == pytest.approx((1 + 0.02) / 2)  # the cosine is half way
    assert learning_rate(100, config) == pytest.approx(0.02)


def test_average_follows() -> None:
    slow, fast = (torch.nn.Linear(1, 1, bias=False) for _ in range(2))
    torch.nn.init.constant_(slow.weight, 0.0)
    torch.nn.init.constant_(fast.weight, 1.0)
    follow(slow, fast, 0.9)
    assert float(slow.weight.detach()) == pytest.approx(0.1)


def test_a_stopped_run_goes_on_where_it_was(prepared: Path, tmp_path: Path) -> None:
    train(prepared, tmp_path / "parts", CONFIG, NETWORK, CPU, stop_at=1)
    stopped = torch.load(tmp_path / "parts" / "state.pt", weights_only=True)
    train(prepared, tmp_path / "parts", CONFIG, NETWORK, CPU, stop_at=1)  # nothing left to do: reads, changes nothing
    train(prepared, tmp_path / "parts", CONFIG, NETWORK, CPU)
    train(prepared, tmp_path / "whole", CONFIG, NETWORK, CPU)
    whole, parts = (torch.load(tmp_path / name / "state.pt", weights_only=True) for name in ("whole", "parts"))
    assert stopped["step"] == 1
    assert (whole["step"], parts["step"]) == (2, 2)
    # the same patches and the same dropout were drawn; weights agree to bfloat16's rounding, of which Adam makes up to one learning rate a step
    assert torch.equal(whole["stream"], parts["stream"])
    assert torch.equal(whole["dropout"], parts["dropout"])
    for name, values in whole["network"].items():
        torch.testing.assert_close(parts["network"][name], values, atol=2 * CONFIG.learning_rate, rtol=0)

    # and what it leaves behind is what the tool reads
    publish([tmp_path / "whole" / "best.pt", tmp_path / "parts" / "last.pt"], tmp_path / "weights")
    predictor = Predictor.from_folder(tmp_path / "weights", CPU)
    assert len(predictor.networks) == 2
    assert predictor.config.predict.window == 32
    with (tmp_path / "whole" / "validation.csv").open() as file:
        assert [row["step"] for row in csv.DictReader(file)] == ["2"]


@pytest.mark.slow
def test_training_lowers_the_loss(prepared: Path, tmp_path: Path) -> None:
    config = dataclasses.replace(CONFIG, steps=41, validate_steps=1000, learning_rate=3e-3)
    train(prepared, tmp_path, config, NETWORK, CPU, stop_at=40)  # the last step would validate
    with (tmp_path / "log.csv").open() as file:
        losses = [float(row["loss"]) for row in csv.DictReader(file)]
    assert losses[-1] < 0.8 * losses[0]


def test_no_simpleitk_is_needed() -> None:
    code = "import sys, training.train; sys.exit('SimpleITK' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).resolve().parents[2])
