"""How many patches a second can be trained on, how much of that is drawing them, and what the image quality
augmentation costs against libraries.

    export GLIBC_TUNABLES=...    # as in training/train.sh
    .venv-peers/bin/python -m benchmarks.training --prepared runs/prepared

A step is that of training/train.py: forward, backward and optimiser, bfloat16. The degradations are each
applied to one scan of the size that the generator draws. TorchIO and MONAI have no unsharp mask or slice
average of the paper's kind: their nearest transforms stand in (TorchIO's blur subtracted; RandomAnisotropy;
RandGaussianSharpen; RandSimulateLowResolution, which coarsens all axes). Seconds are the processor's, of one
thread, the median of seven calls in turns.
"""

import argparse
import dataclasses
import itertools
import statistics
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from app.config import NetworkConfig
from app.method.model import UNet3D
from benchmarks.measuring import cost, heading
from training.augmentation import average_slices, blur, sharpen
from training.config import PAPER, SynthesisConfig, TrainConfig
from training.dataset import PairStream, stack
from training.loss import LOSSES

CPU = torch.device("cpu")
REPEATS = 7
Call = Callable[[], object]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--prepared", type=Path, required=True, help="folder that training.prepare wrote")
    parser.add_argument("--features", type=int, nargs="*", default=[8, 16])
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{heading()}, 1 thread\n")

    config, patches = TrainConfig(), SynthesisConfig()  # the recipe for open data
    plain = dataclasses.replace(patches, iqda="none")
    calls = {
        "drawn": drawing(arguments.prepared, patches),
        "drawn without IQDA": drawing(arguments.prepared, plain),
    }
    calls |= {f"{features} features": step(features, config) for features in arguments.features}
    spent_s = {name: seconds / config.batch for name, seconds in in_turns(calls).items()}
    print(
        f"| {patches.patch}^3 | CPU ms a patch: step, drawing, the same without IQDA | patches a "
        "CPU s: with, without | drawing's share |"
    )
    print("|---|---|---|---|")
    for features in arguments.features:
        network, drawn, without = (
            spent_s[name] for name in (f"{features} features", "drawn", "drawn without IQDA")
        )
        print(
            f"| {features} features | {1000 * network:.0f}, {1000 * drawn:.0f}, {1000 * without:.0f} "
            f"| {1 / (network + drawn):.2f}, {1 / (network + without):.2f} | "
            f"{drawn / (network + drawn):.0%} |"
        )

    side = patches.patch + 2 * patches.margin
    scan = torch.rand(side, side, side, generator=torch.Generator().manual_seed(0))
    found = {
        library: in_turns(degradations)
        for library, degradations in (
            ("ours", ours(scan)),
            ("TorchIO", torchio(scan)),
            ("MONAI", monai(scan)),
        )
    }
    print(
        f"\n| CPU ms a scan of {side}^3 | "
        + " | ".join(found["ours"])
        + " |\n|"
        + "---|" * (1 + len(found["ours"]))
    )
    for library, seconds in found.items():
        print(f"| {library} | " + " | ".join(f"{1000 * value:.1f}" for value in seconds.values()) + " |")


def in_turns(calls: dict[str, Call]) -> dict[str, float]:
    """Median CPU seconds of each, called one after the other."""
    costs: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        call()  # libraries are loaded, buffers there
    for _ in range(REPEATS):
        for name, call in calls.items():
            costs[name].append(cost(call, warm=True).cpu_s)
    return {name: statistics.median(values) for name, values in costs.items()}


def drawing(prepared: Path, config: SynthesisConfig) -> Call:
    stream, numbers = PairStream(prepared, config, 1, CPU), itertools.count()
    return lambda: stack([stream.sample(next(numbers)) for _ in range(TrainConfig().batch)])


def step(features: int, config: TrainConfig) -> Call:
    """One step of training on patches that are there already."""
    network = (
        UNet3D(NetworkConfig(features=features, dropout=config.dropout))
        .to(memory_format=torch.channels_last_3d)
        .train()
    )
    optimiser = torch.optim.AdamW(
        network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
    )
    shape = (config.batch, *[config.patches.patch] * 3)
    scans = torch.rand(shape[0], 2, *shape[1:]).contiguous(memory_format=torch.channels_last_3d)
    truth, scored = torch.rand(shape) > 0.99, torch.ones(shape, dtype=torch.bool)

    def run() -> None:
        with torch.autocast("cpu", torch.bfloat16):
            logits = network(scans)
        optimiser.zero_grad(set_to_none=True)
        LOSSES[config.loss](logits, truth, scored).backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), config.largest_gradient)
        optimiser.step()

    return run


def ours(scan: Tensor) -> dict[str, Call]:
    sigma = sum(PAPER.sigma) / 2
    return {
        "blur": lambda: blur(scan, sigma),
        "edge enhancement": lambda: sharpen(scan, sigma, 1.0),
        "slices averaged": lambda: average_slices(scan, 3),
    }


def torchio(scan: Tensor) -> dict[str, Call]:
    import torchio as tio

    sigma = sum(PAPER.sigma) / 2
    volume = scan[None]
    smooth, thick = tio.RandomBlur((sigma, sigma)), tio.RandomAnisotropy(axes=0, downsampling=(3, 3))
    return {
        "blur": lambda: smooth(volume),
        "edge enhancement": lambda: 2 * volume - smooth(volume),
        "slices averaged": lambda: thick(volume),
    }


def monai(scan: Tensor) -> dict[str, Call]:
    from monai.transforms import RandGaussianSharpen, RandGaussianSmooth, RandSimulateLowResolution

    sigma = sum(PAPER.sigma) / 2
    volume, exact = scan[None], (sigma, sigma)
    smooth = RandGaussianSmooth(exact, exact, exact, prob=1.0)
    sharp = RandGaussianSharpen(exact, exact, exact, alpha=(1.0, 1.0), prob=1.0)
    thick = RandSimulateLowResolution(prob=1.0, zoom_range=(1 / 3, 1 / 3))
    return {
        "blur": lambda: smooth(volume),
        "edge enhancement": lambda: sharp(volume),
        "slices averaged": lambda: thick(volume),
    }


if __name__ == "__main__":
    main()
