"""One pair of patches and its truth: look at a head or a scan, add lesions, add distractors, acquire each
visit.

Inside this package intensities are z: spreads (1.4826 MAD of the brain) above the brain's mode. The network
sees `1 + z / 4` clipped to [0, 3], 0 outside the brain (app.method.preprocessing). Arrays are (z, y, x) at 1
mm, axes running to superior, posterior and left.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from training.augmentation import equally_sharp, uniform
from training.config import LesionConfig, SynthesisConfig
from training.synthesis import acquisition
from training.synthesis.anatomy import Source, look
from training.synthesis.distractors import add_distractors
from training.synthesis.lesions import LESION, Shapes, add_lesions, shown

BRAIN_EDGE_MM = (-0.5, 1.5)  # how far in a brain mask may lie


@dataclass(frozen=True)
class Sample:
    """What one step of training sees of one pair.

    The maps are those of app.config.MAPS, or the first of them alone.
    """

    scans: Tensor  # (2, z, y, x): baseline, follow-up; float32 in [0, 3]
    truth: Tensor  # (maps, z, y, x) float32 in [0, 1]: which part of a voxel belongs to a lesion
    # (maps, z, y, x) bool: the brain, but for what is not known and for changes that the scans do not show
    scored: Tensor


def make_sample(source: Source, shapes: Shapes, config: SynthesisConfig, rng: torch.Generator) -> Sample:
    """Draw one pair of patches and its truth."""
    likeness = acquisition.draw_likeness(config.acquisition, rng)
    window = look(source, config, likeness, rng)
    changing = uniform(rng, 0, 1) >= config.lesions.lesion_free
    painted = add_lesions(window, shapes, config, changing, rng)

    scans = [add_distractors(scan, window, config.distractors, rng) for scan in painted.scans]
    scans[0] = acquisition.misalign(
        scans[0], config.acquisition, rng
    )  # the baseline alone: the truth stays where the follow-up shows it
    tone = [acquisition.middle(scan, window.depth_mm) for scan in scans]
    scanners = acquisition.draw_scanners(likeness, scans[0].shape[0], config.acquisition, rng)
    scans = [acquisition.acquire(scan, scanner, rng) for scan, scanner in zip(scans, scanners, strict=True)]
    scans = acquisition.lower_quality(scans, likeness, config, rng)
    leftover = config.acquisition.leftover_far if likeness == "far" else config.acquisition.leftover
    scans = [
        acquisition.rescale(scan, window.depth_mm, wanted, leftover, rng)
        for scan, wanted in zip(scans, tone, strict=True)
    ]

    if config.match_sharpness:
        scans = equally_sharp(scans, window.depth_mm > BRAIN_EDGE_MM[0])

    baseline, followup = painted.lesions
    new, vanished = (followup - baseline).clamp_min(0), (baseline - followup).clamp_min(0)
    hidden_new, hidden_vanished = hidden(
        scans, (new, vanished), painted.change, window.depth_mm, config.lesions
    )
    unknown = torch.full_like(hidden_new, not window.all_marked)
    left_out = torch.stack([hidden_new, hidden_vanished, unknown, unknown])
    maps = torch.stack([new, vanished, baseline, followup])
    return cut(scans, maps, left_out, window.depth_mm, config, rng)


def hidden(
    scans: Sequence[Tensor],
    changed: tuple[Tensor, Tensor],
    change: Tensor,
    depth_mm: Tensor,
    lesions: LesionConfig,
) -> tuple[Tensor, Tensor]:
    """What is new and what has vanished (`changed`, parts of a voxel) without both scans showing it.

    `change` is the rise in z that it was painted with.
    """
    rise = scans[1] - scans[0]
    new, vanished = changed[0] > LESION, changed[1] > LESION
    return (
        new & ~(shown(rise, new, depth_mm, lesions) & (change > lesions.visible_z)),
        vanished & ~(shown(-rise, vanished, depth_mm, lesions) & (change < -lesions.visible_z)),
    )


def cut(
    scans: Sequence[Tensor],
    maps: Tensor,
    left_out: Tensor,
    depth_mm: Tensor,
    config: SynthesisConfig,
    rng: torch.Generator,
) -> Sample:
    """The patch inside the margin of a window, as the network sees it; brain mask and fields of view end
    somewhere.
    """
    inner = (slice(config.margin, config.margin + config.patch),) * 3
    brain = depth_mm[inner] > uniform(rng, *BRAIN_EDGE_MM)
    brain &= acquisition.common_field(config.patch, rng, brain.device)
    channels = torch.stack([(1 + scan[inner] / 4).clamp(0, 3) for scan in scans]) * brain
    return Sample(channels, maps[:, *inner] * brain, brain & ~left_out[:, *inner])
