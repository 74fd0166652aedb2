"""How do prepared arrays become a trained network? The loop, its log, and the choice of the best weights.

Made pairs (training.prepare), the paper's recipe (training.msseg2), and several GPUs:

    python -m training.train --prepared runs/open/prepared --run runs/open/heads --head 1 --seed 23
    python -m training.train --prepared runs/msseg2/prepared --run runs/msseg2/fold1 --fold 1
    torchrun --nproc-per-node 4 -m -- training.train ...

Real pairs that the network was not trained on choose the best weights.
Needs torch, numpy and scipy alone. A stopped run goes on where its last `state.pt` was: weights, average and
optimiser are in it, and what is drawn at a step depends on seed and step only.
"""

import argparse
import contextlib
import csv
import dataclasses
import math
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from app.config import MAPS, Config, NetworkConfig, PreprocessConfig, WindowConfig
from app.errors import InputError
from app.method import checkpoint
from app.method.model import UNet3D
from app.method.predictor import probabilities, sliding_window
from training import commands, folds, operating_points, processes
from training.cases import Case, as_seen, patient_of, read_cases
from training.config import PAPER_RECIPE, ChallengeConfig, OwnConfig, SynthesisConfig, TrainConfig
from training.dataset import Batch, open_stream, sample_seed, stack
from training.loss import LOSSES
from training.run import Progress, Run, begin, learning_rate, provenance, resume, save, start_from, take_step

LOG_STEPS = 20
DROPOUT_SEEDS = 2**31  # apart from those of the patches


def main() -> None:
    parser = argument_parser()
    arguments = parser.parse_args()

    def given(*names: str) -> dict[str, Any]:
        return {name: value for name in names if (value := getattr(arguments, name)) is not None}

    recipe = PAPER_RECIPE if folds.of_challenge(arguments.prepared) else TrainConfig()
    made = isinstance(recipe.patches, SynthesisConfig)
    if arguments.head is not None and not (made and 0 <= arguments.head <= 1):
        parser.error("--head: wanted a share between 0 and 1, and open data")
    if arguments.fold is None and not made:
        parser.error("--fold: wanted one with patients of the challenge")
    patches = dataclasses.replace(recipe.patches, **given("patch", "iqda", "head"))
    settings = given("steps", "seed", "batch", "features", "dropout", "loss", "precision", "validate_steps")
    config = dataclasses.replace(recipe, patches=patches, **settings)
    device = processes.join(arguments.device)
    train(
        arguments.prepared,
        arguments.run,
        config,
        device,
        arguments.fold,
        arguments.minutes,
        start=arguments.start,
    )
    processes.leave()


def argument_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=(
            "Train the lesion network on prepared arrays. What is left out is as the recipe "
            "has it (training/config.py)."
        )
    )
    parser.add_argument(
        "--prepared", type=Path, required=True, help="folder written by training.prepare or training.msseg2"
    )
    parser.add_argument("--run", type=Path, required=True, help="folder for state, log and best weights")
    parser.add_argument(
        "--from",
        dest="start",
        type=Path,
        metavar="CHECKPOINT",
        help="start from these weights, where the run has no state yet",
    )
    parser.add_argument(
        "--fold",
        type=int,
        help="train on the pairs of all patients but those of this fold, who validate: the challenge's, "
        "or the open ones beside made pairs",
    )
    parser.add_argument("--steps", type=int)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--batch", type=int, help="patches a step, of all processes together")
    parser.add_argument("--features", type=int)
    parser.add_argument("--dropout", type=float)
    parser.add_argument("--patch", type=int, help="voxels a side, of training and of the predictor's windows")
    parser.add_argument("--validate-steps", type=int)
    parser.add_argument("--iqda", choices=("none", "shared", "each"))
    parser.add_argument(
        "--head", type=float, help="share of patches from label maps, 0 to 1; the rest are of real scans"
    )
    parser.add_argument("--loss", choices=tuple(LOSSES))
    parser.add_argument("--precision", choices=("bfloat16", "float32"))
    parser.add_argument(
        "--minutes",
        type=float,
        default=math.inf,
        help="wall-clock after which the run stops, to go on when called again",
    )
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    return parser


