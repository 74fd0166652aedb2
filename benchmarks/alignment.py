"""How exact is the alignment, and what does it say of pairs that must not be aligned?

Tables of the open scans.

    python -m benchmarks.alignment --data ../shared/data [--tables motions affines headers pairs ...]

`motions`: raw scans, moved by a known rigid motion onto a tilted grid of other voxels and a smaller field of
view, with noise, another contrast and a bias field added, and aligned with themselves. `affines`: the same
with scales and shears; every other scan without its skull. `headers`: scans that share a grid, and how far
apart they are measured. `pairs`: real pairs of one patient, and of two. `mirrored`: pairs of one patient, one
scan of them mirrored. `masks`: what the shipped networks find in stored pairs without change, and in a
follow-up that was moved on its own grid. Errors are those of points of the brain, mm. Seconds are of the CPU,
one thread.
"""

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import SimpleITK as sitk
import torch
from scipy.spatial.transform import Rotation

from app.arrays import Points
from app.errors import InputError
from app.images import grids, storage
from app.method.brain import BrainExtractor
from app.method.registration import Aligned, align
from app.phantom import make_phantom
from app.pipeline import Networks, segment
from benchmarks import open_data

Scan = tuple[sitk.Image, sitk.Image]  # and its brain

MOTIONS = ((10.0, 15.0), (20.0, 40.0), (5.0, 3.0))  # degrees, mm
MSLESSEG = (
    ("P2_T1", "P2_T2"),
    ("P14_T1", "P14_T2"),
    ("P14_T2", "P14_T3"),
)  # MSLesSeg, each put into MNI alone
TWO_PATIENTS = (
    ("01/study1", "03/study1"),
    ("04/study1", "09/study2"),
    ("01/study2", "20/study2"),
    ("03/study2", "20/study2"),
    ("P2_T1", "P14_T1"),
    ("P2_T1", "P18_T1"),
    ("P14_T1", "P18_T1"),
    ("P14_T1", "01/study2"),
)
WEIGHTS = Path(__file__).parent.parent / "weights"


def main() -> None:
    parser = open_data.command_line(__doc__)
    tables = {
        "motions": motions,
        "affines": affines,
        "headers": headers,
        "pairs": pairs,
        "mirrored": mirrored,
        "masks": masks,
    }
    parser.add_argument("--tables", nargs="+", choices=list(tables), default=list(tables))
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    scans = Scans(chosen.data)
    for name in chosen.tables:
        for row in tables[name](scans):
            print(row, flush=True)
        print(flush=True)


class Scans:
    """The open scans by their names, each with the brain that ours finds."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.extractor = BrainExtractor.from_file(WEIGHTS / "brain.pt", torch.device("cpu"))

    def __call__(self, name: str) -> Scan:
        """'01/study1' is a raw scan, 'pair01/1' the same on the pair's common grid, 'P2_T1' is MSLesSeg's."""
        first, _, second = name.partition("/")
        if first.startswith("pair"):
            folder = open_data.pair_folder(self.data, f"patient{first[4:]}")
            path = folder / f"flair_time0{second}_on_middle_space.nii.gz"
        elif second:
            path = open_data.raw_scan(self.data, name)
        else:
            path = self.data / "mslesseg" / f"{name}_FLAIR.nii.gz"
        scan = storage.read(path)
        return scan, self.extractor(scan)

    def common_space(self, name: str) -> sitk.Transform:
        """The data set's own alignment: from its common space to a raw scan."""
        return sitk.ReadTransform(str(open_data.to_common_space(self.data, name)))


def motions(scans: Scans) -> Iterator[str]:
    yield (
        "| scan | turned, moved | error: median, 95th percentile, mm | stretch | swapped: "
        "greatest difference, mm | s |"
    )
    yield "|---|---|---|---|---|---|"
    for number, name in enumerate(open_data.VISITS):
        rng = np.random.default_rng(number)
        scan, brain = scans(name)
        points = points_of(brain)
        degrees, shift_mm = MOTIONS[number % len(MOTIONS)]
        motion = random_motion(rng, degrees, shift_mm, points.mean(axis=0))
        moved = moved_scan(scan, motion, rng)
        moved_brain = grids.labels_on(brain, moved, motion.GetInverse())
        aligned, seconds = timed((scan, brain), (moved, moved_brain))
        errors = distances(carried(aligned, points), through(motion, points))
        back = align(moved, scan, (moved_brain, brain))
        swapped = distances(carried(back, carried(aligned, points)), points)
        yield (
            f"| {name} | {degrees:.0f}°, {shift_mm:.0f} mm | {np.median(errors):.2f}, "
            f"{np.percentile(errors, 95):.2f} "
            f"| {aligned.stretch_percent:.1f} % | {swapped.max():.3f} | {seconds:.1f} |"
        )


