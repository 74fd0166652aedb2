"""Every setting of the method.

The defaults are the paper's, where it states them. What ships differs, because it was trained on two CPU
cores: every checkpoint carries the settings that it was trained with, and weights/MODEL_CARD.md lists them.
"""

import dataclasses
import json
from dataclasses import dataclass, field
from typing import Any, Literal

# What a network with maps says of each voxel, in the order of its outputs: a lesion that came, one that went,
# one at baseline, one at follow-up.
MAPS = ("new", "vanished", "baseline", "followup")


@dataclass(frozen=True)
class NetworkConfig:
    """Shape of the U-Net. The defaults are the paper's (7,071,386 parameters)."""

    channels_in: int = 2  # baseline and follow-up
    channels_out: int = 2  # background and new lesion
    features: int = 24  # channels after the first convolution
    levels: int = 3  # max-poolings; sides must be multiples of 2**levels
    groups: int = 8  # of every GroupNorm
    dropout: float = 0.5  # after each max-pooling


@dataclass(frozen=True)
class PreprocessConfig:
    """From two scans to the two channels of the network."""

    spacing_mm: float = 1.0  # isotropic working grid of the network
    bias_order: Literal["n4-then-mask", "mask-then-n4"] = "n4-then-mask"  # the authors', or the organisers'
    bias_fwhm: float = 0.3  # of N4's histogram deconvolution; animaN4BiasCorrection -B
    denoising: Literal["none", "gaussian", "rician"] = "none"  # non-local means after N4
    match_histogram: bool = False  # the follow-up's intensities to the baseline's
    match_sharpness: bool = False  # both scans show as much detail (app.method.sharpness)


@dataclass(frozen=True)
class WindowConfig:
    """How a network of small windows sees a whole head."""

    side: int = 64  # voxels; GroupNorm makes the output depend on it, so it is the side of the training patch
    overlap: float = 0.5  # of neighbouring windows: a stride of 32 (docs/method.md, 4)


@dataclass(frozen=True)
class OperatingPoint:
    """From a probability map to a mask."""

    threshold: float = 0.5  # probability above which a voxel is a new lesion
    certain: float = 0.5  # probability that more than the minimum volume of a lesion must exceed
    possible: float | None = None  # likewise, for a mark that is only possible; None: there are none
    minimum_volume_mm3: float = 3.0  # smaller lesions are dropped, as in the official score
    gain: float | None = None  # share of its signal that a lesion must have gained; None: any will do


@dataclass(frozen=True)
class Config:
    """Everything a checkpoint must know to be used as it was trained."""

    network: NetworkConfig = field(default_factory=NetworkConfig)
    preprocess: PreprocessConfig = field(default_factory=PreprocessConfig)
    windows: WindowConfig = field(default_factory=WindowConfig)
    point: OperatingPoint = field(default_factory=OperatingPoint)
    # what the outputs mean: a softmax over background and new lesion (the paper's), or a sigmoid for each of
    # MAPS
    outputs: Literal["new", "maps"] = "new"
    # how often a mark with that score (app.method.detection) is a new lesion: points of a rising line; () if
    # unknown
    calibration: tuple[tuple[float, float], ...] = ()

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self), indent=1)

    def plain(self) -> dict[str, Any]:
        """The settings as JSON knows them: lists for tuples."""
        settings: dict[str, Any] = json.loads(self.to_json())
        return settings

    @staticmethod
    def from_json(text: str) -> "Config":
        """Read what `to_json` wrote. Raises KeyError or TypeError on settings of another version."""
        parts = json.loads(text)
        return Config(
            network=NetworkConfig(**parts["network"]),
            preprocess=PreprocessConfig(**parts["preprocess"]),
            windows=WindowConfig(**parts["windows"]),
            point=OperatingPoint(**parts["point"]),
            outputs=parts["outputs"],
            calibration=tuple((score, share) for score, share in parts["calibration"]),
        )
