"""A patch of two real visits with lesions painted into either: scanner, position, flow and noise differ as
they really do.

Nothing else is added but flow and IQDA. What really changed is labelled where the scans show it; what may
have changed stays out of the loss.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from app.arrays import Array, Mask
from training.augmentation import blur, equally_sharp, integer, uniform
from training.config import SynthesisConfig
from training.places import Bytes, depth_of, white_places
from training.reading import maybe_new, read_reading
from training.synthesis import acquisition
from training.synthesis.anatomy import Window, oblique, random_centre, upright
from training.synthesis.distractors import add_distractors
from training.synthesis.fields import sample
from training.synthesis.lesions import LESION, REAL_EDGE_MM, Shapes, add_lesions
from training.synthesis.pair import BRAIN_EDGE_MM, Sample, cut, hidden

OLD_Z = 1.5  # from here on white matter of both scans is an old lesion, spreads
NEAR_OLD_VOXELS = 3  # from an old lesion, where so many times as many are painted:
NEAR_OLD = 3
DRAWN_VOXELS = 1  # beyond a marked change the border is a matter of drawing


@dataclass(frozen=True)
class Visits:
    """A real pair. What comes in two is of the earlier and the later visit."""

    values: tuple[Tensor, Tensor]  # (z, y, x) float16, as the network sees them
    depth: Tensor  # (z, y, x) int8, half mm below the brain's surface
    place: Tensor  # (z, y, x) uint8, where lesions appear
    changed: tuple[Tensor, Tensor]  # (z, y, x) uint8: vanished, new
    # (z, y, x) uint8: what may have vanished, or be new, by the masks or to a reader
    unsure: tuple[Tensor, Tensor]
    lesions: tuple[Tensor, Tensor] | None  # (z, y, x) uint8, all lesions, where they are known


def read_visits(path: Path, device: torch.device) -> Visits:
    """Read `pairs/*.npz` of training/prepare.py."""

    def tensors(masks: list[Mask]) -> tuple[Tensor, Tensor]:
        first, second = (torch.from_numpy(mask.astype(np.uint8)).to(device) for mask in masks)
        return first, second

    with np.load(path) as arrays:
        channels, brain = arrays["channels"], arrays["brain"]
        orders = ("backward", "forward")
        changed = [arrays[f"truth_{order}"] & ~arrays[f"ignore_{order}"] & brain for order in orders]
        marked = [arrays[f"truth_{order}"] | arrays[f"ignore_{order}"] for order in orders]
        lesions = tensors(list(arrays["lesions"])) if "lesions" in arrays else None
    read = read_reading()
    marked = [
        mask | maybe_new(f"{path.stem} {order}", mask, read)
        for mask, order in zip(marked, orders, strict=True)
    ]
    near = [ndimage.binary_dilation(mask, iterations=DRAWN_VOXELS) for mask in marked]
    earlier, later = torch.from_numpy(channels).to(device)
    return Visits(
        values=(earlier, later),
        depth=torch.from_numpy(depth_of(ndimage.binary_fill_holes(brain))).to(device),
        place=torch.from_numpy(_places(4 * (channels.astype(np.float32) - 1), brain)).to(device),
        changed=tensors(changed),
        unsure=tensors([wide & ~sure for wide, sure in zip(near, changed, strict=True)]),
        lesions=lesions,
    )


def _places(z: Array, brain: Mask) -> Bytes:
    """Where lesions appear in white matter, more of them beside old ones."""
    old = (ndimage.gaussian_filter(z.min(axis=0), 0.7) > OLD_Z) & (depth_of(brain) > 2 * 5)
    beside = ndimage.binary_dilation(old, iterations=NEAR_OLD_VOXELS)
    place: Bytes = np.where(beside, NEAR_OLD, 1) * (white_places([*z], brain) // NEAR_OLD)
    return place.astype(np.uint8)


def make_real_sample(visits: Visits, shapes: Shapes, config: SynthesisConfig, rng: torch.Generator) -> Sample:
    """Draw a patch in either order of the visits, half of them along the voxels, which keeps the noise as it
    is, half turned and scaled.
    """
    swapped = bool(integer(rng, 2))
    side = config.patch + 2 * config.margin
    centre = random_centre(visits.depth, config.low, rng)
    coordinates = upright(centre, side, rng) if integer(rng, 2) else oblique(centre, side, 12.0, rng)
    depth, place, *values = sample([visits.depth, visits.place, *visits.values], coordinates)
    pairs = [*visits.changed, *visits.unsure, *(visits.lesions or ())]
    masks = [blur(mask, REAL_EDGE_MM) for mask in sample(pairs, coordinates, mode="nearest")]
    if swapped:  # each pair of masks is of the earlier and the later visit
        values.reverse()
        masks = [masks[number ^ 1] for number in range(len(masks))]
    gone, come, unsure_gone, unsure_come, *own = masks
    z = 4 * (values[0] - 1), 4 * (values[1] - 1)
    window = Window(z, depth / 2, place, torch.zeros_like(depth), False, visits.lesions is not None)

    changing = uniform(rng, 0, 1) >= config.lesions.lesion_free
    painted = add_lesions(window, shapes, config, changing, rng)
    scans = [add_distractors(scan, window, config.in_real_pairs, rng) for scan in painted.scans]
    scans = _degrade(scans, window, config, rng)
    if config.match_sharpness:
        scans = equally_sharp(scans, window.depth_mm > BRAIN_EDGE_MM[0])
    both = torch.minimum(own[0], own[1]) if own else torch.zeros_like(depth)
    before, after = (
        torch.maximum(part, both) for part in painted.lesions
    )  # real changes are `come` and `gone`
    new, vanished = torch.maximum(after - before, come), torch.maximum(before - after, gone)
    change = torch.where(come > LESION, math.inf, torch.where(gone > LESION, -math.inf, painted.change))
    hidden_new, hidden_vanished = hidden(scans, (new, vanished), change, window.depth_mm, config.lesions)
    lesions = (
        [torch.maximum(part, mask) for part, mask in zip(painted.lesions, own, strict=True)]
        if own
        else (before, after)
    )
    left_out = torch.stack(
        [hidden_new | (unsure_come > LESION), hidden_vanished | (unsure_gone > LESION)]
        + 2 * [torch.full_like(hidden_new, not window.all_marked)]
    )
    return cut(scans, torch.stack([new, vanished, *lesions]), left_out, window.depth_mm, config, rng)


def _degrade(
    scans: Sequence[Tensor], window: Window, config: SynthesisConfig, rng: torch.Generator
) -> list[Tensor]:
    """IQDA, and the scaling of a whole brain after it."""
    likeness = acquisition.draw_likeness(config.acquisition, rng)
    degraded = acquisition.lower_quality(scans, likeness, config, rng)
    return [
        acquisition.rescale(
            scan,
            window.depth_mm,
            acquisition.middle(before, window.depth_mm),
            config.acquisition.leftover,
            rng,
        )
        for scan, before in zip(degraded, scans, strict=True)
    ]
