"""Lesions of a pair: real shapes painted into either visit, and a scan's own erased from either."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from app.intensity import MAD_TO_SD
from training.augmentation import along, blur, integer, normal, uniform
from training.config import LesionConfig, SynthesisConfig
from training.synthesis.anatomy import Window
from training.synthesis.fields import coarse_mean, smooth_field

LESION = 0.2  # part of a voxel from which on it may not count as sound tissue
REAL_EDGE_MM = 0.5  # blur of a drawn mask, whose border runs along voxels
# a shape's chance grows with its volume to this power, so that the many tiny ones do not crowd out the rest
SHAPE_EXPONENT = 0.25
BRIGHT_Z = 1.0  # brighter than grey matter
REACH_VOXELS = 5  # side of the cube in which one voxel that clearly changed speaks for its neighbours


@dataclass(frozen=True)
class Painted:
    """A pair of windows with lesions, before any scanner saw it."""

    scans: tuple[Tensor, Tensor]  # baseline, follow-up, z
    lesions: (
        Tensor  # (2, D, H, W) in [0, 1]: which part of a voxel is lesion at each visit, as far as it is known
    )
    change: Tensor  # (D, H, W) z, from baseline to follow-up


@dataclass(frozen=True)
class Shapes:
    """Lesion masks, packed as training/prepare.py writes them."""

    bits: Tensor
    first: list[int]  # byte where a mask starts
    sides: list[tuple[int, int, int]]
    weights: Tensor  # chance of being drawn


def read_shapes(path: Path, device: torch.device) -> Shapes:
    """Read `lesions.npz` of training/prepare.py."""
    with np.load(path) as arrays:
        sides = [(int(z), int(y), int(x)) for z, y, x in arrays["sides"]]
        sizes = [math.ceil(math.prod(side) / 8) for side in sides]
        weights = torch.from_numpy(arrays["volumes_mm3"].astype(np.float32) ** SHAPE_EXPONENT).to(device)
        return Shapes(
            torch.from_numpy(arrays["bits"]).to(device), np.cumsum([0, *sizes[:-1]]).tolist(), sides, weights
        )


def draw_shape(shapes: Shapes, rng: torch.Generator) -> Tensor:
    """A random lesion mask (z, y, x), float, mirrored and turned at random."""
    number = int(torch.multinomial(shapes.weights, 1, generator=rng))
    side = shapes.sides[number]
    size = math.prod(side)
    packed = shapes.bits[shapes.first[number] : shapes.first[number] + math.ceil(size / 8)]
    bits = (packed[:, None] >> torch.arange(7, -1, -1, device=packed.device)) & 1
    mask = bits.flatten()[:size].reshape(side).float()
    mask = mask.flip([axis for axis in range(3) if integer(rng, 2)])
    return mask.permute(*torch.randperm(3, generator=rng, device=rng.device).tolist())


def resized(mask: Tensor, size: float, edge_mm: float) -> Tensor:
    """A mask scaled about its centre, with soft edges, range [0, 1]."""
    for axis in (-3, -2, -1):
        side = mask.shape[axis]
        wanted = max(1, round(side * size)) + 6
        positions = (torch.arange(wanted, device=mask.device) - (wanted - 1) / 2) / size + (side - 1) / 2
        inside = (1 - (positions[:, None] - torch.arange(side, device=mask.device)).abs()).clamp_min(
            0
        )  # linear, 0 outside
        mask = along(mask, inside, axis)
    return blur(mask, edge_mm)


def put(target: Tensor, lesion: Tensor, spot: list[int]) -> None:
    """Voxelwise maximum of `target` and a lesion centred on `spot`, cut at the border."""
    into, outof = [], []
    for centre, side, size in zip(spot, lesion.shape, target.shape, strict=True):
        start = centre - side // 2
        into.append(slice(max(start, 0), min(start + side, size)))
        outof.append(slice(max(-start, 0), min(side, size - start)))
    if all(side.start < side.stop for side in into):
        target[tuple(into)] = torch.maximum(target[tuple(into)], lesion[tuple(outof)])


def add_lesions(
    window: Window, shapes: Shapes, config: SynthesisConfig, changing: bool, rng: torch.Generator
) -> Painted:
    """Paint lesions into both visits, or into one of them if the pair is `changing`, and erase a real scan's
    own likewise.
    """
    lesions = config.lesions
    side = config.patch + 2 * config.margin
    excess, part = torch.zeros(2, 2, side, side, side, device=rng.device)  # each at baseline and at follow-up
    counts = {"old": _count(lesions.old, rng)}
    if changing:
        counts |= {"new": _count(lesions.new, rng)} | {
            kind: poisson(getattr(lesions, kind), rng) for kind in ("resolving", "enlarging", "shrinking")
        }
    spots = _spots(window.place, sum(counts.values()), config.margin, rng)
    for kind in [kind for kind, count in counts.items() for _ in range(count)][: len(spots)]:
        _paint(excess, part, spots.pop(), kind, shapes, lesions, rng)
    excess *= (1 + smooth_field(12, side, 0.15, rng)).clamp_min(0.3)  # uneven inside
    # tissue that is bright already is filled up to the lesion's height
    excess = (excess - (blur(torch.maximum(*window.base), 1.0) - BRIGHT_Z).clamp_min(0)).clamp_min(0)
    change = (excess[1] - excess[0]) * solid(window.base[1])
    excess[0] *= math.exp(normal(rng, lesions.contrast_change))
    real = (window.lesions > 0).float()
    if window.erasable:
        gone, scans, difference = _erase(window, lesions, changing, rng)
        change = change + difference
    else:
        gone, scans = torch.zeros_like(excess), window.base
    own = torch.stack([blur(real * (1 - erased), REAL_EDGE_MM) for erased in gone])
    painted = [scan + excess[time] * solid(scan) for time, scan in enumerate(scans)]
    return Painted((painted[0], painted[1]), torch.maximum(part * solid(window.base[1]), own), change)


def solid(z: Tensor) -> Tensor:
    """About 1 in tissue, 0 in fluid: lesions do not fill sulci or ventricles."""
    return torch.sigmoid(3 * (z + 1.8))


def _count(means: Sequence[float], rng: torch.Generator) -> int:
    return poisson(means[integer(rng, len(means))], rng)


def poisson(mean: float, rng: torch.Generator) -> int:
    return int(torch.poisson(torch.tensor(mean, device=rng.device), generator=rng))


def _spots(place: Tensor, count: int, margin: int, rng: torch.Generator) -> list[list[int]]:
    """Centres of lesions in the window, at most `count`; fewer where no tissue carries lesions."""
    inner = place[margin:-margin:2, margin:-margin:2, margin:-margin:2]
    weights = inner.clamp_min(0).flatten()
    if count == 0 or int((weights > 0).sum()) < count:
        return []
    chosen = torch.multinomial(weights, count, generator=rng)
    indices = torch.stack(torch.unravel_index(chosen, inner.shape), dim=1)
    return [[margin + 2 * int(i) + integer(rng, 2) for i in index] for index in indices]


def _paint(
    excess: Tensor,
    part: Tensor,
    spot: list[int],
    kind: str,
    shapes: Shapes,
    lesions: LesionConfig,
    rng: torch.Generator,
) -> None:
    """Add one lesion to `excess` (z) and `part` (of a voxel), each (baseline, follow-up)."""
    mask = draw_shape(shapes, rng)
    contrast = min(
        max(lesions.contrast_median * math.exp(normal(rng, 0.4)), lesions.contrast[0]), lesions.contrast[1]
    )
    edge = uniform(rng, *lesions.edge_mm)
    size = uniform(rng, 0.8, 1.25)
    if kind in ("enlarging", "shrinking"):
        growth = 1 + uniform(rng, 3, 6) / max(size * max(mask.shape), 6)  # by 1.5 to 3 mm on each side
        small, large = resized(mask, size, edge), resized(mask, size * growth, edge)
        stages = {"enlarging": (small, large), "shrinking": (large, small)}[kind]
    else:
        lesion, none = resized(mask, size, edge), mask.new_zeros(1, 1, 1)
        stages = {"old": (lesion, lesion), "new": (none, lesion), "resolving": (lesion, none)}[kind]
    for time, stage in enumerate(stages):
        put(excess[time], contrast * stage, spot)
        put(
            part[time], stage / stage.max().clamp_min(1e-3), spot
        )  # half of its own height is a lesion's border, however small it is


def _erase(
    window: Window, lesions: LesionConfig, changing: bool, rng: torch.Generator
) -> tuple[Tensor, tuple[Tensor, Tensor], Tensor]:
    """Inpaint some of a real scan's own lesions.

    Returns which voxels lose their lesion (baseline, follow-up), both scans, and the change that this makes
    from one to the other.
    """
    fates = torch.zeros(2, 256, device=rng.device)
    sizes = torch.bincount(window.lesions.flatten().long(), minlength=256)[1:]
    for number in (((sizes > 0) & (sizes <= lesions.erased_mm3)).nonzero() + 1).flatten().tolist():
        if uniform(rng, 0, 1) < lesions.erased:
            fate = integer(rng, 4) if changing else 2
            for time in {0: (0,), 1: (1,), 2: (0, 1), 3: (0,)}[fate]:
                fates[time, number] = 1
    gone = torch.stack([fate[window.lesions.long()] for fate in fates])
    if not fates.any():
        return gone, window.base, torch.zeros_like(window.depth_mm)
    # twice the blurred mask, at most 1: reaches over the soft rim of the lesion
    masks = [(2 * blur(erased, 1.0)).clamp_max(1) for erased in gone]
    less = [
        mask * (_inpainted(scan, window.lesions, rng) - scan)
        for mask, scan in zip(masks, window.base, strict=True)
    ]
    scans = window.base[0] + less[0], window.base[1] + less[1]
    return gone, scans, less[1] * (1 - masks[0]) - less[0] * (1 - masks[1])


def _inpainted(z: Tensor, lesions: Tensor, rng: torch.Generator) -> Tensor:
    """The scan as if white matter were everywhere: its local mean, with the fine structure of a place near
    by.
    """
    sound = ((z.abs() < 1.5) & (lesions == 0)).float()
    local = coarse_mean(z * sound, 6) / coarse_mean(sound, 6).clamp_min(0.05)
    fine = (z - blur(z, 1.5)) * sound
    shift = [int(sign) * 8 for sign in (torch.randint(0, 2, (3,), generator=rng, device=rng.device) * 2 - 1)]
    return local + fine.roll(shift, (0, 1, 2)).clamp(-1, 1)


def shown(rise: Tensor, new: Tensor, depth_mm: Tensor, lesions: LesionConfig) -> Tensor:
    """Where the acquired scans show a change: the rise stands out from that of the tissue round it, and from
    the noise, within a few voxels.

    A labelled lesion that noise or contrast hides teaches the network to fire on noise; what is not shown is
    left out of the loss.
    """
    if not new.any():
        return new
    same = ((~new) & (depth_mm > 0)).float()
    smooth = blur(rise, 1.0)
    smooth = smooth - coarse_mean(rise * same, 8) / coarse_mean(same, 8).clamp_min(0.05)
    elsewhere = smooth[::2, ::2, ::2][same[::2, ::2, ::2] > 0]
    noise = MAD_TO_SD * float(elsewhere.abs().median()) if len(elsewhere) else 0.0
    clear = ((smooth > max(lesions.shown_z, lesions.shown_noises * noise)) & new).float()
    for axis in (-3, -2, -1):
        clear = along(clear, _neighbours(clear.shape[axis], clear.device), axis)
    return clear > 0.5


def _neighbours(side: int, device: torch.device) -> Tensor:
    """(side, side): 1 where two positions lie within the reach of each other."""
    position = torch.arange(side, device=device)
    return ((position[:, None] - position).abs() <= REACH_VOXELS // 2).float()
