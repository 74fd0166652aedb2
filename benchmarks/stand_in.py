"""Weights that stand in for the trained ones where what is found does not matter."""

import shutil
from pathlib import Path

import torch

from app.cli.options import WEIGHTS
from app.config import Config, NetworkConfig, OperatingPoint, PreprocessConfig, WindowConfig
from app.method import checkpoint
from app.method.model import UNet3D

COARSE = Config(
    network=NetworkConfig(features=8, levels=1),
    preprocess=PreprocessConfig(spacing_mm=3.0),
    windows=WindowConfig(side=32, overlap=0.25),
    # a handful of marks, as a patient has: thousands of them would be all that tests wait for
    point=OperatingPoint(threshold=0.6, minimum_volume_mm3=500),
)


def write_weights(folder: Path, config: Config = COARSE) -> Path:
    """Fill an empty folder: an untrained lesion network on a 3-mm grid, and the shipped brain network.

    Returns it.
    """
    torch.manual_seed(0)
    checkpoint.save(folder / "lesions1.pt", UNet3D(config.network), config, {})
    shutil.copy(WEIGHTS / checkpoint.BRAIN_NETWORK, folder)
    brain_sha256 = checkpoint.sha256(folder / checkpoint.BRAIN_NETWORK)
    with (folder / checkpoint.SUMS).open("a") as sums:
        sums.write(f"{brain_sha256}  {checkpoint.BRAIN_NETWORK}\n")
    return folder
