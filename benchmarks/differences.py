"""How two visits differ where nothing changed: made pairs beside real ones, whose differences they should
bracket.

    python -m benchmarks.differences --prepared runs/open/prepared

All in spreads of the brain (1.4826 MAD), in deep brain without lesions: the spread of the difference of the
visits, as it is and after a blur of 1 mm (what noise leaves); its slow part (a blur of 6 mm: drift and
contrast); the fine detail of a scan (less its blur of 1.5 mm: noise and sharpness), and the ratio of the
follow-up's to the baseline's.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from scipy import ndimage

from app.arrays import Array, Mask
from app.intensity import spread
from training import commands
from training.cases import read_cases
from training.config import SynthesisConfig
from training.dataset import PairStream

NAMES = ("raw", "after 1 mm blur", "slow part (6 mm)", "fine detail", "its ratio")
DEEP_MM = 6
PATCHES = 300
SEED = 1000  # apart from those of training
QUANTILES = (10, 50, 90)


def main() -> None:
    parser = argparse.ArgumentParser(description="Differences of made and of real pairs.")
    parser.add_argument("--prepared", type=Path, required=True, help="folder written by training.prepare")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print("\n".join(lines(real(arguments.prepared), made(arguments.prepared, SynthesisConfig()))))


def differences(channels: Array, unchanged: Mask) -> dict[str, float] | None:
    """The five numbers of `NAMES` of one pair: channels (2, z, y, x) as the network sees them.

    None where too little is deep brain.
    """
    deep = ndimage.binary_erosion(unchanged, iterations=DEEP_MM)
    if np.count_nonzero(deep) < 2000:
        return None
    z = 4 * (channels - 1)
    weight = np.maximum(ndimage.gaussian_filter(unchanged.astype(np.float32), 6), 1e-3)
    difference = (z[1] - z[0]) * unchanged
    slow = ndimage.gaussian_filter(difference, 6) / weight
    fine = [spread((scan - ndimage.gaussian_filter(scan, 1.5))[deep]) for scan in z]
    values = (
        spread(difference[deep]),
        spread(ndimage.gaussian_filter(difference, 1)[deep]),
        spread(slow[deep]),
        float(np.mean(fine)),
        fine[1] / max(fine[0], 1e-3),
    )
    return dict(zip(NAMES, values, strict=True))


def real(prepared: Path) -> dict[str, dict[str, float]]:
    """Each validation pair, forward."""
    found = {}
    for case in read_cases(prepared / "pairs"):
        if case.name.endswith("forward"):
            changed = ndimage.binary_dilation(case.truth | case.ignore, iterations=2)
            values = differences(case.channels, case.brain & ~changed)
            if values is not None:
                found[case.patient] = values
    return found


def made(prepared: Path, config: SynthesisConfig, count: int = PATCHES) -> list[dict[str, float]]:
    """Patches of the generator that show enough deep brain."""
    return list(_patches(PairStream(prepared, config, SEED, torch.device("cpu")), count))


def _patches(stream: PairStream, count: int) -> Iterator[dict[str, float]]:
    for number in range(count):
        sample = stream.sample(number)
        changed = (sample.truth[:2].amax(0) > 0.2).numpy()
        brain = sample.scans.amin(0).numpy() > 0
        values = differences(sample.scans.numpy(), ndimage.binary_closing(brain) & ~changed)
        if values is not None:
            yield values


def lines(pairs: dict[str, dict[str, float]], patches: list[dict[str, float]]) -> list[str]:
    """A Markdown table."""
    found = [f"| | {' | '.join(NAMES)} |", f"|---|{'---|' * len(NAMES)}"]
    found += [
        f"| {name} | {' | '.join(f'{values[key]:.2f}' for key in NAMES)} |" for name, values in pairs.items()
    ]
    cells = [
        " / ".join(f"{value:.2f}" for value in np.percentile([one[key] for one in patches], QUANTILES))
        for key in NAMES
    ]
    return [*found, f"| {len(patches)} made patches, 10 / 50 / 90 % | {' | '.join(cells)} |"]


if __name__ == "__main__":
    commands.run(main)
