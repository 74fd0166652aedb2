"""What the networks of a weights folder do on whole scans that they were not trained on, and on scans without any change.

    python -m training.validate --prepared runs/open/prepared --weights weights            # at the stored operating point
    python -m training.validate --prepared runs/open/prepared --weights weights --choose   # find the best point on the pairs and store it

Scored on the network's 1 mm grid with the truth brought there by nearest neighbour, ignore zones taken out of prediction and truth. The open pairs'
truth is derived from the intensities (open data's README) and favours subtraction; it includes enlarging lesions. The challenge's patients are each
predicted by the one network whose fold held them out.
"""

import argparse
import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage

from app.config import PredictConfig
from app.errors import InputError
from app.method import checkpoint
from app.method.predictor import Predictor
from app.scoring import metrics
from app.scoring.metrics import CaseMetrics
from training import card, commands, folds, scoring
from training.augmentation import average_slices, blur, sharpen
from training.scoring import Case

Array = npt.NDArray[np.float32]

MOVE_DEG, MOVE_MM = 0.5, (0.4, -0.3, 0.3)  # leftover misalignment of the copies without change


def main() -> None:
    parser = argparse.ArgumentParser(description="Validate the networks of a folder on whole scans.")
    parser.add_argument(
        "--prepared", type=Path, required=True, help="folder written by training.prepare or training.msseg2"
    )
    parser.add_argument("--weights", type=Path, required=True, help="folder with fold*.pt")
    parser.add_argument(
        "--choose", action="store_true", help="store the operating point that is best on the validation pairs"
    )
    parser.add_argument(
        "--negatives",
        action="store_true",
        help="also pairs without change: a scan twice, and against degraded, slightly moved copies",
    )
    parser.add_argument("--card", action="store_true", help="write MODEL_CARD.md beside the weights")
    arguments = parser.parse_args()

    cases = scoring.read_cases(arguments.prepared / "pairs")
    everyone = Predictor.from_folder(arguments.weights, device())
    predictors = (
        out_of_fold(arguments.prepared, arguments.weights)
        if (arguments.prepared / folds.FILE).is_file()
        else {}
    )
    probabilities = {
        case.name: predictors.get(case.patient, everyone)(case.channels, case.brain) for case in cases
    }
    point = everyone.config.predict
    if arguments.choose:
        results = scoring.table(probabilities, cases)
        ranked = scoring.best(results, cases)
        print("\n".join(point_lines(results, ranked[:8], cases)))
        point = ranked[0]
        for path in sorted(arguments.weights.glob("fold*.pt")):
            set_operating_point(path, point)
    lines = [scoring.in_words(point)]
    table = case_lines(
        {case.name: scoring.score(probabilities[case.name], case, point) for case in cases}, cases
    )
    print("\n".join([*lines, *table]))
    lines += table[-1:] if predictors else table  # the challenge's patients stay out of the card
    experts = expert_lines(arguments.prepared / "pairs")
    print("\n".join(experts), flush=True)
    lines += experts
    if arguments.negatives:
        unchanging = [case for case in cases if not case.has_new]
        found = {
            case.name: scoring.without_change(probabilities[case.name] * ~case.ignore, case.channels, point)
            for case in unchanging
        }
        for path in sorted(arguments.prepared.glob("scans/*.npz")):
            for case in unchanged(path):
                found[case.name] = scoring.without_change(
                    everyone(case.channels, case.brain), case.channels, point
                )
        negatives = negative_lines(found)
        print("\n".join(negatives), flush=True)
        lines += negatives
    if arguments.card:
        card.write(arguments.weights, lines)


def device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def out_of_fold(prepared: Path, weights: Path) -> dict[str, Predictor]:
    """{patient: the network that never saw it}. Raises InputError if the weights are not one network a fold."""
    of_patient = folds.read(prepared)
    paths = {fold: weights / f"fold{fold}.pt" for fold in sorted(set(of_patient.values()))}
    if set(weights.glob("fold*.pt")) != set(paths.values()):
        raise InputError(
            f"{weights}: not one fold<n>.pt for each of the {len(paths)} folds of {prepared / folds.FILE}; wanted weights of this training"
        )
    networks = {fold: checkpoint.load(path) for fold, path in paths.items()}
    predictors = {
        fold: Predictor([loaded.network], loaded.config, device()) for fold, loaded in networks.items()
    }
    return {patient: predictors[fold] for patient, fold in of_patient.items()}


