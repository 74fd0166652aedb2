"""What training minimises: Dice, or Dice and cross-entropy, over the batch of all processes."""

import torch
from torch import Tensor
from torch.nn import functional

from training.processes import summed

EPSILON = 0.01  # METHOD 3


def dice_loss(logits: Tensor, truth: Tensor, scored: Tensor) -> Tensor:
    """1 - Dice, averaged over both softmax channels (METHOD 3), over the scored voxels of the whole batch.

    logits (B, 2, D, H, W); truth and scored (B, D, H, W) bool. In [0, 1]; without a lesion in prediction and truth that channel's loss is 0.
    """
    probabilities = logits.float().softmax(dim=1) * scored[:, None]
    wanted = torch.stack([~truth & scored, truth & scored], dim=1).float()
    axes = (0, 2, 3, 4)
    overlap, total = summed(
        torch.stack([(probabilities * wanted).sum(axes), probabilities.sum(axes) + wanted.sum(axes)])
    )
    loss: Tensor = 1 - ((2 * overlap + EPSILON) / (total + EPSILON)).mean()
    return loss


def dice_ce_loss(logits: Tensor, truth: Tensor, scored: Tensor) -> Tensor:
    """Dice loss plus the mean cross-entropy of the scored voxels: calmer where there is nothing to find (RECIPE 3)."""
    entropy = functional.cross_entropy(logits.float(), truth.long(), reduction="none")
    entropies, voxels = summed(torch.stack([(entropy * scored).sum(), scored.sum()]))
    loss: Tensor = dice_loss(logits, truth, scored) + entropies / voxels.clamp_min(1)
    return loss


LOSSES = {"dice": dice_loss, "dice_ce": dice_ce_loss}
