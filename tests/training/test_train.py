"""The loop: goes on where it stopped to the bit, is the same loop in two processes, writes what the predictor
reads, needs no SimpleITK.
"""

import csv
import dataclasses
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from app.errors import InputError
from app.method import checkpoint
from app.method.predictor import Predictor
from training import folds, processes
from training.config import PAPER_RECIPE, SynthesisConfig, TrainConfig
from training.dataset import PairStream
from training.publish import publish
from training.run import follow, learning_rate
from training.train import main, rate_of, train

REPOSITORY = Path(__file__).resolve().parents[2]
CPU = torch.device("cpu")
PATCHES = SynthesisConfig(patch=16)
CONFIG = TrainConfig(
    features=8,
    steps=6,
    validate_steps=6,
    warmup_steps=2,
    batch=1,
    precision="float32",
    validation_overlap=0.0,
    patches=PATCHES,
)


@pytest.fixture
def _deterministic() -> Iterator[None]:
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


def rows(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


def test_rate_warms_up_and_decays() -> None:
    config = TrainConfig(steps=101, warmup_steps=10, learning_rate=1.0, decay=0.4, final_rate=0.02)
    assert rate_of(0, config) == pytest.approx(0.1)
    assert rate_of(60, config) == 1.0  # the last 40 steps decay
    assert rate_of(80, config) == pytest.approx((1 + 0.02) / 2)  # the cosine is half way
    assert rate_of(100, config) == pytest.approx(0.02)
    # the brain's: a cosine from the first step to zero
    assert learning_rate(500, 1001, peak=2e-3, warmup_steps=100, decay=1.0) == pytest.approx(1e-3)
    assert learning_rate(1000, 1001, peak=2e-3, warmup_steps=100, decay=1.0) == pytest.approx(0)


@pytest.mark.slow
def test_a_run_starts_from_published_weights(prepared: Path, tmp_path: Path) -> None:
    train(prepared, tmp_path / "first", CONFIG, CPU, stop_at=1)
    still = dataclasses.replace(CONFIG, learning_rate=0.0, seed=9)
    train(prepared, tmp_path / "second", still, CPU, stop_at=1, start=tmp_path / "first" / "best.pt")
    first, second = (checkpoint.load(tmp_path / name / "best.pt").network for name in ("first", "second"))
    for name, values in first.state_dict().items():
        torch.testing.assert_close(second.state_dict()[name], values)
    wider = dataclasses.replace(CONFIG, features=16)
    with pytest.raises(InputError, match="a network of"):
        train(prepared, tmp_path / "third", wider, CPU, stop_at=1, start=tmp_path / "first" / "best.pt")


def test_rate_of_the_paper_stays() -> None:
    assert {rate_of(step, PAPER_RECIPE) for step in (0, 1, 1000, 74_999)} == {1e-4}


def test_average_follows() -> None:
    slow, fast = (torch.nn.Linear(1, 1, bias=False) for _ in range(2))
    torch.nn.init.constant_(slow.weight, 0.0)
    torch.nn.init.constant_(fast.weight, 1.0)
    follow(slow, fast, 0.9)
    assert float(slow.weight.detach()) == pytest.approx(0.1)


@pytest.mark.usefixtures("_deterministic")
@pytest.mark.slow
def test_six_steps_are_three_and_three(prepared: Path, tmp_path: Path) -> None:
    train(prepared, tmp_path / "whole", CONFIG, CPU)
    train(prepared, tmp_path / "parts", CONFIG, CPU, stop_at=3)
    train(prepared, tmp_path / "parts", CONFIG, CPU, stop_at=3)  # nothing left to do: reads, changes nothing
    stopped = torch.load(tmp_path / "parts" / "state.pt", weights_only=True)
    train(prepared, tmp_path / "parts", CONFIG, CPU)
    whole, parts = (
        torch.load(tmp_path / name / "state.pt", weights_only=True) for name in ("whole", "parts")
    )
    assert (stopped["progress"]["step"], whole["progress"]["step"], parts["progress"]["step"]) == (3, 6, 6)
    for part in ("network", "average"):
        assert all(torch.equal(parts[part][name], values) for name, values in whole[part].items())
        assert not all(torch.equal(stopped[part][name], values) for name, values in whole[part].items())
    for moments, others in zip(
        whole["optimiser"]["state"].values(), parts["optimiser"]["state"].values(), strict=True
    ):
        assert all(torch.equal(moments[name], others[name]) for name in ("step", "exp_avg", "exp_avg_sq"))

    # and what it leaves behind is what the tool reads
    publish([tmp_path / "whole" / "best.pt", tmp_path / "parts" / "last.pt"], tmp_path / "weights")
    predictor = Predictor.from_folder(tmp_path / "weights", CPU)
    assert len(predictor.networks) == 2
    assert predictor.config.windows.side == 16
    assert [row["step"] for row in rows(tmp_path / "whole" / "validation.csv")] == ["6"]


@pytest.mark.slow
def test_out_of_time_it_stops_and_leaves_all_that_is_needed(prepared: Path, tmp_path: Path) -> None:
    train(prepared, tmp_path, CONFIG, CPU, minutes=0)
    assert torch.load(tmp_path / "state.pt", weights_only=True)["progress"]["step"] == 1
    assert (tmp_path / "best.pt").is_file()
    train(prepared, tmp_path, CONFIG, CPU, minutes=0)
    assert torch.load(tmp_path / "state.pt", weights_only=True)["progress"]["step"] == 2


@pytest.mark.slow
def test_a_run_without_gain_ends(challenge: Path, tmp_path: Path) -> None:
    # nothing is learnt at rate 0, so the second validation brings no gain, nor does the third: patience 2
    # ends the run there
    config = dataclasses.replace(
        PAPER_RECIPE,
        features=8,
        batch=1,
        steps=9,
        validate_steps=1,
        patience=2,
        learning_rate=0.0,
        patches=dataclasses.replace(PAPER_RECIPE.patches, patch=32),
    )
    train(challenge, tmp_path, config, CPU, fold=1)
    assert [row["step"] for row in rows(tmp_path / "validation.csv")] == ["1", "2", "3"]
    held_out = [name for name, fold in folds.read(challenge).items() if fold == 1]
    assert {f"{name} forward" for name in held_out} <= set(rows(tmp_path / "validation.csv")[0])
    train(challenge, tmp_path, config, CPU, fold=1)  # called again it knows that it has ended
    assert len(rows(tmp_path / "validation.csv")) == 3


@pytest.mark.slow
def test_two_processes_train_as_one(prepared: Path, tmp_path: Path) -> None:
    words = [
        "-m",
        "training.train",
        "--prepared",
        str(prepared),
        "--device",
        "cpu",
        "--precision",
        "float32",
        "--dropout",
        "0",
        "--batch",
        "2",
    ]
    words += ["--features", "8", "--patch", "16", "--steps", "3"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    subprocess.run(
        [sys.executable, *words, "--run", str(tmp_path / "one")], check=True, cwd=REPOSITORY, env=environment
    )
    # "--" because torchrun would read --run as one of its own
    torchrun = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--nproc-per-node",
        "2",
        "--standalone",
        "--local-addr",
        "127.0.0.1",
    ]
    subprocess.run(
        [*torchrun, words[0], "--", *words[1:], "--run", str(tmp_path / "two")],
        check=True,
        cwd=REPOSITORY,
        env=environment,
    )
    one, two = (torch.load(tmp_path / name / "state.pt", weights_only=True) for name in ("one", "two"))
    losses = [float(rows(tmp_path / name / "log.csv")[0]["loss"]) for name in ("one", "two")]
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)
    # the gradients too (weights are no measure: Adam makes a whole step of a gradient that is all rounding)
    for moments, others in zip(
        one["optimiser"]["state"].values(), two["optimiser"]["state"].values(), strict=True
    ):
        gradient = moments["exp_avg"]
        torch.testing.assert_close(
            others["exp_avg"], gradient, atol=1e-4 * float(gradient.abs().max()), rtol=0
        )
    assert len(rows(tmp_path / "two" / "log.csv")) == 1  # one of the two writes


