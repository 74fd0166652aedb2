"""Lesions painted into the follow-up of real pairs, by size and contrast: what a network finds where the truth is known exactly.

    python -m benchmarks.painted --prepared runs/open/prepared --weights weights other-weights

The pairs are those of validation, in both time orders, so that scanner, position and noise differ between the visits as they really do. Contrast
is in spreads (1.4826 MAD) of the brain. False lesions are those that touch neither a painted one, nor a marked change, nor an ignored zone. Operating
points are compared at the number of false lesions that they bring.
"""

import argparse
import dataclasses
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage

from app.arrays import Array, Mask
from app.config import PredictConfig
from app.method.predictor import Predictor
from training import commands, scoring
from training.augmentation import uniform
from training.config import OPERATING_POINTS
from training.prepare import places
from training.scoring import Case
from training.synthesis.lesions import Shapes, draw_shape, put, read_shapes, resized

LESIONS = 24  # a case
VISIBLE_Z = 0.5  # as training labels
SIZES_MM3 = (0, 30, 100, math.inf)
CONTRASTS_Z = (1.5, 2.5, 4.5)
POINTS = [
    point for point in OPERATING_POINTS if point.threshold == 0.5
]  # how far a lesion reaches matters little here
FALSE_ALLOWED = (0, 1, 2, 4, 8)  # in all cases together


def main() -> None:
    parser = argparse.ArgumentParser(description="Score networks on lesions painted into real pairs.")
    parser.add_argument("--prepared", type=Path, required=True, help="folder written by training.prepare")
    parser.add_argument("--weights", type=Path, nargs="+", required=True)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    cases = painted(scoring.read_cases(arguments.prepared / "pairs"), arguments.prepared, arguments.seed)
    for weights in arguments.weights:
        predictor = Predictor.from_folder(
            weights, torch.device("cuda" if torch.cuda.is_available() else "cpu")
        )
        probabilities = [predictor(case.channels, case.brain) for case in cases]
        print(f"\n{weights}, {scoring.in_words(predictor.config.predict)}:")
        print_found(probabilities, cases, predictor.config.predict)
        results = {point: totals(probabilities, cases, point) for point in POINTS}
        for allowed in FALSE_ALLOWED:
            within = [point for point in results if results[point][1] <= allowed]
            if within:
                best = max(within, key=lambda point: results[point][0])
                print(
                    f"  at most {allowed} false lesions: {results[best][0]:.2f} found ({scoring.in_words(best)})"
                )


@dataclass(frozen=True)
class Painted:
    """A pair with lesions painted into its follow-up."""

    channels: Array  # (2, z, y, x)
    brain: Mask
    labels: npt.NDArray[np.int32]  # (z, y, x), 0 or a painted lesion's number
    contrasts_z: list[float]  # of lesion 1, 2, ...
    known: Mask  # (z, y, x), really changed or ignored: what is found there is not counted


def painted(cases: Sequence[Case], prepared: Path, seed: int = 1) -> list[Painted]:
    """Each case with lesions of its own."""
    shapes = read_shapes(prepared / "lesions.npz", torch.device("cpu"))
    return [
        paint(case, shapes, torch.Generator().manual_seed(seed + number)) for number, case in enumerate(cases)
    ]


def painted_cases(cases: Sequence[Case], prepared: Path) -> list[Case]:
    """The same for scoring as other cases are: the painted lesions are the truth, and what really changed is ignored."""
    return [
        dataclasses.replace(case, channels=pair.channels, truth=pair.labels > 0, ignore=pair.known)
        for case, pair in zip(cases, painted(cases, prepared), strict=True)
    ]