def train(
    prepared: Path,
    folder: Path,
    config: TrainConfig,
    device: torch.device,
    fold: int | None = None,
    minutes: float = math.inf,
    stop_at: int | None = None,
    start: Path | None = None,
) -> None:
    """Run, or go on with, one training, until its last step, `stop_at`, or `minutes` have passed.

    A new run begins with the weights of `start`. `folder/best.pt` and `folder/last.pt` are checkpoints for
    app.method.predictor. Raises InputError if the batch cannot be shared among the processes.
    """
    clock = _Clock(device)
    share, rest = divmod(config.batch, processes.count())
    if rest:
        raise InputError(f"a batch of {config.batch} for {processes.count()} processes; wanted a multiple")
    training, held_out = folds.split(folds.of(prepared), fold) if fold is not None else ([], [])
    stream = open_stream(prepared, training, config.patches, config.seed, device)
    first_process = processes.rank() == 0
    cases = [
        as_seen(case, preprocess_of(config))
        for case in (read_cases(prepared / "pairs", held_out or None) if first_process else [])
    ]
    folder.mkdir(parents=True, exist_ok=True)
    run = _begin(folder, config, device, start)
    trained: nn.Module = DistributedDataParallel(run.network) if processes.count() > 1 else run.network

    progress = run.progress
    first, before = progress.step, progress.seconds
    losses: list[Tensor] = []
    end = config.steps if stop_at is None else stop_at
    while progress.step < end and progress.waited < config.patience:
        number = progress.step * config.batch + processes.rank() * share  # of this process's first patch
        with clock.drawing():
            batch = stack([stream.sample(number + i) for i in range(share)])
        losses.append(_step(run, trained, batch, config, number, device))
        done = progress.step
        progress.seconds = before + clock.total()
        stopped = processes.first_says(clock.total() > 60 * minutes, device)
        if done % LOG_STEPS == 0 or done == end or stopped:
            _log(folder / "log.csv", clock.row(progress, losses, (done - first) * config.batch, config))
            losses = []
        validates = done % config.validate_steps == 0 or done == config.steps
        if validates:
            if first_process:
                with clock.validating():
                    _validate(run, cases, config, folder, device)
            stopped = processes.first_says(stopped or progress.waited >= config.patience, device)
        if first_process and (stopped or validates or done == end or clock.saves(config.checkpoint_minutes)):
            save(run, folder)
        if stopped:
            break

    if first_process and not (folder / "best.pt").is_file():  # stopped before the first validation
        _validate(run, cases, config, folder, device)


def _begin(folder: Path, config: TrainConfig, device: torch.device, start: Path | None) -> Run:
    """The run that was saved in the folder, or a new one."""
    # oneDNN's 3-D convolution is off by 3e-4 in the logits and by some hundredths in the gradients for two
    # patches at a time (torch 2.13, AVX-512)
    torch.backends.mkldnn.enabled = config.precision == "bfloat16"  # type: ignore[assignment]
    torch.manual_seed(config.seed)  # initial weights
    channels = len(MAPS) if outputs_of(config) == "maps" else 2
    network = UNet3D(NetworkConfig(channels_out=channels, features=config.features, dropout=config.dropout))
    if start is not None:
        start_from(network, start)
    run = begin(network, device, config.weight_decay)
    resume(run, folder, device)
    return run


def _step(
    run: Run, trained: nn.Module, batch: Batch, config: TrainConfig, number: int, device: torch.device
) -> Tensor:
    """One step with the batch whose first patch has this number; its loss.

    `trained` is the network, or its copy among processes.
    """
    run.network.train()
    torch.manual_seed(DROPOUT_SEEDS + sample_seed(config.seed, number))
    with _autocast(device, config):
        logits = trained(batch.scans.contiguous(memory_format=torch.channels_last_3d))
    loss: Tensor = LOSSES[config.loss](logits, batch.truth, batch.scored)
    take_step(run, loss, rate_of(run.progress.step, config), config.largest_gradient, config.ema)
    return loss.detach()


class _Clock:
    """Where the time goes: drawing patches, validating, and the rest."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.began = self.saved_at = time.monotonic()
        self.spent = {"drawing": 0.0, "validating": 0.0}
        self.loop_began: float | None = None

    @contextlib.contextmanager
    def _measure(self, what: str) -> Iterator[None]:
        since = self._now()
        if self.loop_began is None:
            self.loop_began = since
        yield
        self.spent[what] += self._now() - since

    def drawing(self) -> contextlib.AbstractContextManager[None]:
        return self._measure("drawing")

    def validating(self) -> contextlib.AbstractContextManager[None]:
        return self._measure("validating")

    def total(self) -> float:
        return time.monotonic() - self.began

    def saves(self, every_minutes: float) -> bool:
        """Whether it is time to save again."""
        due = time.monotonic() - self.saved_at > 60 * every_minutes
        if due:
            self.saved_at = time.monotonic()
        return due

    def row(
        self, progress: Progress, losses: list[Tensor], patches: int, config: TrainConfig
    ) -> dict[str, object]:
        """A line of the log."""
        training = self._now() - (self.loop_began or self.began) - self.spent["validating"]
        return {
            "step": progress.step,
            "seconds": round(progress.seconds, 1),
            "loss": round(float(torch.stack(losses).mean()), 6),
            "rate": round(rate_of(progress.step - 1, config), 6),
            "patches_a_second": round(patches / training, 3),
            "drawing_share": round(self.spent["drawing"] / training, 3),
        }

    def _now(self) -> float:
        """Seconds, when what was asked of the device is done."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.monotonic()


