"""Prepared arrays to a trained network: the loop, its log, and the best weights by real pairs that it was not trained on.

    python -m training.train --prepared runs/open/prepared --run runs/open/heads --head 1 --seed 23  # made pairs (training.prepare)
    python -m training.train --prepared runs/msseg2/prepared --run runs/msseg2/fold1 --fold 1      # the paper's recipe (training.msseg2)
    torchrun --nproc-per-node 4 -m training.train ...                                              # on several GPUs

Needs torch, numpy and scipy alone. A stopped run goes on where its last `state.pt` was: weights, average and optimiser are in it, and what is drawn
at a step depends on seed and step only.
"""

import argparse
import copy
import csv
import dataclasses
import math
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from app.config import MAPS, Config, NetworkConfig, WindowConfig
from app.errors import InputError
from app.method import checkpoint
from app.method.model import UNet3D
from app.method.predictor import probabilities, sliding_window
from training import commands, folds, processes, scoring
from training.config import PAPER_RECIPE, ChallengeConfig, TrainConfig
from training.dataset import open_stream, sample_seed, stack
from training.loss import LOSSES
from training.scoring import Case

LOG_STEPS = 20
DROPOUT_SEEDS = 2**31  # apart from those of the patches


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Train the lesion network on prepared arrays. What is left out is as the recipe has it (training/config.py)."
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
        help="the paper's recipe, on the challenge's patients but for those of this fold, who validate",
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
    parser.add_argument(
        "--device", choices=("cpu", "cuda"), default="cuda" if torch.cuda.is_available() else "cpu"
    )
    arguments = parser.parse_args()

    def given(*names: str) -> dict[str, Any]:
        return {name: value for name in names if (value := getattr(arguments, name)) is not None}

    if arguments.head is not None and (arguments.fold is not None or not 0 <= arguments.head <= 1):
        parser.error(
            "--head: wanted a share between 0 and 1, without --fold, whose patches are the challenge's"
        )
    recipe = TrainConfig() if arguments.fold is None else PAPER_RECIPE
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


@dataclass
class Progress:
    """How far a run is."""

    step: int = 0
    seconds: float = 0.0
    best: float = -math.inf  # selection score
    waited: int = 0  # validations since then


