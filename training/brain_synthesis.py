"""Heads of random shape, contrast and quality, made from label maps or from real scans, to learn brain
extraction from.

The idea of SynthStrip (Hoopes et al., NeuroImage 2022): contrasts far wilder than real ones teach a network
to look at anatomy alone. All tensors are (z, y, x) on a 2 mm grid, x to the left, y to the back, z up.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk
import torch
from scipy import ndimage
from torch import Tensor
from torch.nn import functional

from app.images.grids import array
from app.method.brain import coarse_scan, normalise, pad
from training.labels import CORD, CSF, OUTSIDE_BRAIN, STEM

SPACING_MM = 2.0
# sulci up to twice as wide are brain. Against HD-BET on T1-like images of two maps: Dice .980, .982; 5 mm:
# .980, .981
CLOSING_MM = 8.0
FIELD_OF_VIEW = (
    (48, 114),
    (88, 126),
    (72, 112),
)  # least and most voxels along z, y, x: from a cut head to one with its neck
CORD_MM = 30.0  # of the cord below the brainstem is brain too: new lesions lie there

# Labels that share one intensity, and how bright they are on a usual FLAIR scan (white matter 0.5).
CLASSES: tuple[tuple[tuple[int, ...], float], ...] = (
    ((0,), 0.0),
    ((2, 41), 0.50),  # white matter
    ((3, 42), 0.62),  # cortex
    ((CSF,), 0.10),
    ((4, 5, 43, 44, 14, 15, 72), 0.10),  # ventricles
    ((7, 46), 0.50),  # cerebellum: white matter
    ((8, 47), 0.60),  # and cortex
    ((10, 49), 0.56),  # thalamus
    ((11, 50, 12, 51, 26, 58), 0.58),  # striatum
    ((13, 52), 0.48),  # pallidum
    ((STEM, 28, 60, 85), 0.52),
    ((17, 18, 53, 54), 0.64),  # hippocampus, amygdala
    ((25, 57, 30, 62, 136, 137, 163, 164), 0.50),  # small and mixed
    ((502,), 0.15),  # arteries
    ((506, 508, 530), 0.20),  # eyes
    ((507,), 0.60),  # muscle and fat
    ((509,), 0.60),  # mucosa
    ((511,), 0.80),  # scalp
    ((CORD,), 0.52),
    ((514,), 0.30),  # veins
    ((515,), 0.20),  # skull
    ((516,), 0.20),  # bones of face and spine
)
IN_BRAIN = range(1, 13)  # rows of CLASSES whose texture is fine
LESIONED = (1, 5, 10)  # rows of CLASSES where lesions grow


@dataclass(frozen=True)
class LabelledHead:
    """A head known by its tissues."""

    tissues: (
        Tensor  # (len(CLASSES), z, y, x) uint8: how many of a voxel's eight 1 mm voxels are of each class
    )
    brain: Tensor  # (z, y, x) float32: which part of a voxel is brain


@dataclass(frozen=True)
class ScannedHead:
    """A real scan and the mask that a teacher gave it."""

    scan: Tensor  # (z, y, x) float32 in [0, 1]
    brain: Tensor  # (z, y, x) float32: which part of a voxel is brain


Head = LabelledHead | ScannedHead


@dataclass(frozen=True)
class Example:
    """What the network sees, and what it should say."""

    scan: Tensor  # (z, y, x) float32 in [0, 1], padded with zeros to multiples of 16
    brain: Tensor  # (z, y, x) float32 in [0, 1]


def read_labelled_head(path: Path) -> LabelledHead:
    """Read a label map of 1 mm voxels with FreeSurfer's numbers."""
    labels = sitk.GetArrayFromImage(sitk.DICOMOrient(sitk.ReadImage(str(path)), "LPS")).astype(np.int16)
    return labelled_head(labels)


def labelled_head(labels: npt.NDArray[np.int16]) -> LabelledHead:
    """(z, y, x) of 1 mm voxels with FreeSurfer's numbers -> the head on the 2 mm grid, cut to its box."""
    pieces, count = ndimage.label(labels > 0)
    head = (
        labels * (pieces == 1 + np.argmax(np.bincount(pieces.ravel())[1:])) if count else labels
    )  # specks in the air go
    box = ndimage.find_objects((head > 0).astype(np.uint8))[0]
    head = head[box]
    head = np.pad(head, [(0, side % 2) for side in head.shape])
    lookup = np.full(1000, _row_of(507), np.uint8)  # labels that no class lists: soft tissue
    for row, (members, _) in enumerate(CLASSES):
        lookup[list(members)] = row
    rows = lookup[head]
    tissues = np.stack([_count_in_blocks(rows == row) for row in range(len(CLASSES))])
    return LabelledHead(
        torch.from_numpy(tissues), torch.from_numpy(_count_in_blocks(brain_of(head)) / np.float32(8))
    )


