"""Windows over a volume, through one or more networks, to a probability for every voxel."""

import dataclasses
import logging
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..config import Config
from ..errors import InputError
from . import checkpoint
from .model import UNet3D

GPU_BATCH = 16  # windows at a time; fewer where memory does not hold so many
# torch has a faster convolution for more than one window: half the time with float32, 48^3 and 8 features
CPU_BATCH = 2

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class LesionMaps:
    """Probabilities (z, y, x) in [0, 1], float32, 0 outside the brain; None where the networks know new
    lesions alone.
    """

    new: np.ndarray  # a lesion at follow-up, none at baseline
    vanished: np.ndarray | None = None  # a lesion at baseline, none at follow-up
    baseline: np.ndarray | None = None  # a lesion at baseline
    followup: np.ndarray | None = None  # a lesion at follow-up


class Predictor:
    """An ensemble of networks: their probabilities are averaged.

    `overlap` of neighbouring windows is that of the config where it is not given; `bfloat16` is used where
    the device multiplies it itself.
    """

    def __init__(
        self,
        networks: Sequence[UNet3D],
        config: Config,
        device: torch.device,
        overlap: float | None = None,
        bfloat16: bool | None = None,
    ) -> None:
        self.networks = [network.to(memory_format=torch.channels_last_3d).eval() for network in networks]  # type: ignore[call-overload]
        self.config = config
        self.device = device
        self.overlap = config.windows.overlap if overlap is None else overlap
        self.bfloat16 = bfloat16

    @staticmethod
    def from_folder(
        weights: Path, device: torch.device, overlap: float | None = None, bfloat16: bool | None = None
    ) -> "Predictor":
        """Load every lesion network of a folder.

        Raises InputError if there is none, if one is damaged, or if their settings differ.
        """
        paths = checkpoint.trained_networks(weights)
        ensemble = [checkpoint.load(path) for path in paths]
        first = ensemble[0].config
        for path, member in zip(paths, ensemble, strict=True):
            if dataclasses.replace(member.config, network=first.network) != first:
                raise InputError(
                    f"{path}: other settings than {paths[0].name}; wanted networks of one training"
                )
        return Predictor([member.network for member in ensemble], first, device, overlap, bfloat16)

    def __call__(self, channels: np.ndarray, brain: np.ndarray) -> np.ndarray:
        """Probability of a new lesion: the first of the maps."""
        return self.maps(channels, brain).new

    def maps(self, channels: np.ndarray, brain: np.ndarray) -> LesionMaps:
        """All that the networks know of channels (2, z, y, x) in a brain (z, y, x).

        It is float32 in [0, 1], and 0 outside the brain. Where a GPU cannot hold even one window, the CPU
        takes over, with a warning. Smaller windows would need less memory, but GroupNorm makes them another
        network than the one that was trained and measured.
        """
        try:
            return self._predict(channels, brain, self.device)
        except torch.OutOfMemoryError:
            logger.warning(
                "out of GPU memory with a single window: the network runs on the CPU; "
                "for speed, free the GPU and start again"
            )
        return self._predict(channels, brain, torch.device("cpu"))

    def _predict(self, channels: np.ndarray, brain: np.ndarray, device: torch.device) -> LesionMaps:
        networks = [network.to(device) for network in self.networks]

        def mean(windows: Tensor) -> Tensor:
            """Mean probabilities of the networks: (B, 2, D, H, W) -> (B, maps, D, H, W)."""
            windows = windows.contiguous(memory_format=torch.channels_last_3d)
            outputs = [probabilities(network(windows), self.config) for network in networks]
            return torch.stack(outputs).mean(dim=0)

        side = self.config.windows.side
        bfloat16 = has_fast_bfloat16(device) if self.bfloat16 is None else self.bfloat16
        volume, inside = torch.from_numpy(channels).to(device), torch.from_numpy(brain)
        with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=bfloat16):
            maps = sliding_window(volume, mean, side, self.overlap, inside).cpu().numpy()
        maps *= brain
        return LesionMaps(*maps)


def probabilities(logits: Tensor, config: Config) -> Tensor:
    """(B, channels_out, D, H, W) to (B, maps, D, H, W) in [0, 1]: each of MAPS, or new lesions alone."""
    if config.outputs == "maps":
        return logits.float().sigmoid()
    return logits.float().softmax(dim=1)[:, 1:]


