"""What training minimises: Dice, or Dice and cross-entropy."""

import torch
from torch import Tensor
from torch.nn import functional

EPSILON = 0.01  # METHOD 3


def dice_loss(logits: Tensor, truth: Tensor, scored: Tensor) -> Tensor:
    """1 - Dice, averaged over both softmax channels (METHOD 3), over the scored voxels of the whole batch.

    logits (B, 2, D, H, W); truth and scored (B, D, H, W) bool. In [0, 1]; without a lesion in prediction and truth that channel's loss is 0.
    """
    probabilities = logits.float().softmax(dim=1) * scored[:, None]
    wanted = torch.stack([~truth & scored, truth & scored], dim=1).float()
    axes = (0, 2, 3, 4)
    overlap = (probabilities * wanted).sum(axes)
    total = probabilities.sum(axes) + wanted.sum(axes)
    return 1 - ((2 * overlap + EPSILON) / (total + EPSILON)).mean()


def dice_ce_loss(logits: Tensor, truth: Tensor, scored: Tensor) -> Tensor:
    """Dice loss plus the mean cross-entropy of the scored voxels: calmer where there is nothing to find (RECIPE 3)."""
    entropy = functional.cross_entropy(logits.float(), truth.long(), reduction="none")
    return dice_loss(logits, truth, scored) + (entropy * scored).sum() / scored.sum().clamp_min(1)


LOSSES = {"dice": dice_loss, "dice_ce": dice_ce_loss}
