"""Where a pair comes from: a window into a label map, rendered, or into a real scan."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from app.intensity import MAD_TO_SD
from training import labels
from training.augmentation import blur, integer, normal, uniform
from training.config import SynthesisConfig
from training.synthesis.fields import rotation, sample, smooth_field

TISSUES = tuple(labels.TISSUES)  # a label map's voxel holds the place of its tissue here
HYPERINTENSITY = TISSUES.index("hyperintensity")
MODE_ABOVE_MEDIAN_Z = 0.2  # on the open scans, as app.method.preprocessing.histogram_mode measured
SHARED_CONTRAST = {
    "same": 0.0,
    "near": 0.5,
    "far": 1.0,
}  # how far the second scanner's contrast may be from the first's


@dataclass(frozen=True)
class Source:
    """A head to cut windows from: `tissues` of a label map, or `values` and `lesions` of a real scan."""

    depth: Tensor  # (z, y, x) int8, half mm below the brain's surface
    place: Tensor  # (z, y, x) uint8, where lesions appear
    tissues: Tensor | None = None  # (z, y, x) uint8, numbers of TISSUES
    values: Tensor | None = None  # (z, y, x) float16, as the network sees them
    lesions: Tensor | None = None  # (z, y, x) uint8, 0 or a lesion's number
    all_marked: bool = True  # whether what `lesions` does not mark is no lesion


@dataclass(frozen=True)
class Window:
    """A piece of a source seen from a random side, a margin larger than the patch."""

    base: tuple[Tensor, Tensor]  # z at baseline and follow-up, without painted lesions
    depth_mm: Tensor
    place: Tensor
    lesions: Tensor  # lesion numbers, 0 elsewhere; of a label map, all its hyperintensities are number 1
    erasable: bool  # whether the lesions are those of a real scan
    all_marked: bool


def read_source(path: Path, device: torch.device) -> Source:
    """Read `heads/*.npz` or `scans/*.npz` of training/prepare.py."""
    with np.load(path) as arrays:
        volumes = {
            name: torch.from_numpy(arrays[name]).to(device) for name in arrays.files if name != "all_marked"
        }
        return Source(**volumes, all_marked=bool(arrays["all_marked"]) if "all_marked" in arrays else True)


def look(source: Source, config: SynthesisConfig, likeness: str, rng: torch.Generator) -> Window:
    """Cut a window about a random brain voxel, rotated, scaled, mirrored and gently bent; `likeness` of the
    two scanners: a key of SHARED_CONTRAST.
    """
    side = config.patch + 2 * config.margin
    centre = random_centre(source.depth, config.low, rng)
    limit_deg = 15.0 if source.values is None else 12.0
    coordinates = oblique(centre, side, limit_deg, rng)
    smooth = (
        [source.depth, source.place] if source.values is None else [source.depth, source.place, source.values]
    )
    depth, place, *rest = sample(smooth, coordinates)
    if source.values is not None and source.lesions is not None:
        (lesions,) = sample([source.lesions], coordinates, mode="nearest")
        z = 4 * (rest[0] - 1)
        return Window((z, z), depth / 2, place, lesions, True, source.all_marked)
    if source.tissues is None:
        raise ValueError("a source has tissues, or values and lesions")
    (tissues,) = sample([source.tissues], coordinates, mode="nearest")
    base = _render(tissues.long(), source, SHARED_CONTRAST[likeness], rng)
    return Window(base, depth / 2, place, (tissues == HYPERINTENSITY).float(), False, True)


def random_centre(depth: Tensor, low: float, rng: torch.Generator) -> list[int]:
    """A random brain voxel; with chance `low` one from the lowest third."""
    height = depth.shape[0] // 3 if uniform(rng, 0, 1) < low else depth.shape[0]
    while True:
        centre = [integer(rng, height), integer(rng, depth.shape[1]), integer(rng, depth.shape[2])]
        if depth[tuple(centre)] > 0:
            return centre


def oblique(centre: Sequence[int], side: int, limit_deg: float, rng: torch.Generator) -> Tensor:
    """Where each voxel of a window lies in the source, turned, scaled, mirrored and gently bent: (side, side,
    side, 3) as (z, y, x).
    """
    device = rng.device
    matrix = rotation([math.radians(uniform(rng, -limit_deg, limit_deg)) for _ in range(3)], device)
    matrix = matrix * torch.tensor([uniform(rng, 0.85, 1.15) for _ in range(3)], device=device)
    if integer(rng, 2):
        matrix[:, 2] *= -1  # left and right
    line = torch.arange(side, device=device) - (side - 1) / 2
    axes = [
        line[:, None, None, None] * matrix[:, 0],
        line[:, None, None] * matrix[:, 1],
        line[:, None] * matrix[:, 2],
    ]
    bend = smooth_field(5, side, 1.5, rng, channels=3)
    return axes[0] + axes[1] + axes[2] + bend.movedim(0, -1) + torch.tensor(centre, device=device)


def upright(centre: Sequence[int], side: int, rng: torch.Generator) -> Tensor:
    """The same along the source's voxels, mirrored or not, so that values stay as they are."""
    axes = [torch.arange(side, device=rng.device) + at - side // 2 for at in centre]
    if integer(rng, 2):
        axes[2] = axes[2].flip(0)  # left and right
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).float()


def _render(tissues: Tensor, source: Source, unlike: float, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """Label numbers (D, H, W) as two scanners might show them, z."""
    if source.tissues is None:
        raise ValueError("only a label map is rendered")
    tables = _contrasts(unlike, rng)
    texture = _texture(tissues.shape[0], rng) * uniform(rng, 1.5, 5.0)
    noise = uniform(rng, 2.0, 6.0)  # what noise and bias add to the spread of a whole brain
    chosen = source.tissues[::5, ::5, ::5][source.depth[::5, ::5, ::5] > 0].long()
    scatter = noise * torch.randn(len(chosen), generator=rng, device=rng.device)
    scans = []
    for table in tables:
        brain = table[chosen] + scatter
        median = brain.median()
        spread = (MAD_TO_SD * (brain - median).abs().median()).clamp_min(3.0)
        scans.append(
            (blur(table[tissues], uniform(rng, 0.4, 0.7)) + texture - median) / spread - MODE_ABOVE_MEDIAN_Z
        )
    return scans[0], scans[1]


def _contrasts(unlike: float, rng: torch.Generator) -> list[Tensor]:
    """Intensity of each tissue at baseline and at follow-up; white matter 100."""
    usual = uniform(rng, 0, 1) < 0.6
    first = _contrast(usual, rng)
    second = _contrast(usual, rng) if uniform(rng, 0, 1) < 0.5 else first
    share = unlike * uniform(rng, 0.3, 1.0)  # how far the second scanner is from the first
    jitter = (0.3 + 1.7 * unlike) * torch.randn(len(TISSUES), generator=rng, device=rng.device)
    return [first, (1 - share) * first + share * second + jitter]


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
    return 0.8 * fine / fine.std() + smooth_field(10, side, 0.8, rng)[0]