def has_fast_bfloat16(device: torch.device) -> bool:
    """Whether the device multiplies bfloat16 itself, not by way of float32.

    It takes half the time and memory, and is as precise as the networks were trained.
    """
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return device.type == "cpu" and bool(torch.cpu.get_capabilities().get("avx512_bf16", False))


def sliding_window(
    volume: Tensor,
    network: Callable[[Tensor], Tensor],
    window: int,
    overlap: float,
    inside: Tensor | None = None,
) -> Tensor:
    """Blend the outputs of cubic windows over a volume of any size: (C, D, H, W) -> (K, D, H, W).

    `network` maps (B, C, window, window, window) to (B, K, window, window, window). The windows are those of
    `windows_over` the voxels `inside` (D, H, W), all by default, weighted with a Gaussian, since a window
    knows its centre better than its edge. A side shorter than the window is padded with 0. Where no window
    was, the output is 0. Out of GPU memory it goes on with half as many windows at a time; raises
    torch.OutOfMemoryError if one is too many.
    """
    sides = volume.shape[1:]
    inside = torch.ones(sides, dtype=torch.bool) if inside is None else inside
    missing = [max(window - side, 0) for side in sides]
    if any(missing):
        padding = [amount for after in reversed(missing) for amount in (0, after)]
        volume, inside = torch.nn.functional.pad(volume, padding), torch.nn.functional.pad(inside, padding)
    weight = _gaussian(window).to(volume.device)
    total: Tensor | None = None
    weights = torch.zeros(volume.shape[1:], device=volume.device)
    blocks = list(windows_over(inside, window, overlap))
    most = size = GPU_BATCH if volume.device.type == "cuda" else CPU_BATCH
    while blocks:
        batch = blocks[:size]
        try:
            outputs = network(torch.stack([volume[:, *block] for block in batch]))
        except torch.OutOfMemoryError:
            if size == 1:
                raise
            size //= 2
            continue
        if total is None:
            total = outputs.new_zeros((outputs.shape[1], *weights.shape))
        for block, output in zip(batch, outputs, strict=True):
            total[:, *block] += output * weight
            weights[block] += weight
        blocks = blocks[size:]
    if total is None:
        raise ValueError("no voxel is `inside`")
    if size < most:
        logger.warning(
            "out of GPU memory with %d windows at a time: went on with %d; slower, the result is the same",
            most,
            size,
        )
    return total.div_(weights.clamp_min_(torch.finfo(weights.dtype).tiny))[
        :, : sides[0], : sides[1], : sides[2]
    ]


def windows_over(inside: Tensor, window: int, overlap: float) -> Iterator[tuple[slice, ...]]:
    """Windows that cover the voxels of `inside`, of one to three axes, no side shorter than the window.

    Neighbours overlap at least so much.

    Slabs along the first axis, in each slab rows along the second, in each row windows along the third,
    spread evenly from the first voxel to the last one of this very slab or row: a head takes a sixth fewer
    than its bounding box.
    """
    line = inside.flatten(1).any(dim=1) if inside.ndim > 1 else inside
    for start in window_starts(line, window, overlap):
        block = slice(start, start + window)
        shadow = inside[block].any(dim=0)
        if not shadow.any():
            continue
        if shadow.ndim == 0:
            yield (block,)
        else:
            yield from ((block, *rest) for rest in windows_over(shadow, window, overlap))


def window_starts(line: Tensor, window: int, overlap: float) -> list[int]:
    """First voxels of the windows along a line of at least so many voxels: the fewest that cover its True
    ones and overlap at least so much.

    They are spread evenly; a stretch shorter than the window lies in its middle, unless the line ends there.
    """
    true = line.nonzero().flatten().tolist()
    if not true:
        return []
    length = true[-1] + 1 - true[0]
    spare = max(window - length, 0)
    first = min(max(true[0] - spare // 2, 0), len(line) - length - spare)
    slack = length + spare - window
    count = math.ceil(slack / (window * (1 - overlap))) + 1
    return [first + round(index * slack / max(count - 1, 1)) for index in range(count)]


def _gaussian(window: int) -> Tensor:
    """(window, window, window), 1 at the centre; the standard deviation is an eighth of the side, as in
    nnU-Net (Isensee 2021).
    """
    position = torch.arange(window) - (window - 1) / 2
    line = torch.exp(-0.5 * (position / (window / 8)) ** 2)
    return (line[:, None, None] * line[:, None] * line).clamp_min(1e-4)
