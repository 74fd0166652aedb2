"""The two scanners of a pair, from one and the same to quite unlike, and what each does to its visit."""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from training.augmentation import AXIAL, along, blur, degrade_pair, integer, normal, uniform
from training.config import AcquisitionConfig, SynthesisConfig
from training.synthesis.fields import interpolation, rotation, sample, smooth_field

TONE_BUMPS = (
    (-3.0, 1.2, 0.6),
    (0.8, 0.8, 0.3),
    (3.0, 1.5, 0.3),
)  # of a scanner's tone curve: centre, width, deviation of the height, all z
BIAS_DRAWN_ANEW = 1 / 3  # of a scanner's bias field, at each visit
SPREAD_OF_MODE = 0.1  # a brain's spread is about a tenth of its mode


@dataclass(frozen=True)
class Scanner:
    """What two visits to one scanner share."""

    tone: tuple[float, ...]  # heights of TONE_BUMPS, z
    log_exponent: float
    bias: Tensor  # (1, side, side, side), logarithm
    blur_mm: tuple[float, ...]  # along z, y, x
    noise_z: float
    smooth_noise: bool  # interpolated in plane
    thickness_mm: float | None  # None: no thick slices
    axis: int  # through the slices


def draw_likeness(config: AcquisitionConfig, rng: torch.Generator) -> str:
    """'same', 'near' or 'far': how alike the scanners of a pair are."""
    draw = uniform(rng, 0, 1)
    return "same" if draw < config.same else "near" if draw < config.same + config.near else "far"


def draw_scanners(
    likeness: str, side: int, config: AcquisitionConfig, rng: torch.Generator
) -> tuple[Scanner, Scanner]:
    """The scanners of baseline and follow-up; near ones are half as far from each other as two drawn alone,
    thick slices at both or at neither.
    """
    first, other = (_draw_scanner(side, config, rng) for _ in range(2))
    if likeness == "far":
        return first, other
    bias = (1 - BIAS_DRAWN_ANEW) * first.bias + BIAS_DRAWN_ANEW * other.bias
    if likeness == "same":
        return first, dataclasses.replace(first, bias=bias)
    return first, Scanner(
        tone=_between(first.tone, other.tone),
        log_exponent=(first.log_exponent + other.log_exponent) / 2,
        bias=bias,
        blur_mm=_between(first.blur_mm, other.blur_mm),
        noise_z=math.sqrt(first.noise_z * other.noise_z),
        smooth_noise=first.smooth_noise,
        thickness_mm=None
        if first.thickness_mm is None
        else (first.thickness_mm + (other.thickness_mm or first.thickness_mm)) / 2,
        axis=first.axis,
    )


def acquire(z: Tensor, scanner: Scanner, rng: torch.Generator) -> Tensor:
    """Scan a window: tone curve, bias, resolution, slices, noise.

    The noise and the place of the slices are those of this visit alone.
    """
    for height, (centre, width, _) in zip(scanner.tone, TONE_BUMPS, strict=True):
        z = z + height * torch.exp(-0.5 * ((z - centre) / width) ** 2)
    exponent = math.exp(scanner.log_exponent)
    intensity = (1 + SPREAD_OF_MODE * z).clamp_min(0.02) ** exponent * torch.exp(scanner.bias[0])
    z = blur((intensity - 1) / (SPREAD_OF_MODE * exponent), scanner.blur_mm)
    noise = scanner.noise_z * torch.randn(z.shape, generator=rng, device=z.device)
    if scanner.smooth_noise:
        noise = blur(noise, [0.0, 0.5, 0.5]) * 1.8
    if scanner.thickness_mm is None:
        return z + noise
    slices, back = slices_and_back(z.shape[0], scanner.thickness_mm, rng)
    measured = along(z, slices, scanner.axis) + noise.narrow(scanner.axis, 0, slices.shape[0])
    return along(measured, back, scanner.axis)


def lower_quality(
    scans: Sequence[Tensor], likeness: str, config: SynthesisConfig, rng: torch.Generator
) -> list[Tensor]:
    """IQDA: one draw for both visits of one scanner, one for each of two; near scanners are degraded in half
    of the pairs.
    """
    if config.iqda != "each" or likeness == "far":
        return degrade_pair(scans, config.iqda, config.preset, rng)
    if likeness == "same":
        return degrade_pair(scans, "shared", config.preset, rng)
    return degrade_pair(scans, "each" if integer(rng, 2) else "none", config.preset, rng)


