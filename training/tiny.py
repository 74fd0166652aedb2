"""Made-up data for both recipes, small enough to run the whole training in a minute: the same folders and
names, invented heads.
"""

import argparse
from pathlib import Path

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk
from scipy import ndimage

from app.images import storage

SIDE = 56  # voxels of 1 mm; preprocessing wants 50 ml of brain
CHALLENGE_MM = 1.6  # voxels of the challenge's pairs: alignment wants 200 ml of head
CENTRE = np.full(3, (SIDE - 1) / 2)


def write_open_data(folder: Path, rng: np.random.Generator) -> None:
    """Two label maps, three lesion masks, one real-looking training scan, and the pairs 01 and 03."""
    for number in (1, 2):
        _write(
            folder / "SynthSeg" / "training_label_maps" / f"training_seg_{number:02d}.nii.gz",
            _labels(22 + number).astype(np.float32),
        )
    for number in range(3):
        mask = _ball(CENTRE + rng.uniform(-10, 10, 3), 2.0 + number)
        _write(
            folder / "MSLesionSimulator" / "labels-database" / "50-100" / f"{number}.nii.gz",
            mask.astype(np.uint8),
        )
    lesion = _ball(CENTRE + np.array([6, 6, -8]), 3)
    cross = folder / "open_ms_data" / "cross_sectional" / "MNI" / "patient07"
    _write(cross / "FLAIR_tiny.nii.gz", _flair(lesion, rng) * (_labels(23) > 0))
    _write(cross / "GOLD_STANDARD_tiny.nii.gz", lesion.astype(np.uint8))
    for name in ("patient01", "patient03"):
        pair = folder / "open_ms_pairs" / name
        new = _ball(CENTRE + rng.uniform(-8, 8, 3), 4)
        _write(pair / "flair_time01_on_middle_space.nii.gz", _flair(np.zeros_like(new), rng))
        _write(pair / "flair_time02_on_middle_space.nii.gz", _flair(new, rng))
        _write(pair / "brain_mask.nii.gz", (_labels(23) > 0).astype(np.uint8))
        _write(pair / "ground_truth_rising_visible.nii.gz", new.astype(np.uint8))
        for mask_name in ("ground_truth_falling_visible", "ignore_forward", "ignore_backward"):
            _write(pair / f"{mask_name}.nii.gz", np.zeros(new.shape, np.uint8))


def write_challenge(folder: Path, rng: np.random.Generator) -> None:
    """Five patients as of MSSEG-2 but without skull, four of them with new lesions, seen by four experts of
    whom the last sees a little less.
    """
    inside = _labels(23) > 0
    for number, lesions in enumerate((1, 2, 1, 2, 0), start=1):
        patient = folder / f"{number:03d}"
        new = np.zeros(inside.shape, bool)
        for _ in range(lesions):
            new |= _ball(CENTRE + rng.uniform(-8, 8, 3), 4)
        old = _ball(CENTRE + rng.uniform(-8, 8, 3), 3)
        _write(patient / "flair_time01_on_middle_space.nii.gz", _flair(old, rng) * inside, CHALLENGE_MM)
        _write(patient / "flair_time02_on_middle_space.nii.gz", _flair(old | new, rng) * inside, CHALLENGE_MM)
        for name in ("ground_truth", *(f"ground_truth_expert{expert}" for expert in (1, 2, 3))):
            _write(patient / f"{name}.nii.gz", (new & ~old).astype(np.uint8), CHALLENGE_MM)
        _write(
            patient / "ground_truth_expert4.nii.gz",
            ndimage.binary_erosion(new & ~old).astype(np.uint8),
            CHALLENGE_MM,
        )


def _labels(radius: float) -> npt.NDArray[np.int_]:
    """Nested balls with FreeSurfer's numbers: ventricle 4, white matter 2, cortex 3, fluid 24."""
    distance = _distance(CENTRE)
    return np.select(
        [distance < 4, distance < radius - 5, distance < radius, distance < radius + 2], [4, 2, 3, 24], 0
    )


def _flair(lesion: npt.NDArray[np.bool_], rng: np.random.Generator) -> npt.NDArray[np.float32]:
    labels = _labels(23)
    values = np.select([labels == 2, labels == 3, labels > 0], [100.0, 115.0, 30.0], 5.0) + 60 * lesion
    noisy: npt.NDArray[np.float32] = (values + rng.normal(0, 4, values.shape)).clip(1).astype(np.float32)
    return noisy


def _ball(centre: npt.NDArray[np.float64], radius: float) -> npt.NDArray[np.bool_]:
    return _distance(centre) < radius


def _distance(centre: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """mm from a point, at every voxel (z, y, x)."""
    offsets = np.indices((SIDE, SIDE, SIDE)) - np.asarray(centre)[:, None, None, None]
    return np.sqrt((offsets**2).sum(axis=0))  # type: ignore[no-any-return]


def _write(path: Path, values: npt.NDArray[np.generic], spacing_mm: float = 1.0) -> None:
    image = sitk.GetImageFromArray(values)
    image.SetSpacing([spacing_mm] * 3)
    storage.write(image, path)


def main() -> None:
    recipes = {"open": write_open_data, "msseg2": write_challenge}
    parser = argparse.ArgumentParser(description="Write made-up data for a recipe.")
    parser.add_argument("recipe", choices=tuple(recipes))
    parser.add_argument("folder", type=Path)
    arguments = parser.parse_args()
    recipes[arguments.recipe](arguments.folder, np.random.default_rng(0))


if __name__ == "__main__":
    main()
