"""What the networks of a weights folder do on whole scans: the validation pairs, and scans without any change.

    python -m training.validate --prepared runs/prepared --weights weights            # at the stored operating point
    python -m training.validate --prepared runs/prepared --weights weights --choose   # find the best point on the pairs and store it

Scored on the network's 1 mm grid with the truth brought there by nearest neighbour, ignore zones taken out of prediction and truth. The truth is
derived from the intensities (open data's README) and favours subtraction; it includes enlarging lesions.
"""

import argparse
import dataclasses
import math
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage

from app import checkpoint, metrics
from app.metrics import CaseMetrics
from app.predictor import Predictor
from training import scoring
from training.augmentation import average_slices, blur, sharpen
from training.config import TrainConfig
from training.scoring import Case

Array = npt.NDArray[np.float32]

MOVE_DEG, MOVE_MM = 0.5, (0.4, -0.3, 0.3)  # leftover misalignment of the copies without change


def main() -> None:
    parser = argparse.ArgumentParser(description="Validate the networks of a folder on whole scans.")
    parser.add_argument("--prepared", type=Path, required=True, help="folder written by training.prepare")
    parser.add_argument("--weights", type=Path, required=True, help="folder with fold*.pt")
    parser.add_argument("--choose", action="store_true", help="store the operating point that is best on the validation pairs")
    parser.add_argument("--negatives", action="store_true", help="also pairs of a training scan and a degraded, slightly moved copy of it")
    arguments = parser.parse_args()

    predictor = Predictor.from_folder(arguments.weights, torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    cases = scoring.read_cases(arguments.prepared / "pairs")
    probabilities = {case.name: predictor(case.channels, case.brain) for case in cases}
    predict = predictor.config.predict
    point = (predict.threshold, predict.minimum_volume_mm3)
    if arguments.choose:
        results = scoring.table(probabilities, cases, TrainConfig().thresholds, TrainConfig().minimum_volumes_mm3)
        ranked = sorted(results, key=lambda candidate: -scoring.selection(results[candidate], cases))
        print_points(results, ranked[:8], cases)
        point = ranked[0]
        for path in sorted(arguments.weights.glob("fold*.pt")):
            set_operating_point(path, *point)
    print(f"threshold {point[0]}, lesions of more than {point[1]} mm^3")
    print_cases({case.name: scoring.score(probabilities[case.name], case, *point) for case in cases}, cases)

    if arguments.negatives:
        for path in sorted(arguments.prepared.glob("scans/*.npz")):
            for case in unchanged(path):
                labels, sizes = metrics.components(predictor(case.channels, case.brain) > point[0], math.floor(point[1]) + 1)
                print(f"{case.name:45s} {labels.max():3d} false lesions, {sizes.sum():6d} mm^3", flush=True)


def set_operating_point(path: Path, threshold: float, minimum_volume_mm3: float) -> None:
    """Store threshold and minimum volume in a checkpoint's config; its weights stay as they are."""
    fold = checkpoint.load(path)
    predict = dataclasses.replace(fold.config.predict, threshold=threshold, minimum_volume_mm3=minimum_volume_mm3)
    checkpoint.save(path, fold.network, dataclasses.replace(fold.config, predict=predict), fold.provenance)


def unchanged(path: Path) -> list[Case]:
    """A real scan against itself, and against moved and degraded copies of itself: nothing is new in any of them."""
    with np.load(path) as arrays:
        scan, brain = arrays["values"].astype(np.float32), arrays["depth"] > 0
    moved = torch.from_numpy(move(scan))
    blurred, thick, sharp = (copy.clamp(0, 3).numpy() for copy in (blur(moved, 0.8), average_slices(moved, 3), sharpen(moved, 0.8, 1.0)))
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
    matrix = np.array([[1, 0, 0], [0, math.cos(angle), -math.sin(angle)], [0, math.sin(angle), math.cos(angle)]])
    centre = (np.array(scan.shape) - 1) / 2
    return ndimage.affine_transform(scan, matrix, centre - matrix @ centre + MOVE_MM, order=1)  # type: ignore[no-any-return]


def print_points(results: dict[tuple[float, float], dict[str, CaseMetrics]], points: list[tuple[float, float]], cases: list[Case]) -> None:
    for point in points:
        f1, dice, false = scoring.summary(results[point], cases)
        print(f"threshold {point[0]:.2f}  minimum {point[1]:4.0f} mm^3  mean F1 {f1:.3f}  mean Dice {dice:.3f}  false where nothing is new {false}")


def print_cases(measures: dict[str, CaseMetrics], cases: list[Case]) -> None:
    print(f"{'':20s}    F1  Dice SensL  PPVL  lesions found missed false")
    for name, m in measures.items():
        counts = f"{m.reference_lesions:9d}{m.detected_lesions:6d}{m.missed_lesions:7d}{m.false_lesions:6d}"
        print(f"{name:20s}{m.f1:6.3f}{m.dice:6.3f}{m.sensl:6.2f}{m.ppvl:6.2f}{counts}")
    f1, dice, false = scoring.summary(measures, cases)
    print(f"mean F1 {f1:.3f}, Dice {dice:.3f} where lesions are new; {false} false lesions where none is")


if __name__ == "__main__":
    main()