def misalign(z: Tensor, config: AcquisitionConfig, rng: torch.Generator) -> Tensor:
    """Leave a little rigid and elastic misalignment, as registration and atrophy do."""
    side = z.shape[0]
    matrix = rotation([math.radians(normal(rng, config.rotation_deg)) for _ in range(3)], z.device)
    shift = torch.tensor([normal(rng, config.shift_mm) for _ in range(3)], device=z.device)
    line = torch.arange(side, device=z.device) - (side - 1) / 2
    rigid = (
        line[:, None, None, None] * matrix[:, 0]
        + line[:, None, None] * matrix[:, 1]
        + line[:, None] * matrix[:, 2]
    )
    bend = smooth_field(6, side, uniform(rng, *config.elastic_mm), rng, channels=3)
    return sample([z], rigid + bend.movedim(0, -1) + shift + (side - 1) / 2)[0]


def middle(z: Tensor, depth_mm: Tensor) -> tuple[Tensor, Tensor]:
    """Median and spread inside the brain; of the whole window where a sparse look meets no brain."""
    sparse = z[::3, ::3, ::3]
    inside = sparse[depth_mm[::3, ::3, ::3] > 0]
    if len(inside) == 0:
        inside = sparse.flatten()
    median = inside.median()
    return median, (inside - median).abs().median()


def rescale(
    z: Tensor, depth_mm: Tensor, wanted: tuple[Tensor, Tensor], leftover: float, rng: torch.Generator
) -> Tensor:
    """Undo what the acquisition did to middle and spread, as the preprocessing of a whole brain does, but for
    `leftover` (standard deviation).

    Within limits, since a patch of white matter alone has little spread but noise.
    """
    median, spread = middle(z, depth_mm)
    ratio = (wanted[1] / spread.clamp_min(1e-3)).clamp(0.8, 1.5) * (1 + normal(rng, leftover))
    return (z - median) * ratio + wanted[0] + normal(rng, leftover)


def slices_and_back(side: int, thickness_mm: float, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """(n, side) means over slices of a thickness, at a random phase, with a gap up to a fifth, and (side, n)
    linear interpolation back.
    """
    device = rng.device
    count = math.ceil(side / thickness_mm) + 2
    centres = (torch.arange(count, device=device) - uniform(rng, 0, 1)) * thickness_mm
    half = thickness_mm * uniform(rng, 0.8, 1.0) / 2
    voxel = torch.arange(side, device=device)
    overlap = (
        torch.minimum(voxel + 0.5, centres[:, None] + half)
        - torch.maximum(voxel - 0.5, centres[:, None] - half)
    ).clamp_min(0)
    empty = overlap.sum(1, keepdim=True) < 0.1
    nearest = functional.one_hot(centres.round().long().clamp(0, side - 1), side)
    overlap = torch.where(empty, nearest, overlap)
    position = (voxel - centres[0]) / thickness_mm
    return overlap / overlap.sum(1, keepdim=True), interpolation(position, count)


def common_field(side: int, rng: torch.Generator, device: torch.device) -> Tensor:
    """(side, 1, 1) bool: where both scans were measured; in one patch of ten a part of the lowest or highest
    slices is not.
    """
    field = torch.ones(side, 1, 1, dtype=torch.bool, device=device)
    if uniform(rng, 0, 1) < 0.1:
        cut = integer(rng, side // 2)
        field[slice(0, cut) if integer(rng, 2) else slice(side - cut, side)] = False
    return field


def _draw_scanner(side: int, config: AcquisitionConfig, rng: torch.Generator) -> Scanner:
    thick = uniform(rng, 0, 1) < config.thick
    return Scanner(
        tone=tuple(config.tone * normal(rng, deviation) for _, _, deviation in TONE_BUMPS),
        log_exponent=uniform(rng, -config.log_gamma, config.log_gamma),
        bias=smooth_field(3, side, config.bias, rng) * uniform(rng, 0, 1.2),
        blur_mm=tuple(uniform(rng, 0, config.blur_mm) for _ in range(3)),
        noise_z=math.exp(uniform(rng, *map(math.log, config.noise_z))),
        smooth_noise=bool(integer(rng, 2)),
        thickness_mm=uniform(rng, *config.thickness_mm) if thick else None,
        axis=AXIAL if uniform(rng, 0, 1) < 0.9 else -1 - integer(rng, 2),
    )


def _between(first: tuple[float, ...], other: tuple[float, ...]) -> tuple[float, ...]:
    return tuple((a + b) / 2 for a, b in zip(first, other, strict=True))
