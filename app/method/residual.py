"""What is left between two aligned scans, in mm, and do they show one head? Told place by place."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from ..arrays import Array, Mask
from ..images import grids

SIDE_MM = 3.0  # of the cubes of the map
BLUR_MM = 1.5  # of both scans, so that noise is not taken for detail
CONTRAST_MM = 10.0  # standard deviation of the neighbourhood in which both scans get one mean and one spread
CLIPPED = 3.0  # spreads; a lesion that one scan alone shows tells nothing
BLOCK_MM = 10.0  # standard deviation of the part of the brain that is taken to move as one
STEPS = 4  # of the search; the last one moves blocks by less than a tenth of what is found
STIFFNESS = (
    0.02  # of the brain's mean squared slope: a block without slope along an axis is not moved along it
)
LEAST_CHANGED = 0.05  # of a cube that must have changed for the cube to be left out
LIMIT_MM = 2.5  # beyond it, what lies at one place is not one tissue: as wide as a small lesion
# Median over the brain of the correlation within some 20 mm. Open scans, benchmarks/alignment.py: one head
# 0.88 to 0.97, one head mirrored at most 0.68, two heads at most 0.51.
SAME_HEAD, ANOTHER_HEAD = 0.75, 0.6

Verdict = Literal["same head", "doubtful", "not the same head"]


@dataclass(frozen=True)
class Residual:
    """What an alignment leaves."""

    map_mm: sitk.Image  # float32, coarse, in middle space: between what belongs together; 0 outside the brain
    mean_mm: float  # over the brain
    likeness: float  # of the details of both brains: 1 the same, 0 unrelated
    seen: "Blocks"  # what it was measured on

    @property
    def verdict(self) -> Verdict:
        """The likeness in words."""
        if self.likeness >= SAME_HEAD:
            return "same head"
        return "doubtful" if self.likeness >= ANOTHER_HEAD else "not the same head"

    def incomparable(self, grid: sitk.Image, to_middle: sitk.Transform | None = None) -> Mask:
        """Where the scans cannot be compared: (z, y, x) of a grid in middle space, or led to it."""
        return grids.array(grids.resample(self.map_mm, grid, to_middle)) > LIMIT_MM

    def apart_from(self, changed: sitk.Image) -> "Residual":
        """The same without what really changed, 1 in an image in middle space: several new lesions side by
        side look like tissue that was pushed away. There the map is what the tissue round it tells.
        """
        near = grids.array(grids.resample(changed, self.seen.grid)) > LEAST_CHANGED
        known = self.seen.brain & ~ndimage.binary_dilation(near, iterations=2)
        # contrasts anew: a bright lesion had darkened its neighbourhood
        baseline, followup = (_one_contrast(scan, known) for scan in (self.seen.baseline, self.seen.followup))
        return _told(Blocks(baseline, followup, self.seen.brain, self.seen.grid), known, self.likeness)


def measure(
    scans: list[sitk.Image], brains: list[sitk.Image], ways: tuple[sitk.Transform, sitk.Transform]
) -> Residual:
    """Of two scans and their brains as `blocks` takes them."""
    pair = blocks(scans, brains, ways)
    return _told(pair, pair.brain, likeness(pair))


def _told(pair: "Blocks", known: Mask, likeness: float) -> Residual:
    length_mm = np.linalg.norm(displacement_mm(pair, known), axis=0) * pair.brain
    mean_mm = float(length_mm[pair.brain].mean()) if pair.brain.any() else 0.0
    return Residual(grids.like(length_mm.astype(np.float32), pair.grid), mean_mm, likeness, pair)


@dataclass(frozen=True)
class Blocks:
    """Two aligned scans on one coarse grid, each neighbourhood with one contrast."""

    baseline: Array  # (z, y, x), in spreads of the neighbourhood, 0 outside the brain
    followup: Array
    brain: Mask  # of both
    grid: sitk.Image  # cubes of SIDE_MM in middle space


def blocks(
    scans: list[sitk.Image], brains: list[sitk.Image], ways: tuple[sitk.Transform, sitk.Transform]
) -> Blocks:
    """Of scans without bias field and their `brains`, in [0, 1]; `ways` lead from middle space to each."""
    grid = _grid_over(brains[1], ways[1])
    pairs = list(zip(scans, brains, ways, strict=True))
    brain: Mask = np.logical_and(
        *(grids.array(grids.resample(shown, grid, way)) > 0.5 for _, shown, way in pairs)
    )
    baseline, followup = (
        _one_contrast(_blurred(grids.array(grids.resample(scan, grid, way)), BLUR_MM), brain)
        for scan, _, way in pairs
    )
    return Blocks(baseline, followup, brain, grid)


def likeness(pair: Blocks) -> float:
    """Median over the brain of the local correlation: 1 the same, 0 unrelated. 0 without a brain."""
    if not pair.brain.any():
        return 0.0
    weight = pair.brain.astype(np.float32)
    shared, one, other = (
        _blurred(a * b * weight, CONTRAST_MM)[pair.brain]
        for a, b in (
            (pair.baseline, pair.followup),
            (pair.baseline, pair.baseline),
            (pair.followup, pair.followup),
        )
    )
    return float(np.median(shared / np.sqrt(np.maximum(one * other, 1e-12))))


def displacement_mm(pair: Blocks, known: Mask) -> Array:
    """How far what belongs together lies apart: (3, z, y, x), mm along the array's axes, to the follow-up.

    Only what is `known` (z, y, x) to be in both tells; the rest of the brain moves with it.
    Each voxel's block is moved as one, half of the way in each scan, until both agree (Lucas, Kanade 1981,
    with the slopes of both scans). What differs by more than a spread counts less: a new lesion, a vessel.
    """
    moved: Array = np.zeros((3, *pair.brain.shape), dtype=np.float32)
    half = np.float32(0.5)
    weight = known.astype(np.float32)
    for _ in range(STEPS):
        one, other = _shifted(pair.baseline, -half * moved), _shifted(pair.followup, half * moved)
        slopes = np.gradient(half * (one + other), SIDE_MM)
        difference = other - one
        trusted = weight / (1 + difference**2)
        products = [_blurred(trusted * slope * difference, BLOCK_MM)[pair.brain] for slope in slopes]
        squares = np.empty((len(products[0]), 3, 3), dtype=np.float32)
        for i in range(3):
            for j in range(i, 3):
                blurred = _blurred(trusted * slopes[i] * slopes[j], BLOCK_MM)[pair.brain]
                squares[:, i, j] = squares[:, j, i] = blurred
        stiff = STIFFNESS * np.trace(squares, axis1=1, axis2=2).mean() / 3 if len(squares) else 0.0
        squares += np.float32(stiff + 1e-9) * np.eye(3, dtype=np.float32)
        moved[:, pair.brain] -= np.linalg.solve(squares, np.stack(products, axis=-1)[..., None])[..., 0].T
    return moved


def _one_contrast(smooth: Array, brain: Mask) -> Array:
    """Give each neighbourhood of the brain mean 0 and spread 1; 0 outside."""
    weight = brain.astype(np.float32)
    total: Array = np.maximum(_blurred(weight, CONTRAST_MM), np.float32(1e-3))
    from_mean: Array = smooth - _blurred(smooth * weight, CONTRAST_MM) / total
    spread: Array = np.sqrt(
        np.maximum(_blurred(from_mean**2 * weight, CONTRAST_MM) / total, np.float32(1e-12))
    )
    contrast: Array = np.clip(from_mean / spread, -CLIPPED, CLIPPED) * weight
    return contrast


def _blurred(values: Array, sigma_mm: float) -> Array:
    blurred: Array = ndimage.gaussian_filter(values, sigma_mm / SIDE_MM, mode="nearest", truncate=3.0)
    return blurred


def _shifted(values: Array, by_mm: Array) -> Array:
    """Values (z, y, x) seen from `by_mm` (3, z, y, x) away."""
    index = np.indices(values.shape, dtype=np.float32) + by_mm / SIDE_MM
    shifted: Array = ndimage.map_coordinates(values, index, order=1, mode="nearest", output=np.float32)
    return shifted


def _grid_over(brain: sitk.Image, way: sitk.Transform) -> sitk.Image:
    """Cubes of SIDE_MM over the box of a brain in middle space, and a margin of two."""
    voxels = np.argwhere(sitk.GetArrayViewFromImage(brain) > 0.5)
    if len(voxels) == 0:
        voxels = np.zeros((1, 3), dtype=np.int64)
    box = np.stack([voxels.min(axis=0), voxels.max(axis=0)])
    eight = np.array([[box[i, 0], box[j, 1], box[k, 2]] for i in (0, 1) for j in (0, 1) for k in (0, 1)])
    back = way.GetInverse()
    corners = np.array([back.TransformPoint(corner) for corner in grids.points(eight, brain).tolist()])
    first = corners.min(axis=0) - 2 * SIDE_MM
    size = np.ceil((corners.max(axis=0) + 2 * SIDE_MM - first) / SIDE_MM).astype(int) + 1
    grid = sitk.Image(size.tolist(), sitk.sitkUInt8)
    grid.SetSpacing([SIDE_MM] * 3)
    grid.SetOrigin(first.tolist())
    return grid