def affines(scans: Scans) -> Iterator[str]:
    yield "| scan | skull | scales, shear | error: median, 95th percentile, mm | s |"
    yield "|---|---|---|---|---|"
    for number, name in enumerate(open_data.VISITS):
        rng = np.random.default_rng(50 + number)
        scan, brain = scans(name)
        points = points_of(brain)
        scales, shear = rng.uniform(0.97, 1.03, 3), rng.uniform(-0.01, 0.01)
        motion = random_affine(rng, scales, shear, points.mean(axis=0))
        moved = moved_scan(scan, motion, rng)
        moved_brain = grids.labels_on(brain, moved, motion.GetInverse())
        stripped = number % 2 == 1
        if stripped:
            moved = sitk.Mask(moved, moved_brain)
        aligned, seconds = timed((scan, brain), (moved, moved_brain))
        errors = distances(carried(aligned, points), through(motion, points))
        yield (
            f"| {name} | {'stripped' if stripped else 'whole'} | "
            f"{', '.join(f'{scale:.3f}' for scale in scales)}; "
            f"{100 * shear:.1f} % | {np.median(errors):.2f}, {np.percentile(errors, 95):.2f} | "
            f"{seconds:.1f} |"
        )


def headers(scans: Scans) -> Iterator[str]:
    yield "| one grid | truly apart, mm | measured apart, mm | used | s |"
    yield "|---|---|---|---|---|"
    for name, truly, baseline, followup in on_one_grid(scans):
        aligned, seconds = timed(baseline, followup)
        used = "aligned" if aligned.moved else "as they are"
        yield f"| {name} | {truly} | {aligned.apart_mm:.2f} | {used} | {seconds:.1f} |"


def on_one_grid(scans: Scans) -> Iterator[tuple[str, str, Scan, Scan]]:
    """Real pairs as they are stored; and scans against themselves, moved a little, with noise and another
    contrast.
    """
    for name in ("pair01", "pair03"):
        yield f"{name}, by the data set", "not known", scans(f"{name}/1"), scans(f"{name}/2")
    for first, second in MSLESSEG:
        yield f"{first}, {second}, as stored", "not known", scans(first), scans(second)
    for first, second in MSLESSEG[1:]:
        (baseline, brain), (followup, other_brain) = scans(first), scans(second)
        aligned = align(baseline, followup, (brain, other_brain))
        to_baseline = sitk.CompositeTransform([aligned.to_baseline, aligned.to_followup.GetInverse()])
        moved = sitk.Resample(baseline, followup, to_baseline, sitk.sitkBSpline, 0.0)
        moved_brain = grids.labels_on(brain, followup, to_baseline)
        yield f"{first}, {second}, aligned and stored", "0.0", (moved, moved_brain), (followup, other_brain)
    rng = np.random.default_rng(7)
    phantom = make_phantom(spacing_mm=2.0)
    for name, (scan, brain) in (("P14_T2", scans("P14_T2")), ("phantom", (phantom.followup, phantom.brain))):
        points = points_of(brain)
        for shift_mm in (0.0, 0.2, 0.4, 0.8, 1.6):
            motion = random_motion(rng, shift_mm / 2, shift_mm, points.mean(axis=0))
            moved = sitk.Resample(scan, scan, motion.GetInverse(), sitk.sitkBSpline, 0.0)
            other = degraded(moved, rng), grids.labels_on(brain, scan, motion.GetInverse())
            truly = distances(through(motion, points), points).mean()
            yield f"{name}, moved", f"{truly:.2f}", (scan, brain), other


def pairs(scans: Scans) -> Iterator[str]:
    yield (
        "| pair | apart by their headers, mm | stretch | left, mm | likeness, verdict "
        "| from the data set's own alignment: median, 95th percentile, mm | s |"
    )
    yield "|---|---|---|---|---|---|---|"
    same = (("01/study1", "01/study2"), ("03/study1", "03/study2"), *MSLESSEG)
    for first, second in (*same, *TWO_PATIENTS):
        (baseline, brain), (followup, other_brain) = scans(first), scans(second)
        aligned, seconds = timed((baseline, brain), (followup, other_brain))
        difference = ""
        if first[:2] == second[:2] and "/" in first:
            points = points_of(brain)
            theirs = through(
                scans.common_space(second), through(scans.common_space(first).GetInverse(), points)
            )
            errors = distances(carried(aligned, points), theirs)
            difference = f"{np.median(errors):.2f}, {np.percentile(errors, 95):.2f}"
        yield (
            f"| {first}, {second} | {aligned.apart_mm:.1f} | {aligned.stretch_percent:.1f} % "
            f"| {aligned.residual.mean_mm:.2f} | {aligned.residual.likeness:.2f}, {aligned.residual.verdict} "
            f"| {difference} | {seconds:.1f} |"
        )


def mirrored(scans: Scans) -> Iterator[str]:
    yield "| pair, the follow-up mirrored left to right | found | s |"
    yield "|---|---|---|"
    same = (("01/study1", "01/study2"), ("03/study1", "03/study2"), *MSLESSEG)
    for first, second in (*same, *((second, first) for first, second in same)):
        baseline, (followup, _) = scans(first), scans(second)
        flipped = sitk.Flip(followup, [True, False, False])
        flipped.CopyInformation(followup)
        start = time.process_time()
        try:
            aligned = align(baseline[0], flipped, (baseline[1], scans.extractor(flipped)))
            found = f"no: {aligned.residual.verdict}, {aligned.residual.likeness:.2f}"
        except InputError as error:
            found = "refused" if "mirrored" in str(error) else f"refused: {error}"
        yield f"| {first}, {second} | {found} | {time.process_time() - start:.1f} |"


