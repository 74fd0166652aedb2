"""What scan quality costs: F1 and Dice of networks when the validation follow-ups are degraded, against strength (the paper's claim for IQDA).

    python -m benchmarks.robustness --prepared runs/open/prepared --output robustness --weights weights --weights runs/none/weights

Patients 01 and 03, time order forward; each folder's own operating point; windows that overlap by a tenth, which costs a fifth of the shipped half.
Scores of `robustness.csv` in the output folder are not computed again.
"""

import argparse
import csv
import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from app import checkpoint
from app.files import writing
from app.predictor import Predictor
from training import scoring
from training.augmentation import average_slices, blur, sharpen
from training.scoring import Case

OVERLAP = 0.1
FIELDS = ("weights", "degradation", "strength", "case", "f1", "dice", "false")
Degrade = Callable[[Tensor, float], Tensor]


def add_noise(scan: Tensor, spreads: float) -> Tensor:
    """Gaussian noise of so many spreads of the brain, the same at every strength; a spread is a quarter (app.preprocessing)."""
    return scan + spreads / 4 * torch.randn(scan.shape, generator=torch.Generator().manual_seed(0))


DEGRADATIONS: dict[str, tuple[Degrade, tuple[float, ...], str]] = {  # what it does, three strengths, their unit
    "blur": (blur, (0.75, 1.25, 1.75), "sigma, mm"),
    "sharpening": (lambda scan, amount: sharpen(scan, 1.0, amount), (1.0, 2.0, 4.0), "amount of an unsharp mask of 1 mm"),
    "thick slices": (lambda scan, count: average_slices(scan, int(count)), (2.0, 4.0, 6.0), "mm"),
    "noise": (add_noise, (0.25, 0.5, 1.0), "spreads of the brain"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description="Scores of networks on degraded follow-ups.")
    parser.add_argument("--prepared", type=Path, required=True, help="folder written by training.prepare")
    parser.add_argument("--weights", type=Path, required=True, action="append", help="folder with fold*.pt; give it several times to compare")
    parser.add_argument("--output", type=Path, required=True, help="folder for robustness.csv and robustness.png")
    arguments = parser.parse_args()
    cases = [case for case in scoring.read_cases(arguments.prepared / "pairs") if case.name.endswith("forward")]
    table = arguments.output / "robustness.csv"
    rows = read(table)
    for weights in arguments.weights:
        predictor = Predictor.from_folder(weights, torch.device("cuda" if torch.cuda.is_available() else "cpu"))
        predictor.config = dataclasses.replace(predictor.config, predict=dataclasses.replace(predictor.config.predict, overlap=OVERLAP))
        name = f"{weights} {checkpoint.sha256(weights / 'fold1.pt')[:8]}"
        for degradation, (degrade, strengths, _) in {"none": (None, (0.0,), ""), **DEGRADATIONS}.items():
            for strength in strengths:
                for case in cases:
                    key = {"weights": name, "degradation": degradation, "strength": str(strength), "case": case.name}
                    if not any(key.items() <= row.items() for row in rows):
                        lower = case if degrade is None else degraded(case, degrade, strength)
                        rows.append(key | score(predictor, lower))
                        write(table, rows)
    names = list(dict.fromkeys(row["weights"] for row in rows))
    for line in lines(rows, names):
        print(line)
    draw(rows, names, arguments.output / "robustness.png")


def degraded(case: Case, degrade: Degrade, strength: float) -> Case:
    """The case with a follow-up of lower quality, cut to the range and the brain that the network sees."""
    followup = degrade(torch.from_numpy(case.channels[1].copy()), strength).clamp(0, 3).numpy() * case.brain
    return dataclasses.replace(case, channels=np.stack([case.channels[0], followup]).astype(np.float32))


def score(predictor: Predictor, case: Case) -> dict[str, str]:
    measures = scoring.score(predictor(case.channels, case.brain), case, predictor.config.predict)
    return {"f1": f"{measures.f1:.4f}", "dice": f"{measures.dice:.4f}", "false": str(measures.false_lesions)}


def read(table: Path) -> list[dict[str, str]]:
    if not table.is_file():
        return []
    with table.open(newline="") as file:
        return list(csv.DictReader(file))


def write(table: Path, rows: list[dict[str, str]]) -> None:
    with writing(table) as path, path.open("w", newline="") as file:
        writer = csv.DictWriter(file, FIELDS)
        writer.writeheader()
        writer.writerows(rows)


def mean(rows: list[dict[str, str]], weights: str, degradation: str, strength: float, measure: str) -> float:
    found = [float(row[measure]) for row in rows if (row["weights"], row["degradation"], row["strength"]) == (weights, degradation, str(strength))]
    return float(np.mean(found)) if found else float("nan")


def lines(rows: list[dict[str, str]], names: list[str]) -> list[str]:
    """A Markdown table: mean F1 / Dice, and false lesions a case, of each network."""

    def cells(degradation: str, strength: float) -> str:
        return " | ".join(
            "{:.3f} / {:.3f}, {:.1f}".format(*(mean(rows, name, degradation, strength, measure) for measure in ("f1", "dice", "false")))
            for name in names
        )

    head = [f"| follow-up | strength | {' | '.join(names)} |", "|---|---|" + "---|" * len(names), f"| as it is | | {cells('none', 0.0)} |"]
    body = [
        f"| {degradation} | {strength} {unit} | {cells(degradation, strength)} |"
        for degradation, (_, strengths, unit) in DEGRADATIONS.items()
        for strength in strengths
    ]
    return head + body


def draw(rows: list[dict[str, str]], names: list[str], path: Path) -> None:
    """Mean F1 (above) and Dice (below) against strength, a column a degradation."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(2, len(DEGRADATIONS), figsize=(13, 6), sharey="row", squeeze=False)
    for column, (degradation, (_, strengths, unit)) in enumerate(DEGRADATIONS.items()):
        for row, (measure, label) in enumerate((("f1", "mean lesion F1"), ("dice", "mean Dice"))):
            for name in names:
                values = [mean(rows, name, "none", 0.0, measure), *(mean(rows, name, degradation, strength, measure) for strength in strengths)]
                axes[row][column].plot([0.0, *strengths], values, marker="o", label=name)
            axes[row][column].set_ylim(0, 1)
            axes[row][column].grid(alpha=0.3)
            axes[0][column].set_title(degradation)
            axes[1][column].set_xlabel(unit)
            axes[row][0].set_ylabel(label)
    axes[0][0].legend(fontsize=8)
    figure.tight_layout()
    with writing(path) as unfinished:
        figure.savefig(unfinished, dpi=110)
    pyplot.close(figure)


if __name__ == "__main__":
    main()
