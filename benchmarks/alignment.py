"""How exact is the alignment? Known motions of real scans, real pairs, and pairs of two patients.

    python -m benchmarks.alignment --data ../shared/data [--stripped]

Each raw scan is moved by a known motion onto a tilted grid of other voxels and a smaller field of view, with noise, another contrast and a bias field
added, and aligned with itself. With --stripped, a harder case alone: no masks of the brain, one scan stripped and cropped to 70 %.
Errors are those of points of the brain, mm. Seconds are wall-clock: compare them within one run only.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk
from scipy.spatial.transform import Rotation

from app.images import grids, storage
from app.method.registration import Aligned, align

SCANS = ("01/study1", "01/study2", "03/study1", "03/study2", "04/study1", "09/study2", "20/study2")
MOTIONS = ((10.0, 15.0), (20.0, 40.0), (5.0, 3.0))  # degrees, mm
TWO_PATIENTS = (("01/study1", "03/study1"), ("04/study1", "09/study2"), ("01/study2", "20/study2"))
Points = npt.NDArray[np.float64]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of the open data")
    parser.add_argument(
        "--stripped", action="store_true", help="only whole heads against stripped ones, without brain masks"
    )
    chosen = parser.parse_args()
    folder = chosen.data / "open_ms_data" / "longitudinal"
    if chosen.stripped:
        whole_against_stripped(folder)
        return

    print(
        "| scan | turned, moved | error: median, 95th percentile, mm | swapped: greatest difference, mm | s |\n|---|---|---|---|---|"
    )
    for number, name in enumerate(SCANS):
        rng = np.random.default_rng(number)
        scan, brain = read(folder, name)
        points = points_of(brain)
        degrees, shift_mm = MOTIONS[number % len(MOTIONS)]
        motion = random_motion(rng, degrees, shift_mm, points.mean(axis=0))
        moved = moved_scan(scan, motion, rng)
        moved_brain = sitk.Resample(brain, moved, motion.GetInverse(), sitk.sitkNearestNeighbor)
        start = time.perf_counter()
        aligned = align(scan, moved, (brain, moved_brain))
        seconds = time.perf_counter() - start
        errors = distances(carried(aligned, points), through(motion, points))
        back = align(moved, scan, (moved_brain, brain))
        swapped = distances(carried(back, carried(aligned, points)), points)
        print(
            f"| {name} | {degrees:.0f}°, {shift_mm:.0f} mm | {np.median(errors):.2f}, {np.percentile(errors, 95):.2f} "
            f"| {swapped.max():.3f} | {seconds:.1f} |",
            flush=True,
        )

    print(
        "\n| pair | similarity before, after | turned, moved | from the data set's own alignment: median, 95th percentile, mm |\n|---|---|---|---|"
    )
    for first, second in (("01/study1", "01/study2"), ("03/study1", "03/study2"), *TWO_PATIENTS):
        (baseline, brain), (followup, other_brain) = read(folder, first), read(folder, second)
        aligned = align(baseline, followup, (brain, other_brain))
        difference = "two patients"
        if first[:2] == second[:2]:
            points = points_of(brain)
            theirs = through(
                common_space(folder, second), through(common_space(folder, first).GetInverse(), points)
            )
            errors = distances(carried(aligned, points), theirs)
            difference = f"{np.median(errors):.2f}, {np.percentile(errors, 95):.2f}"
        print(
            f"| {first}, {second} | {aligned.similarity_before:.3f}, {aligned.similarity_after:.3f} "
            f"| {aligned.angle_degrees:.1f}°, {aligned.shift_mm:.1f} mm | {difference} |",
            flush=True,
        )


def whole_against_stripped(folder: Path) -> None:
    print(
        "| whole head; itself stripped, cropped, moved by 20°, 40 mm | error: median, 95th percentile, mm | similarity | s |\n|---|---|---|---|"
    )
    for number, name in enumerate(SCANS):
        rng = np.random.default_rng(100 + number)
        scan, brain = read(folder, name)
        points = points_of(brain)
        motion = random_motion(rng, 20.0, 40.0, points.mean(axis=0))
        stripped = stripped_and_cropped(moved_scan(scan, motion, rng), brain, motion, rng)
        start = time.perf_counter()
        aligned = align(scan, stripped)
        seconds = time.perf_counter() - start
        errors = distances(carried(aligned, points), through(motion, points))
        print(
            f"| {name} | {np.median(errors):.2f}, {np.percentile(errors, 95):.2f} | {aligned.similarity_after:.3f} | {seconds:.1f} |",
            flush=True,
        )


def read(folder: Path, name: str) -> tuple[sitk.Image, sitk.Image]:
    """A raw scan, and the data set's brain mask on its grid."""
    patient, study = name.split("/")
    scan = storage.read(folder / "raw" / f"patient{patient}" / f"{study}_FLAIR.nii.gz")
    mask = storage.read_mask(folder / "coregistered" / f"patient{patient}" / "brainmask.nii.gz")
    return scan, sitk.Resample(mask, scan, common_space(folder, name).GetInverse(), sitk.sitkNearestNeighbor)


