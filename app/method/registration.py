"""Where both scans of a patient meet: a rigid alignment, half of it on each scan."""

import dataclasses
import itertools
import logging
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk
from scipy import ndimage, optimize
from scipy.spatial.transform import Rotation

from ..arrays import Mask, Points
from ..errors import InputError
from ..images import grids

BINS = 32  # of each axis of the joint histogram
AIR = 0.12 * (BINS - 1)  # of the 99.5th percentile: below it there is no head
RADIUS_MM = 70.0  # of a head: a turn by an angle moves its surface by RADIUS_MM * angle, which puts turns and shifts on one scale
TURNS_DEG = (-20.0, 0.0, 20.0)  # tried about each axis before the search
SMOOTHINGS_MM = (
    4.0,
    2.5,
    0.0,
)  # coarse to fine; a blur of 1 mm at the end doubles the error on known motions (0.03-0.10 to 0.07-0.21 mm)
JUDGED_AT_MM = 1.0  # blur of the scans whose similarity is reported
FINE_ENOUGH_MM = 1.0  # voxel side
MINIMUM_COMMON_ML = 200.0  # of head in both scans; below it there is nothing to align by
# Normalised mutual information of the heads after alignment. Open scans: one patient 1.23 (01) and 1.15 (03); two patients 1.04 to 1.09.
POOR_SIMILARITY = 1.11

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Aligned:
    """How two scans meet in middle space, halfway between them, so that both are interpolated alike."""

    to_baseline: (
        sitk.Transform
    )  # maps a point of middle space to the baseline scan, mm, as sitk.Resample takes it
    to_followup: (
        sitk.Transform
    )  # likewise to the follow-up; both are the identity for scans on one grid that pass untouched
    similarity_before: float  # normalised mutual information of the heads: 1 unrelated, about 1.3 identical (the histogram is smoothed)
    similarity_after: float
    angle_degrees: float  # between the two heads
    shift_mm: float  # of the middle of the head


def align(
    baseline: sitk.Image,
    followup: sitk.Image,
    brains: tuple[sitk.Image, sitk.Image] | None = None,
    register: bool = False,
) -> Aligned:
    """Align two scans rigidly by normalised mutual information (Studholme 1999); scans that share a grid pass untouched unless `register`.

    The similarity is computed at points of middle space, so that no scan is the fixed one: swapping the scans swaps the transforms.
    With the masks of both `brains`, each on its scan's grid, the last search looks at them alone: jaw and neck move against the brain, and two
    scanners distort them unlike (open pair 03: 0.4 mm from the data set's own alignment instead of 0.9).
    Warns when the result is poor. Raises InputError if the scans have too little head in common.
    """
    untouched = not register and grids.same_grid(baseline, followup)
    scans = [_flatten(_coarsened(scan)) for scan in (baseline, followup)]
    if brains is not None:
        brains = _on_grid(brains[0], scans[0]), _on_grid(brains[1], scans[1])
    heads = [_smooth(scan, JUDGED_AT_MM) for scan in scans]
    shown = (
        [head.values > AIR for head in heads]
        if brains is None
        else [grids.array(brain) > 0 for brain in brains]
    )
    centres = [_centre_mm(scan, part) for scan, part in zip(scans, shown, strict=True)]
    middle = (centres[0] + centres[1]) / 2
    there = np.zeros(6)
    motion = there if untouched else _search(scans, middle, centres[1] - centres[0], brains)

    similarity = _Similarity(heads, middle, motion, spacing_mm=5.0)
    if not untouched and similarity.common_ml(motion) < MINIMUM_COMMON_ML:
        raise InputError(
            f"baseline and follow-up: {similarity.common_ml(motion):.0f} ml of head in both; wanted two scans that show the same part of one head"
        )
    after = similarity(motion)
    if after < POOR_SIMILARITY:
        logger.warning(
            "baseline and follow-up look unlike (similarity %.2f, usually above %.2f): check that they show one patient, "
            "and look at the picture that `prepare` writes",
            after,
            POOR_SIMILARITY,
        )
    return Aligned(
        to_baseline=sitk.Transform() if untouched else _half(motion, middle, -1),
        to_followup=sitk.Transform() if untouched else _half(motion, middle, +1),
        similarity_before=_Similarity(heads, middle, there, spacing_mm=5.0)(there),
        similarity_after=after,
        angle_degrees=float(np.degrees(np.linalg.norm(motion[:3]) / RADIUS_MM)),
        shift_mm=float(np.linalg.norm(motion[3:])),
    )


# A motion is six numbers, mm: a rotation vector times RADIUS_MM, and the shift of the middle of the head, from baseline to follow-up.


