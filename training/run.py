"""What both trainings share: weights with their running average, a step, the state to go on from, and where
weights come from.
"""

import copy
import dataclasses
import math
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from app.errors import InputError
from app.method import checkpoint
from app.method.model import UNet3D
from training import processes


@dataclass
class Progress:
    """How far a run is."""

    step: int = 0
    seconds: float = 0.0
    best: float = -math.inf  # selection score
    waited: int = 0  # validations since then


@dataclass
class Run:
    """All that changes while training."""

    network: UNet3D
    average: UNet3D  # of the weights, over the last steps
    optimiser: torch.optim.Optimizer
    progress: Progress = field(default_factory=Progress)


def begin(network: UNet3D, device: torch.device, weight_decay: float = 0.0) -> Run:
    """A run at its first step.

    The optimiser is AdamW, which without decay is Adam; `take_step` sets its rate.
    """
    network = network.to(device, memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    average = copy.deepcopy(network).eval().requires_grad_(False)
    return Run(network, average, torch.optim.AdamW(network.parameters(), weight_decay=weight_decay))


def take_step(run: Run, loss: Tensor, rate: float, largest_gradient: float, keep: float) -> None:
    """Follow the gradient of `loss` at a learning rate, and let the average keep that share of itself, less
    at the start.

    A gradient longer than `largest_gradient` is shortened; one that is not finite leaves the weights as they
    are.
    """
    for group in run.optimiser.param_groups:
        group["lr"] = rate
    run.optimiser.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    norm = torch.nn.utils.clip_grad_norm_(run.network.parameters(), largest_gradient)
    run.progress.step += 1
    step = run.progress.step
    if torch.isfinite(norm):
        run.optimiser.step()
    elif processes.rank() == 0:
        print(f"step {step}: the gradient is not finite; weights left as they are", flush=True)
    follow(run.average, run.network, min(keep, step / (step + 9)))


@torch.no_grad()
def follow(average: torch.nn.Module, network: torch.nn.Module, keep: float) -> None:
    """Move the averaged weights towards the trained ones."""
    for slow, fast in zip(average.parameters(), network.parameters(), strict=True):
        slow.lerp_(fast, 1 - keep)


def learning_rate(
    step: int, steps: int, peak: float, warmup_steps: int, decay: float, final: float = 0.0
) -> float:
    """Linear warm-up, a constant, then over the last `decay` of the steps a cosine down to `final` of the
    peak.

    So a run can be made longer as long as its decay has not begun: the same command with more steps goes on.
    """
    warm = min(1.0, (step + 1) / warmup_steps)
    last = max(decay * (steps - 1), 1)
    progress = min(max(1 - (steps - 1 - step) / last, 0.0), 1.0)
    return peak * warm * (final + (1 - final) * (1 + math.cos(math.pi * progress)) / 2)


def resume(run: Run, folder: Path, device: torch.device) -> None:
    """Go on from the state saved in a folder, if there is one.

    Raises InputError if it is of another network.
    """
    path = folder / "state.pt"
    if not path.is_file():
        return
    saved = torch.load(path, map_location=device, weights_only=True)
    try:
        run.network.load_state_dict(saved["network"])
        run.average.load_state_dict(saved["average"])
        run.optimiser.load_state_dict(saved["optimiser"])
        run.progress = Progress(**saved["progress"])
    except (KeyError, RuntimeError, TypeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{path}: {reason}; wanted the state of a run with the same settings") from error
    if processes.rank() == 0:
        print(f"goes on at step {run.progress.step}, after {run.progress.seconds:.0f} s", flush=True)


def save(run: Run, folder: Path) -> None:
    """Write `state.pt` aside, then rename: a run that is ended meanwhile keeps its last state."""
    content = {
        "network": run.network.state_dict(),
        "average": run.average.state_dict(),
        "optimiser": run.optimiser.state_dict(),
        "progress": dataclasses.asdict(run.progress),
    }
    folder.mkdir(parents=True, exist_ok=True)
    unfinished = folder / "state.unfinished"
    torch.save(content, unfinished)
    unfinished.replace(folder / "state.pt")


def start_from(network: UNet3D, path: Path) -> None:
    """Load published weights. Raises InputError if they are of another kind of network."""
    published = checkpoint.load(path).network
    if dataclasses.replace(published.config, dropout=network.config.dropout) != network.config:
        raise InputError(f"{path}: a network of {published.config}; wanted {network.config}")
    network.load_state_dict(published.state_dict())


def provenance(module: str, arguments: list[str], data: str) -> dict[str, str]:
    """Where weights come from: command, commit, date, data."""
    words = ["git", "rev-parse", "HEAD"]
    commit = subprocess.run(words, capture_output=True, text=True, check=False).stdout.strip()
    return {
        "command": " ".join(["python -m", module, *arguments]),
        "commit": commit or "unknown",
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "data": data,
    }
