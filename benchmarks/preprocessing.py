"""Which preprocessing does the network do best with? The validation pairs, prepared in several ways, through the shipped weights.

    OMP_NUM_THREADS=1 python -m benchmarks.preprocessing --data ../shared/data [--only NAME ...]

The weights learnt from scans prepared by the default, which therefore has the advantage. Scored as training.validate does, on a 1 mm grid, brain
masks given: at the stored operating point, at the best of training.operating_points's grid of points, and without a point: average precision of the voxels
inside the brain. Then how alike the two visits are, in spreads of the brain (1.4826 MAD; changes and the truth's ignore zones left out): the standard
deviation of the follow-up's difference to the baseline in deep brain (8 mm and more inside), and of that difference smoothed by 8 mm, which is what
differing bias fields leave.
"""

import argparse
import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from scipy import ndimage

from app.arrays import Array, Mask
from app.config import OperatingPoint, PreprocessConfig
from app.method.predictor import Predictor
from training import operating_points
from training.cases import Case, read_cases
from training.config import OPERATING_POINTS
from training.prepare import VALIDATION, Arrays, prepare_pair

SHIPPED = PreprocessConfig()
WAYS = {
    "shipped": SHIPPED,
    "N4 FWHM 0.15": dataclasses.replace(SHIPPED, bias_fwhm=0.15),
    "mask, then N4": dataclasses.replace(SHIPPED, bias_order="mask-then-n4"),
    "mask, then N4 FWHM 0.15": dataclasses.replace(SHIPPED, bias_order="mask-then-n4", bias_fwhm=0.15),
    "NL-means": dataclasses.replace(SHIPPED, denoising="gaussian"),
    "NL-means, Rician": dataclasses.replace(SHIPPED, denoising="rician"),
    "matched histogram": dataclasses.replace(SHIPPED, match_histogram=True),
}
OVERLAP = 0.25  # of windows, instead of a half: a third of the time
DEEP_MM, SMOOTH_MM = 8.0, 8.0


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of the open data")
    parser.add_argument("--weights", type=Path, default=Path("weights"), help="folder of trained weights")
    parser.add_argument("--only", nargs="*", choices=sorted(WAYS), help="ways to try instead of all")
    chosen = parser.parse_args()
    predictor = Predictor.from_folder(chosen.weights, torch.device("cpu"), overlap=OVERLAP)

    print(
        "| way | stored point: F1, Dice, false | best point: F1, Dice, false | average precision: 01 f, 03 f, 03 b | unlike, slow part: 01 | 03 |"
    )
    print("|---|---|---|---|---|---|", flush=True)
    for name in chosen.only or WAYS:
        arrays = {
            patient: prepare_pair(chosen.data / "open_ms_pairs" / patient, WAYS[name])
            for patient in VALIDATION
        }
        with TemporaryDirectory() as folder:
            for patient in VALIDATION:
                np.savez(Path(folder) / f"{patient}.npz", allow_pickle=False, **arrays[patient])
            cases = read_cases(Path(folder))
        probabilities = {case.name: predictor(case.channels, case.brain) for case in cases}
        unlike = ["{:.3f}, {:.3f}".format(*unlikeness(arrays[patient])) for patient in VALIDATION]
        print(
            "|",
            " | ".join([name, *cells(probabilities, cases, predictor.config.point), *unlike]),
            "|",
            flush=True,
        )


def cells(probabilities: Mapping[str, Array], cases: Sequence[Case], stored: OperatingPoint) -> list[str]:
    """Of a table's row: F1, Dice and false lesions at the stored point, the same at the best one, and the average precisions."""
    table = operating_points.table(probabilities, cases, (*OPERATING_POINTS, stored))
    best = operating_points.best(table, cases)[0]
    points = [
        "{:.3f}, {:.3f}, {}".format(*operating_points.summary(table[point], cases))
        for point in (stored, best)
    ]
    return [
        *points,
        ", ".join(
            f"{average_precision(probabilities[case.name], case):.3f}" for case in cases if case.has_new
        ),
    ]


def average_precision(probability: Array, case: Case) -> float:
    """Mean precision over the true voxels, each at the threshold that just finds it; inside the brain, outside the ignore zone."""
    counted = case.brain & ~case.ignore
    true = case.truth[counted][np.argsort(-probability[counted], kind="stable")]
    return float((np.cumsum(true) / np.arange(1, len(true) + 1))[true].mean())


def unlikeness(arrays: Arrays) -> tuple[float, float]:
    """Standard deviation of the two scans' difference in unchanged deep brain, in spreads; and of its slow part."""
    changed: Mask = np.any(
        [arrays[f"{what}_{order}"] for what in ("truth", "ignore") for order in ("forward", "backward")],
        axis=0,
    )
    deep = (ndimage.distance_transform_edt(arrays["brain"]) > DEEP_MM) & ~ndimage.binary_dilation(
        changed, iterations=2
    )
    before, after = arrays["channels"].astype(np.float32)
    difference = np.where(deep, 4 * (after - before), 0)
    slow = ndimage.gaussian_filter(difference, SMOOTH_MM) / np.maximum(
        ndimage.gaussian_filter(deep.astype(np.float32), SMOOTH_MM), 1e-3
    )
    return float(difference[deep].std()), float(slow[deep].std())


if __name__ == "__main__":
    main()
