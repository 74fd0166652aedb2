"""How well do app/method/place.py's rules tell cerebellum, brainstem and ventricles on label maps they were
not fitted to?

    python -m benchmarks.place --label-maps ../shared/data/SynthSeg/training_label_maps

Fits both rules to every head but every fifth in turn, tests them on those left out, and prints the weights
fitted to all heads.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk
from scipy import optimize

from app.arrays import Labels, Points
from app.method import place
from training.brain_synthesis import brain_of

FLUID = (24,)
VENTRICLES = (4, 43, 5, 44, 14)  # FreeSurfer's numbers: lateral with their lower horns, third
BELOW_TENTORIUM = (7, 46, 8, 47, 16, 15)  # cerebellum, brainstem, fourth ventricle
DRAWN = 40_000  # voxels a head
FOLDS = 5
# times as much to take a cistern for a ventricle as the other way round: ventricles are wide, and most of one
# is enough
FALSE_COSTS = 4.0


@dataclass(frozen=True)
class Head:
    """Voxels drawn from one brain."""

    coordinates: Points  # (n, 3) in the brain's frame
    labels: Labels  # (n,)
    left_mm: tuple[
        float, float
    ]  # from the mirror plane to the middle of the left white matter, and to that of the right


def read_head(path: Path, rng: np.random.Generator) -> Head:
    """Draw voxels of the brain of a label map, 1 mm."""
    labels = sitk.GetArrayFromImage(sitk.DICOMOrient(sitk.ReadImage(str(path)), "LPS")).astype(np.int16)
    index = np.argwhere(brain_of(labels))
    points = index[:, ::-1].astype(float)
    frame = place.find_frame(points[::8])
    white = [
        frame.coordinates(np.argwhere(labels == label)[:, ::-1].astype(float))[:, 0].mean()
        * frame.spread_mm[0]
        for label in (2, 41)
    ]
    drawn = rng.integers(0, len(points), DRAWN)
    return Head(
        frame.coordinates(points[drawn]), labels[tuple(index[drawn].T)], (float(white[0]), float(white[1]))
    )


def fit(features: Points, wanted: npt.NDArray[np.bool_], weight: Points) -> Points:
    """Weights of logistic regression."""

    def loss(weights: Points) -> tuple[float, Points]:
        score = features @ weights
        probability = 1 / (1 + np.exp(-score))
        cost = np.mean(weight * (np.logaddexp(0, score) - wanted * score)) + 1e-4 * weights @ weights
        return float(cost), features.T @ (weight * (probability - wanted)) / len(wanted) + 2e-4 * weights

    found: Points = optimize.minimize(
        loss, np.zeros(features.shape[1]), jac=True, method="L-BFGS-B", options={"maxiter": 300}
    ).x
    return found


def examples(
    heads: list[Head], positive: tuple[int, ...], negative: tuple[int, ...] | None, balanced: bool
) -> tuple[Points, Points, Points]:
    """Features, whether the rule should hold, and weights.

    `negative` None stands for every other tissue of the brain but fluid.
    """
    labels = np.concatenate([head.labels for head in heads])
    used = (
        np.isin(labels, positive + negative)
        if negative
        else (labels > 0) & (labels < 500) & ~np.isin(labels, FLUID)
    )
    wanted = np.isin(labels[used], positive)
    share = wanted.mean()
    weight = (
        np.where(wanted, 0.5 / share, FALSE_COSTS * 0.5 / (1 - share)) if balanced else np.ones(len(wanted))
    )
    return place.features(np.concatenate([head.coordinates for head in heads])[used]), wanted, weight


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--label-maps", type=Path, required=True, help="folder of head label maps, 1 mm, FreeSurfer's numbers"
    )
    rng = np.random.default_rng(0)
    heads = [read_head(path, rng) for path in sorted(parser.parse_args().label_maps.glob("*.nii.gz"))]
    left, right = (np.array([head.left_mm[side] for head in heads]) for side in (0, 1))
    off_mm = np.abs(left + right).mean() / 2
    print(
        f"{len(heads)} heads; mirror plane {off_mm:.1f} mm off the middle of both white matters, on average\n"
    )
    print("| rule | of its own voxels: mean, worst head | of the others | weights |\n|---|---|---|---|")
    for name, positive, negative, balanced in (
        ("infratentorial", BELOW_TENTORIUM, None, False),
        ("ventricular", VENTRICLES, FLUID, True),
    ):
        hits, falses = [], []
        for fold in range(FOLDS):
            weights = fit(
                *examples(
                    [head for number, head in enumerate(heads) if number % FOLDS != fold],
                    positive,
                    negative,
                    balanced,
                )
            )
            for head in heads[fold::FOLDS]:
                features, wanted, _ = examples([head], positive, negative, balanced)
                said = features @ weights > 0
                hits.append(said[wanted].mean())
                falses.append(said[~wanted].mean())
        shipped = fit(*examples(heads, positive, negative, balanced))
        print(
            f"| {name} | {np.mean(hits):.3f}, {np.min(hits):.3f} | {np.mean(falses):.4f} "
            f"| {', '.join(f'{weight:.2f}' for weight in shipped)} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
