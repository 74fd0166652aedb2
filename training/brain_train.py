"""Train the network of app/method/brain.py from open data: label maps, and three scans with their data set's
brain masks.

    python -m training.brain_train --data DIR --run runs/brain --weights weights/brain.pt

Every scan of training/brain_synthesis.py is drawn anew, from the seed and the number of the step. A stopped
run goes on where its last state was, when called with the same words.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from app.config import Config, NetworkConfig, OperatingPoint, PreprocessConfig
from app.errors import InputError
from app.method import checkpoint
from app.method.brain import brain_logits
from app.method.model import UNet3D
from training import commands
from training.brain_synthesis import (
    SPACING_MM,
    Head,
    draw_example,
    read_labelled_head,
    scanned_head,
)
from training.dataset import sample_seed
from training.prepare import longitudinal_scans
from training.run import Run, begin, learning_rate, provenance, resume, save, take_step

# One eighth of the voxels, eight channels each (app/method/brain.py); the widest network that learns in an
# hour on one core.
NETWORK = NetworkConfig(channels_in=8, channels_out=8, features=8, levels=3, groups=8, dropout=0.0)
THRESHOLD = 0.5
LEARNING_RATE = 2e-3  # rising over `WARMUP_STEPS`, then falling to zero as a cosine
WARMUP_STEPS = 100
LARGEST_GRADIENT = 1.0
AVERAGE = 0.995  # of the running average of the weights that is saved
SCANNED_SHARE = 0.4  # of the examples, if there are scans
SAVE_EVERY = 100  # steps
CPU = torch.device("cpu")


def main() -> None:
    parser = argparse.ArgumentParser(description="Train the brain extraction from open data.")
    parser.add_argument("--data", type=Path, required=True, help="folder that training/download.sh filled")
    parser.add_argument("--run", type=Path, required=True, help="folder for the state to go on from")
    parser.add_argument("--weights", type=Path, required=True, help="file to write, as weights/brain.pt")
    parser.add_argument("--steps", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()

    maps = sorted((arguments.data / "SynthSeg" / "training_label_maps").glob("*.nii.gz"))
    if not maps:
        raise InputError(
            f"{arguments.data}: no SynthSeg/training_label_maps/*.nii.gz; wanted the open data of "
            "training/README.md"
        )
    labelled: list[Head] = [read_labelled_head(path) for path in maps]
    scans = {name: scanned_head(scan, brain) for name, scan, brain, _ in longitudinal_scans(arguments.data)}
    print(f"{len(labelled)} label maps, {len(scans)} scans", flush=True)
    data = ", ".join([f"{len(labelled)} SynthSeg label maps", *(f"{name} of open_ms_data" for name in scans)])
    origin = provenance("training.brain_train", sys.argv[1:], data)
    train(
        labelled,
        list(scans.values()),
        arguments.run,
        arguments.weights,
        arguments.steps,
        arguments.seed,
        origin,
    )


def train(
    labelled: Sequence[Head],
    scanned: Sequence[Head],
    folder: Path,
    weights: Path,
    steps: int,
    seed: int,
    origin: dict[str, str],
) -> None:
    """Run, or go on with, one training, until its last step; write the weights every `SAVE_EVERY` steps."""
    torch.manual_seed(seed)  # initial weights
    run = begin(UNet3D(NETWORK), CPU)
    resume(run, folder, CPU)
    before, began, losses = run.progress.seconds, time.monotonic(), []
    while run.progress.step < steps:
        rng = torch.Generator().manual_seed(sample_seed(seed, run.progress.step))
        losses.append(train_step(run, draw_head(labelled, scanned, rng), steps, rng))
        step = run.progress.step
        if step % SAVE_EVERY == 0 or step == steps:
            run.progress.seconds = before + time.monotonic() - began
            save(run, folder)
            checkpoint.save(weights, run.average, config(), origin | {"step": str(step)})
            mean = sum(losses) / len(losses)
            print(f"step {step}  loss {mean:.4f}  {run.progress.seconds:.0f} s", flush=True)
            losses.clear()


def config() -> Config:
    """What app/method/brain.py must know to use the weights as they were trained."""
    return Config(
        network=NETWORK,
        preprocess=PreprocessConfig(spacing_mm=SPACING_MM),
        point=OperatingPoint(threshold=THRESHOLD),
    )


def draw_head(labelled: Sequence[Head], scanned: Sequence[Head], rng: torch.Generator) -> Head:
    """A random head; `SCANNED_SHARE` of them are real scans."""
    real = scanned and float(torch.rand(1, generator=rng)) < SCANNED_SHARE
    heads = scanned if real else labelled
    return heads[int(torch.randint(len(heads), (1,), generator=rng))]


def train_step(run: Run, head: Head, steps: int, rng: torch.Generator) -> float:
    """One example, one step; the loss."""
    example = draw_example(head, rng)
    with torch.autocast("cpu", torch.bfloat16):
        logits = brain_logits(run.network, example.scan[None, None])
    loss = brain_loss(logits.float()[0, 0], example.brain)
    rate = learning_rate(run.progress.step, steps, LEARNING_RATE, WARMUP_STEPS, decay=1.0)
    take_step(run, loss, rate, LARGEST_GRADIENT, AVERAGE)
    return float(loss.detach())


def brain_loss(logits: Tensor, brain: Tensor) -> Tensor:
    """Cross-entropy plus one minus Dice: (z, y, x) logits and the part of each voxel that is brain."""
    probability = torch.sigmoid(logits)
    dice = 2 * (probability * brain).sum() / (probability.sum() + brain.sum()).clamp(min=1)
    return functional.binary_cross_entropy_with_logits(logits, brain) + 1 - dice


if __name__ == "__main__":
    commands.run(main)