def brain_of(labels: npt.NDArray[np.int16]) -> npt.NDArray[np.bool_]:
    """Which 1 mm voxels of a label map are brain: tissue, ventricles, the upper cord, and the fluid that
    closing by `CLOSING_MM` adds.
    """
    tissue = (labels > 0) & (labels < OUTSIDE_BRAIN) & (labels != CSF)
    stem = np.nonzero((labels == STEM).any((1, 2)))[0]
    if len(stem):
        lowest = max(0, stem[0] - round(CORD_MM))
        tissue[lowest:] |= labels[lowest:] == CORD
    outside = np.pad(~tissue, (side := round(CLOSING_MM) + 1), constant_values=True)
    dilated = ndimage.distance_transform_edt(outside) <= CLOSING_MM
    closed = (ndimage.distance_transform_edt(dilated) > CLOSING_MM)[side:-side, side:-side, side:-side]
    pieces, _ = ndimage.label(tissue | (closed & np.isin(labels, (CSF, 502, 514))))
    brain = pieces == 1 + np.argmax(np.bincount(pieces.ravel())[1:])
    filled: npt.NDArray[np.bool_] = ndimage.binary_fill_holes(brain)
    return filled


def scanned_head(scan: sitk.Image, brain: sitk.Image) -> ScannedHead:
    """A scan and its brain mask, on one grid; holes of the mask are filled."""
    values = normalise(torch.from_numpy(array(coarse_scan(scan, SPACING_MM))))
    filled = sitk.BinaryFillhole(sitk.Cast(brain > 0, sitk.sitkUInt8))
    return ScannedHead(values, torch.from_numpy(array(coarse_scan(filled, SPACING_MM))))


def draw_example(head: Head, rng: torch.Generator) -> Example:
    """One random scan of one head: contrast, then shape, then what the scanner and an earlier stripping do to
    it.
    """
    size = [_draw_integer(rng, low, high) for low, high in FIELD_OF_VIEW]
    grid = draw_deformation(head.brain, size, rng)
    contrast = (
        draw_contrast(head.tissues, rng) if isinstance(head, LabelledHead) else draw_remapping(head.scan, rng)
    )
    warped: Tensor = functional.grid_sample(
        torch.stack([contrast, head.brain])[None], grid, align_corners=False
    )[0]
    scan, brain = draw_acquisition(warped[0], rng), warped[1]
    if _chance(rng, 0.12):
        scan, brain = draw_stripping(scan, brain, rng)
    return Example(pad(normalise(scan), 16)[0], pad(brain, 16)[0])


def draw_contrast(tissues: Tensor, rng: torch.Generator) -> Tensor:
    """Tissues (K, z, y, x) -> an image near [0, 1]: FLAIR-like three times of five, else any contrast; with
    texture and sometimes lesions.
    """
    flair = torch.tensor([brightness for _, brightness in CLASSES])
    rows = torch.arange(len(CLASSES))
    inside = (rows >= IN_BRAIN.start) & (rows < IN_BRAIN.stop)
    if _chance(rng, 0.6):
        means = flair + torch.randn(len(CLASSES), generator=rng) * torch.where(inside, 0.04, 0.18)
        means[_row_of(507)] *= _draw(rng, 0.4, 1.4)  # with fat suppressed or not
        means[_row_of(511)] *= _draw(rng, 0.3, 1.4)
    else:
        means = torch.rand(len(CLASSES), generator=rng)
        if _chance(rng, 0.5):  # one fluid, and stem and cerebellum near the white matter, as on most scans
            means[4] = means[3]
            means[torch.tensor([5, 10, 12, 18])] = means[1] + 0.05 * torch.randn(4, generator=rng)
            means[torch.tensor([6, 7, 8, 11])] = means[2] + 0.05 * torch.randn(4, generator=rng)
    means = means.clamp(0, 1.2)
    means[0] = 0 if _chance(rng, 0.9) else _draw(rng, 0, 0.3)
    texture = torch.where(
        inside, _draw(rng, 0, 0.05), _draw(rng, 0, 0.25) * torch.rand(len(CLASSES), generator=rng)
    )
    texture[0] = 0
    mixture = torch.stack([means, texture]) / 8
    image: Tensor
    image, roughness = (mixture @ tissues.flatten(1).float()).view(2, *tissues.shape[1:])
    image = image + roughness * (_draw_field(rng, image.shape, 2) + _draw_field(rng, image.shape, 6))
    if _chance(rng, 0.5):
        places = tissues[list(LESIONED)].sum(0) / 8
        blobs = torch.sigmoid(8 * (_draw_field(rng, image.shape, 4) - _draw(rng, 1.2, 2.2)))
        image = image + places * blobs * _draw(rng, 0.1, 0.5)
    return image


def draw_remapping(scan: Tensor, rng: torch.Generator) -> Tensor:
    """A real scan with another contrast: its own half of the time, else a random curve through six points,
    sometimes falling.
    """
    if _chance(rng, 0.5):
        return scan
    heights = torch.rand(6, generator=rng).cumsum(0)
    heights = (heights - heights[0]) / (heights[-1] - heights[0]) + 0.15 * torch.randn(6, generator=rng)
    heights[0] = 0  # air stays dark
    place = scan * 5
    below = place.floor().clamp(0, 4).long()
    remapped: Tensor = torch.lerp(heights[below], heights[below + 1], place - below)
    return remapped


