"""An endless stream of batches, drawn from prepared arrays with one seeded generator."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from training.augmentation import integer, uniform
from training.config import SynthesisConfig
from training.synthesis import make_sample, read_shapes, read_source


@dataclass(frozen=True)
class Batch:
    """Pairs of patches and their truth."""

    scans: Tensor  # (B, 2, D, H, W) float32, as app.preprocessing.Pair.channels
    truth: Tensor  # (B, D, H, W) bool
    scored: Tensor  # (B, D, H, W) bool, what counts in the loss


class PairStream:
    """Draws pairs from the heads, scans and lesion shapes of a folder that training/prepare.py wrote."""

    def __init__(self, prepared: Path, config: SynthesisConfig, seed: int, device: torch.device) -> None:
        self.config = config
        self.rng = torch.Generator(device).manual_seed(seed)
        self.shapes = read_shapes(prepared / "lesions.npz", device)
        self.heads = [read_source(path, device) for path in sorted(prepared.glob("heads/*.npz"))]
        self.scans = [read_source(path, device) for path in sorted(prepared.glob("scans/*.npz"))]
        if not self.heads or not self.scans:
            raise FileNotFoundError(f"{prepared}: {len(self.heads)} heads and {len(self.scans)} scans; wanted what training/prepare.py writes")

    def batch(self, size: int) -> Batch:
        samples = []
        for _ in range(size):
            sources = self.heads if uniform(self.rng, 0, 1) < self.config.head else self.scans
            samples.append(make_sample(sources[integer(self.rng, len(sources))], self.shapes, self.config, self.rng))
        return Batch(
            torch.stack([sample.scans for sample in samples]),
            torch.stack([sample.truth for sample in samples]),
            torch.stack([sample.scored for sample in samples]),
        )