def common_space(folder: Path, name: str) -> sitk.Transform:
    """From the data set's common space to a scan."""
    patient, study = name.split("/")
    return sitk.ReadTransform(
        str(folder / "coregistered" / f"patient{patient}" / f"{study}_FLAIR_to_common_space.txt")
    )


def points_of(brain: sitk.Image, count: int = 2000) -> Points:
    """Some voxel centres of a brain: (count, 3), mm."""
    voxels = np.argwhere(sitk.GetArrayViewFromImage(brain) > 0)[:, ::-1]
    chosen = np.random.default_rng(0).choice(voxels, count, replace=False)
    return np.array([brain.TransformIndexToPhysicalPoint(index.tolist()) for index in chosen])


def random_motion(
    rng: np.random.Generator, degrees: float, shift_mm: float, centre: Points
) -> sitk.Transform:
    """A turn by so much about a random axis through `centre`, and a shift in a random direction."""
    axis, direction = (vector / np.linalg.norm(vector) for vector in rng.normal(size=(2, 3)))
    turn = Rotation.from_rotvec(axis * np.radians(degrees)).as_quat()
    return sitk.VersorRigid3DTransform(turn.tolist(), (direction * shift_mm).tolist(), centre.tolist())


def moved_scan(scan: sitk.Image, motion: sitk.Transform, rng: np.random.Generator) -> sitk.Image:
    """What another scanner sees of the moved head: other voxels, a tilt by some 5 degrees, 10 % fewer slices, gamma 0.8, 20 % bias, 3 % noise."""
    spacing = np.array(scan.GetSpacing()) * (1.1, 0.95, 1.0)
    size = np.round(np.array(scan.GetSize()) * scan.GetSpacing() * (1, 1, 0.9) / spacing).astype(int)
    tilt = Rotation.from_rotvec(rng.normal(size=3) * np.radians(3)).as_matrix() @ np.reshape(
        scan.GetDirection(), (3, 3)
    )
    middle = motion.TransformPoint(
        scan.TransformContinuousIndexToPhysicalPoint([(side - 1) / 2 for side in scan.GetSize()])
    )
    grid = sitk.Image(size.tolist(), sitk.sitkUInt8)
    grid.SetSpacing(spacing.tolist())
    grid.SetDirection(tilt.ravel().tolist())
    grid.SetOrigin((np.array(middle) - tilt @ (spacing * (size - 1) / 2)).tolist())

    values = grids.array(sitk.Resample(scan, grid, motion.GetInverse(), sitk.sitkBSpline, 0.0))
    top = float(np.percentile(values, 99))
    ramp = np.linspace(-1, 1, values.shape[2], dtype=np.float32)
    values = top * (np.maximum(values, 0) / top) ** 0.8 * np.exp(0.2 * ramp) + rng.normal(
        0, 0.03 * top, values.shape
    )
    return grids.like(values.astype(np.float32), grid)


def stripped_and_cropped(
    moved: sitk.Image, brain: sitk.Image, motion: sitk.Transform, rng: np.random.Generator
) -> sitk.Image:
    """The moved head without its skull, under another bias field of 60 % from front to back, and 70 % of its slices."""
    moved_brain = sitk.Resample(brain, moved, motion.GetInverse(), sitk.sitkNearestNeighbor)
    ramp = np.exp(0.3 * np.linspace(-1, 1, moved.GetHeight(), dtype=np.float32))[:, None]
    stripped = sitk.Mask(grids.like(grids.array(moved) * ramp, moved), moved_brain)
    kept = int(0.7 * moved.GetDepth())
    first = int(rng.integers(0, moved.GetDepth() - kept + 1))
    return stripped[:, :, first : first + kept]


def through(transform: sitk.Transform, points: Points) -> Points:
    return np.array([transform.TransformPoint(point) for point in points.tolist()])


def carried(aligned: Aligned, points: Points) -> Points:
    """Points of the baseline in the follow-up."""
    return through(aligned.to_followup, through(aligned.to_baseline.GetInverse(), points))


def distances(first: Points, second: Points) -> Points:
    return np.asarray(np.linalg.norm(first - second, axis=1))


if __name__ == "__main__":
    main()
