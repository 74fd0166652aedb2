"""Pairs of patches with known new lesions, from label maps and from single real scans.

Inside this file intensities are z: spreads (1.4826 MAD of the brain) above the brain's mode. The network sees `1 + z / 4` clipped to [0, 3], 0
outside the brain (app.method.preprocessing). Arrays are (z, y, x) at 1 mm, axes running to superior, posterior and left.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from training.augmentation import along, blur, degrade_pair, integer, normal, uniform
from training.config import AcquisitionConfig, DistractorConfig, LesionConfig, SynthesisConfig

# In the order of training/prepare.py, which is not imported here because it needs SimpleITK.
TISSUES = (
    *(
        "outside",
        "csf",
        "ventricle",
        "white",
        "grey",
        "cerebellar_white",
        "cerebellar_grey",
        "thalamus",
        "caudate",
        "putamen",
        "pallidum",
    ),
    *("stem", "hippocampus", "ventral", "vessel", "hyperintensity", "plexus"),
)
FLUID = (1, 2)
MODE_ABOVE_MEDIAN_Z = 0.2  # on the open scans, as app.method.preprocessing.histogram_mode measured


@dataclass(frozen=True)
class Source:
    """A head to cut windows from: `tissues` of a label map, or `values` and `lesions` of a real scan."""

    depth: Tensor  # (z, y, x) int8, half mm below the brain's surface
    place: Tensor  # (z, y, x) uint8, where lesions appear
    tissues: Tensor | None = None  # (z, y, x) uint8, numbers of TISSUES
    values: Tensor | None = None  # (z, y, x) float16, as the network sees them
    lesions: Tensor | None = None  # (z, y, x) uint8, 0 or a lesion's number


@dataclass(frozen=True)
class Shapes:
    """Lesion masks, packed as training/prepare.py writes them."""

    bits: Tensor
    first: list[int]  # byte where a mask starts
    sides: list[tuple[int, int, int]]
    weights: Tensor  # chance of being drawn


@dataclass(frozen=True)
class Sample:
    """What one step of training sees of one pair."""

    scans: Tensor  # (2, z, y, x): baseline, follow-up; float32 in [0, 3]
    truth: Tensor  # (z, y, x) bool, new at follow-up
    scored: Tensor  # (z, y, x) bool, the brain but for changes that the scans do not show


@dataclass(frozen=True)
class _Window:
    """A piece of a source seen from a random side, a margin larger than the patch."""

    base: tuple[Tensor, Tensor]  # z at baseline and follow-up, without painted lesions
    depth_mm: Tensor
    place: Tensor
    lesions: Tensor | None


def read_source(path: Path, device: torch.device) -> Source:
    """Read `heads/*.npz` or `scans/*.npz` of training/prepare.py."""
    with np.load(path) as arrays:
        return Source(**{name: torch.from_numpy(arrays[name]).to(device) for name in arrays.files})


def read_shapes(path: Path, device: torch.device) -> Shapes:
    """Read `lesions.npz`. A shape's chance grows with volume^.35, so that the many tiny ones do not crowd out the rest (RECIPE)."""
    with np.load(path) as arrays:
        sides = [(int(z), int(y), int(x)) for z, y, x in arrays["sides"]]
        sizes = [math.ceil(math.prod(side) / 8) for side in sides]
        weights = torch.from_numpy(arrays["volumes_mm3"].astype(np.float32) ** 0.35).to(device)
        return Shapes(
            torch.from_numpy(arrays["bits"]).to(device), np.cumsum([0, *sizes[:-1]]).tolist(), sides, weights
        )


