"""Image quality data augmentation (IQDA): the same anatomy, scanned worse.

Kamraoui et al. (MSSEG-2, 2021): blur, edge enhancement or axial subsampling of a patch, the truth untouched.
`blur`, `sharpen` and `average_slices` do the work and draw nothing; `degrade` only draws.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from app.method import sharpness
from training.config import PRESETS, IqdaConfig

AXIAL = -3  # z, through the slices of an axial scan: canonical arrays are (z, y, x)


def blur(scan: Tensor, sigma: float | Sequence[float]) -> Tensor:
    """Gaussian of `sigma` voxels, one number or (z, y, x), over the last three axes; the edge voxel continues
    outside. 0 changes nothing.
    """
    sigmas = [sigma] * 3 if isinstance(sigma, (int, float)) else list(sigma)
    for axis, width in zip((-3, -2, -1), sigmas, strict=True):
        if width > 0:
            scan = along(scan, _filter_matrix(_gaussian(width, scan), scan.shape[axis]), axis)
    return scan


def sharpen(scan: Tensor, sigma: float | Sequence[float], amount: float) -> Tensor:
    """Unsharp mask: x + amount (x - G_sigma(x))."""
    return scan + amount * (scan - blur(scan, sigma))


def average_slices(scan: Tensor, count: int) -> Tensor:
    """Mean of `count` neighbouring axial slices at every slice, as of a thick-sliced scan; an even count
    reaches one further down than up.
    """
    kernel = torch.ones(count, dtype=scan.dtype, device=scan.device) / count
    return along(scan, _filter_matrix(kernel, scan.shape[AXIAL]), AXIAL)


def degrade(scan: Tensor, iqda: IqdaConfig, rng: torch.Generator) -> Tensor:
    """Draw one of the three degradations, or none, and its strength for this scan (..., z, y, x)."""
    which = uniform(rng, 0, 1)
    if which < iqda.blur:
        return blur(scan, _sigma(iqda, rng))
    if which < iqda.blur + iqda.sharpen:
        return sharpen(scan, _sigma(iqda, rng), uniform(rng, *iqda.amount))
    if which < iqda.blur + iqda.sharpen + iqda.average_slices:
        return average_slices(scan, iqda.counts[integer(rng, len(iqda.counts))])
    return scan


def degrade_pair(scans: Sequence[Tensor], how: str, preset: str, rng: torch.Generator) -> list[Tensor]:
    """IQDA of a pair: "none", one draw "shared" by both scans, or one for "each"."""
    if how == "each":
        return [degrade(scan, PRESETS[preset], rng) for scan in scans]
    if how == "shared":
        return list(degrade(torch.stack(list(scans)), PRESETS[preset], rng))
    return list(scans)


def equally_sharp(scans: Sequence[Tensor], brain: Tensor) -> list[Tensor]:
    """Baseline and follow-up with as much detail, as a whole pair has when lesions are looked for
    (app.method.sharpness).
    """
    arrays = (values.cpu().numpy() for values in (*scans, brain))
    return [torch.from_numpy(scan).to(scans[0].device) for scan in sharpness.equally_sharp(*arrays)[:2]]


def turn(volumes: Sequence[Tensor], rng: torch.Generator) -> list[Tensor]:
    """Rotate by 90 degrees and flip at random, all in the same way: cubes (..., side, side, side)."""
    plane = ((-3, -2), (-3, -1), (-2, -1))[integer(rng, 3)]
    quarters = integer(rng, 4)
    flipped = [axis for axis in (-3, -2, -1) if integer(rng, 2)]
    return [volume.rot90(quarters, plane).flip(flipped) for volume in volumes]


def along(scan: Tensor, matrix: Tensor, axis: int) -> Tensor:
    """Multiply one of the last three axes by a matrix (out, in): any separable filter or resampling, fast on
    a CPU and on a GPU.
    """
    if axis == -1:
        return scan @ matrix.T
    if axis == -2:
        return matrix @ scan
    return (matrix @ scan.flatten(-2)).reshape(*scan.shape[:-3], -1, *scan.shape[-2:])


def uniform(rng: torch.Generator, low: float, high: float) -> float:
    return low + (high - low) * float(torch.rand((), generator=rng, device=rng.device))


def normal(rng: torch.Generator, deviation: float) -> float:
    return deviation * float(torch.randn((), generator=rng, device=rng.device))


def integer(rng: torch.Generator, below: int) -> int:
    return int(torch.randint(below, (), generator=rng, device=rng.device))


def _sigma(iqda: IqdaConfig, rng: torch.Generator) -> float | list[float]:
    if iqda.sigma_per_axis:
        return [uniform(rng, *iqda.sigma) for _ in range(3)]
    return uniform(rng, *iqda.sigma)


def _gaussian(sigma: float, like: Tensor) -> Tensor:
    """Samples of a Gaussian to four sigmas, their sum 1."""
    radius = max(1, round(4 * sigma))
    position = torch.arange(-radius, radius + 1, dtype=like.dtype, device=like.device)
    kernel = torch.exp(-0.5 * (position / sigma) ** 2)
    return kernel / kernel.sum()


def _filter_matrix(kernel: Tensor, side: int) -> Tensor:
    """(side, side): row i holds the kernel centred on i; what falls outside counts for the edge voxel."""
    offsets = torch.arange(len(kernel), device=kernel.device) - len(kernel) // 2
    columns = (torch.arange(side, device=kernel.device)[:, None] + offsets).clamp(0, side - 1)
    matrix = kernel.new_zeros(side, side)
    return matrix.scatter_add_(1, columns, kernel.expand(side, -1))
