"""Prepared arrays to a trained network: the loop, its log, and the best weights by the real validation pairs.

    python -m training.train --prepared runs/prepared --run runs/first --steps 1500

Needs torch, numpy and scipy alone. A stopped run goes on where its last `state.pt` was: weights, average, optimiser and generators are in it.
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
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from app import checkpoint
from app.config import Config, NetworkConfig, PredictConfig
from app.model import UNet3D
from app.predictor import sliding_window
from training import scoring
from training.config import TrainConfig
from training.dataset import PairStream
from training.loss import LOSSES
from training.scoring import Case

LOG_STEPS = 20


def main() -> None:
    defaults = TrainConfig()
    parser = argparse.ArgumentParser(description="Train the lesion network on prepared arrays.")
    parser.add_argument("--prepared", type=Path, required=True, help="folder written by training.prepare")
    parser.add_argument("--run", type=Path, required=True, help="folder for state, log and best weights")
    parser.add_argument("--steps", type=int, default=defaults.steps)
    parser.add_argument("--seed", type=int, default=defaults.seed)
    parser.add_argument("--batch", type=int, default=defaults.batch)
    parser.add_argument("--features", type=int, default=16, help="the paper has 24; 16 is what two CPU cores can train")
    parser.add_argument("--patch", type=int, default=defaults.synthesis.patch, help="voxels a side, of training and of the predictor's windows")
    parser.add_argument("--validate-steps", type=int, default=defaults.validate_steps)
    parser.add_argument("--iqda", choices=("none", "shared", "each"), default="each")
    parser.add_argument("--loss", choices=tuple(LOSSES), default=defaults.loss)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    arguments = parser.parse_args()
    config = dataclasses.replace(
        defaults,
        steps=arguments.steps,
        seed=arguments.seed,
        batch=arguments.batch,
        loss=arguments.loss,
        validate_steps=arguments.validate_steps,
        synthesis=dataclasses.replace(defaults.synthesis, iqda=arguments.iqda, patch=arguments.patch),
    )
    network = NetworkConfig(features=arguments.features, dropout=config.dropout)
    train(arguments.prepared, arguments.run, config, network, torch.device(arguments.device))


def train(prepared: Path, run: Path, config: TrainConfig, network_config: NetworkConfig, device: torch.device, stop_at: int | None = None) -> None:
    """Run, or go on with, one training, up to `stop_at` or to the last step; `run/best.pt` and `run/last.pt` are checkpoints for app.predictor."""
    run.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(config.seed)  # initial weights and dropout
    network = UNet3D(network_config).to(device, memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    average = copy.deepcopy(network).eval().requires_grad_(False)
    optimiser = torch.optim.AdamW(network.parameters(), lr=config.learning_rate, betas=(0.9, 0.999), weight_decay=config.weight_decay)
    stream = PairStream(prepared, config.synthesis, config.seed, device)
    cases = scoring.read_cases(prepared / "pairs")

    state = run / "state.pt"
    first, seconds, best = 0, 0.0, -math.inf
    if state.is_file():
        saved = torch.load(state, map_location=device, weights_only=True)
        network.load_state_dict(saved["network"])
        average.load_state_dict(saved["average"])
        optimiser.load_state_dict(saved["optimiser"])
        stream.rng.set_state(saved["stream"].cpu())
        torch.set_rng_state(saved["dropout"].cpu())
        first, seconds, best = saved["step"], saved["seconds"], saved["best"]
        print(f"goes on at step {first}, after {seconds:.0f} s", flush=True)

    started = time.monotonic() - seconds
    saved_at = time.monotonic()
    drawing, losses = 0.0, []
    end = config.steps if stop_at is None else stop_at
    for step in range(first, end):
        before = time.monotonic()
        batch = stream.batch(config.batch)
        drawing += time.monotonic() - before

        for group in optimiser.param_groups:
            group["lr"] = learning_rate(step, config)
        network.train()
        with torch.autocast(device.type, torch.bfloat16):
            logits = network(batch.scans.contiguous(memory_format=torch.channels_last_3d))
        loss = LOSSES[config.loss](logits, batch.truth, batch.scored)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        norm = torch.nn.utils.clip_grad_norm_(network.parameters(), config.largest_gradient)
        if torch.isfinite(norm):
            optimiser.step()
        else:
            print(f"step {step + 1}: the gradient is not finite; weights left as they are", flush=True)
        follow(average, network, min(config.ema, (step + 1) / (step + 10)))
        losses.append(float(loss.detach()))

        done = step + 1
        if done % LOG_STEPS == 0 or done == end:
            elapsed = time.monotonic() - started
            row: dict[str, float] = {
                "step": done,
                "seconds": round(elapsed, 1),
                "loss": round(float(np.mean(losses)), 4),
                "rate": round(learning_rate(step, config), 6),
                "patches_a_second": round((done - first) * config.batch / (elapsed - seconds), 3),
                "drawing_share": round(drawing / max(elapsed - seconds, 1e-6), 3),
            }
            _append(run / "log.csv", row)
            print(row, flush=True)
            losses = []
        if done % config.validate_steps == 0 or done == config.steps:
            best = _validate(average, cases, config, run, done, best, device)
        if time.monotonic() - saved_at > 60 * config.checkpoint_minutes or done == end or done % config.validate_steps == 0:
            content = {
                "network": network.state_dict(),
                "average": average.state_dict(),
                "optimiser": optimiser.state_dict(),
                "stream": stream.rng.get_state(),
                "dropout": torch.get_rng_state(),
                "step": done,
                "seconds": time.monotonic() - started,
                "best": best,
            }
            unfinished = state.with_suffix(".unfinished")
            torch.save(content, unfinished)
            unfinished.replace(state)
            saved_at = time.monotonic()


def learning_rate(step: int, config: TrainConfig) -> float:
    """Linear warm-up, then a cosine down to `final_rate` of the peak at the last step."""
    warm = min(1.0, (step + 1) / config.warmup_steps)
    progress = step / max(config.steps - 1, 1)
    return config.learning_rate * warm * (config.final_rate + (1 - config.final_rate) * (1 + math.cos(math.pi * progress)) / 2)


@torch.no_grad()
def follow(average: UNet3D, network: UNet3D, keep: float) -> None:
    """Move the averaged weights towards the trained ones."""
    for slow, fast in zip(average.parameters(), network.parameters(), strict=True):
        slow.lerp_(fast, 1 - keep)


def probability_of(network: UNet3D, case: Case, window: int, overlap: float, device: torch.device) -> npt.NDArray[np.float32]:
    """New-lesion probability (z, y, x) of one case, in windows as app.predictor.Predictor blends them, bfloat16."""

    def softmax(windows: Tensor) -> Tensor:
        with torch.autocast(device.type, torch.bfloat16):
            logits = network(windows.contiguous(memory_format=torch.channels_last_3d))
        probabilities: Tensor = logits.float().softmax(dim=1)
        return probabilities

    volume, inside = torch.from_numpy(case.channels).to(device), torch.from_numpy(case.brain)
    with torch.inference_mode():
        classes = sliding_window(volume, softmax, window, overlap, inside)
    probability: npt.NDArray[np.float32] = classes[1].cpu().numpy() * case.brain
    return probability


def _validate(network: UNet3D, cases: list[Case], config: TrainConfig, run: Path, step: int, best: float, device: torch.device) -> float:
    """Score the averaged weights on the real pairs, log the best operating point, keep the weights if it is the best so far."""
    before = time.monotonic()
    window = config.synthesis.patch
    probabilities = {case.name: probability_of(network, case, window, config.validation_overlap, device) for case in cases}
    results = scoring.table(probabilities, cases)
    chosen = max(results, key=lambda point: scoring.selection(results[point], cases))
    found = scoring.selection(results[chosen], cases)
    f1, dice, false = scoring.summary(results[chosen], cases)
    row: dict[str, object] = {
        "step": step,
        "threshold": chosen[0],
        "minimum_mm3": chosen[1],
        "f1": round(f1, 3),
        "dice": round(dice, 3),
        "false": false,
    }
    for case in cases:
        m = results[chosen][case.name]
        row[case.name] = f"F1 {m.f1:.2f} Dice {m.dice:.2f} sens {m.sensl:.2f} ppv {m.ppvl:.2f} false {m.false_lesions}"
    fixed = scoring.summary(results[(0.8, 10.0)], cases)
    row["at .8 and 10 mm3"] = f"{fixed[0]:.3f} {fixed[1]:.3f} {fixed[2]}"
    row["seconds"] = round(time.monotonic() - before, 1)
    _append(run / "validation.csv", row)
    print(row, flush=True)
    predict = PredictConfig(window=window, threshold=chosen[0], minimum_volume_mm3=chosen[1])
    settings = Config(network=network.config, predict=predict)
    provenance = _provenance(config, step, found)
    checkpoint.save(run / "last.pt", network, settings, provenance)
    if found > best:
        checkpoint.save(run / "best.pt", network, settings, provenance)
    return max(best, found)


def _provenance(config: TrainConfig, step: int, found: float) -> dict[str, str]:
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False).stdout.strip()
    return {
        "command": " ".join(["python", "-m", "training.train", *sys.argv[1:]]),
        "commit": commit or "unknown",
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "data": "open data of training/README.md; patients 01 and 03 for validation only",
        "step": str(step),
        "iqda": config.synthesis.iqda,
        "loss": config.loss,
        "selection": f"{found:.4f}, mean of F1 and Dice on the validation pairs less {scoring.FALSE_LESION_COST} a false lesion",
    }


def _append(path: Path, row: Mapping[str, object]) -> None:
    """Add a line to a CSV file; the first one brings the header."""
    new = not path.is_file()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, row)
        if new:
            writer.writeheader()
        writer.writerow(row)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