def make_sample(source: Source, shapes: Shapes, config: SynthesisConfig, rng: torch.Generator) -> Sample:
    """Draw one pair of patches and its truth."""
    window = _look(source, config, rng)
    changing = uniform(rng, 0, 1) >= config.lesions.lesion_free
    baseline, followup, change = _add_lesions(window, shapes, config, changing, rng)

    scans = [_add_distractors(scan, window, config.distractors, rng) for scan in (baseline, followup)]
    scans[0] = _misalign(
        scans[0], config.acquisition, rng
    )  # the baseline alone: the truth stays where the follow-up shows it
    tone = [_middle(scan, window.depth_mm) for scan in scans]
    scans = [_acquire(scan, config.acquisition, rng) for scan in scans]
    scans = degrade_pair(scans, config.iqda, config.preset, rng)
    scans = [
        _rescale(scan, window.depth_mm, wanted, config.acquisition, rng)
        for scan, wanted in zip(scans, tone, strict=True)
    ]

    inner = (slice(config.margin, config.margin + config.patch),) * 3
    brain = (window.depth_mm > uniform(rng, -0.5, 1.5))[inner] & _common_field(
        config.patch, rng, window.depth_mm.device
    )
    channels = torch.stack([(1 + scan[inner] / 4).clamp(0, 3) for scan in scans]) * brain
    new = change > config.lesions.visible_z
    truth = new & _shown(scans[1] - scans[0], new, config.lesions)
    return Sample(channels, truth[inner] & brain, (truth == new)[inner] & brain)


# Anatomy -------------------------------------------------------------------------------------------------------------------------------------------


def _look(source: Source, config: SynthesisConfig, rng: torch.Generator) -> _Window:
    """Cut a window about a random brain voxel, rotated, scaled, mirrored and gently bent."""
    side = config.patch + 2 * config.margin
    centre = _centre(source.depth, config.low, rng)
    limit = 15.0 if source.values is None else 12.0  # degrees
    coordinates = _coordinates(centre, side, limit, rng)
    smooth = (
        [source.depth, source.place] if source.values is None else [source.depth, source.place, source.values]
    )
    depth, place, *rest = _sample(smooth, coordinates)
    if source.values is not None and source.lesions is not None:
        (values,) = rest
        (lesions,) = _sample([source.lesions], coordinates, mode="nearest")
        z = 4 * (values - 1)
        base = (_other_contrast(z, rng), _other_contrast(z, rng))
        return _Window(base, depth / 2, place, lesions)
    if source.tissues is None:
        raise ValueError("a source has tissues, or values and lesions")
    (tissues,) = _sample([source.tissues], coordinates, mode="nearest")
    return _Window(_render(tissues.long(), source, rng), depth / 2, place, None)


def _centre(depth: Tensor, low: float, rng: torch.Generator) -> list[int]:
    """A random brain voxel; with chance `low` one from the lowest third."""
    height = depth.shape[0] // 3 if uniform(rng, 0, 1) < low else depth.shape[0]
    while True:
        centre = [integer(rng, height), integer(rng, depth.shape[1]), integer(rng, depth.shape[2])]
        if depth[tuple(centre)] > 0:
            return centre


def _coordinates(centre: Sequence[int], side: int, limit_deg: float, rng: torch.Generator) -> Tensor:
    """Where each voxel of the window lies in the source: (side, side, side, 3) as (z, y, x)."""
    device = rng.device
    matrix = _rotation([math.radians(uniform(rng, -limit_deg, limit_deg)) for _ in range(3)], device)
    matrix = matrix * torch.tensor([uniform(rng, 0.85, 1.15) for _ in range(3)], device=device)
    if integer(rng, 2):
        matrix[:, 2] *= -1  # left and right
    line = torch.arange(side, device=device) - (side - 1) / 2
    axes = [
        line[:, None, None, None] * matrix[:, 0],
        line[:, None, None] * matrix[:, 1],
        line[:, None] * matrix[:, 2],
    ]
    bend = _smooth_field(5, side, 1.5, rng, channels=3)
    return axes[0] + axes[1] + axes[2] + bend.movedim(0, -1) + torch.tensor(centre, device=device)


