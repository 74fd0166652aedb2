"""A made-up patient: two FLAIR heads with known old and new lesions, for the demo and for tests."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk
from scipy import ndimage

from .arrays import Array, Mask
from .images import grids

# FLAIR-like values: fluid dark, grey matter a little above white matter, fat and lesions bright
AIR, SKULL, FLUID, MUSCLE, WHITE, GREY, LESION, FAT = 0, 12, 25, 60, 100, 116, 165, 170

# centre (left, posterior, superior) and radius, mm, from the middle of the brain
OLD_LESIONS = (((21, -28, 14), 4.0), ((-20, 27, 16), 5.0), ((-27, -8, 24), 3.0), ((25, 18, 22), 3.5))
NEW_LESIONS = (((-22, -30, 13), 5.5), ((24, 30, 17), 4.0), ((30, -2, 26), 3.0))


@dataclass(frozen=True)
class Phantom:
    """Two scans of one made-up head, and what is new in the second."""

    baseline: sitk.Image  # slices 2 mm thicker, noisy, the head turned
    followup: sitk.Image  # 1 mm isotropic, sharp
    new_lesions: sitk.Image  # uint8 on the grid of the follow-up
    brain: sitk.Image  # uint8 on the grid of the follow-up


def make_phantom(seed: int = 0, spacing_mm: float = 1.0) -> Phantom:
    """Draw a phantom; the same seed gives the same voxels.

    `spacing_mm` is that of the follow-up (tests take it coarse, to be quick).
    """
    rng = np.random.default_rng(seed)
    size = [round(side / spacing_mm) for side in (176, 220, 200)]
    grid = sitk.Image(size, sitk.sitkUInt8)
    grid.SetSpacing([spacing_mm] * 3)
    grid.SetOrigin([-spacing_mm * (side - 1) / 2 for side in size])
    head, brain = _head(grid, rng)
    old, new = (_balls(grid, lesions) for lesions in (OLD_LESIONS, NEW_LESIONS))

    before = grids.like(np.where(old, LESION, head).astype(np.float32), grid)
    after = grids.like(np.where(old | new, LESION, head).astype(np.float32), grid)
    turn = sitk.Euler3DTransform((0, 0, 0), 0.06, -0.04, 0.05, (4, -3, 5))
    baseline = _acquire(before, slice_mm=spacing_mm + 2, turn=turn, noise=5, rng=rng)
    followup = _acquire(after, slice_mm=spacing_mm, turn=sitk.Euler3DTransform(), noise=2.5, rng=rng)
    return Phantom(baseline, followup, grids.like(new, grid), grids.like(brain, grid))


def _head(grid: sitk.Image, rng: np.random.Generator) -> tuple[Array, Mask]:
    """Tissue values (z, y, x) and the brain with its fluid."""
    x, y, z = _coordinates_mm(grid)
    spacing_mm = grid.GetSpacing()[0]
    cerebrum = _ellipsoid(x, y, z - 5, 64, 80, 60)
    cerebellum = _ellipsoid(x, y - 42, z + 42, 48, 32, 26)
    stem = (x**2 + (y - 14) ** 2 < 13**2) & (z < -10) & (z > -78)
    brain = (cerebrum < 1) | (cerebellum < 1) | stem

    depth = ndimage.distance_transform_edt(brain) * spacing_mm
    folds = ndimage.gaussian_filter(
        rng.standard_normal(x.shape), 5 / spacing_mm
    )  # its zero level is a folded sheet, like sulci
    folds /= folds.std()
    sulcus = (np.abs(folds) < 0.12) & (depth < 18) & (cerebrum < 1)
    fissure = (np.abs(x) < 1.5) & (z > 12) & (cerebrum < 1)
    horn = np.minimum(_ellipsoid(x - 9, y + 8, z - 12, 6, 28, 8), _ellipsoid(x + 9, y + 8, z - 12, 6, 28, 8))
    horn = np.minimum(
        horn,
        np.minimum(_ellipsoid(x - 16, y - 26, z - 6, 6, 16, 9), _ellipsoid(x + 16, y - 26, z - 6, 6, 16, 9)),
    )
    ventricle = (horn < 1) | (_ellipsoid(x, y - 26, z + 34, 7, 5, 9) < 1)
    cortex = brain & ~stem & (ndimage.distance_transform_edt(brain & ~sulcus & ~fissure) * spacing_mm < 3.5)
    nuclei = (
        np.minimum(_ellipsoid(x - 12, y - 4, z + 2, 9, 14, 8), _ellipsoid(x + 12, y - 4, z + 2, 9, 14, 8)) < 1
    )

    outside = ndimage.distance_transform_edt(~brain) * spacing_mm
    neck = (x**2 + (y - 20) ** 2 < 55**2) & (z < -45)
    face = _ellipsoid(x, y + 40, z + 50, 55, 55, 55) < 1
    skin = (outside < 14) | neck | face
    head = np.where(
        ndimage.binary_erosion(skin, iterations=max(1, round(5 / spacing_mm))),
        MUSCLE,
        np.where(skin, FAT, AIR),
    ).astype(np.float32)
    head[(outside < 9) & ~brain] = SKULL
    head[(outside < 3) & ~brain] = FLUID
    for eye in (-30, 30):
        head[_ellipsoid(x - eye, y + 78, z + 32, 12, 12, 12) < 1] = FLUID
    head[brain] = WHITE
    head[cortex | nuclei] = GREY
    head[sulcus | fissure | ventricle] = FLUID
    texture = ndimage.gaussian_filter(rng.standard_normal(x.shape), 2 / spacing_mm)
    head += 2 * texture / texture.std() * (head > SKULL)
    return head.astype(np.float32), brain


def _balls(grid: sitk.Image, lesions: tuple[tuple[tuple[float, float, float], float], ...]) -> Mask:
    x, y, z = _coordinates_mm(grid)
    mask = np.zeros(x.shape, dtype=bool)
    for (left, posterior, superior), radius in lesions:
        mask |= _ellipsoid(x - left, y - posterior, z - superior, radius, 1.2 * radius, radius) < 1
    return mask


def _acquire(
    tissue: sitk.Image, slice_mm: float, turn: sitk.Transform, noise: float, rng: np.random.Generator
) -> sitk.Image:
    """Scan a head: slices averaged over their thickness, a bias field, Rician noise, whole numbers."""
    size, spacing = list(tissue.GetSize()), list(tissue.GetSpacing())
    size[2], spacing[2] = round(size[2] * spacing[2] / slice_mm), slice_mm
    grid = sitk.Image(size, sitk.sitkUInt8)
    grid.SetSpacing(spacing)
    grid.SetOrigin([*tissue.GetOrigin()[:2], -slice_mm * (size[2] - 1) / 2])
    # average over the thickness: on a grid with the fine spacing, turned as the scanner sees the head
    turned = sitk.Resample(tissue, tissue, turn, sitk.sitkLinear, 0.0)
    thickness = max(1, round(slice_mm / tissue.GetSpacing()[2]))
    averaged = grids.like(ndimage.uniform_filter1d(grids.array(turned), thickness, axis=0), tissue)
    values = grids.array(grids.resample(averaged, grid))

    x, y, z = (axis / 100 for axis in _coordinates_mm(grid))
    bias = np.exp(0.10 * x - 0.12 * y + 0.08 * z + 0.10 * x * y)
    real, imaginary = (rng.standard_normal(values.shape) * noise for _ in range(2))
    magnitude = np.hypot(values * bias + real, imaginary) * 4
    return grids.like(magnitude.round().astype(np.float32), grid)


def _coordinates_mm(grid: sitk.Image) -> tuple[npt.NDArray[np.float64], ...]:
    """Left, posterior, superior of every voxel of an unrotated grid, each (z, y, x)."""
    lines = [
        origin + spacing * np.arange(side)
        for origin, spacing, side in zip(grid.GetOrigin(), grid.GetSpacing(), grid.GetSize(), strict=True)
    ]
    z, y, x = np.meshgrid(lines[2], lines[1], lines[0], indexing="ij")
    return x, y, z


def _ellipsoid(
    x: npt.NDArray[np.float64],
    y: npt.NDArray[np.float64],
    z: npt.NDArray[np.float64],
    a: float,
    b: float,
    c: float,
) -> npt.NDArray[np.float64]:
    """Below 1 inside an ellipsoid with half axes a, b, c, mm, about the origin."""
    return (x / a) ** 2 + (y / b) ** 2 + (z / c) ** 2
