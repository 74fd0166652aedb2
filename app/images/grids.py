"""Where voxels lie: grids, their arrays, and values carried from one grid to another. Axis orders end here.

A scan is a `sitk.Image` in patient space (LPS, mm). Its values are an array `(z, y, x)`; SimpleITK counts the
other way, `(x, y, z)`.
"""

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk

from ..arrays import Array, Mask, Points


def array(image: sitk.Image) -> Array:
    """The values as float32 `(z, y, x)`, a copy."""
    values: Array = sitk.GetArrayFromImage(image).astype(np.float32, copy=False)
    return values


def like(values: npt.NDArray[np.generic], reference: sitk.Image) -> sitk.Image:
    """Values `(z, y, x)` as an image on the grid of `reference`, geometry bit for bit.

    Booleans become uint8.
    """
    image = sitk.GetImageFromArray(values.astype(np.uint8) if values.dtype == np.bool_ else values)
    image.CopyInformation(reference)
    return image


def same_grid(a: sitk.Image, b: sitk.Image) -> bool:
    """Whether voxels with one index lie at one place, to a hundredth of a voxel at every corner."""
    if a.GetSize() != b.GetSize():
        return False
    tolerance = 0.01 * min(a.GetSpacing())
    return bool(np.abs(corners(a) - corners(b)).max() < tolerance)


def corners(image: sitk.Image) -> npt.NDArray[np.float64]:
    """Centres of the eight corner voxels in patient space: (8, 3), mm."""
    last = [side - 1 for side in image.GetSize()]
    indices = [(i * last[0], j * last[1], k * last[2]) for i in (0, 1) for j in (0, 1) for k in (0, 1)]
    return np.array([image.TransformIndexToPhysicalPoint(index) for index in indices])


def resample(image: sitk.Image, grid: sitk.Image, to_image: sitk.Transform | None = None) -> sitk.Image:
    """Values of `image` at the voxels of `grid`, by linear interpolation; 0 outside.

    `to_image` maps points of the grid to the image, mm.
    """
    return sitk.Resample(image, grid, to_image or sitk.Transform(), sitk.sitkLinear, 0.0)


def mask_on(mask: sitk.Image, grid: sitk.Image, to_mask: sitk.Transform | None = None) -> Mask:
    """A mask carried to the voxels of `grid`, (z, y, x): half or more of a voxel, by linear interpolation.

    `to_mask` maps points of the grid to the mask, mm. Where the mask was not measured, it is False.
    """
    return array(resample(sitk.Cast(mask, sitk.sitkFloat32), grid, to_mask)) > 0.5


def labels_on(labels: sitk.Image, grid: sitk.Image, to_labels: sitk.Transform | None = None) -> sitk.Image:
    """A label image carried to the voxels of `grid` by nearest neighbour; 0 outside.

    `to_labels` maps points of the grid to the labels, mm.
    """
    return sitk.Resample(labels, grid, to_labels or sitk.Transform(), sitk.sitkNearestNeighbor, 0.0)


def canonical_grid(image: sitk.Image, spacing_mm: float) -> sitk.Image:
    """An empty grid over the same box: axes nearest to left, posterior, superior, so that arrays run
    (inferior, anterior, right) first to last.

    Spacings within a tenth of `spacing_mm` are kept, so that a scan of about that resolution is not
    interpolated; others become `spacing_mm`.
    """
    oriented = sitk.DICOMOrient(image, "LPS")
    if np.abs(np.array(oriented.GetSpacing()) / spacing_mm - 1).max() <= 0.1:
        return oriented
    return isotropic_grid(oriented, spacing_mm)


def isotropic_grid(image: sitk.Image, spacing_mm: float) -> sitk.Image:
    """An empty grid over the same box, axes kept: cubes of `spacing_mm`, at least two a side."""
    spacing = np.array(image.GetSpacing())
    extent = spacing * image.GetSize()
    size = np.maximum(np.ceil(extent / spacing_mm - 0.01), 2).astype(int)
    # the box keeps its centre: half of what the new voxels overhang on each side
    first = (extent - size * spacing_mm) / 2 + (spacing_mm - spacing) / 2
    grid = sitk.Image(size.tolist(), sitk.sitkUInt8)
    grid.SetSpacing([spacing_mm] * 3)
    grid.SetDirection(image.GetDirection())
    grid.SetOrigin(image.TransformContinuousIndexToPhysicalPoint((first / spacing).tolist()))
    return grid


def round_all(grid: sitk.Image, boxes: list[tuple[sitk.Image, sitk.Transform]]) -> sitk.Image:
    """The grid, empty and larger by whole voxels, so that it holds other images, too.

    Each comes with the transform of its points to those of the grid, mm.
    """
    index = np.array(
        [
            grid.TransformPhysicalPointToContinuousIndex(to_grid.TransformPoint(corner.tolist()))
            for image, to_grid in boxes
            for corner in corners(image)
        ]
    )
    low = np.minimum(np.floor(index.min(axis=0)), 0)
    high = np.maximum(np.ceil(index.max(axis=0)), np.array(grid.GetSize()) - 1)
    larger = sitk.Image((high - low + 1).astype(int).tolist(), sitk.sitkUInt8)
    larger.SetSpacing(grid.GetSpacing())
    larger.SetDirection(grid.GetDirection())
    larger.SetOrigin(grid.TransformContinuousIndexToPhysicalPoint(low.tolist()))
    return larger