def _rotation(angles: Sequence[float], device: torch.device) -> Tensor:
    """(3, 3) for axes (z, y, x), angles in radians about each."""
    matrix = torch.eye(3)
    for axis, angle in enumerate(angles):
        first, second = [other for other in range(3) if other != axis]
        turn = torch.eye(3)
        turn[first, first] = turn[second, second] = math.cos(angle)
        turn[first, second], turn[second, first] = -math.sin(angle), math.sin(angle)
        matrix = matrix @ turn
    return matrix.to(device)


def _sample(volumes: Sequence[Tensor], coordinates: Tensor, mode: str = "bilinear") -> Tensor:
    """Volumes (z, y, x) at coordinates (D, H, W, 3) in voxels: (len(volumes), D, H, W) float32. Outside, the edge voxel continues."""
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


def _smooth_field(knots: int, side: int, deviation: float, rng: torch.Generator, channels: int = 1) -> Tensor:
    """Random field (channels, side, side, side) through `knots` a side, of the given standard deviation at the knots."""
    field = deviation * torch.randn(channels, knots, knots, knots, generator=rng, device=rng.device)
    matrix = _interpolation(torch.linspace(0, knots - 1, side, device=rng.device), knots)
    for axis in (-3, -2, -1):
        field = along(field, matrix, axis)
    return field


def _interpolation(positions: Tensor, size: int) -> Tensor:
    """(len(positions), size): linear interpolation at fractional positions, held at the ends."""
    positions = positions.clamp(0, size - 1)
    return (1 - (positions[:, None] - torch.arange(size, device=positions.device)).abs()).clamp_min(0)


