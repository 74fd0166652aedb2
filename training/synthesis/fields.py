"""Random fields, blobs and resampling that the rest of the package draws with.

Arrays are (z, y, x) at 1 mm.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from training.augmentation import along, integer, uniform


def rotation(angles: Sequence[float], device: torch.device) -> Tensor:
    """(3, 3) for axes (z, y, x), angles in radians about each."""
    matrix = torch.eye(3)
    for axis, angle in enumerate(angles):
        first, second = [other for other in range(3) if other != axis]
        turn = torch.eye(3)
        turn[first, first] = turn[second, second] = math.cos(angle)
        turn[first, second], turn[second, first] = -math.sin(angle), math.sin(angle)
        matrix = matrix @ turn
    return matrix.to(device)


def sample(volumes: Sequence[Tensor], coordinates: Tensor, mode: str = "bilinear") -> Tensor:
    """Volumes (z, y, x) at coordinates (D, H, W, 3) in voxels: (len(volumes), D, H, W) float32.

    Outside, the edge voxel continues.
    """
    sparse = coordinates[::6, ::6, ::6].reshape(
        -1, 3
    )  # neighbours are a voxel or so apart: enough for a box with a margin of 8
    lowest, highest = sparse.amin(0).tolist(), sparse.amax(0).tolist()
    box = []
    for low, high, size in zip(lowest, highest, volumes[0].shape, strict=True):
        start = min(max(int(low) - 8, 0), size - 2)
        box.append(slice(start, max(min(int(high) + 9, size), start + 2)))
    block = torch.stack([volume[tuple(box)].float() for volume in volumes])
    corner = torch.tensor([side.start for side in box], device=coordinates.device)
    extent = torch.tensor([side.stop - side.start - 1 for side in box], device=coordinates.device)
    grid = ((coordinates - corner) * (2 / extent) - 1).flip(-1)  # grid_sample counts (x, y, z) from -1 to 1
    return functional.grid_sample(
        block[None], grid[None], mode=mode, padding_mode="border", align_corners=True
    )[0]


def smooth_field(knots: int, side: int, deviation: float, rng: torch.Generator, channels: int = 1) -> Tensor:
    """Random field (channels, side, side, side) through `knots` a side, of the given standard deviation at
    the knots.
    """
    field = deviation * torch.randn(channels, knots, knots, knots, generator=rng, device=rng.device)
    matrix = interpolation(torch.linspace(0, knots - 1, side, device=rng.device), knots)
    for axis in (-3, -2, -1):
        field = along(field, matrix, axis)
    return field


def interpolation(positions: Tensor, size: int) -> Tensor:
    """(len(positions), size): linear interpolation at fractional positions, held at the ends."""
    positions = positions.clamp(0, size - 1)
    return (1 - (positions[:, None] - torch.arange(size, device=positions.device)).abs()).clamp_min(0)


def coarse_mean(field: Tensor, step: int) -> Tensor:
    """Local mean over cubes of `step`, interpolated back."""
    coarse = functional.avg_pool3d(field[None], step, count_include_pad=False)[0]
    for axis in (-3, -2, -1):
        side, knots = field.shape[axis], coarse.shape[axis]
        positions = (torch.arange(side, device=field.device) - (step - 1) / 2) / step
        coarse = along(coarse, interpolation(positions, knots), axis)
    return coarse


def ball(side: int, radius: float, rng: torch.Generator, weights: Tensor | None = None) -> Tensor:
    """A Gaussian of height 1 about a random place; `weights` say where, everywhere alike without."""
    if weights is not None and float(weights[::3, ::3, ::3].sum()) > 1:
        coarse = weights[::3, ::3, ::3]
        spot = torch.multinomial(coarse.flatten(), 1, generator=rng)
        centre = [3 * int(i) for i in torch.unravel_index(spot, coarse.shape)]
    else:
        centre = [integer(rng, side) for _ in range(3)]
    position = torch.arange(side, device=rng.device)
    lines = [torch.exp(-0.5 * ((position - at) / (radius * uniform(rng, 0.6, 1.4))) ** 2) for at in centre]
    return lines[0][:, None, None] * lines[1][:, None] * lines[2]
