"""Where in the brain is a lesion, in words?

From the shape of the brain and the dark fluid in it alone: there is no atlas.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk
from scipy import ndimage, optimize

from ..arrays import Mask, Points
from ..images import grids
from .preprocessing import Pair

Side = Literal["left", "right", "midline"]
Region = Literal["periventricular", "near the cortex", "infratentorial", "deep white matter", "undetermined"]

FLUID = 0.5  # scaled intensity below which a voxel of the brain is fluid: two spreads under the brain's mode
MIDLINE_SHARE = 0.25  # of a lesion on the lesser side of the mirror plane: with more it is on neither side
PERIVENTRICULAR_MM = (
    4.0  # from the lesion's nearest voxel to a ventricle, whose rim is too bright to be taken for fluid
)
CORTEX_MM = 5.0  # from the lesion's nearest voxel to the fluid over the cortex: the cortex is 2 to 4 mm thick
MINIMUM_VENTRICLES_ML = 1.0  # found; with less, nobody can say what lies beside them
BIN_MM = 4.0  # of the brain's shape when its mirror plane is searched

# Weights of (1, x, y, z, xx, yy, zz, xy, xz, yz) in the brain's frame, x without its sign. Above 0:
# cerebellum, brainstem or fourth ventricle; and, of the fluid in the brain: lateral or third ventricle.
# Fitted to 20 label maps, and tested on those left out, by benchmarks/place.py.
INFRATENTORIAL = (-2.21, -4.75, 2.52, -3.32, -1.16, -2.78, 0.4, 2.4, -0.13, -5.32)
VENTRICULAR = (-0.41, 12.75, -4.53, 2.82, -9.78, -3.25, -4.67, 5.58, -3.7, 3.01)


@dataclass(frozen=True)
class Place:
    """Where a lesion lies; both words can be wrong near their limits, see docs/outputs.md."""

    side: Side  # the patient's
    region: Region

    def in_words(self) -> str:
        """'left, periventricular'."""
        return f"{self.side}, {self.region}"


@dataclass(frozen=True)
class Frame:
    """The brain's own axes: its mirror plane, and the long axis of its shape in that plane."""

    centre_mm: Points  # (3,), LPS
    axes: Points  # (3, 3), rows: towards left, posterior, superior
    spread_mm: Points  # (3,), standard deviation of the brain along each

    def coordinates(self, points: Points) -> Points:
        """(n, 3) mm LPS to (n, 3) left, posterior, superior, in spreads of the brain."""
        coordinates: Points = (points - self.centre_mm) @ self.axes.T / self.spread_mm
        return coordinates


class Anatomy:
    """What a lesion can lie beside, found in a prepared pair."""

    def __init__(self, pair: Pair, grid: sitk.Image) -> None:
        """`grid` has the pair's voxels and places them where lesions are told, mm."""
        self.grid = grid
        self.frame = find_frame(
            grids.points(np.argwhere(pair.brain)[::8], grid)
        )  # an eighth of two million voxels tells the shape as well
        fluid = (pair.baseline + pair.followup < 2 * FLUID) & pair.brain
        self.ventricles = find_ventricles(fluid, grid, self.frame)
        self.knows_ventricles = (
            np.count_nonzero(self.ventricles) * grids.voxel_mm3(grid) / 1000 >= MINIMUM_VENTRICLES_ML
        )
        rims = ndimage.binary_dilation(self.ventricles, iterations=2)
        outside, _ = ndimage.label(~pair.brain | (fluid & ~rims))
        # what hangs together with the outside; a dark speck or a corner of a ventricle does not
        self.over_cortex: Mask = np.isin(outside, np.unique(outside[~pair.brain]))

    def place(self, points: Points) -> Place:
        """Where the lesion lies whose voxels have these centres, (n, 3) mm LPS."""
        in_brain = self.frame.coordinates(points)
        return Place(self._side(in_brain), self._region(points, in_brain))

    def _side(self, in_brain: Points) -> Side:
        on_the_left = float(np.mean(in_brain[:, 0] > 0))
        if MIDLINE_SHARE < on_the_left < 1 - MIDLINE_SHARE:
            return "midline"
        return "left" if on_the_left > 0.5 else "right"

    def _region(self, points: Points, in_brain: Points) -> Region:
        if np.mean(_quadratic(in_brain, INFRATENTORIAL) > 0) > 0.5:
            return "infratentorial"
        if not self.knows_ventricles:
            return "undetermined"
        if self._reaches(self.ventricles, points, PERIVENTRICULAR_MM):
            return "periventricular"
        return (
            "near the cortex" if self._reaches(self.over_cortex, points, CORTEX_MM) else "deep white matter"
        )

    def _reaches(self, part: Mask, points: Points, reach_mm: float) -> bool:
        """Whether one of the points comes within `reach_mm` of a part (z, y, x) of the brain."""
        spacing_mm = grids.spacing_mm(self.grid)
        index = grids.nearest_index(points, self.grid)
        margin = [int(reach_mm / side) + 1 for side in spacing_mm]
        first = np.maximum(index.min(axis=0) - margin, 0)
        box = tuple(
            slice(low, high + side + 1)
            for low, high, side in zip(first, index.max(axis=0), margin, strict=True)
        )
        if not part[box].any():
            return False
        distance_mm = ndimage.distance_transform_edt(~part[box], sampling=spacing_mm)
        return bool(distance_mm[tuple((index - first).T)].min() <= reach_mm)