def train(
    prepared: Path,
    run: Path,
    config: TrainConfig,
    device: torch.device,
    fold: int | None = None,
    minutes: float = math.inf,
    stop_at: int | None = None,
    start: Path | None = None,
) -> None:
    """Run, or go on with, one training, until its last step, `stop_at`, or `minutes` have passed. A new run begins with the weights of `start`.

    `run/best.pt` and `run/last.pt` are checkpoints for app.method.predictor. Raises InputError if the batch cannot be shared among the processes.
    """
    began = time.monotonic()
    share, rest = divmod(config.batch, processes.count())
    if rest:
        raise InputError(f"a batch of {config.batch} for {processes.count()} processes; wanted a multiple")
    first_process = processes.rank() == 0
    run.mkdir(parents=True, exist_ok=True)
    # oneDNN's 3-D convolution is off by 3e-4 in the logits and by some hundredths in the gradients for two patches at a time (torch 2.13, AVX-512)
    torch.backends.mkldnn.enabled = config.precision == "bfloat16"  # type: ignore[assignment]
    torch.manual_seed(config.seed)  # initial weights
    classes = len(MAPS) if outputs_of(config) == "maps" else 2
    network = UNet3D(NetworkConfig(channels_out=classes, features=config.features, dropout=config.dropout))
    if start is not None:
        load_weights(network, start)
    network = network.to(device, memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    average = copy.deepcopy(network).eval().requires_grad_(False)
    optimiser = torch.optim.AdamW(
        network.parameters(), lr=config.learning_rate, betas=(0.9, 0.999), weight_decay=config.weight_decay
    )
    training, held_out = folds.split(prepared, fold) if fold is not None else ([], [])
    stream = open_stream(prepared, training, config.patches, config.seed, device)
    cases = scoring.read_cases(prepared / "pairs", held_out or None) if first_process else []

    state, progress = run / "state.pt", Progress()
    if state.is_file():
        saved = torch.load(state, map_location=device, weights_only=True)
        network.load_state_dict(saved["network"])
        average.load_state_dict(saved["average"])
        optimiser.load_state_dict(saved["optimiser"])
        progress = Progress(**saved["progress"])
        _say(f"goes on at step {progress.step}, after {progress.seconds:.0f} s")

    trained: nn.Module = DistributedDataParallel(network) if processes.count() > 1 else network
    first, before, saved_at = progress.step, progress.seconds, began
    loop_began, drawing, validating, losses = time.monotonic(), 0.0, 0.0, []
    end = config.steps if stop_at is None else stop_at
    while progress.step < end and progress.waited < config.patience:
        step = progress.step
        number = step * config.batch + processes.rank() * share  # of this process's first patch
        drawn_from = _now(device)
        batch = stack([stream.sample(number + i) for i in range(share)])
        drawing += _now(device) - drawn_from

        for group in optimiser.param_groups:
            group["lr"] = learning_rate(step, config)
        network.train()
        torch.manual_seed(DROPOUT_SEEDS + sample_seed(config.seed, number))
        with _autocast(device, config):
            logits = trained(batch.scans.contiguous(memory_format=torch.channels_last_3d))
        loss = LOSSES[config.loss](logits, batch.truth, batch.scored)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        norm = torch.nn.utils.clip_grad_norm_(network.parameters(), config.largest_gradient)
        if torch.isfinite(norm):
            optimiser.step()
        else:
            _say(f"step {step + 1}: the gradient is not finite; weights left as they are")
        follow(average, network, min(config.ema, (step + 1) / (step + 10)))
        losses.append(loss.detach())

        progress.step = done = step + 1
        here = time.monotonic() - began
        progress.seconds = before + here
        stopped = processes.first_says(here > 60 * minutes, device)
        if done % LOG_STEPS == 0 or done == end or stopped:
            training_seconds = _now(device) - loop_began - validating
            row: dict[str, object] = {
                "step": done,
                "seconds": round(progress.seconds, 1),
                "loss": round(float(torch.stack(losses).mean()), 6),
                "rate": round(learning_rate(step, config), 6),
                "patches_a_second": round((done - first) * config.batch / training_seconds, 3),
                "drawing_share": round(drawing / training_seconds, 3),
            }
            _log(run / "log.csv", row)
            losses = []
        if done % config.validate_steps == 0 or done == config.steps:
            if first_process:
                validated_from = time.monotonic()
                found = _validate(average, cases, config, run, done, progress.best, device)
                progress.waited = 0 if found > progress.best else progress.waited + 1
                progress.best = max(progress.best, found)
                validating += time.monotonic() - validated_from
            stopped = processes.first_says(
                stopped or progress.waited >= config.patience, device
            )  # the others wait here
        if first_process and (
            stopped
            or done == end
            or done % config.validate_steps == 0
            or time.monotonic() - saved_at > 60 * config.checkpoint_minutes
        ):
            _save(state, network, average, optimiser, progress)
            saved_at = time.monotonic()
        if stopped:
            break

    if first_process and not (run / "best.pt").is_file():  # stopped before the first validation
        _validate(average, cases, config, run, progress.step, -math.inf, device)


def outputs_of(config: TrainConfig) -> Literal["new", "maps"]:
    return "maps" if config.loss == "maps" else "new"


def load_weights(network: UNet3D, path: Path) -> None:
    """Start from a published network. Raises InputError if it is another kind."""
    published = checkpoint.load(path).network
    if dataclasses.replace(published.config, dropout=network.config.dropout) != network.config:
        raise InputError(f"{path}: a network of {published.config}; wanted {network.config}")
    network.load_state_dict(published.state_dict())


def learning_rate(step: int, config: TrainConfig) -> float:
    """Linear warm-up, a constant, then over the last `decay` of the steps a cosine down to `final_rate` of it.

    So a run can be made longer as long as its decay has not begun: the same command with more steps goes on.
    """
    warm = min(1.0, (step + 1) / config.warmup_steps)
    last = max(config.decay * (config.steps - 1), 1)
    progress = min(max(1 - (config.steps - 1 - step) / last, 0.0), 1.0)
    return (
        config.learning_rate
        * warm
        * (config.final_rate + (1 - config.final_rate) * (1 + math.cos(math.pi * progress)) / 2)
    )


@torch.no_grad()
def follow(average: UNet3D, network: UNet3D, keep: float) -> None:
    """Move the averaged weights towards the trained ones."""
    for slow, fast in zip(average.parameters(), network.parameters(), strict=True):
        slow.lerp_(fast, 1 - keep)


def probability_of(
    network: UNet3D, case: Case, config: TrainConfig, device: torch.device
) -> npt.NDArray[np.float32]:
    """New-lesion probability (z, y, x) of one case, in windows as app.method.predictor.Predictor blends them."""

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


def _validate(
    network: UNet3D,
    cases: list[Case],
    config: TrainConfig,
    run: Path,
    step: int,
    best: float,
    device: torch.device,
) -> float:
    """Score the averaged weights on the real pairs, log the best operating point, keep the weights if it is the best so far; the selection score."""
    before = time.monotonic()
    found_in = {case.name: probability_of(network, case, config, device) for case in cases}
    results = scoring.table(found_in, cases, config.operating_points)
    chosen, *_ = scoring.best(results, cases)
    found = scoring.selection(results[chosen], cases)
    f1, dice, false = scoring.summary(results[chosen], cases)
    row: dict[str, object] = {
        "step": step,
        "threshold": chosen.threshold,
        "certain": chosen.certain,
        "minimum_mm3": chosen.minimum_volume_mm3,
        "f1": round(f1, 3),
        "dice": round(dice, 3),
        "false": false,
    }
    for case in cases:
        m = results[chosen][case.name]
        row[case.name] = (
            f"F1 {m.f1:.2f} Dice {m.dice:.2f} sens {m.sensl:.2f} ppv {m.ppvl:.2f} false {m.false_lesions}"
        )
    row["seconds"] = round(time.monotonic() - before, 1)
    _log(run / "validation.csv", row)
    windows = WindowConfig(side=config.patches.patch)
    settings = Config(network=network.config, windows=windows, point=chosen, outputs=outputs_of(config))
    provenance = _provenance(config, step, found)
    checkpoint.save(run / "last.pt", network, settings, provenance)
    if found > best:
        checkpoint.save(run / "best.pt", network, settings, provenance)
    return found


def _save(
    state: Path, network: UNet3D, average: UNet3D, optimiser: torch.optim.Optimizer, progress: Progress
) -> None:
    """Write aside, then rename: a run that is ended meanwhile keeps its last state."""
    content = {
        "network": network.state_dict(),
        "average": average.state_dict(),
        "optimiser": optimiser.state_dict(),
        "progress": dataclasses.asdict(progress),
    }
    unfinished = state.with_suffix(".unfinished")
    torch.save(content, unfinished)
    unfinished.replace(state)


def _provenance(config: TrainConfig, step: int, found: float) -> dict[str, str]:
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False
    ).stdout.strip()
    challenge = isinstance(config.patches, ChallengeConfig)
    return {
        "command": " ".join(["python", "-m", "training.train", *sys.argv[1:]]),
        "commit": commit or "unknown",
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "data": "MSSEG-2 training patients but for one fold, which validates"
        if challenge
        else "open data of training/README.md; patients 01, 03, P14 and P2 for validation only",
        "step": str(step),
        "iqda": config.patches.iqda,
        "loss": config.loss,
        "selection": f"{found:.4f}, mean of F1 and Dice on the validation pairs less {scoring.FALSE_LESION_COST} a false lesion where none is new",
    }


def _autocast(device: torch.device, config: TrainConfig) -> torch.autocast:
    return torch.autocast(device.type, torch.bfloat16, enabled=config.precision == "bfloat16")


def _now(device: torch.device) -> float:
    """Seconds, when what was asked of the device is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.monotonic()


def _log(path: Path, row: Mapping[str, object]) -> None:
    """Print a line and add it to a CSV file, which its first line gives a header; only one of the processes does."""
    if processes.rank() > 0:
        return
    new = not path.is_file()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, row)
        if new:
            writer.writeheader()
        writer.writerow(row)
    _say(str(row))


def _say(line: str) -> None:
    if processes.rank() == 0:
        print(line, flush=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    commands.run(main)