def outputs_of(config: TrainConfig) -> Literal["new", "maps"]:
    return "maps" if config.loss == "maps" else "new"


def preprocess_of(config: TrainConfig) -> PreprocessConfig:
    """What is done to a pair before the network sees it."""
    return PreprocessConfig(match_sharpness=config.patches.match_sharpness)


def rate_of(step: int, config: TrainConfig) -> float:
    return learning_rate(
        step, config.steps, config.learning_rate, config.warmup_steps, config.decay, config.final_rate
    )


def probability_of(
    network: UNet3D, case: Case, config: TrainConfig, device: torch.device
) -> npt.NDArray[np.float32]:
    """New-lesion probability (z, y, x) of one case, in windows as app.method.predictor blends them."""

    settings = Config(outputs=outputs_of(config))

    def maps(windows: Tensor) -> Tensor:
        with _autocast(device, config):
            logits = network(windows.contiguous(memory_format=torch.channels_last_3d))
        return probabilities(logits, settings)

    volume, inside = torch.from_numpy(case.channels).to(device), torch.from_numpy(case.brain)
    with torch.inference_mode():
        found = sliding_window(volume, maps, config.patches.patch, config.validation_overlap, inside)
    probability: npt.NDArray[np.float32] = found[0].cpu().numpy() * case.brain
    return probability


def _validate(run: Run, cases: list[Case], config: TrainConfig, folder: Path, device: torch.device) -> None:
    """Score the averaged weights on the real pairs, log the best operating point, keep the weights, also as
    the best if they are.
    """
    before, network, progress = time.monotonic(), run.average, run.progress
    found_in = {case.name: probability_of(network, case, config, device) for case in cases}
    results = operating_points.table(found_in, cases, config.operating_points)
    chosen, *_ = operating_points.best(results, cases)
    found = operating_points.selection(results[chosen], cases)
    f1, dice, false = operating_points.summary(results[chosen], cases)
    row: dict[str, object] = {
        "step": progress.step,
        "threshold": chosen.threshold,
        "certain": chosen.certain,
        "minimum_mm3": chosen.minimum_volume_mm3,
        "f1": round(f1, 3),
        "dice": round(dice, 3),
        "false": false,
    }
    for case in cases:
        m = results[chosen][case.name]
        rates = f"F1 {m.f1:.2f} Dice {m.dice:.2f} sens {m.sensl:.2f} ppv {m.ppvl:.2f}"
        row[case.name] = f"{rates} false {m.false_lesions}"
    row["seconds"] = round(time.monotonic() - before, 1)
    _log(folder / "validation.csv", row)
    windows = WindowConfig(side=config.patches.patch)
    settings = Config(
        network=network.config,
        preprocess=preprocess_of(config),
        windows=windows,
        point=chosen,
        outputs=outputs_of(config),
    )
    origin = _provenance(config, cases, progress.step, found)
    checkpoint.save(folder / "last.pt", network, settings, origin)
    if found > progress.best:
        checkpoint.save(folder / "best.pt", network, settings, origin)
    progress.waited = 0 if found > progress.best else progress.waited + 1
    progress.best = max(progress.best, found)


def _provenance(config: TrainConfig, cases: list[Case], step: int, found: float) -> dict[str, str]:
    """Where the weights come from; for open data also who was held out, on whom training.validate judges
    them.
    """
    held_out = ", ".join(sorted({patient_of(case.name) for case in cases}))
    if isinstance(config.patches, OwnConfig):
        who = {"data": "a laboratory's own pairs, from published weights", folds.HELD_OUT: held_out}
    elif isinstance(config.patches, ChallengeConfig):
        who = {"data": "MSSEG-2 training patients but for one fold, which validates"}
    else:
        who = {"data": f"open data of training/README.md, but for {held_out}", folds.HELD_OUT: held_out}
    cost = f"{operating_points.FALSE_LESION_COST} a false lesion where none is new"
    return (
        provenance("training.train", sys.argv[1:], who.pop("data"))
        | who
        | {
            "step": str(step),
            "iqda": config.patches.iqda,
            "loss": config.loss,
            "selection": f"{found:.4f}, mean of F1 and Dice on the validation pairs less {cost}",
        }
    )


def _autocast(device: torch.device, config: TrainConfig) -> torch.autocast:
    return torch.autocast(device.type, torch.bfloat16, enabled=config.precision == "bfloat16")


def _log(path: Path, row: Mapping[str, object]) -> None:
    """Print a line and add it to a CSV file, which its first line gives a header; only one of the processes
    does.
    """
    if processes.rank() > 0:
        return
    new = not path.is_file()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, row)
        if new:
            writer.writeheader()
        writer.writerow(row)
    print(row, flush=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    commands.run(main)
