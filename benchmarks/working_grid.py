"""On which grid does the network do best? The validation pairs on grids of several spacings, through the shipped weights.

    OMP_NUM_THREADS=1 python -m benchmarks.working_grid --data ../shared/data

The weights learnt on 1 mm isotropic voxels, which therefore have the advantage. Probabilities are brought to 1 mm by linear interpolation and scored
there as training.validate does, brain masks given: at the stored operating point, at the best of training.operating_points's points, and as the average
precision of the voxels. Native is the scans' own grid: 0.6 to 0.7 mm in plane, slices of 3 mm. Seconds are those of the processor, on one thread.
"""

import argparse
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import SimpleITK as sitk
import torch

from app.arrays import Array, Mask
from app.config import PreprocessConfig
from app.images import grids, storage
from app.method import preprocessing
from app.method.predictor import Predictor
from benchmarks.preprocessing import OVERLAP, cells
from training.cases import Case
from training.prepare import VALIDATION

SPACINGS_MM = (None, 0.75, 1.0, 1.5)  # None: native


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of the open data")
    parser.add_argument("--weights", type=Path, default=Path("weights"), help="folder of trained weights")
    chosen = parser.parse_args()
    predictor = Predictor.from_folder(chosen.weights, torch.device("cpu"), overlap=OVERLAP)

    print(
        "| grid | stored point: F1, Dice, false | best point: F1, Dice, false | average precision: 01 f, 03 f, 03 b | CPU s, all four |"
    )
    print("|---|---|---|---|---|", flush=True)
    for spacing_mm in SPACINGS_MM:
        start = time.process_time()
        found = [
            pair
            for patient in VALIDATION
            for pair in predicted(chosen.data / "open_ms_pairs" / patient, spacing_mm, predictor)
        ]
        seconds = time.process_time() - start
        cases = [case for case, _ in found]
        probabilities = {case.name: probability for case, probability in found}
        name = "native" if spacing_mm is None else f"{spacing_mm} mm"
        print(
            "|",
            " | ".join([name, *cells(probabilities, cases, predictor.config.point), f"{seconds:.0f}"]),
            "|",
            flush=True,
        )


def predicted(folder: Path, spacing_mm: float | None, predictor: Predictor) -> Iterator[tuple[Case, Array]]:
    """Both time orders of a pair: the case at 1 mm, and the probability found on another grid and brought there."""
    scans = [storage.read(folder / f"flair_time0{time}_on_middle_space.nii.gz") for time in (1, 2)]
    grid = (
        sitk.DICOMOrient(scans[1], "LPS")
        if spacing_mm is None
        else grids.canonical_grid(scans[1], spacing_mm)
    )
    at_1_mm = grids.canonical_grid(scans[1], 1.0)

    def mask(name: str, wanted: sitk.Image) -> Mask:
        return (
            grids.array(
                sitk.Resample(
                    storage.read_mask(folder / f"{name}.nii.gz"),
                    wanted,
                    sitk.Transform(),
                    sitk.sitkNearestNeighbor,
                )
            )
            > 0
        )

    pair = preprocessing.correct(
        grids.resample(scans[0], grid),
        grids.resample(scans[1], grid),
        mask("brain_mask", grid),
        PreprocessConfig(),
    )
    brain = mask("brain_mask", at_1_mm)
    for order, kind, channels in (
        ("forward", "rising", pair.channels()),
        ("backward", "falling", pair.channels()[::-1].copy()),
    ):
        truth, ignore = mask(f"ground_truth_{kind}_visible", at_1_mm), mask(f"ignore_{order}", at_1_mm)
        *scans_at_1_mm, probability = (
            grids.array(grids.resample(grids.like(values, pair.grid), at_1_mm))
            for values in (*channels, predictor(channels, pair.brain))
        )
        yield (
            Case(
                f"{folder.name} {order}",
                np.stack(scans_at_1_mm) * brain,
                brain,
                truth & brain & ~ignore,
                ignore,
            ),
            probability,
        )


if __name__ == "__main__":
    main()