def moved_grid(grid: sitk.Image, affine: sitk.Transform) -> sitk.Image:
    """The grid seen through a rigid or affine transform: voxel for voxel, each centre p lies at affine(p).

    Stretches become spacings. The axes of a grid stand at right angles, so a shear is left out: it moves the
    voxels of a head by up to half a millimetre a percent; the middle of the grid is exact.
    """
    middle = np.array(
        grid.TransformContinuousIndexToPhysicalPoint([(side - 1) / 2 for side in grid.GetSize()])
    )
    there = np.array(affine.TransformPoint(middle.tolist()))
    axes = np.reshape(grid.GetDirection(), (3, 3))
    steps = np.stack(
        [np.array(affine.TransformPoint((middle + axes[:, i]).tolist())) - there for i in range(3)], axis=1
    )
    lengths = np.linalg.norm(steps, axis=0)
    u, _, v = np.linalg.svd(steps / lengths)  # the nearest axes at right angles
    moved = sitk.Image(grid)
    moved.SetSpacing((lengths * grid.GetSpacing()).tolist())
    moved.SetDirection((u @ v).ravel().tolist())
    half = moved.TransformContinuousIndexToPhysicalPoint([(side - 1) / 2 for side in grid.GetSize()])
    moved.SetOrigin((there - half + moved.GetOrigin()).tolist())
    return moved


def affine(transform: sitk.Transform) -> list[list[float]]:
    """The numbers of a rigid or affine transform, 3 rows of 4: points LPS, mm, to such points."""
    zero = np.array(transform.TransformPoint((0.0, 0.0, 0.0)))
    columns = [np.array(transform.TransformPoint(tuple(unit))) - zero for unit in np.eye(3)]
    rows: list[list[float]] = np.column_stack([*columns, zero]).tolist()
    return rows


def transform(rows: list[list[float]]) -> sitk.AffineTransform:
    """The transform of such numbers."""
    numbers = np.array(rows, dtype=np.float64)
    made = sitk.AffineTransform(3)
    made.SetMatrix(numbers[:, :3].ravel().tolist())
    made.SetTranslation(numbers[:, 3].tolist())
    return made


def spacing_mm(image: sitk.Image) -> tuple[float, float, float]:
    """Distance of neighbouring voxels along (z, y, x), the order of arrays."""
    x, y, z = image.GetSpacing()
    return z, y, x


def voxel_mm3(image: sitk.Image) -> float:
    """Volume of one voxel in mm^3."""
    return float(np.prod(image.GetSpacing()))


def to_ras_mm(image: sitk.Image, index_zyx: tuple[float, float, float]) -> tuple[float, float, float]:
    """Where a (fractional) array index lies: right, anterior, superior, mm; the coordinates that NIfTI
    viewers show.
    """
    left, posterior, superior = image.TransformContinuousIndexToPhysicalPoint(tuple(reversed(index_zyx)))
    return -left, -posterior, superior


def points(index_zyx: npt.NDArray[np.int64], grid: sitk.Image) -> Points:
    """Where voxels (n, 3), z y x, lie in patient space."""
    placed: Points = index_zyx[:, ::-1] @ _to_mm(grid).T + grid.GetOrigin()
    return placed


def nearest_index(places: Points, grid: sitk.Image) -> npt.NDArray[np.int64]:
    """The voxels (n, 3), z y x, nearest to points in patient space."""
    index = np.rint(np.linalg.solve(_to_mm(grid), (places - grid.GetOrigin()).T).T).astype(np.int64)
    return np.clip(index, 0, np.array(grid.GetSize()) - 1)[:, ::-1]


def slice_number(image: sitk.Image, point: tuple[float, float, float]) -> int:
    """The slice nearest to a point, LPS, mm: as the file stores them, counted from 1."""
    index = round(image.TransformPhysicalPointToContinuousIndex(point)[2]) + 1
    return int(np.clip(index, 1, image.GetSize()[2]))


def slice_axis(image: sitk.Image, grid: sitk.Image) -> int:
    """The axis of arrays on `grid` that runs most nearly along the longest spacing of an image."""
    across = np.reshape(image.GetDirection(), (3, 3))[:, int(np.argmax(image.GetSpacing()))]
    return 2 - int(np.argmax(np.abs(np.reshape(grid.GetDirection(), (3, 3)).T @ across)))


def averaged(image: sitk.Image, spacing_mm: float) -> sitk.Image:
    """Blocks of voxels averaged along the axes with voxels of half `spacing_mm` or less; pixel type kept."""
    shrink = [
        max(1, min(int(spacing_mm / spacing + 0.01), side))
        for spacing, side in zip(image.GetSpacing(), image.GetSize(), strict=True)
    ]
    return sitk.BinShrink(image, shrink)


def describe_grid(image: sitk.Image) -> str:
    """Size and spacing in words: '320x320x36 voxels of 0.72x0.72x4 mm'."""
    size = "x".join(str(side) for side in image.GetSize())
    spacing = "x".join(f"{side:.3g}" for side in image.GetSpacing())
    return f"{size} voxels of {spacing} mm"


def describe_difference(image: sitk.Image, wanted: sitk.Image) -> str:
    """How the place of an image differs from that of another of the same size, in words, axes (x, y, z)."""
    parts = (
        ("spacing", image.GetSpacing(), wanted.GetSpacing()),
        ("origin", image.GetOrigin(), wanted.GetOrigin()),
        ("direction", image.GetDirection(), wanted.GetDirection()),
    )
    rounded = [
        (name, *(tuple(round(value, 7) for value in side) for side in sides)) for name, *sides in parts
    ]
    return ", ".join(f"{name} {ours} instead of {theirs}" for name, ours, theirs in rounded if ours != theirs)


def _to_mm(grid: sitk.Image) -> npt.NDArray[np.float64]:
    """(3, 3): a step of one voxel along x, y, z to one in patient space."""
    step: npt.NDArray[np.float64] = np.reshape(grid.GetDirection(), (3, 3)) * grid.GetSpacing()
    return step
