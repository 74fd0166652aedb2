"""Which preprocessing, and which working grid, does the shipped network do best with?

    OMP_NUM_THREADS=1 python -m benchmarks.preprocessing [--data DIR] [--only NAME ...]

Prepares the validation pairs in several ways, brain masks given, and sends them through the shipped weights.
The weights learnt from scans prepared in the first way, which therefore has the advantage. Probabilities are
brought to 1 mm by linear interpolation and scored there as `training.validate` does: at the stored operating
point, at the best of `training.config.OPERATING_POINTS`, and as the average precision of the voxels inside
the brain.

"Unlike" says how much the two visits differ in unchanged brain 8 mm and more below its surface, in spreads of
the brain: the standard deviation of their difference, and of the difference smoothed by 8 mm, which is what
bias fields leave. Seconds are those of the processor, on one thread.
"""

import dataclasses
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import SimpleITK as sitk
import torch
from scipy import ndimage

from app import intensity
from app.arrays import Array, Mask
from app.config import OperatingPoint, PreprocessConfig
from app.images import grids, storage
from app.method import preprocessing
from app.method.predictor import Predictor
from benchmarks import open_data
from training import operating_points
from training.cases import Case
from training.config import OPERATING_POINTS
from training.prepare import VALIDATION

SHIPPED = PreprocessConfig()
WAYS = {
    "shipped": SHIPPED,
    "N4 FWHM 0.15": dataclasses.replace(SHIPPED, bias_fwhm=0.15),
    "mask, then N4": dataclasses.replace(SHIPPED, bias_order="mask-then-n4"),
    "mask, then N4 FWHM 0.15": dataclasses.replace(SHIPPED, bias_order="mask-then-n4", bias_fwhm=0.15),
    "NL-means": dataclasses.replace(SHIPPED, denoising="gaussian"),
    "NL-means, Rician": dataclasses.replace(SHIPPED, denoising="rician"),
    "matched histogram": dataclasses.replace(SHIPPED, match_histogram=True),
    "0.75 mm": dataclasses.replace(SHIPPED, spacing_mm=0.75),
    "1.5 mm": dataclasses.replace(SHIPPED, spacing_mm=1.5),
}
OVERLAP = 0.25  # of windows, instead of a half: a third of the time
DEEP_MM, SMOOTH_MM = 8.0, 8.0
HEADINGS = (
    "way",
    "stored point: F1, Dice, false",
    "best point: F1, Dice, false",
    "average precision",
    "unlike, slow part: 01",
    "03",
    "CPU s",
)


def main() -> None:
    parser = open_data.command_line(__doc__)
    parser.add_argument("--weights", type=Path, default=Path("weights"), help="folder of trained weights")
    parser.add_argument("--only", nargs="*", choices=sorted(WAYS), help="ways to try instead of all")
    chosen = parser.parse_args()
    predictor = Predictor.from_folder(chosen.weights, torch.device("cpu"), overlap=OVERLAP)
    print("|", " | ".join(HEADINGS), "|\n|" + "---|" * len(HEADINGS), flush=True)
    for name in chosen.only or WAYS:
        start = time.process_time()
        found = [
            pair
            for patient in VALIDATION
            for pair in predicted(open_data.pair_folder(chosen.data, patient), WAYS[name], predictor)
        ]
        seconds = time.process_time() - start
        cases = [case for case, _ in found]
        probabilities = {case.name: probability for case, probability in found}
        unlike = ["{:.3f}, {:.3f}".format(*unlikeness(*cases[first : first + 2])) for first in (0, 2)]
        scores = cells(probabilities, cases, predictor.config.point)
        print("|", " | ".join([name, *scores, *unlike, f"{seconds:.0f}"]), "|", flush=True)


def predicted(folder: Path, config: PreprocessConfig, predictor: Predictor) -> Iterator[tuple[Case, Array]]:
    """Both time orders of a pair: the case at 1 mm, and the probability found on the config's grid and
    brought there.
    """
    scans = [storage.read(folder / f"flair_time0{time}_on_middle_space.nii.gz") for time in (1, 2)]
    grid, at_1_mm = (grids.canonical_grid(scans[1], spacing) for spacing in (config.spacing_mm, 1.0))

    def mask(name: str, wanted: sitk.Image) -> Mask:
        stored = storage.read_mask(folder / f"{name}.nii.gz")
        return grids.array(sitk.Resample(stored, wanted, sitk.Transform(), sitk.sitkNearestNeighbor)) > 0

    baseline, followup = (grids.resample(scan, grid) for scan in scans)
    pair = preprocessing.correct(baseline, followup, mask("brain_mask", grid), config)
    brain = mask("brain_mask", at_1_mm)
    for order, kind, channels in (
        ("forward", "rising", pair.channels()),
        ("backward", "falling", pair.channels()[::-1].copy()),
    ):
        truth, ignore = mask(f"ground_truth_{kind}_visible", at_1_mm), mask(f"ignore_{order}", at_1_mm)
        *seen, probability = (
            grids.array(grids.resample(grids.like(values, pair.grid), at_1_mm))
            for values in (*channels, predictor(channels, pair.brain))
        )
        name = f"{folder.name} {order}"
        yield Case(name, np.stack(seen) * brain, brain, truth & brain & ~ignore, ignore), probability


def cells(probabilities: Mapping[str, Array], cases: Sequence[Case], stored: OperatingPoint) -> list[str]:
    """F1, Dice and false lesions at the stored point, at the best one, and the average precisions."""
    table = operating_points.table(probabilities, cases, (*OPERATING_POINTS, stored))
    best = operating_points.best(table, cases)[0]
    points = [
        "{:.3f}, {:.3f}, {}".format(*operating_points.summary(table[point], cases))
        for point in (stored, best)
    ]
    precisions = [average_precision(probabilities[case.name], case) for case in cases if case.has_new]
    return [*points, ", ".join(f"{precision:.3f}" for precision in precisions)]


def average_precision(probability: Array, case: Case) -> float:
    """Mean precision over the true voxels, each at the threshold that just finds it; ignored ones are out."""
    counted = case.brain & ~case.ignore
    true = case.truth[counted][np.argsort(-probability[counted], kind="stable")]
    return float((np.cumsum(true) / np.arange(1, len(true) + 1))[true].mean())


def unlikeness(forward: Case, backward: Case) -> tuple[float, float]:
    """Standard deviation of a pair's difference in unchanged deep brain, in spreads; and of its slow part."""
    changed = forward.truth | backward.truth | forward.ignore | backward.ignore
    deep = ndimage.distance_transform_edt(forward.brain) > DEEP_MM
    deep &= ~ndimage.binary_dilation(changed, iterations=2)
    before, after = intensity.z_of(forward.channels)
    difference = np.where(deep, after - before, 0)
    weight = ndimage.gaussian_filter(deep.astype(np.float32), SMOOTH_MM)
    slow = ndimage.gaussian_filter(difference, SMOOTH_MM) / np.maximum(weight, 1e-3)
    return float(difference[deep].std()), float(slow[deep].std())


if __name__ == "__main__":
    main()