def _search(
    scans: list[sitk.Image],
    middle: Points,
    between_centres: Points,
    brains: tuple[sitk.Image, sitk.Image] | None,
) -> Points:
    """The motion of greatest similarity: a grid of turns about two guesses of the shift, then a trust region, coarse to fine."""
    coarse = [_smooth(scan, SMOOTHINGS_MM[0]) for scan in scans]
    turns = np.radians(list(itertools.product(TURNS_DEG, repeat=3))) * RADIUS_MM
    found = []
    for shift in (between_centres, np.zeros(3)):
        similarity = _Similarity(coarse, middle, np.concatenate([np.zeros(3), shift]), spacing_mm=10.0)
        if similarity.common_ml(similarity.start) < MINIMUM_COMMON_ML:
            continue
        best = max((np.concatenate([turn, shift]) for turn in turns), key=similarity)
        found.append(_climb(similarity, best, first_mm=8.0, last_mm=0.5))
    if not found:
        raise InputError(
            "baseline and follow-up: no head in common; wanted two scans that show the same part of one head"
        )
    motion = max(
        found, key=lambda candidate: _Similarity(coarse, middle, candidate, spacing_mm=8.0)(candidate)
    )
    finer = [_smooth(scan, SMOOTHINGS_MM[1]) for scan in scans]
    motion = _climb(_Similarity(finer, middle, motion, spacing_mm=8.0), motion, first_mm=2.0, last_mm=0.2)
    finest = [_smooth(scan, SMOOTHINGS_MM[2]) for scan in scans]
    return _climb(
        _Similarity(finest, middle, motion, spacing_mm=5.0 if brains is None else 4.0, brains=brains),
        motion,
        first_mm=1.0,
        last_mm=0.02,
    )


def _climb(similarity: Callable[[Points], float], start: Points, first_mm: float, last_mm: float) -> Points:
    """COBYQA (Ragonneau, Zhang 2024) from `start`: a parabola through 13 motions, followed inside a trust region that shrinks from first to last mm.

    It asks for the similarity a fifth as often as Powell's line searches (35 to 50 times a resolution), and asks alike when the scans are swapped.
    """
    options = {"initial_tr_radius": first_mm, "final_tr_radius": last_mm}
    result = optimize.minimize(lambda motion: -similarity(motion), start, method="COBYQA", options=options)
    motion: Points = result.x
    return motion


@dataclass(frozen=True)
class _Head:
    """A smoothed scan: values (z, y, x) scaled to 0 ... BINS - 1, and the affine from a point to a fractional index."""

    values: npt.NDArray[np.float32]
    to_index: npt.NDArray[np.float64]  # (3, 3), rows z, y, x
    origin_mm: npt.NDArray[np.float64]

    def at(self, points: Points) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
        """Values at points by linear interpolation, and which points lie inside the scan."""
        index = self.to_index @ (points - self.origin_mm).T
        last = np.array(self.values.shape)[:, None] - 1
        inside = ((index >= 0) & (index <= last)).all(axis=0)
        values: npt.NDArray[np.float32] = ndimage.map_coordinates(
            self.values, index, order=1, mode="nearest", output=np.float32
        )
        return values, np.asarray(inside)