def masks(scans: Scans) -> Iterator[str]:
    networks = Networks.load(WEIGHTS, torch.device("cpu"))
    yield "| pair | new lesions, mm³ | Dice with the mask of the unmoved follow-up |"
    yield "|---|---|---|"
    for first, second in (*MSLESSEG[::2], *((second, first) for first, second in MSLESSEG[::2])):
        result = segment(scans(first)[0], scans(second)[0], networks)
        volumes = ", ".join(f"{lesion.volume_mm3:.0f}" for lesion in result.lesions) or "none"
        yield f"| {first}, {second} | {volumes} | |"
    rng = np.random.default_rng(3)
    baseline, (followup, brain) = scans("pair01/1")[0], scans("pair01/2")
    unmoved = grids.array(segment(baseline, followup, networks).mask) > 0
    for degrees, shift_mm in ((1.5, 2.0), (0.5, 0.5)):
        motion = random_motion(rng, degrees, shift_mm, points_of(brain).mean(axis=0))
        moved = sitk.Resample(followup, followup, motion.GetInverse(), sitk.sitkBSpline, 0.0)
        result = segment(baseline, sitk.Clamp(moved, lowerBound=0.0), networks)
        back = grids.mask_on(result.mask, followup, motion)
        dice = 2 * np.count_nonzero(back & unmoved) / (np.count_nonzero(back) + np.count_nonzero(unmoved))
        volumes = ", ".join(f"{lesion.volume_mm3:.0f}" for lesion in result.lesions)
        yield f"| pair01, moved by {degrees}° and {shift_mm} mm | {volumes} | {dice:.2f} |"


def timed(baseline: Scan, followup: Scan) -> tuple[Aligned, float]:
    """The alignment of two scans by their brains, and CPU seconds."""
    start = time.process_time()
    aligned = align(baseline[0], followup[0], (baseline[1], followup[1]))
    return aligned, time.process_time() - start


def points_of(brain: sitk.Image, count: int = 2000) -> Points:
    """Some voxel centres of a brain: (count, 3), mm."""
    voxels = np.argwhere(sitk.GetArrayViewFromImage(brain) > 0)
    return grids.points(np.random.default_rng(0).choice(voxels, count, replace=False), brain)


def random_motion(
    rng: np.random.Generator, degrees: float, shift_mm: float, centre: Points
) -> sitk.Transform:
    """A turn by so much about a random axis through `centre`, and a shift in a random direction."""
    axis, direction = (vector / np.linalg.norm(vector) for vector in rng.normal(size=(2, 3)))
    turn = Rotation.from_rotvec(axis * np.radians(degrees)).as_quat()
    return sitk.VersorRigid3DTransform(turn.tolist(), (direction * shift_mm).tolist(), centre.tolist())


def random_affine(rng: np.random.Generator, scales: Points, shear: float, centre: Points) -> sitk.Transform:
    """These scales and this shear of a head, turned by 5 degrees and moved by 5 mm."""
    stretch = np.diag(scales)
    stretch[0, 1] = shear
    rigid = random_motion(rng, 5.0, 5.0, centre)
    turn = np.reshape(sitk.VersorRigid3DTransform(rigid).GetMatrix(), (3, 3))
    shift = sitk.VersorRigid3DTransform(rigid).GetTranslation()
    return sitk.AffineTransform((turn @ stretch).ravel().tolist(), shift, centre.tolist())


def moved_scan(scan: sitk.Image, motion: sitk.Transform, rng: np.random.Generator) -> sitk.Image:
    """What another scanner sees of the moved head: other voxels, a tilt by some 5 degrees, 10 % fewer slices;
    degraded.
    """
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
    return degraded(sitk.Resample(scan, grid, motion.GetInverse(), sitk.sitkBSpline, 0.0), rng)


def degraded(scan: sitk.Image, rng: np.random.Generator) -> sitk.Image:
    """Gamma 0.8, a bias of 20 % from left to right, noise of 3 % of the brightest."""
    values = grids.array(scan)
    top = float(np.percentile(values, 99))
    ramp = np.linspace(-1, 1, values.shape[2], dtype=np.float32)
    values = top * (np.maximum(values, 0) / top) ** 0.8 * np.exp(0.2 * ramp)
    return grids.like((values + rng.normal(0, 0.03 * top, values.shape)).astype(np.float32), scan)


def through(transform: sitk.Transform, points: Points) -> Points:
    return np.array([transform.TransformPoint(point) for point in points.tolist()])


def carried(aligned: Aligned, points: Points) -> Points:
    """Points of the baseline in the follow-up."""
    return through(aligned.to_followup, through(aligned.to_baseline.GetInverse(), points))


def distances(first: Points, second: Points) -> Points:
    return np.asarray(np.linalg.norm(first - second, axis=1))


if __name__ == "__main__":
    main()
