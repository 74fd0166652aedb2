"""How time and memory grow: with voxels, windows, networks of the ensemble, and lesions.

    export GLIBC_TUNABLES=...    # as app/__main__.py sets it
    python -m benchmarks.scaling --figure benchmarks/scaling.png

Voxels: what the windows cost beside the network, which is left out here (`sliding_window` with a network that
only copies), over cubes of 64^3 to 400^3 with a ball inside. Windows and networks: the shipped network, and
ensembles like it, over more and more of a ball. Lesions: balls of 33 voxels on a grid of 256^3, listed
(`lesions.describe`) and scored against themselves moved by a voxel (`metrics.evaluate`). Seconds are the
processor's, of one thread, the least of three.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
import SimpleITK as sitk
import torch

from app.arrays import Mask
from app.config import Config
from app.method import lesions
from app.method.model import UNet3D
from app.method.predictor import Predictor, sliding_window, windows_over
from app.scoring import metrics
from benchmarks.measuring import Cost, cost, heading

CUBES = (64, 100, 160, 250, 400)
BALLS = (10, 34, 46, 58)  # voxels of radius
ENSEMBLES = (1, 2, 3)
COUNTS = (5, 50, 500, 5000)
Rows = list[tuple[float, Cost]]  # how much of it, what it took


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--figure", type=Path, help="also draw the tables, log against log")
    figure = parser.parse_args().figure
    torch.set_num_threads(1)
    print(f"{heading()}, 1 thread")
    tables: dict[str, Rows] = {
        "voxels": [(side**3, least(over_cube(side))) for side in CUBES],
        "windows": [over_ball(radius) for radius in BALLS],
        "networks": [(count, least(with_ensemble(count))) for count in ENSEMBLES],
        "lesions, listed": [(count, least(listed(count))) for count in COUNTS],
        "lesions, scored": [(count, least(scored(count))) for count in COUNTS],
    }
    for title, rows in tables.items():
        print(
            f"\n| {title} | CPU s | times as long for so many times as much | MiB above the input "
            "|\n|---|---|---|---|"
        )
        first = rows[0]
        for count, found in rows:
            print(
                f"| {count:,.0f} | {found.cpu_s:.2f} | {found.cpu_s / first[1].cpu_s:.1f} for "
                f"{count / first[0]:.1f} | {found.above_mib:.0f} |"
            )
    if figure:
        draw(tables, figure)


def least(call: Callable[[], object]) -> Cost:
    """The quickest of three calls; the memory of the first, which found none kept from before."""
    costs = [cost(call) for _ in range(3)]
    return Cost(min(c.wall_s for c in costs), min(c.cpu_s for c in costs), costs[0].above_mib)


def over_cube(side: int) -> Callable[[], object]:
    volume = torch.ones(2, side, side, side)
    inside = torch.from_numpy(ball(side, 0.4 * side))
    return lambda: sliding_window(volume, lambda windows: windows[:, :1], 48, 0.5, inside)


def over_ball(radius: int) -> tuple[int, Cost]:
    """Windows, and what the shipped network took for them."""
    brain = ball(128, radius)
    predictor = Predictor.from_folder(Path("weights"), torch.device("cpu"))
    channels = np.random.default_rng(0).random((2, *brain.shape), dtype=np.float32) * brain
    windows = predictor.config.windows
    count = len(list(windows_over(torch.from_numpy(brain), windows.side, windows.overlap)))
    return count, least(lambda: predictor(channels, brain))


def with_ensemble(count: int) -> Callable[[], object]:
    one = Predictor.from_folder(Path("weights"), torch.device("cpu"))
    config: Config = one.config
    networks = [UNet3D(config.network) for _ in range(count)]
    brain = ball(72, 34)
    channels = np.random.default_rng(0).random((2, *brain.shape), dtype=np.float32) * brain
    together = Predictor(networks, config, torch.device("cpu"))
    return lambda: together(channels, brain)


def listed(count: int) -> Callable[[], object]:
    mask = balls(count)
    grid = sitk.Image(mask.shape[::-1], sitk.sitkUInt8)
    probability = mask.astype(np.float32)
    return lambda: lesions.describe(mask, probability, grid)


def scored(count: int) -> Callable[[], object]:
    mask = balls(count)
    moved = np.roll(mask, 1, axis=0)
    return lambda: metrics.evaluate(moved, mask, (1.0, 1.0, 1.0))


def ball(side: int, radius: float) -> Mask:
    """In the middle of a cube (side, side, side)."""
    line = (np.arange(side, dtype=np.float32) - (side - 1) / 2) ** 2
    inside: Mask = line[:, None, None] + line[:, None] + line <= radius**2
    return inside


def balls(count: int) -> Mask:
    """256^3 with so many balls of 33 voxels that do not touch."""
    small = ball(5, 2.0)
    mask = np.zeros((256, 256, 256), dtype=bool)
    places = np.random.default_rng(0).permutation(36**3)[:count]  # on a grid of 7 voxels
    for z, y, x in zip(*np.unravel_index(places, (36, 36, 36)), strict=True):
        mask[7 * z : 7 * z + 5, 7 * y : 7 * y + 5, 7 * x : 7 * x + 5] = small
    return mask


def draw(tables: dict[str, Rows], path: Path) -> None:
    """Both costs against how much of it, each relative to the first row; the grey line is proportional
    growth.
    """
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(8, 3.6), layout="constrained")
    for axis, title, value in zip(
        axes, ("CPU time", "memory above the input"), ("cpu_s", "above_mib"), strict=True
    ):
        axis.plot([1, 1000], [1, 1000], color="0.7", label="proportional")
        for name, rows in tables.items():
            costs = [max(getattr(found, value), 1e-3) for _, found in rows]
            axis.plot(
                [count / rows[0][0] for count, _ in rows],
                [c / costs[0] for c in costs],
                marker="o",
                markersize=3,
                label=name,
            )
        axis.set(xscale="log", yscale="log", xlabel="times as much", title=title)
    axes[0].set_ylabel("times the first")
    axes[0].legend(frameon=False, fontsize=8)
    figure.savefig(path, dpi=80)


if __name__ == "__main__":
    main()
