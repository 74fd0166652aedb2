"""Windows over a volume, through one or more networks, to a probability for every voxel."""

import itertools
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from app import checkpoint
from app.config import Config
from app.errors import InputError
from app.model import UNet3D

BATCH = 2  # windows at a time: torch has a faster convolution for more than one (0.17 instead of 0.31 s of CPU a window, 48^3, 8 features)


class Predictor:
    """An ensemble of networks: their softmax outputs are averaged."""

    def __init__(self, networks: Sequence[UNet3D], config: Config, device: torch.device) -> None:
        self.networks = [network.to(device).to(memory_format=torch.channels_last_3d).eval() for network in networks]  # type: ignore[call-overload]
        self.config = config
        self.device = device

    @staticmethod
    def from_folder(weights: Path, device: torch.device) -> "Predictor":
        """Load every fold*.pt of a folder. Raises InputError if there is none, one is damaged, or their settings differ."""
        paths = sorted(weights.glob("fold*.pt"))
        if not paths:
            raise InputError(f"{weights}: no fold*.pt; wanted a folder with trained weights")
        folds = [checkpoint.load(path) for path in paths]
        for path, fold in zip(paths, folds, strict=True):
            if (fold.config.preprocess, fold.config.predict) != (folds[0].config.preprocess, folds[0].config.predict):
                raise InputError(f"{path}: other settings than {paths[0].name}; wanted folds of one training")
        return Predictor([fold.network for fold in folds], folds[0].config, device)

    def __call__(self, channels: np.ndarray, brain: np.ndarray) -> np.ndarray:
        """Probability of a new lesion: channels (2, z, y, x) and brain (z, y, x) to (z, y, x) in [0, 1], float32, 0 outside the brain."""
        probability = np.zeros(brain.shape, dtype=np.float32)
        box = bounding_box(brain)
        volume = torch.from_numpy(np.ascontiguousarray(channels[:, *box])).to(self.device)
        inside = torch.from_numpy(np.ascontiguousarray(brain[box]))
        predict = self.config.predict
        with torch.inference_mode():
            classes = sliding_window(volume, self._ensemble, predict.window, predict.overlap, inside)
        probability[box] = classes[1].cpu().numpy() * brain[box]
        return probability

    def _ensemble(self, windows: Tensor) -> Tensor:
        """Mean softmax of the networks: (B, 2, D, H, W) -> (B, 2, D, H, W)."""
        windows = windows.contiguous(memory_format=torch.channels_last_3d)
        return torch.stack([network(windows).softmax(dim=1) for network in self.networks]).mean(dim=0)


def sliding_window(volume: Tensor, network: Callable[[Tensor], Tensor], window: int, overlap: float, inside: Tensor | None = None) -> Tensor:
    """Blend the outputs of cubic windows over a volume of any size: (C, D, H, W) -> (K, D, H, W).

    `network` maps (B, C, window, window, window) to (B, K, window, window, window), B up to BATCH. Windows are `window * (1 - overlap)` voxels apart
    or closer, spread evenly, and weighted with a Gaussian, since a window knows its centre better than its edge. A side shorter than the window is
    padded with 0. Windows without a voxel of `inside` (D, H, W) are skipped; where no window was, the output is 0.
    """
    sides = volume.shape[1:]
    padded = [max(side, window) for side in sides]
    padding = [(0, wanted - side) for side, wanted in zip(sides, padded, strict=True)]
    volume = torch.nn.functional.pad(volume, [amount for pair in reversed(padding) for amount in pair])
    weight = _gaussian(window).to(volume.device)
    total: Tensor | None = None
    weights = torch.zeros(padded, device=volume.device)
    starts = itertools.product(*(window_starts(side, window, overlap) for side in padded))
    blocks = [tuple(slice(first, first + window) for first in start) for start in starts]
    if inside is not None:
        blocks = [block for block in blocks if inside[block].any()]
    for first in range(0, len(blocks), BATCH):
        batch = blocks[first : first + BATCH]
        outputs = network(torch.stack([volume[:, *block] for block in batch]))
        if total is None:
            total = outputs.new_zeros((outputs.shape[1], *padded))
        for block, output in zip(batch, outputs, strict=True):
            total[:, *block] += output * weight
            weights[block] += weight
    if total is None:
        raise ValueError("no window has a voxel of `inside`")
    return (total / weights.clamp_min(torch.finfo(weights.dtype).tiny))[:, : sides[0], : sides[1], : sides[2]]


def window_starts(side: int, window: int, overlap: float) -> list[int]:
    """First voxels of the windows along one side (>= window): the fewest that overlap at least so much, spread evenly, border to border."""
    count = math.ceil((side - window) / (window * (1 - overlap))) + 1
    return [round(index * (side - window) / max(count - 1, 1)) for index in range(count)]


def bounding_box(mask: np.ndarray) -> tuple[slice, ...]:
    """The smallest box around a mask with at least one voxel."""
    spans = [np.flatnonzero(mask.any(axis=tuple(other for other in range(mask.ndim) if other != axis))) for axis in range(mask.ndim)]
    return tuple(slice(int(span[0]), int(span[-1]) + 1) for span in spans)


def _gaussian(window: int) -> Tensor:
    """(window, window, window), 1 at the centre; the standard deviation is an eighth of the side, as in nnU-Net (Isensee 2021)."""
    position = torch.arange(window) - (window - 1) / 2
    line = torch.exp(-0.5 * (position / (window / 8)) ** 2)
    return (line[:, None, None] * line[:, None] * line).clamp_min(1e-4)
