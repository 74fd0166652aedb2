"""What training minimises: Dice, Dice and cross-entropy, or both for each of several maps, over the batch of
all processes.
"""

import torch
from torch import Tensor
from torch.nn import functional

from training.processes import summed

EPSILON = 0.01  # docs/method.md, 3
MAP_WEIGHTS = (1.0, 0.5, 0.25, 0.25)  # of app.config.MAPS: what is new is what the network is for
# A lesion of this volume or more counts by its voxels. A smaller one counts by this volume, at most so many
# times its own: else the large ones are most of what is learnt (blob loss, Kofler 2023, has the same aim).
WHOLE_VOXELS, MOST_TIMES = 200.0, 10.0
CHANGES = 2  # of MAPS, the first: what is new, what has vanished; in maps of all lesions crumbs are mistakes
LOCAL_VOXELS = 9  # side of the cube in which a lesion's volume is measured
EMPTY_VOXELS = (
    10.0  # added to overlap and sum of a map's Dice, so that a few faint voxels in an empty batch cost little
)


def dice_loss(logits: Tensor, truth: Tensor, scored: Tensor) -> Tensor:
    """1 - Dice, averaged over both softmax channels (docs/method.md, 3), over the scored voxels of the whole
    batch.

    logits (B, 2, D, H, W); truth and scored (B, maps, D, H, W), of which the first map is that of new lesions
    and counts alone; a voxel is lesion from one half on. In [0, 1]; without a lesion in prediction and truth
    that channel's loss is 0.
    """
    new, counted = truth[:, 0] > 0.5, scored[:, 0]
    probabilities = logits.float().softmax(dim=1) * counted[:, None]
    wanted = torch.stack([~new & counted, new & counted], dim=1).float()
    axes = (0, 2, 3, 4)
    overlap, total = summed(
        torch.stack([(probabilities * wanted).sum(axes), probabilities.sum(axes) + wanted.sum(axes)])
    )
    loss: Tensor = 1 - ((2 * overlap + EPSILON) / (total + EPSILON)).mean()
    return loss


def dice_ce_loss(logits: Tensor, truth: Tensor, scored: Tensor) -> Tensor:
    """Dice loss plus the mean cross-entropy of the scored voxels: calmer where there is nothing to find
    (docs/method.md, 8).
    """
    entropy = functional.cross_entropy(logits.float(), (truth[:, 0] > 0.5).long(), reduction="none")
    entropies, voxels = summed(torch.stack([(entropy * scored[:, 0]).sum(), scored[:, 0].sum()]))
    loss: Tensor = dice_loss(logits, truth, scored) + entropies / voxels.clamp_min(1)
    return loss


def maps_loss(logits: Tensor, truth: Tensor, scored: Tensor) -> Tensor:
    """Soft Dice loss plus mean cross-entropy of each map, weighted by `MAP_WEIGHTS`: logits, truth in [0, 1]
    and scored (B, 4, D, H, W). Small changes have a larger weight (`lesion_weights`).

    The squares in the denominator (V-Net, Milletari 2016) make the Dice of parts of voxels greatest where
    prediction and truth are equal.
    """
    entropy = functional.binary_cross_entropy_with_logits(logits.float(), truth, reduction="none")
    probability = logits.float().sigmoid() * scored
    wanted = truth * scored
    weights = torch.cat([lesion_weights(truth[:, :CHANGES]), torch.ones_like(truth[:, CHANGES:])], dim=1)
    axes = (0, 2, 3, 4)
    parts = [
        (weights * entropy * scored).sum(axes),
        scored.sum(axes),
        (weights * probability * wanted).sum(axes),
        (weights * (probability**2 + wanted**2)).sum(axes),
    ]
    entropies, voxels, overlap, total = summed(torch.stack(parts))
    losses = 1 - (2 * overlap + EMPTY_VOXELS) / (total + EMPTY_VOXELS) + entropies / voxels.clamp_min(1)
    maps = torch.tensor(MAP_WEIGHTS, device=logits.device)
    loss: Tensor = (losses * maps).sum() / maps.sum()
    return loss


def lesion_weights(truth: Tensor) -> Tensor:
    """Weight of each voxel (B, maps, D, H, W): 1 outside lesions, up to `MOST_TIMES` in small ones."""
    volume = functional.pad(truth, [LOCAL_VOXELS // 2] * 6)
    for axis in range(3):
        side = [LOCAL_VOXELS if axis == along else 1 for along in range(3)]
        volume = LOCAL_VOXELS * functional.avg_pool3d(volume, side, stride=1)
    times = (WHOLE_VOXELS / volume.clamp_min(1.0)).clamp(1.0, MOST_TIMES)
    return 1 + truth * (times - 1)


LOSSES = {"dice": dice_loss, "dice_ce": dice_ce_loss, "maps": maps_loss}
