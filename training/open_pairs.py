"""The validation pairs from the open longitudinal data: both scans on one grid, under the challenge's names,
and a truth derived from them.

    python -m training.open_pairs --data DIR

Reads DIR/open_ms_data/longitudinal, writes DIR/open_ms_pairs. The data set marks every change, growing and
shrinking alike and drawn with other contrasts too; about half of what is marked shows nothing on FLAIR. So a
marked voxel counts as rising if it rises, and as visible if its piece does so clearly and ends up bright. The
rule is ours and favours subtraction. The brain is that of app.method.brain, since the data set's own mask of
03 cuts the frontal lobe.
"""

import argparse
import logging
from pathlib import Path

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk
import torch
from scipy import ndimage

from app import intensity
from app.arrays import Array, Mask
from app.config import PreprocessConfig
from app.errors import InputError
from app.images import grids, storage
from app.method import preprocessing
from app.method.brain import BrainExtractor
from training import commands
from training.prepare import VALIDATION, WEIGHTS

SMOOTHING_VOXELS = (0.0, 0.8, 0.8)  # (z, y, x): in plane alone, since slices are 3 mm thick
RISE_Z = 0.25  # spreads of the brain, of a voxel
SMALLEST_MM3 = 6.0  # a piece
VISIBLE_RISE_Z, VISIBLE_LEVEL_Z = 0.7, 0.6  # mean rise of a piece, and how bright it is at the later scan

logger = logging.getLogger(__name__)


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Validation pairs with derived truth from the open longitudinal data."
    )
    parser.add_argument(
        "--data", type=Path, required=True, help="folder with open_ms_data; open_ms_pairs is written there"
    )
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    for patient in VALIDATION:
        write_pair(
            arguments.data / "open_ms_data" / "longitudinal",
            patient,
            arguments.data / "open_ms_pairs" / patient,
        )


def write_pair(longitudinal: Path, patient: str, out: Path) -> None:
    """Both scans, the brain, and for both time orders the changes, those to be seen, and what to ignore.

    Raises InputError if a file is missing.
    """
    common = longitudinal / "coregistered" / patient
    grid = storage.read_mask(common / "brainmask.nii.gz")
    marked = grids.array(storage.read_mask(common / "gt.nii.gz", grid)) > 0
    scans = [
        to_common_space(longitudinal / "raw" / patient / f"study{time}_FLAIR.nii.gz", common, grid)
        for time in (1, 2)
    ]
    find_brain = BrainExtractor.from_file(WEIGHTS / "brain.pt", torch.device("cpu"))
    brain = np.logical_or(*(grids.array(find_brain(scan)) > 0 for scan in scans))
    z = [standardised(scan, brain) for scan in scans]
    for time, scan in enumerate(scans, start=1):
        storage.write(sitk.Cast(scan, sitk.sitkInt16), out / f"flair_time0{time}_on_middle_space.nii.gz")
    storage.write(grids.like(brain, grid), out / "brain_mask.nii.gz")
    voxel_mm3 = grids.voxel_mm3(grid)
    for order, name, (before, after) in (("forward", "rising", z), ("backward", "falling", z[::-1])):
        changed, visible = risen(before, after, marked, voxel_mm3)
        for file, mask in (
            (f"ground_truth_{name}", changed),
            (f"ground_truth_{name}_visible", visible),
            (f"ignore_{order}", marked & ~visible),
        ):
            storage.write(grids.like(mask, grid), out / f"{file}.nii.gz")
        logger.info(
            "%s %s: %d visible new lesions, %.2f ml",
            patient,
            order,
            ndimage.label(visible)[1],
            visible.sum() * voxel_mm3 / 1000,
        )


def to_common_space(path: Path, common: Path, grid: sitk.Image) -> sitk.Image:
    """A raw scan on the data set's own common grid, cubic B-spline, cut to whole numbers."""
    transform = common / path.name.replace(".nii.gz", "_to_common_space.txt")
    if not transform.is_file():
        raise InputError(f"{transform}: no such file; wanted the open data of training/README.md")
    moved = sitk.Resample(storage.read(path), grid, sitk.ReadTransform(str(transform)), sitk.sitkBSpline, 0.0)
    return sitk.Cast(sitk.Cast(sitk.Maximum(moved, 0.0), sitk.sitkInt16), sitk.sitkFloat32)


def standardised(scan: sitk.Image, brain: Mask) -> Array:
    """(z, y, x) without bias field, in spreads (1.4826 MAD) above the brain's median, smoothed."""
    values = grids.array(preprocessing.correct_bias(scan, PreprocessConfig().bias_fwhm))
    median = np.median(values[brain])
    spread = intensity.spread(values[brain])
    smooth: Array = ndimage.gaussian_filter((values - median) / spread, SMOOTHING_VOXELS)
    return smooth


def risen(before: Array, after: Array, marked: Mask, voxel_mm3: float) -> tuple[Mask, Mask]:
    """Marked voxels (z, y, x) that rise, in pieces that are not too small; and those of the pieces that
    anyone would see.
    """
    rise = after - before
    labels, count = ndimage.label(marked & (rise > RISE_Z))
    changed, visible = np.zeros(count + 1, bool), np.zeros(count + 1, bool)  # 0 is what does not rise
    if count:
        pieces = np.arange(1, count + 1)
        volumes: npt.NDArray[np.float64] = ndimage.sum_labels(
            np.full(labels.shape, voxel_mm3), labels, pieces
        )
        changed[1:] = volumes >= SMALLEST_MM3
        clear = (ndimage.mean(rise, labels, pieces) > VISIBLE_RISE_Z) & (
            ndimage.mean(after, labels, pieces) > VISIBLE_LEVEL_Z
        )
        visible[1:] = changed[1:] & clear
    return changed[labels], visible[labels]


if __name__ == "__main__":
    commands.run(main)
