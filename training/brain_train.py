"""Train the network of app/brain.py, from label maps and scans with a teacher's masks to weights/brain.pt, in one command.

    python -m training.brain_train --label-maps DIR [--scan SCAN MASK]... --state runs/brain --weights weights/brain.pt --steps 5000

Every scan of training/brain_synthesis.py is drawn anew. Stopped and started again with the same words, it goes on where it was.
"""

import argparse
import datetime
import math
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from app.config import Config, NetworkConfig, OperatingPoint, PreprocessConfig
from app.method import checkpoint
from app.method.brain import brain_logits
from app.method.model import UNet3D
from training.brain_synthesis import SPACING_MM, Head, draw_example, read_labelled_head, read_scanned_head

# One eighth of the voxels, eight channels each (app/brain.py); the widest network that learns in an hour on one core.
NETWORK = NetworkConfig(channels_in=8, channels_out=8, features=8, levels=3, groups=8, dropout=0.0)
THRESHOLD = 0.5
LEARNING_RATE = 2e-3  # Adam, rising over 100 steps, then falling to zero as a cosine
AVERAGE = 0.995  # of the running mean of the weights that is saved
SCANNED_SHARE = 0.4  # of the examples, if there are scans
SAVE_EVERY = 100  # steps


@dataclass
class Run:
    """All that changes while training."""

    network: UNet3D
    mean: UNet3D  # running mean of the weights
    optimizer: torch.optim.Adam
    rng: torch.Generator
    step: int = 0


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--label-maps", type=Path, required=True, help="folder of head label maps, 1 mm, FreeSurfer's numbers"
    )
    parser.add_argument(
        "--scan",
        type=Path,
        nargs=2,
        action="append",
        default=[],
        metavar=("SCAN", "MASK"),
        help="a scan and its brain mask",
    )
    parser.add_argument("--state", type=Path, required=True, help="folder to go on from")
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args(arguments)

    labelled: list[Head] = [read_labelled_head(path) for path in sorted(chosen.label_maps.glob("*.nii.gz"))]
    scanned: list[Head] = [read_scanned_head(scan, mask) for scan, mask in chosen.scan]
    print(f"{len(labelled)} label maps, {len(scanned)} scans", flush=True)
    provenance = {
        "command": " ".join(["python -m training.brain_train", *arguments]),
        "commit": subprocess.run(
            ["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True
        ).stdout.strip(),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "data": ", ".join(
            [
                f"{len(labelled)} SynthSeg label maps",
                *(f"{scan.parent.name}/{scan.name}" for scan, _ in chosen.scan),
            ]
        ),
    }
    run = resume_or_start(chosen.state, chosen.seed)
    started = time.monotonic()
    losses: list[float] = []
    for head in draw_heads(labelled, scanned, run.rng):
        if run.step >= chosen.steps:
            break
        losses.append(train_step(run, head, chosen.steps))
        if run.step % SAVE_EVERY == 0 or run.step == chosen.steps:
            save_state(run, chosen.state)
            checkpoint.save(chosen.weights, run.mean, config(), {**provenance, "steps": str(run.step)})
            print(
                f"step {run.step}  loss {sum(losses) / len(losses):.4f}  {time.monotonic() - started:.0f} s",
                flush=True,
            )
            losses.clear()


def config() -> Config:
    """What app/brain.py must know to use the weights as they were trained."""
    return Config(
        network=NETWORK,
        preprocess=PreprocessConfig(spacing_mm=SPACING_MM),
        point=OperatingPoint(threshold=THRESHOLD),
    )


def draw_heads(labelled: list[Head], scanned: list[Head], rng: torch.Generator) -> Iterator[Head]:
    """Heads for ever, `SCANNED_SHARE` of them real scans."""
    while True:
        real = scanned and float(torch.rand(1, generator=rng)) < SCANNED_SHARE
        heads = scanned if real else labelled
        yield heads[int(torch.randint(len(heads), (1,), generator=rng))]


def train_step(run: Run, head: Head, steps: int) -> float:
    """One example, one step; the loss."""
    example = draw_example(head, run.rng)
    for group in run.optimizer.param_groups:
        group["lr"] = learning_rate(run.step, steps)
    with torch.autocast("cpu", torch.bfloat16):
        logits = brain_logits(run.network, example.scan[None, None])
    loss = brain_loss(logits.float()[0, 0], example.brain)
    run.optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    if torch.isfinite(torch.nn.utils.clip_grad_norm_(run.network.parameters(), 1.0)):
        run.optimizer.step()
    else:
        print(f"step {run.step + 1}: the gradient is not finite; weights left as they are", flush=True)
    run.step += 1
    keep = min(AVERAGE, run.step / (run.step + 10))  # a short memory at the start
    with torch.no_grad():
        for mean, value in zip(run.mean.parameters(), run.network.parameters(), strict=True):
            mean.lerp_(value, 1 - keep)
    return float(loss.detach())


def brain_loss(logits: Tensor, brain: Tensor) -> Tensor:
    """Cross-entropy plus one minus Dice: (z, y, x) logits and the part of each voxel that is brain."""
    probability = torch.sigmoid(logits)
    dice = 2 * (probability * brain).sum() / (probability.sum() + brain.sum()).clamp(min=1)
    return functional.binary_cross_entropy_with_logits(logits, brain) + 1 - dice


def learning_rate(step: int, steps: int) -> float:
    return LEARNING_RATE * min(1.0, (step + 1) / 100) * 0.5 * (1 + math.cos(math.pi * min(1.0, step / steps)))


def resume_or_start(folder: Path, seed: int) -> Run:
    """The run that was saved in `folder`, or a new one."""
    torch.manual_seed(seed)
    network = UNet3D(NETWORK).to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    mean = UNet3D(NETWORK)
    mean.load_state_dict(network.state_dict())
    run = Run(
        network,
        mean,
        torch.optim.Adam(network.parameters(), lr=LEARNING_RATE),
        torch.Generator().manual_seed(seed),
    )
    saved = folder / "state.pt"
    if saved.is_file():
        state = torch.load(saved, weights_only=True)
        run.network.load_state_dict(state["network"])
        run.mean.load_state_dict(state["mean"])
        run.optimizer.load_state_dict(state["optimizer"])
        run.rng.set_state(state["rng"])
        run.step = state["step"]
    return run


def save_state(run: Run, folder: Path) -> None:
    """Write aside, then rename."""
    folder.mkdir(parents=True, exist_ok=True)
    unfinished = folder / "state.unfinished"
    parts = {
        "network": run.network.state_dict(),
        "mean": run.mean.state_dict(),
        "optimizer": run.optimizer.state_dict(),
    }
    torch.save({**parts, "rng": run.rng.get_state(), "step": run.step}, unfinished)
    unfinished.replace(folder / "state.pt")


if __name__ == "__main__":
    main(sys.argv[1:])