def draw_deformation(brain: Tensor, size: list[int], rng: torch.Generator) -> Tensor:
    """Where each voxel of a field of view of `size` looks in the head: (1, D, H, W, 3) for grid_sample.

    Turned, scaled, shifted, mirrored, bent.
    """
    turn, scale = (
        torch.randn(3, generator=rng) * torch.tensor([0.22, 0.1, 0.1]),
        torch.exp(0.08 * torch.randn(3, generator=rng)),
    )
    rotation = torch.linalg.matrix_exp(_skew(turn)) @ torch.diag(
        scale * torch.exp(torch.tensor(_draw(rng, -0.12, 0.12)))
    )
    rotation = rotation + 0.03 * torch.randn(3, 3, generator=rng)
    if _chance(rng, 0.5):
        rotation[:, 0] *= -1  # left and right
    weights = [brain.sum(axes) for axes in ((0, 1), (0, 2), (1, 2))]  # along x, y, z
    centre = torch.stack([(w * torch.arange(len(w))).sum() / w.sum().clamp(min=1) for w in weights])
    centre = centre + torch.randn(3, generator=rng) * torch.tensor([4.0, 5.0, 9.0])
    axes = [torch.arange(side) - (side - 1) / 2 for side in reversed(size)]
    x, y, z = torch.meshgrid(*axes, indexing="ij")
    points = torch.stack([x, y, z], -1).permute(2, 1, 0, 3).reshape(-1, 3) @ rotation.T + centre
    bend = _draw(rng, 0, 2.0)  # voxels
    coarse = torch.randn(1, 3, *[max(2, side // 14) for side in size], generator=rng)
    bent = functional.interpolate(coarse, size, mode="trilinear", align_corners=True)[0].flatten(1).T * bend
    sides = torch.tensor(list(reversed(brain.shape)))
    looks: Tensor = (points + bent + 0.5) * 2 / sides - 1  # -1 and 1 are the outer faces of the head's box
    return looks.view(1, *size, 3)


def draw_stripping(scan: Tensor, brain: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """The scan as an earlier brain extraction left it, its edge up to some mm too far in or out, and what is
    left of the brain.
    """
    smooth = functional.avg_pool3d(brain[None, None], 5, 1, 2)[0, 0]
    kept = (smooth > _draw(rng, 0.15, 0.7)).float()
    return scan * kept, brain * kept


def draw_acquisition(scan: Tensor, rng: torch.Generator) -> Tensor:
    """Blur, thick slices, bias field, noise, gamma: (z, y, x) near [0, 1] -> the same."""
    if _chance(rng, 0.4):
        scan = torch.lerp(
            scan, functional.avg_pool3d(scan[None, None], 3, 1, 1)[0, 0], _draw(rng, -0.6, 1.0)
        )  # below 0: sharpened
    if _chance(rng, 0.75):
        axis = 0 if _chance(rng, 0.75) else _draw_integer(rng, 1, 2)
        slices = list(scan.shape)
        slices[axis] = max(2, round(slices[axis] * SPACING_MM / _draw(rng, 2.0, 6.5)))
        thick = functional.interpolate(scan[None, None], slices, mode="area")
        scan = functional.interpolate(thick, scan.shape, mode="trilinear", align_corners=False)[0, 0]
    scan = scan * torch.exp(_draw(rng, 0, 0.35) * _draw_field(rng, scan.shape, 30))
    sd = _draw(rng, 0, 0.06) * _draw(rng, 0, 1)
    scan = (scan + sd * torch.randn(scan.shape, generator=rng)).abs()
    return scan ** float(np.exp(_draw(rng, -0.4, 0.4)))


def _row_of(label: int) -> int:
    return next(row for row, (members, _) in enumerate(CLASSES) if label in members)


def _count_in_blocks(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.uint8]:
    """How many of each block of 2x2x2 voxels are set."""
    z, y, x = mask.shape
    counts: npt.NDArray[np.uint8] = mask.reshape(z // 2, 2, y // 2, 2, x // 2, 2).sum(
        (1, 3, 5), dtype=np.uint8
    )
    return counts


def _skew(turn: Tensor) -> Tensor:
    """The matrix whose exponential turns by `turn` (radians about x, y, z)."""
    a, b, c = turn.tolist()
    return torch.tensor([[0, -c, b], [c, 0, -a], [-b, a, 0]])


def _draw(rng: torch.Generator, low: float, high: float) -> float:
    return low + (high - low) * float(torch.rand(1, generator=rng))


def _draw_integer(rng: torch.Generator, low: int, high: int) -> int:
    """Between `low` and `high`, both included."""
    return int(torch.randint(low, high + 1, (1,), generator=rng))


def _chance(rng: torch.Generator, probability: float) -> bool:
    return float(torch.rand(1, generator=rng)) < probability


def _draw_field(rng: torch.Generator, shape: torch.Size, period: int) -> Tensor:
    """Smooth noise near a standard deviation of 1 at its nodes, `period` voxels apart."""
    nodes = torch.randn(1, 1, *[max(2, side // period) for side in shape], generator=rng)
    return functional.interpolate(nodes, shape, mode="trilinear", align_corners=True)[0, 0]
