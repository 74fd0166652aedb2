"""What scan quality costs: F1 and Dice of networks when the validation follow-ups are degraded, against
strength (the paper's claim for IQDA).

    python -m benchmarks.robustness --prepared runs/open/prepared --output robustness \\
        --weights runs/each runs/none [--painted]

The networks of a folder are seeds or folds of one recipe: each is scored alone, at its stored operating
point, on the patients that it was not trained on, and the table has their means. Cases are patients 01 and
03, time order forward, with their derived truth, or, with `--painted`, both orders of all pairs with the
lesions that `benchmarks.painted` paints into the follow-up, before it is degraded. Windows overlap by a
tenth, which costs a fifth of the shipped half.
"""

import argparse
import csv
import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from app.arrays import Array
from app.config import OperatingPoint
from app.files import writing
from app.machine import choose_device
from app.method import checkpoint
from app.method.predictor import Predictor
from training import commands, folds, operating_points
from training.augmentation import average_slices, blur, sharpen
from training.cases import Case, as_seen, patient_of, read_cases
from training.painting import painted_cases

OVERLAP = 0.1
FIELDS = ("weights", "network", "degradation", "strength", "case", "f1", "dice", "false")
Degrade = Callable[[Tensor, float], Tensor]


def add_noise(scan: Tensor, spreads: float) -> Tensor:
    """Gaussian noise of so many spreads of the brain, the same at every strength; a spread is a quarter
    (app.method.preprocessing).
    """
    return scan + spreads / 4 * torch.randn(scan.shape, generator=torch.Generator().manual_seed(0))