@pytest.mark.parametrize(("share", "of_heads"), [(1.0, True), (0.0, False)])
def test_patches_of_heads_alone_or_of_scans_alone(
    share: float, of_heads: bool, prepared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.dataset.make_sample", lambda source, *_: source)
    stream = PairStream(prepared, dataclasses.replace(PATCHES, head=share), seed=1, device=CPU)
    assert {stream.sample(number).tissues is not None for number in range(20)} == {of_heads}  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("data", "words", "said"),
    [
        ("prepared", ["--head", "1.5"], "wanted a share between 0 and 1"),
        ("challenge", ["--head", "0.5", "--fold", "1"], "wanted a share between 0 and 1"),
        ("challenge", [], "--fold: wanted one"),
    ],
)
def test_options_that_make_no_sense_are_refused(
    data: str,
    words: list[str],
    said: str,
    tmp_path: Path,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = str(request.getfixturevalue(data))
    monkeypatch.setattr(sys, "argv", ["train", "--prepared", folder, "--run", str(tmp_path / "run"), *words])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_batch_that_cannot_be_shared_is_refused(
    prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.processes.count", lambda: 2)
    with pytest.raises(InputError, match="a batch of 1 for 2 processes"):
        train(prepared, tmp_path, CONFIG, CPU)


@pytest.mark.slow
def test_training_lowers_the_loss(prepared: Path, tmp_path: Path) -> None:
    # float32, because bfloat16 loses a gradient now and then with patches this small (training/LOG.md,
    # failures)
    config = dataclasses.replace(CONFIG, steps=161, validate_steps=1000, learning_rate=3e-3)
    train(prepared, tmp_path, config, CPU, stop_at=160)
    losses = [float(row["loss"]) for row in rows(tmp_path / "log.csv")]
    assert sum(losses[-3:]) / 3 < 0.9 * sum(losses[:2]) / 2  # each of twenty steps, whose patches differ


def test_no_simpleitk_is_needed() -> None:
    code = "import sys, training.train; sys.exit('SimpleITK' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=REPOSITORY)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_refused() -> None:
    assert processes.join("auto") == CPU
    with pytest.raises(InputError, match="torch sees no GPU"):
        processes.join("cuda")


def test_a_folder_that_was_not_prepared_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"wanted a folder that training/prepare\.py wrote"):
        train(tmp_path / "nowhere", tmp_path / "run", CONFIG, CPU)
    assert not (tmp_path / "run").exists()