class _Similarity:
    """Normalised mutual information of two heads as a function of the motion between them, at fixed points of middle space.

    The points lie on a grid, shaken (a regular one would make the scans' own grids show in the similarity), where either scan shows head at `start`,
    or where both show brain, if `brains` are given.
    """

    def __init__(
        self,
        heads: list[_Head],
        middle: Points,
        start: Points,
        spacing_mm: float,
        brains: tuple[sitk.Image, sitk.Image] | None = None,
    ) -> None:
        self.heads, self.middle, self.start, self.spacing_mm = heads, middle, start, spacing_mm
        line = np.arange(-160.0, 160.0, spacing_mm)
        grid = np.stack(np.meshgrid(line, line, line, indexing="ij"), axis=-1).reshape(-1, 3)
        points = middle + grid + np.random.default_rng(0).uniform(-0.5, 0.5, grid.shape) * spacing_mm
        values, inside = self._sample(start, points)
        shown = (np.maximum(*values) > AIR) & inside.all(axis=0)
        if brains is not None:
            masks = [
                dataclasses.replace(head, values=grids.array(brain))
                for head, brain in zip(heads, brains, strict=True)
            ]
            shown &= (self._sample(start, points, masks)[0] > 0.5).all(axis=0)
        self.points = points[shown]

    def __call__(self, motion: Points) -> float:
        values, inside = self._sample(motion, self.points)
        both = inside.all(axis=0)
        if both.sum() < 0.3 * len(self.points) or not len(self.points):
            return 1.0
        joint = ndimage.gaussian_filter(_joint_histogram(values[0][both], values[1][both]), 1.0)
        joint /= joint.sum()
        return float((_entropy(joint.sum(axis=0)) + _entropy(joint.sum(axis=1))) / _entropy(joint))

    def common_ml(self, motion: Points) -> float:
        """Volume that lies in both scans and shows head in both."""
        values, inside = self._sample(motion, self.points)
        common = (np.minimum(*values) > AIR) & inside.all(axis=0)
        return float(np.count_nonzero(common) * self.spacing_mm**3 / 1000)

    def _sample(
        self, motion: Points, points: Points, heads: list[_Head] | None = None
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
        """Values (2, n) of both heads at points of middle space, and which lie inside each scan."""
        half = Rotation.from_rotvec(motion[:3] / RADIUS_MM / 2).as_matrix()
        turned = (
            (points - self.middle) @ half,
            (points - self.middle) @ half.T,
        )  # by minus and by plus half the angle
        samples = [
            head.at(t + self.middle + side * motion[3:] / 2)
            for head, t, side in zip(heads or self.heads, turned, (-1, 1), strict=True)
        ]
        return np.stack([values for values, _ in samples]), np.stack([inside for _, inside in samples])


def _coarsened(scan: sitk.Image) -> sitk.Image:
    """Average voxels of half `FINE_ENOUGH_MM` or less: a whole head of 0.4 mm takes minutes and gigabytes otherwise."""
    finer = [max(1, int(FINE_ENOUGH_MM / side + 0.01)) for side in scan.GetSpacing()]
    return sitk.BinShrink(
        scan, [min(factor, side) for factor, side in zip(finer, scan.GetSize(), strict=True)]
    )


def _on_grid(brain: sitk.Image, scan: sitk.Image) -> sitk.Image:
    return grids.labels_on(brain, scan)


def _flatten(scan: sitk.Image) -> sitk.Image:
    """Divide a scan by its own mean within some 25 mm: a bias field, unlike between two scans, otherwise pulls them apart (0.5 mm instead of 0.2)."""
    from_air = scan - float(np.percentile(sitk.GetArrayViewFromImage(scan), 0.5))
    shrink = [
        min(max(1, round(6 / side)), size)
        for side, size in zip(scan.GetSpacing(), scan.GetSize(), strict=True)
    ]
    coarse = sitk.BinShrink(from_air, shrink)
    values = sitk.GetArrayFromImage(coarse)
    sigma = [25 / side for side in coarse.GetSpacing()[::-1]]
    head = (values > 0.12 * np.percentile(values, 99.5)).astype(np.float32)
    mean = ndimage.gaussian_filter(values * head, sigma) / np.maximum(
        ndimage.gaussian_filter(head, sigma), 0.01
    )
    floor = np.maximum(mean, max(0.05 * float(mean.max()), 1e-6))
    return from_air / sitk.Resample(
        grids.like(floor, coarse), scan, sitk.Transform(), sitk.sitkLinear, 0.0, sitk.sitkFloat32, True
    )


def _smooth(scan: sitk.Image, smoothing_mm: float) -> _Head:
    """Blur a scan, by at least 0.6 voxel along each axis (0: not at all), and scale its values to the histogram's bins."""
    spacing = np.array(scan.GetSpacing())
    variance_mm2 = (np.maximum(smoothing_mm, 0.6 * spacing) ** 2).tolist()
    values = grids.array(
        sitk.DiscreteGaussian(scan, variance_mm2, maximumKernelWidth=64) if smoothing_mm else scan
    )
    lowest, highest = np.percentile(values, [0.5, 99.5])
    scaled = np.clip((values - lowest) / max(highest - lowest, 1e-6), 0, 1) * (BINS - 1.001)
    to_mm = np.reshape(scan.GetDirection(), (3, 3)) * spacing
    return _Head(scaled.astype(np.float32), np.linalg.inv(to_mm)[::-1], np.array(scan.GetOrigin()))


def _centre_mm(scan: sitk.Image, shown: Mask) -> Points:
    """Centre of the voxels `(z, y, x)` that show head or brain; of the grid if none does."""
    index = ndimage.center_of_mass(shown) if shown.any() else np.array(shown.shape) / 2
    return np.array(
        scan.TransformContinuousIndexToPhysicalPoint([float(position) for position in index[::-1]])
    )


def _joint_histogram(a: npt.NDArray[np.float32], b: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """(BINS, BINS); each pair of values is shared out linearly among its four nearest bins, so that the similarity is continuous."""
    first_a, first_b = a.astype(np.int32), b.astype(np.int32)
    part_a, part_b = a - first_a, b - first_b
    histogram = np.zeros(BINS * BINS)
    for step_a, weight_a in ((0, 1 - part_a), (1, part_a)):
        for step_b, weight_b in ((0, 1 - part_b), (1, part_b)):
            histogram += np.bincount(
                (first_a + step_a) * BINS + first_b + step_b, weight_a * weight_b, BINS * BINS
            )
    return histogram.reshape(BINS, BINS)


def _entropy(probability: npt.NDArray[np.float64]) -> float:
    positive = probability[probability > 0]
    return float(-(positive * np.log(positive)).sum())


def _half(motion: Points, middle: Points, side: int) -> sitk.Transform:
    """Half of a motion, forwards (side 1) or backwards (-1), about the middle of the head."""
    quaternion = Rotation.from_rotvec(side * motion[:3] / RADIUS_MM / 2).as_quat()
    return sitk.VersorRigid3DTransform(quaternion.tolist(), (side * motion[3:] / 2).tolist(), middle.tolist())