def _render(tissues: Tensor, source: Source, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """Label numbers (D, H, W) as two scanners might show them, z."""
    if source.tissues is None:
        raise ValueError("only a label map is rendered")
    tables = _contrasts(rng)
    texture = _texture(tissues.shape[0], rng) * uniform(rng, 1.5, 5.0)
    noise = uniform(rng, 2.0, 6.0)  # what noise and bias add to the spread of a whole brain
    chosen = source.tissues[::5, ::5, ::5][source.depth[::5, ::5, ::5] > 0].long()
    scatter = noise * torch.randn(len(chosen), generator=rng, device=rng.device)
    scans = []
    for table in tables:
        brain = table[chosen] + scatter
        median = brain.median()
        spread = (1.4826 * (brain - median).abs().median()).clamp_min(3.0)
        scans.append(
            (blur(table[tissues], uniform(rng, 0.4, 0.7)) + texture - median) / spread - MODE_ABOVE_MEDIAN_Z
        )
    return scans[0], scans[1]


def _contrasts(rng: torch.Generator) -> list[Tensor]:
    """Intensity of each tissue at baseline and at follow-up; white matter 100."""
    usual = uniform(rng, 0, 1) < 0.6
    first = _contrast(usual, rng)
    second = _contrast(usual, rng) if uniform(rng, 0, 1) < 0.5 else first
    share = uniform(rng, 0.3, 1.0)  # how far the second scanner is from the first
    return [
        first,
        (1 - share) * first
        + share * second
        + 2.0 * torch.randn(len(TISSUES), generator=rng, device=rng.device),
    ]


def _contrast(usual: bool, rng: torch.Generator) -> Tensor:
    grey = uniform(rng, 4, 26)
    csf = uniform(rng, 15, 45) if usual else uniform(rng, 10, 70)
    deviation = 0.0 if usual else 10.0
    tissue = {
        "outside": uniform(rng, 10, 60),
        "csf": csf + uniform(rng, 0, 15),
        "ventricle": csf,
        "white": 0.0,
        "grey": grey,
        "cerebellar_white": uniform(rng, -12, 12),
        "cerebellar_grey": grey + uniform(rng, -12, 8),
        "thalamus": uniform(rng, -5, 15),
        "caudate": uniform(rng, -2, 20),
        "putamen": uniform(rng, -5, 20),
        "pallidum": uniform(rng, -15, 8),
        "stem": uniform(rng, -12, 12),
        "hippocampus": grey + uniform(rng, -2, 12),
        "ventral": uniform(rng, -12, 12),
        "vessel": uniform(rng, -60, 10),
        "hyperintensity": uniform(rng, 5, 50),
        "plexus": uniform(rng, -50, 20),
    }
    fluid = ("outside", "csf", "ventricle")
    values = [
        tissue[name] if name in fluid else 100 + tissue[name] + normal(rng, deviation) for name in TISSUES
    ]
    return torch.tensor(values, device=rng.device)


def _texture(side: int, rng: torch.Generator) -> Tensor:
    """Unevenness of tissue, standard deviation 1, finer and coarser parts."""
    fine = blur(torch.randn(side, side, side, generator=rng, device=rng.device), uniform(rng, 0.7, 1.5))
    return 0.8 * fine / fine.std() + _smooth_field(10, side, 0.8, rng)[0]


def _other_contrast(z: Tensor, rng: torch.Generator) -> Tensor:
    """A real scan as another scanner might show it: grey-white contrast and fluid moved by smooth bumps of its tone curve."""
    for centre, width, deviation in ((-3.0, 1.2, 0.6), (0.8, 0.8, 0.3), (3.0, 1.5, 0.3)):
        z = z + normal(rng, deviation) * torch.exp(-0.5 * ((z - centre) / width) ** 2)
    return z


# Lesions -------------------------------------------------------------------------------------------------------------------------------------------


def _add_lesions(
    window: _Window, shapes: Shapes, config: SynthesisConfig, changing: bool, rng: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Baseline and follow-up with lesions, z, and the clean change from one to the other where it counts as new."""
    lesions = config.lesions
    side = config.patch + 2 * config.margin
    excess = torch.zeros(
        3, side, side, side, device=rng.device
    )  # at baseline, at follow-up, and at follow-up what counts as there before
    counts = {"old": _count(lesions.old, rng)}
    if changing:
        counts |= {"new": _count(lesions.new, rng)} | {
            kind: _poisson(getattr(lesions, kind), rng) for kind in ("resolving", "enlarging", "shrinking")
        }
    spots = _spots(window.place, sum(counts.values()), config.margin, rng)
    for kind in [kind for kind, count in counts.items() for _ in range(count)][: len(spots)]:
        _paint(excess, spots.pop(), kind, shapes, lesions, rng)
    excess *= (1 + _smooth_field(12, side, 0.15, rng)).clamp_min(0.3)  # uneven inside
    excess[0] *= math.exp(normal(rng, 0.12))  # another scanner, another contrast
    known = excess[2]

    scans = list(window.base)
    change = (excess[1] - known) * _solid(scans[1])
    painted = [scan + excess[time] * _solid(scan) for time, scan in enumerate(scans)]
    if window.lesions is not None:
        erased, difference = _erase(window, lesions, changing, rng)
        painted = [scan + gone for scan, gone in zip(painted, erased, strict=True)]
        change = change + difference
    return painted[0], painted[1], change


def _shown(rise: Tensor, new: Tensor, lesions: LesionConfig) -> Tensor:
    """Where the acquired scans show a change: the rise stands out from that of the tissue round it, over more than a few voxels.

    A labelled lesion that noise or contrast hides teaches the network to fire on noise; what is not shown is left out of the loss.
    """
    same = (~new).float()
    around = _coarse_mean(rise * same, 8) / _coarse_mean(same, 8).clamp_min(0.05)
    visible = ((blur(rise, 0.7) - around > lesions.shown_z) & new).float()
    return functional.avg_pool3d(visible[None], 3, 1, 1)[0] * 27 > lesions.shown_voxels


def _solid(z: Tensor) -> Tensor:
    """About 1 in tissue, 0 in fluid: lesions do not fill sulci or ventricles."""
    return torch.sigmoid(3 * (z + 1.8))


def _count(means: Sequence[float], rng: torch.Generator) -> int:
    return _poisson(means[integer(rng, len(means))], rng)


def _poisson(mean: float, rng: torch.Generator) -> int:
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
    excess: Tensor, spot: list[int], kind: str, shapes: Shapes, lesions: LesionConfig, rng: torch.Generator
) -> None:
    """Add one lesion to `excess` (baseline, follow-up, known before)."""
    mask = draw_shape(shapes, rng)
    contrast = min(
        max(lesions.contrast_median * math.exp(normal(rng, 0.4)), lesions.contrast[0]), lesions.contrast[1]
    )
    edge = uniform(rng, *lesions.edge_mm)
    size = uniform(rng, 0.8, 1.25)
    if kind in ("enlarging", "shrinking"):
        growth = 1 + uniform(rng, 3, 6) / max(size * max(mask.shape), 6)  # by 1.5 to 3 mm on each side
        small, large = resized(mask, size, edge), resized(mask, size * growth, edge)
        stages = {
            "enlarging": (small, large, small if lesions.enlarging_is_target else large),
            "shrinking": (large, small, large),
        }[kind]
    else:
        lesion, none = resized(mask, size, edge), mask.new_zeros(1, 1, 1)
        stages = {
            "old": (lesion, lesion, lesion),
            "new": (none, lesion, none),
            "resolving": (lesion, none, lesion),
        }[kind]
    for target, stage in zip(excess, stages, strict=True):
        put(target, contrast * stage, spot)


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


def _erase(
    window: _Window, lesions: LesionConfig, changing: bool, rng: torch.Generator
) -> tuple[list[Tensor], Tensor]:
    """Inpaint some of a real scan's own lesions: what to add to (baseline, follow-up), and the change that this makes from one to the other."""
    if window.lesions is None:
        raise ValueError("only a real scan has lesions to erase")
    nothing = torch.zeros_like(window.depth_mm)
    erased = [nothing, nothing]
    sizes = torch.bincount(window.lesions.flatten().long(), minlength=256)[1:]
    numbers = (((sizes > 0) & (sizes <= lesions.erased_mm3)).nonzero() + 1).flatten().tolist()
    fates = torch.zeros(2, 256, device=rng.device)
    for number in numbers:
        if uniform(rng, 0, 1) < lesions.erased:
            fate = integer(rng, 4) if changing else 2
            for time in {0: (0,), 1: (1,), 2: (0, 1), 3: (0,)}[fate]:
                fates[time, number] = 1
    if not fates.any():
        return erased, nothing
    # twice the blurred mask, at most 1: reaches over the soft rim of the lesion
    masks = [(2 * blur(fate[window.lesions.long()], 1.0)).clamp_max(1) for fate in fates]
    for time, (mask, scan) in enumerate(zip(masks, window.base, strict=True)):
        erased[time] = mask * (_inpainted(scan, window.lesions, rng) - scan)
    return erased, erased[1] * (1 - masks[0]) - erased[0] * (1 - masks[1])


def _inpainted(z: Tensor, lesions: Tensor, rng: torch.Generator) -> Tensor:
    """The scan as if white matter were everywhere: its local mean, with the fine structure of a place near by."""
    sound = ((z.abs() < 1.5) & (lesions == 0)).float()
    local = _coarse_mean(z * sound, 6) / _coarse_mean(sound, 6).clamp_min(0.05)
    fine = (z - blur(z, 1.5)) * sound
    shift = [int(sign) * 8 for sign in (torch.randint(0, 2, (3,), generator=rng, device=rng.device) * 2 - 1)]
    return local + fine.roll(shift, (0, 1, 2)).clamp(-1, 1)


def _coarse_mean(field: Tensor, step: int) -> Tensor:
    """Local mean over cubes of `step`, interpolated back."""
    coarse = functional.avg_pool3d(field[None], step, count_include_pad=False)[0]
    for axis in (-3, -2, -1):
        side, knots = field.shape[axis], coarse.shape[axis]
        positions = (torch.arange(side, device=field.device) - (step - 1) / 2) / step
        coarse = along(coarse, _interpolation(positions, knots), axis)
    return coarse


# Distractors ---------------------------------------------------------------------------------------------------------------------------------------


def _add_distractors(z: Tensor, window: _Window, config: DistractorConfig, rng: torch.Generator) -> Tensor:
    """Bright or dark things of one visit that are no lesions."""
    side = z.shape[0]

    def happens(chance: float) -> bool:
        return uniform(rng, 0, 1) < chance

    def region() -> Tensor:
        return _ball(side, uniform(rng, *config.radius_mm), rng)

    original = z
    if happens(config.regional):
        for _ in range(1 + integer(rng, 3)):
            z = z + normal(rng, config.regional_z) * region()
    if happens(config.gyral):
        z = z + uniform(rng, 0.4, 2.0) * region() * torch.sigmoid(4 * (original - 0.6)) * (
            window.depth_mm < 12
        )
    if happens(config.rim):
        z = z + uniform(rng, 0.5, 3.0) * region() * torch.exp(
            -((window.depth_mm / uniform(rng, 1.5, 3.5)) ** 2)
        )
    if happens(config.edge):
        surface = torch.exp(-((window.depth_mm / uniform(rng, 2, 5)) ** 2))
        for _ in range(1 + integer(rng, 4)):
            z = z + uniform(rng, 1.5, 6.0) * _ball(side, uniform(rng, 1.5, 4), rng, surface) * surface.sqrt()
    if happens(config.ventricle):
        near = blur((original < -2.2).float() * (window.depth_mm > 15), 1.5)
        z = z + uniform(rng, 0.4, 2.5) * region() * 4 * near * (1 - near)
    if happens(config.flow):
        fluid = torch.sigmoid(
            3 * (uniform(rng, -1.8, -0.8) - original)
        )  # pure, or mixed with tissue in a voxel
        for _ in range(1 + integer(rng, 3)):
            z = z + uniform(rng, 1.5, 6.0) * _ball(side, uniform(rng, 2, 7), rng, fluid) * fluid
    if happens(config.flare):
        unlikely = torch.exp(-window.place / 30) * ((window.depth_mm > 0) & (window.depth_mm < 16))
        for _ in range(1 + integer(rng, 3)):
            z = z + uniform(rng, 0.6, 2.2) * _ball(side, uniform(rng, 2.5, 8), rng, unlikely)
    if happens(config.vessel):
        z = z + _vessels(window, rng)
    return z


def _ball(side: int, radius: float, rng: torch.Generator, weights: Tensor | None = None) -> Tensor:
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


def _vessels(window: _Window, rng: torch.Generator) -> Tensor:
    """A few short bright lines, 1 to 2 mm thick, within 15 mm of the brain's surface."""
    side = window.depth_mm.shape[0]
    near = ((window.depth_mm > 0) & (window.depth_mm < 15)).float()
    points = torch.zeros_like(near)
    if float(near.sum()) < 100:
        return points
    count = 1 + integer(rng, 4)
    coarse = near[::3, ::3, ::3]
    starts = torch.unravel_index(torch.multinomial(coarse.flatten(), count, generator=rng), coarse.shape)
    steps = torch.arange(uniform(rng, 3, 14), device=rng.device)
    for start in 3 * torch.stack(starts, dim=1):
        direction = torch.randn(3, generator=rng, device=rng.device)
        line = start + steps[:, None] * direction / direction.norm()
        z, y, x = line.round().long().clamp(0, side - 1).unbind(1)
        points[z, y, x] = uniform(rng, 3, 14)
    return blur(points, uniform(rng, 0.6, 0.9))


# Acquisition ---------------------------------------------------------------------------------------------------------------------------------------


def _misalign(z: Tensor, config: AcquisitionConfig, rng: torch.Generator) -> Tensor:
    """Leave a little rigid and elastic misalignment, as registration and atrophy do."""
    side = z.shape[0]
    matrix = _rotation([math.radians(normal(rng, config.rotation_deg)) for _ in range(3)], z.device)
    shift = torch.tensor([normal(rng, config.shift_mm) for _ in range(3)], device=z.device)
    line = torch.arange(side, device=z.device) - (side - 1) / 2
    rigid = (
        line[:, None, None, None] * matrix[:, 0]
        + line[:, None, None] * matrix[:, 1]
        + line[:, None] * matrix[:, 2]
    )
    bend = _smooth_field(6, side, uniform(rng, *config.elastic_mm), rng, channels=3)
    return _sample([z], rigid + bend.movedim(0, -1) + shift + (side - 1) / 2)[0]


def _acquire(z: Tensor, config: AcquisitionConfig, rng: torch.Generator) -> Tensor:
    """One scanner: bias, tone curve, resolution, slices, noise, scaling."""
    side = z.shape[0]
    intensity = (1 + 0.1 * z).clamp_min(0.02)  # a brain's spread is about a tenth of its mode
    exponent = math.exp(uniform(rng, -config.log_gamma, config.log_gamma))
    intensity = intensity**exponent * torch.exp(
        _smooth_field(3, side, config.bias, rng)[0] * uniform(rng, 0, 1.2)
    )
    z = (intensity - 1) / (0.1 * exponent)

    z = blur(z, [uniform(rng, 0, config.blur_mm) for _ in range(3)])
    noise = torch.randn(z.shape, generator=rng, device=z.device) * math.exp(
        uniform(rng, *map(math.log, config.noise_z))
    )
    noise = blur(noise, [0.0, 0.5, 0.5]) * 1.8 if integer(rng, 2) else noise  # interpolated in plane
    if uniform(rng, 0, 1) < config.thick:
        axis = -3 if uniform(rng, 0, 1) < 0.9 else -1 - integer(rng, 2)
        slices, back = _slices(side, uniform(rng, *config.thickness_mm), rng)
        z = along(along(z, slices, axis) + noise.narrow(axis, 0, slices.shape[0]), back, axis)
    else:
        z = z + noise
    return z


def _middle(z: Tensor, depth_mm: Tensor) -> tuple[Tensor, Tensor]:
    """Median and spread inside the brain; of the whole window where a sparse look meets no brain."""
    sparse = z[::3, ::3, ::3]
    inside = sparse[depth_mm[::3, ::3, ::3] > 0]
    if len(inside) == 0:
        inside = sparse.flatten()
    median = inside.median()
    return median, (inside - median).abs().median()


def _rescale(
    z: Tensor,
    depth_mm: Tensor,
    wanted: tuple[Tensor, Tensor],
    config: AcquisitionConfig,
    rng: torch.Generator,
) -> Tensor:
    """Undo what the acquisition did to middle and spread, as the preprocessing of a whole brain does, but for a jitter.

    Within limits, since a patch of white matter alone has little spread but noise.
    """
    median, spread = _middle(z, depth_mm)
    ratio = (wanted[1] / spread.clamp_min(1e-3)).clamp(0.8, 1.5) * (1 + normal(rng, config.scaling))
    return (z - median) * ratio + wanted[0] + normal(rng, config.offset_z)


def _slices(side: int, thickness_mm: float, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """(n, side) means over slices of a thickness, at a random phase, with a gap up to a fifth, and (side, n) linear interpolation back."""
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
    return overlap / overlap.sum(1, keepdim=True), _interpolation(position, count)


def _common_field(side: int, rng: torch.Generator, device: torch.device) -> Tensor:
    """(side, 1, 1) bool: where both scans were measured; in one patch of ten a part of the lowest or highest slices is not."""
    field = torch.ones(side, 1, 1, dtype=torch.bool, device=device)
    if uniform(rng, 0, 1) < 0.1:
        cut = integer(rng, side // 2)
        field[slice(0, cut) if integer(rng, 2) else slice(side - cut, side)] = False
    return field
