"""What classical subtraction finds on the validation pairs: the baseline of weights/MODEL_CARD.md, on the
same grid, masks and cases as the network.

    python -m benchmarks.subtraction --prepared runs/open/prepared

The settings were tuned on these very pairs (README of the open data), so it is a baseline that a network must
beat at settings chosen elsewhere.
"""

import argparse
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from app.config import OperatingPoint
from training import operating_points
from training.cases import Case, read_cases
from training.validate import case_lines

SMOOTHING_MM = 0.6
RISE_Z, LEVEL_Z = (
    1.1,
    1.3,
)  # spreads of the brain: from baseline to follow-up, and of the follow-up above the brain's median
MINIMUM_MM3 = 30.0
INSIDE_MM = 3.0  # of the brain's surface


def main() -> None:
    parser = argparse.ArgumentParser(description="Score classical subtraction on the validation pairs.")
    parser.add_argument("--prepared", type=Path, required=True, help="folder written by training.prepare")
    cases = read_cases(parser.parse_args().prepared / "pairs")
    measures = {
        case.name: operating_points.score(
            risen(case), case, OperatingPoint(threshold=0.5, certain=0.5, minimum_volume_mm3=MINIMUM_MM3)
        )
        for case in cases
    }
    print("\n".join(case_lines(measures, cases)))


def risen(case: Case) -> npt.NDArray[np.float32]:
    """(z, y, x) 1 where the follow-up is bright and brighter than the baseline, else 0."""
    z = [4 * (channel - 1) for channel in case.channels]  # as training/synthesis counts
    z = [ndimage.gaussian_filter(scan - np.median(scan[case.brain]), SMOOTHING_MM) for scan in z]
    deep = ndimage.distance_transform_edt(case.brain) > INSIDE_MM
    return ((z[1] - z[0] > RISE_Z) & (z[1] > LEVEL_Z) & deep).astype(np.float32)


if __name__ == "__main__":
    main()