def paint(case: Case, shapes: Shapes, rng: torch.Generator) -> Painted:
    """Draw `LESIONS` places in white matter where both scans show nothing special, and paint a lesion at each."""
    z = [4 * (channel - 1) for channel in case.channels]
    known = ndimage.binary_dilation(case.truth | case.ignore, iterations=2)
    deep = ndimage.distance_transform_edt(case.brain) > 5
    white = (np.abs(z[0] + 0.3) < 1.3) & (np.abs(z[1] + 0.3) < 1.3) & deep
    ventricle = ndimage.binary_opening((z[0] < -2.2) & (ndimage.distance_transform_edt(case.brain) > 20))
    free = places(white.astype(float), ventricle).astype(float) * ~known
    excess = torch.zeros(case.brain.shape)
    labels, contrasts = np.zeros(case.brain.shape, np.int32), list[float]()
    while len(contrasts) < LESIONS and free.any():
        spot = np.unravel_index(
            int(torch.multinomial(torch.from_numpy(free).flatten(), 1, generator=rng)), free.shape
        )
        contrast, one = uniform(rng, CONTRASTS_Z[0], CONTRASTS_Z[-1]), torch.zeros_like(excess)
        put(
            one,
            contrast * resized(draw_shape(shapes, rng), uniform(rng, 0.8, 1.25), uniform(rng, 0.5, 0.9)),
            [int(i) for i in spot],
        )
        visible = (one.numpy() > VISIBLE_Z) & case.brain
        free[ndimage.maximum_filter(visible, size=17)] = 0
        free[spot] = 0
        if visible.any() and not (visible & known).any():
            contrasts.append(contrast)
            labels[visible] = len(contrasts)
            excess = torch.maximum(excess, one)
    # no lesion in fluid, and as sharp as the follow-up shows its own: it is painted on the scan as it is
    solid = 1 / (1 + np.exp(-3 * (z[1] + 1.8)))
    followup = np.clip(1 + (z[1] + excess.numpy() * solid) / 4, 0, 3) * case.brain
    return Painted(
        np.stack([case.channels[0], followup]).astype(np.float32), case.brain, labels, contrasts, known
    )


def score(probability: Array, case: Painted, point: PredictConfig) -> tuple[npt.NDArray[np.float64], int]:
    """(lesions, 3) volume mm^3, contrast z, and 1 if more than a tenth of it is found; and the number of false lesions."""
    mask = scoring.found(probability, case.channels, point)
    volumes = np.bincount(case.labels.ravel(), minlength=len(case.contrasts_z) + 1)[1:]
    overlap = np.bincount(case.labels[mask], minlength=len(volumes) + 1)[1:]
    components, count = ndimage.label(mask)
    touching = np.setdiff1d(components[(case.labels > 0) | case.known], 0)
    rows = np.stack([volumes, case.contrasts_z, overlap > 0.1 * volumes], axis=1)
    return rows.astype(np.float64), count - len(touching)


def scored(
    probabilities: list[Array], cases: list[Painted], point: PredictConfig
) -> tuple[npt.NDArray[np.float64], tuple[int, ...]]:
    """The rows of `score` for the lesions of all cases, and the false lesions of each case."""
    found, false = zip(
        *(score(probability, case, point) for probability, case in zip(probabilities, cases, strict=True)),
        strict=True,
    )
    return np.concatenate(found), false


def totals(probabilities: list[Array], cases: list[Painted], point: PredictConfig) -> tuple[float, int]:
    """Share of all painted lesions that is found, and the number of false ones."""
    every, false = scored(probabilities, cases, point)
    return float(every[:, 2].mean()), sum(false)


def print_found(probabilities: list[Array], cases: list[Painted], point: PredictConfig) -> None:
    """What is found at one operating point, by size and by contrast."""
    every, false = scored(probabilities, cases, point)
    print(
        f"  {every[:, 2].mean():.2f} of {len(every)} found; false lesions a case: {', '.join(map(str, false))}"
    )
    for name, column, edges in (("mm^3", 0, SIZES_MM3), ("spreads", 1, CONTRASTS_Z)):
        for low, high in itertools.pairwise(edges):
            chosen = every[(every[:, column] >= low) & (every[:, column] < high), 2]
            print(f"  {low:g} to {high:g} {name}: {chosen.mean():.2f} of {len(chosen)}")


if __name__ == "__main__":
    commands.run(main)
