"""How far apart are two masks? Distances of voxels and of contours, as animaSegPerfAnalyzer has them.

Masks and label images are arrays `(z, y, x)`, spacings `(z, y, x)` in mm.
"""

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

from ..arrays import Labels, Mask

Spacing = tuple[float, float, float]  # (z, y, x), mm


def contour(labels: Labels) -> Labels:
    """The label image reduced to contour voxels.

    They have a 6-neighbour of another label, background included. The image's edge is no contour.
    """
    box = bounding_box(labels > 0, margin=1)
    inner = labels[box]
    edge = np.zeros(inner.shape, np.bool_)
    for axis in range(inner.ndim):
        low = tuple(slice(None, -1) if a == axis else slice(None) for a in range(inner.ndim))
        high = tuple(slice(1, None) if a == axis else slice(None) for a in range(inner.ndim))
        changes = inner[low] != inner[high]
        edge[low] |= changes
        edge[high] |= changes
    result = np.zeros_like(labels)
    result[box] = np.where(edge, inner, 0)
    return result


def hausdorff_distance_mm(prediction: Mask, reference: Mask, spacing_mm: Spacing) -> float:
    """Largest distance from a voxel of one mask to the nearest of the other, either way, in mm. Anima's
    "HausdorffDistance".

    0 upwards, lower is better. nan if a mask is empty.
    """
    if not (prediction.any() and reference.any()):
        return math.nan

    def farthest(mask: Mask, other: Mask) -> float:
        # voxels inside the other mask are at 0; from outside, its nearest voxel lies on its contour
        return float(_nearest_mm(mask & ~other, contour(other.view(np.uint8)), spacing_mm).max(initial=0.0))

    return max(farthest(prediction, reference), farthest(reference, prediction))


def contour_mean_distance_mm(
    predicted_contour: Labels, reference_contour: Labels, spacing_mm: Spacing
) -> float:
    """The larger of the two mean distances from one contour to the other, in mm. Anima's
    "ContourMeanDistance".

    Label values are ignored. 0 upwards, lower is better. nan if a mask is empty, or full and so without
    contour.
    """

    def mean(source: Labels, target: Labels) -> float:
        return _mean(_nearest_mm(source, target, spacing_mm))

    return max(mean(predicted_contour, reference_contour), mean(reference_contour, predicted_contour))


def surface_distance_mm(
    predicted_contour: Labels, reference_contour: Labels, spacing_mm: Spacing, strict: bool = False
) -> float:
    """Average symmetric surface distance, in mm.

    It is the mean over the voxels of both contours of the distance to the other contour of the same label. 0
    upwards, lower is better. nan if a mask is empty or full. `strict` gives what Anima prints as
    "SurfaceDistance": there each voxel, in raster order, is given the smallest distance met so far instead of
    its own. That number depends on where the first good voxel is, and is too small.
    """
    as_printed: Callable[[npt.NDArray[np.float64]], npt.NDArray[np.float64]] = (
        np.minimum.accumulate if strict else np.asarray
    )
    distances = []
    for label in range(1, max(int(predicted_contour.max()), int(reference_contour.max())) + 1):
        ours, theirs = predicted_contour == label, reference_contour == label
        distances += [
            as_printed(_nearest_mm(theirs, ours, spacing_mm)),
            as_printed(_nearest_mm(ours, theirs, spacing_mm)),
        ]
    return _mean(np.concatenate(distances)) if distances else math.nan


def _nearest_mm(
    source: npt.NDArray[np.generic], target: npt.NDArray[np.generic], spacing_mm: Spacing
) -> npt.NDArray[np.float64]:
    """Distance of every non-zero voxel of `source`, in raster order, to the nearest of `target`: (n,) mm.

    nan if `target` has none.
    """
    points, goals = indices(source) * spacing_mm, indices(target) * spacing_mm
    if not len(goals):
        return np.full(len(points), math.nan)
    distances: npt.NDArray[np.float64] = cKDTree(goals).query(points)[0]
    return distances


def indices(volume: npt.NDArray[np.generic]) -> npt.NDArray[np.int64]:
    """(z, y, x) of the non-zero voxels in raster order: (n, 3). Faster than `np.argwhere` on a whole scan."""
    return np.stack(np.unravel_index(np.flatnonzero(volume.ravel() != 0), volume.shape), axis=1)


def _mean(values: npt.NDArray[np.float64]) -> float:
    return float(values.mean()) if values.size else math.nan


def bounding_box(mask: Mask, margin: int = 0) -> tuple[slice, ...]:
    """Slices around the true voxels, grown by `margin` inside the image; nothing where there are none."""
    box = []
    for axis in range(mask.ndim):
        inside = np.flatnonzero(mask.any(axis=tuple(a for a in range(mask.ndim) if a != axis)))
        box.append(
            slice(max(int(inside[0]) - margin, 0), int(inside[-1]) + 1 + margin)
            if inside.size
            else slice(0, 0)
        )
    return tuple(box)