def find_frame(brain: Points) -> Frame:
    """The axes of a brain whose voxels have these centres, (n, 3) mm LPS; the head may be turned by some 30
    degrees.
    """
    centre = brain.mean(axis=0)
    left, offset_mm = _mirror_plane(brain - centre)
    centre = centre + offset_mm * left
    back = np.array([0.0, 1.0, 0.0]) - left[1] * left
    back /= np.linalg.norm(back)
    up = np.cross(left, back)
    in_plane = (brain - centre) @ np.stack([back, up], axis=1)
    longest = np.linalg.eigh(np.cov(in_plane.T))[1][:, 1]
    longest = longest * (np.sign(longest[0]) or 1.0)
    axes = np.stack([left, longest @ np.stack([back, up]), np.cross(left, longest @ np.stack([back, up]))])
    along = (brain - centre) @ axes.T
    middle = np.array([0.0, *along[:, 1:].mean(axis=0)])
    return Frame(centre + middle @ axes, axes, np.maximum(along.std(axis=0), 1e-6))


def find_ventricles(fluid: Mask, grid: sitk.Image, frame: Frame) -> Mask:
    """The part of the fluid (z, y, x) that lies where lateral and third ventricles do and is no thin sheet,
    as a fissure is.
    """
    thick = ndimage.binary_opening(fluid, ndimage.generate_binary_structure(3, 1))
    ventricles = np.zeros_like(fluid)
    ventricles[thick] = _quadratic(frame.coordinates(grids.points(np.argwhere(thick), grid)), VENTRICULAR) > 0
    return ventricles


def _mirror_plane(brain: Points) -> tuple[Points, float]:
    """The plane about which points (n, 3), their mean at 0, look most alike: its normal towards the left, and
    its distance from 0, mm.
    """
    first = brain.min(axis=0) - 3 * BIN_MM
    bins = np.ceil((brain.max(axis=0) + 3 * BIN_MM - first) / BIN_MM).astype(int)
    counts, _ = np.histogramdd(brain, bins=bins, range=list(zip(first, first + bins * BIN_MM, strict=True)))
    shape = ndimage.gaussian_filter(counts / max(counts.max(), 1), 1.0)
    shown = np.argwhere(shape > 0.05)
    values = shape[tuple(shown.T)]
    points = (shown + 0.5) * BIN_MM + first

    def normal(plane: Points) -> Points:
        towards_left: Points = np.array([1.0, plane[0], plane[1]])
        towards_left /= np.linalg.norm(towards_left)
        return towards_left

    def unlikeness(plane: Points) -> float:
        mirrored = points - 2 * (points @ normal(plane) - plane[2])[:, None] * normal(plane)
        return float(
            np.mean(
                (ndimage.map_coordinates(shape, ((mirrored - first) / BIN_MM - 0.5).T, order=1) - values) ** 2
            )
        )

    options = {"direc": np.diag([0.1, 0.1, 3.0]), "xtol": 1e-3, "ftol": 1e-5}
    plane = optimize.minimize(unlikeness, np.zeros(3), method="Powell", options=options).x
    return normal(plane), float(plane[2])


def _quadratic(coordinates: Points, weights: tuple[float, ...]) -> npt.NDArray[np.float64]:
    """The weighted sum of 1, x, y, z and their products at (n, 3) points of the brain's frame; both sides are
    alike.
    """
    score: npt.NDArray[np.float64] = features(coordinates) @ np.array(weights)
    return score


def features(coordinates: Points) -> Points:
    """(n, 3) in the brain's frame to (n, 10): 1, |x|, y, z, xx, yy, zz, |x|y, |x|z, yz."""
    x, y, z = np.abs(coordinates[:, 0]), coordinates[:, 1], coordinates[:, 2]
    return np.stack([np.ones_like(x), x, y, z, x * x, y * y, z * z, x * y, x * z, y * z], axis=1)