def set_operating_point(path: Path, point: PredictConfig) -> None:
    """Store an operating point in a checkpoint's config; its weights stay as they are."""
    fold = checkpoint.load(path)
    predict = scoring.with_point(fold.config.predict, point)
    checkpoint.save(path, fold.network, dataclasses.replace(fold.config, predict=predict), fold.provenance)


def unchanged(path: Path) -> list[Case]:
    """A real scan against itself, and against moved and degraded copies of itself: nothing is new in any of them."""
    with np.load(path) as arrays:
        scan, brain = arrays["values"].astype(np.float32), arrays["depth"] > 0
    moved = torch.from_numpy(move(scan))
    blurred, thick, sharp = (
        copy.clamp(0, 3).numpy()
        for copy in (blur(moved, 0.8), average_slices(moved, 3), sharpen(moved, 0.8, 1.0))
    )
    nothing = np.zeros_like(brain)

    def case(name: str, baseline: Array, followup: Array) -> Case:
        return Case(f"{path.stem}, {name}", np.stack([baseline, followup]) * brain, brain, nothing, nothing)

    return [
        case("twice", scan, scan),
        case("blurred baseline", blurred, scan),
        case("thick-sliced follow-up", scan, thick),
        case("sharpened follow-up", scan, sharp),
    ]


def move(scan: Array) -> Array:
    """The scan turned about the z axis by `MOVE_DEG` and shifted by `MOVE_MM`, linear interpolation."""
    angle = math.radians(MOVE_DEG)
    matrix = np.array(
        [[1, 0, 0], [0, math.cos(angle), -math.sin(angle)], [0, math.sin(angle), math.cos(angle)]]
    )
    centre = (np.array(scan.shape) - 1) / 2
    return ndimage.affine_transform(scan, matrix, centre - matrix @ centre + MOVE_MM, order=1)  # type: ignore[no-any-return]


def point_lines(
    results: dict[PredictConfig, dict[str, CaseMetrics]],
    points: Sequence[PredictConfig],
    cases: Sequence[Case],
) -> list[str]:
    lines = []
    for point in points:
        f1, dice, false = scoring.summary(results[point], cases)
        counts = f"mean F1 {f1:.3f}  mean Dice {dice:.3f}  false where nothing is new {false}"
        lines.append(f"{scoring.in_words(point)}: {counts}")
    return lines


def case_lines(measures: dict[str, CaseMetrics], cases: Sequence[Case]) -> list[str]:
    lines = [f"{'':20s}    F1  Dice SensL  PPVL  lesions found missed false"]
    for name, m in measures.items():
        counts = f"{m.reference_lesions:9d}{m.detected_lesions:6d}{m.missed_lesions:7d}{m.false_lesions:6d}"
        lines.append(f"{name:20s}{m.f1:6.3f}{m.dice:6.3f}{m.sensl:6.2f}{m.ppvl:6.2f}{counts}")
    f1, dice, false = scoring.summary(measures, cases)
    return [
        *lines,
        f"mean F1 {f1:.3f}, Dice {dice:.3f} where lesions are new; {false} false lesions where none is",
    ]


def expert_lines(pairs: Path) -> list[str]:
    """How well each of the challenge's experts agrees with the consensus, by the same measures: what a network can be held against."""
    scores: dict[int, list[tuple[float, float]]] = {}
    for path in sorted(pairs.glob("*.npz")):
        with np.load(path) as arrays:
            truth = arrays["truth_forward"] & arrays["brain"]
            if "experts" in arrays and truth.any():
                for number, expert in enumerate(arrays["experts"], start=1):
                    measures = metrics.evaluate(
                        expert & arrays["brain"], truth, scoring.SPACING_MM, distances=False
                    )
                    scores.setdefault(number, []).append((measures.f1, measures.dice))
    means = {number: np.mean(values, axis=0) for number, values in scores.items()}
    return [
        f"expert {number} against the consensus: mean F1 {f1:.3f}, Dice {dice:.3f}"
        for number, (f1, dice) in means.items()
    ]


def negative_lines(found: dict[str, tuple[int, int]]) -> list[str]:
    """A line a pair without change, and the mean."""
    lines = [
        f"{name:45s} {count:3d} false lesions, {volume:6d} mm^3" for name, (count, volume) in found.items()
    ]
    return [
        *lines,
        f"{sum(count for count, _ in found.values()) / max(len(found), 1):.3f} false lesions a pair without change ({len(found)} pairs)",
    ]


if __name__ == "__main__":
    commands.run(main)
