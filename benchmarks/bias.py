"""How steady is the bias correction? Real scans with a known field laid over them, or with slices cut off.

    OMP_NUM_THREADS=1 python -m benchmarks.bias [--data DIR]

A perfect correction gives the same brain each time. Printed is the standard deviation over the brain of the
logarithm of the two corrected scans' ratio, in percent: what is left of the field, which varies by 10 %
itself, and what the missing slices do. benchmarks/preprocessing.py says how alike the two visits of a patient
become, and what the network makes of it. tests/method/test_n4.py holds a head whose true values are known.
"""

import numpy as np
import SimpleITK as sitk

from app.arrays import Array, Mask
from app.config import PreprocessConfig
from app.images import grids
from app.method.preprocessing import without_artefacts
from benchmarks import open_data
from benchmarks.preprocessing import WAYS

SCANS = ("01/study1", "03/study2")
FIELD_PERCENT = 10.0


def main() -> None:
    data = open_data.command_line(__doc__).parse_args().data
    print("| way | scan | left of the field, % | slices cut, % |\n|---|---|---|---|")
    for name in SCANS:
        scan, mask = open_data.read_visit(data, name)
        brain = grids.array(mask) > 0
        fielded = grids.like(grids.array(scan) * np.exp(field(brain)), scan)
        fewer = len(brain) // 10
        for way in ("shipped", "N4 FWHM 0.15", "mask, then N4", "mask, then N4 FWHM 0.15"):
            plain, corrected = (logarithm(one, brain, WAYS[way]) for one in (scan, fielded))
            cut = logarithm(scan[:, :, fewer:], brain[fewer:], WAYS[way])
            changes = spread(corrected - plain, brain), spread(cut - plain[fewer:], brain[fewer:])
            print(f"| {way} | {name} | {changes[0]:.2f} | {changes[1]:.2f} |", flush=True)


def field(brain: Mask) -> Array:
    """A smooth logarithm with a standard deviation of FIELD_PERCENT over the brain."""
    z, y, x = np.meshgrid(*(np.linspace(-1, 1, side) for side in brain.shape), indexing="ij")
    smooth = x - 0.75 * y + 0.75 * np.cos(2 * z) + 0.5 * x * z
    scaled: Array = np.asarray(FIELD_PERCENT / 100 * smooth / smooth[brain].std(), dtype=np.float32)
    return scaled


def logarithm(scan: sitk.Image, brain: Mask, config: PreprocessConfig) -> Array:
    corrected = grids.array(without_artefacts(scan, brain, config))
    result: Array = np.log(np.maximum(corrected, np.float32(1e-3)))
    return result


def spread(difference: Array, brain: Mask) -> float:
    return 100 * float(difference[brain].std())


if __name__ == "__main__":
    main()