DEGRADATIONS: dict[str, tuple[Degrade, tuple[float, ...], str]] = {  # what it does, its strengths, their unit
    "none": (lambda scan, _: scan, (0.0,), ""),
    "blur": (blur, (0.75, 1.25, 1.75), "mm (sigma)"),
    "sharpening": (
        lambda scan, amount: sharpen(scan, 1.0, amount),
        (1.0, 2.0, 4.0),
        "times an unsharp mask of 1 mm",
    ),
    "thick slices": (lambda scan, count: average_slices(scan, int(count)), (2.0, 4.0, 6.0), "mm"),
    "noise": (add_noise, (0.25, 0.5, 1.0), "spreads"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description="Scores of networks on degraded follow-ups.")
    parser.add_argument("--prepared", type=Path, required=True, help="folder written by training.prepare")
    parser.add_argument(
        "--weights",
        type=Path,
        required=True,
        nargs="+",
        help="folders of weights: seeds of one recipe",
    )
    parser.add_argument(
        "--output", type=Path, required=True, help="folder for robustness.csv and robustness.png"
    )
    parser.add_argument(
        "--painted",
        action="store_true",
        help="score lesions painted into the pairs, not the pairs' derived truth",
    )
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    real = read_cases(arguments.prepared / "pairs")
    cases = (
        painted_cases(real, arguments.prepared)
        if arguments.painted
        else [case for case in real if case.name.endswith("forward")]
    )
    rows = [row for path in networks_of(arguments.weights) for row in score_network(path, cases)]
    names = list(dict.fromkeys(row["weights"] for row in rows))
    write(arguments.output / "robustness.csv", rows)
    for line in lines(rows, names):
        print(line)
    draw(rows, names, arguments.output / "robustness.png")


def networks_of(folders: Sequence[Path]) -> list[Path]:
    """The networks of all folders. Raises InputError if one has none."""
    return [path for folder in folders for path in checkpoint.trained_networks(folder)]


def score_network(path: Path, cases: Sequence[Case]) -> list[dict[str, str]]:
    """A row for every degradation, strength and case that the network was not trained on."""
    loaded = checkpoint.load(path)
    cases = [case for case in cases if not folds.saw(loaded.provenance, patient_of(case.name))]
    predictor = Predictor([loaded.network], loaded.config, choose_device("auto"), overlap=OVERLAP)
    point, preprocess = loaded.config.point, loaded.config.preprocess
    rows = []
    for degradation, (degrade, strengths, _) in DEGRADATIONS.items():
        for strength in strengths:
            for case in cases:
                lower = as_seen(degraded(case, degrade, strength), preprocess)
                key = {
                    "weights": path.parent.name,
                    "network": path.stem,
                    "degradation": degradation,
                    "strength": str(strength),
                    "case": case.name,
                }
                rows.append(key | score(predictor(lower.channels, lower.brain), lower, point))
    return rows


def degraded(case: Case, degrade: Degrade, strength: float) -> Case:
    """The case with a follow-up of lower quality, cut to the range and the brain that the network sees."""
    followup = degrade(torch.from_numpy(case.channels[1].copy()), strength).clamp(0, 3).numpy() * case.brain
    return dataclasses.replace(case, channels=np.stack([case.channels[0], followup]).astype(np.float32))


def score(probability: Array, case: Case, point: OperatingPoint) -> dict[str, str]:
    measures = operating_points.score(probability, case, point)
    return {"f1": f"{measures.f1:.4f}", "dice": f"{measures.dice:.4f}", "false": str(measures.false_lesions)}


def write(table: Path, rows: list[dict[str, str]]) -> None:
    with writing(table) as path, path.open("w", newline="") as file:
        writer = csv.DictWriter(file, FIELDS)
        writer.writeheader()
        writer.writerows(rows)


def values(
    rows: list[dict[str, str]], weights: str, degradation: str, strength: float, measure: str
) -> list[float]:
    """Of each network of a folder: the mean over the cases."""
    found: dict[str, list[float]] = {}
    for row in rows:
        if (row["weights"], row["degradation"], row["strength"]) == (weights, degradation, str(strength)):
            found.setdefault(row["network"], []).append(float(row[measure]))
    return [float(np.mean(of_network)) for of_network in found.values()]


def lines(rows: list[dict[str, str]], names: list[str]) -> list[str]:
    """A Markdown table: mean F1 (the share of it that is kept) / Dice, and false lesions a case, of each
    folder's networks.
    """
    found = [f"| follow-up | strength | {' | '.join(names)} |", "|---|---|" + "---|" * len(names)]
    for degradation, (_, strengths, unit) in DEGRADATIONS.items():
        for strength in strengths:
            cells = []
            for name in names:
                f1, dice, false = (
                    float(np.mean(values(rows, name, degradation, strength, measure)))
                    for measure in ("f1", "dice", "false")
                )
                kept = f1 / max(float(np.mean(values(rows, name, "none", 0.0, "f1"))), 1e-9)
                cells.append(f"{f1:.3f} ({kept:.2f}) / {dice:.3f}, {false:.1f}")
            title = "as it is |" if degradation == "none" else f"{degradation} | {strength} {unit}"
            found.append(f"| {title} | {' | '.join(cells)} |")
    return found


def draw(rows: list[dict[str, str]], names: list[str], path: Path) -> None:
    """F1 (above) and Dice (below) against strength, a column a degradation: the mean of a folder's networks,
    and their range.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    degradations = {
        name: (strengths, unit) for name, (_, strengths, unit) in DEGRADATIONS.items() if name != "none"
    }
    figure, axes = pyplot.subplots(2, len(degradations), figsize=(13, 6), sharey="row", squeeze=False)
    for column, (degradation, (strengths, unit)) in enumerate(degradations.items()):
        for row, (measure, label) in enumerate((("f1", "lesion F1"), ("dice", "Dice"))):
            for name in names:
                found = [
                    values(rows, name, "none", 0.0, measure),
                    *(values(rows, name, degradation, strength, measure) for strength in strengths),
                ]
                axes[row][column].plot(
                    [0.0, *strengths], [np.mean(one) for one in found], marker="o", label=name
                )
                axes[row][column].fill_between(
                    [0.0, *strengths], [min(one) for one in found], [max(one) for one in found], alpha=0.15
                )
            axes[row][column].set_ylim(0, 1)
            axes[row][column].grid(alpha=0.3)
            axes[0][column].set_title(degradation)
            axes[1][column].set_xlabel(unit)
            axes[row][0].set_ylabel(label)
    axes[0][0].legend(fontsize=8)
    figure.tight_layout()
    with writing(path) as unfinished:
        figure.savefig(unfinished, dpi=80)
    pyplot.close(figure)


if __name__ == "__main__":
    commands.run(main)
