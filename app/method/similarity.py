"""How alike are two heads at a motion between them?

Normalised mutual information at points of middle space (Studholme 1999).
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk
from scipy import linalg, ndimage

from ..arrays import Mask, Points
from ..images import grids

BINS = 32  # of each axis of the joint histogram
AIR = 0.12 * (BINS - 1)  # of the 99.5th percentile: below it there is no head
RADIUS_MM = 70.0  # of a head: a turn by an angle moves its surface by RADIUS_MM * angle
FLAT_MM = 25.0  # standard deviation of the neighbourhood whose mean a scan is divided by
FAR = np.float32(0.01)  # share of what is shown in a neighbourhood, below which the whole mean counts more
INSIDE = 0.99  # of a brain at a point: none of the voxels that it is interpolated from lies outside
RIGID = 6  # numbers of a motion that keeps lengths
AFFINE = 12

# A motion is six or twelve numbers, mm, from baseline to follow-up: a rotation vector times RADIUS_MM; the
# shift of the middle of the head; and the logarithm of the stretch (xx, yy, zz, xy, xz, yz) times RADIUS_MM.
# Its matrix is the exponential of turn and stretch together, so half of the numbers is half of the motion,
# determinant included.


def half_matrix(motion: Points, side: int) -> npt.NDArray[np.float64]:
    """(3, 3), LPS: half of the turn and the stretch of a motion, forwards (side 1) or backwards (-1)."""
    x, y, z = motion[:3]
    generator = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    if len(motion) == AFFINE:
        xx, yy, zz, xy, xz, yz = motion[6:]
        generator = generator + np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])
    half: npt.NDArray[np.float64] = linalg.expm(side * generator / RADIUS_MM / 2)
    return half


def displacement_mm(motion: Points, points: Points) -> Points:
    """How far apart the two scans show what belongs together at points (n, 3) of middle space, from its
    middle: (n, 3).
    """
    difference = half_matrix(motion, 1) - half_matrix(motion, -1)
    displacement: Points = points @ difference.T + motion[3:6]
    return displacement


def stretch(motion: Points) -> float:
    """The greatest part by which a motion stretches or shrinks along any direction; 0 if it is rigid."""
    if len(motion) == RIGID:
        return 0.0
    return float(np.abs(np.linalg.svd(half_matrix(motion, 1), compute_uv=False) ** 2 - 1).max())


@dataclass(frozen=True)
class Head:
    """A smoothed scan: values (z, y, x) scaled to 0 to BINS - 1, and the affine from a point to an index."""

    values: npt.NDArray[np.float32]
    to_index: npt.NDArray[np.float64]  # (3, 3), rows z, y, x
    origin_mm: npt.NDArray[np.float64]

    def at(self, points: Points) -> tuple[npt.NDArray[np.float32], Mask]:
        """Values at points (n, 3) by linear interpolation, and which points lie inside the scan."""
        index = self.to_index @ (points - self.origin_mm).T
        last = np.array(self.values.shape)[:, None] - 1
        inside = ((index >= 0) & (index <= last)).all(axis=0)
        values: npt.NDArray[np.float32] = ndimage.map_coordinates(
            self.values, index, order=1, mode="nearest", output=np.float32
        )
        return values, np.asarray(inside)


class Similarity:
    """The similarity as a function of the motion, at fixed points of middle space.

    The points lie on a grid, shaken by `seed` (a regular one would make the scans' own grids show in the
    similarity), where either scan shows head at `start`, or, if `brains` are given, where both show brain and
    nothing else is near: a skull that one scan lacks must not pull at the brain's edge.
    """

    def __init__(
        self,
        heads: list[Head],
        middle: Points,
        start: Points,
        spacing_mm: float,
        brains: list[Head] | None = None,
        seed: int = 0,
    ) -> None:
        self.heads, self.middle, self.start, self.spacing_mm = heads, middle, start, spacing_mm
        line = (
            np.arange(-160.0, 160.0, spacing_mm) if brains is None else np.arange(-120.0, 120.0, spacing_mm)
        )
        grid = np.stack(np.meshgrid(line, line, line, indexing="ij"), axis=-1).reshape(-1, 3)
        points = middle + grid + np.random.default_rng(seed).uniform(-0.5, 0.5, grid.shape) * spacing_mm
        if brains is not None:
            points = points[(self._sample(start, points, brains)[0] > INSIDE).all(axis=0)]
        values, inside = self._sample(start, points)
        self.points = points[(np.maximum(*values) > AIR) & inside.all(axis=0)]

    def __call__(self, motion: Points) -> float:
        values, inside = self._sample(motion, self.points)
        both = inside.all(axis=0)
        if both.sum() < 0.3 * len(self.points) or not len(self.points):
            return 1.0
        joint = ndimage.gaussian_filter(joint_histogram(values[0][both], values[1][both]), 1.0)
        joint /= joint.sum()
        return float((entropy(joint.sum(axis=0)) + entropy(joint.sum(axis=1))) / entropy(joint))

    def common_ml(self, motion: Points) -> float:
        """Volume that lies in both scans and shows head in both."""
        values, inside = self._sample(motion, self.points)
        common = (np.minimum(*values) > AIR) & inside.all(axis=0)
        return float(np.count_nonzero(common) * self.spacing_mm**3 / 1000)

    def _sample(
        self, motion: Points, points: Points, heads: list[Head] | None = None
    ) -> tuple[npt.NDArray[np.float32], Mask]:
        """Values (2, n) of both heads at points of middle space, and which lie inside each scan."""
        samples = [
            head.at(
                (points - self.middle) @ half_matrix(motion, side).T + self.middle + side * motion[3:6] / 2
            )
            for head, side in zip(heads or self.heads, (-1, 1), strict=True)
        ]
        return np.stack([values for values, _ in samples]), np.stack([inside for _, inside in samples])


def head_of(scan: sitk.Image, smoothing_mm: float = 0.0, scaled: bool = True) -> Head:
    """Blur a scan, by at least 0.6 voxel along each axis (0: not at all), and scale its values to the
    histogram's bins.
    """
    spacing = np.array(scan.GetSpacing())
    variance_mm2 = (np.maximum(smoothing_mm, 0.6 * spacing) ** 2).tolist()
    values = grids.array(
        sitk.DiscreteGaussian(scan, variance_mm2, maximumKernelWidth=64) if smoothing_mm else scan
    )
    if scaled:
        lowest, highest = np.percentile(some(values), [0.5, 99.5])
        values = (values - np.float32(lowest)) * np.float32((BINS - 1.001) / max(highest - lowest, 1e-6))
        np.clip(values, 0, BINS - 1.001, out=values)
    to_mm = np.reshape(scan.GetDirection(), (3, 3)) * spacing
    return Head(values, np.linalg.inv(to_mm)[::-1], np.array(scan.GetOrigin()))


def some(values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Every eighth voxel or so of a volume of a million and more, in no regular pattern of planes: enough for
    quantiles.
    """
    return values.ravel()[:: max(1, values.size // 500_000) | 1]


def flattened(scan: sitk.Image, shown: sitk.Image) -> sitk.Image:
    """Divide a scan by its own mean within some 25 mm of what it shows: a bias field, unlike between two
    scans, otherwise pulls them apart (0.5 mm instead of 0.2).

    `shown` is a brain or a head in [0, 1], on any grid. Beside it the mean is its own and not that of skull
    or air, so that a scan with skull and one without are flattened alike. Far from it the mean is the whole
    one.
    """
    from_air = scan - float(np.percentile(some(grids.array(scan)), 0.5))
    coarse = grids.averaged(from_air, 6.0)
    values, weight = grids.array(coarse), grids.array(grids.resample(shown, coarse))
    overall = float(np.sum(values * weight) / max(np.sum(weight), 1.0))
    sigma = [FLAT_MM / side for side in coarse.GetSpacing()[::-1]]
    total = ndimage.gaussian_filter(values * weight, sigma) + FAR * overall
    mean = total / (ndimage.gaussian_filter(weight, sigma) + FAR)
    floor = np.maximum(mean, max(0.05 * overall, 1e-6))
    return from_air / sitk.Resample(
        grids.like(floor, coarse), scan, sitk.Transform(), sitk.sitkLinear, 0.0, sitk.sitkFloat32, True
    )


def joint_histogram(a: npt.NDArray[np.float32], b: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """(BINS, BINS); each pair of values is shared out linearly among its four nearest bins, so that the
    similarity is continuous.
    """
    first_a, first_b = a.astype(np.int32), b.astype(np.int32)
    part_a, part_b = a - first_a, b - first_b
    histogram = np.zeros(BINS * BINS)
    for step_a, weight_a in ((0, 1 - part_a), (1, part_a)):
        for step_b, weight_b in ((0, 1 - part_b), (1, part_b)):
            histogram += np.bincount(
                (first_a + step_a) * BINS + first_b + step_b, weight_a * weight_b, BINS * BINS
            )
    return histogram.reshape(BINS, BINS)


def entropy(probability: npt.NDArray[np.float64]) -> float:
    positive = probability[probability > 0]
    return float(-(positive * np.log(positive)).sum())
