"""What a folder of weights holds, for programs: metadata.json in the style of a MONAI bundle.

python -m training.metadata --weights weights

The keys are those of the MONAI Bundle Specification (docs.monai.io, mb_specification). The folder is no
bundle that MONAI runs: the networks are UNet3D of app/method/model.py, and this program runs them.
`training.validate --card` writes it, too.
"""

import argparse
import json
import re
from pathlib import Path
from typing import Any

from app import __version__
from app.config import MAPS
from app.errors import InputError
from app.files import write_bytes
from app.method import checkpoint
from app.method.checkpoint import Checkpoint
from training import card, commands

FILE = "metadata.json"
REQUIREMENTS = Path(__file__).resolve().parent.parent / "requirements.txt"
MONAI_VERSION = "1.6.1"  # whose specification it follows; not needed to run
MEANINGS = {
    "new": "a lesion at follow-up, none at baseline",
    "vanished": "a lesion at baseline, none at follow-up",
    "baseline": "a lesion at baseline",
    "followup": "a lesion at follow-up",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=f"Write {FILE} beside weights.")
    parser.add_argument("--weights", type=Path, required=True)
    write(parser.parse_args().weights)


def write(weights: Path) -> None:
    """Write it beside the weights. Raises InputError if there is no lesion network."""
    write_bytes((json.dumps(metadata(weights), indent=1, ensure_ascii=False) + "\n").encode(), weights / FILE)


def metadata(weights: Path) -> dict[str, Any]:
    """What the checkpoints of a folder say, under MONAI's keys. Raises InputError if there is none."""
    paths = checkpoint.lesion_networks(weights)
    if not paths:
        raise InputError(f"{weights}: no {checkpoint.LESION_NETWORKS}; wanted a folder with trained weights")
    brain = weights / checkpoint.BRAIN_NETWORK
    loaded = {path.name: checkpoint.load(path) for path in (*paths, *([brain] if brain.is_file() else []))}
    first = loaded[paths[0].name]
    return {
        "version": __version__,
        "changelog": {__version__: "see CHANGELOG.md"},
        "monai_version": MONAI_VERSION,
        "pytorch_version": _pinned("torch"),
        "numpy_version": _pinned("numpy"),
        "required_packages_version": {name: _pinned(name) for name in ("SimpleITK", "scipy")},
        "optional_packages_version": {},
        "name": "New multiple-sclerosis lesions between two FLAIR scans",
        "task": "Segmentation of the lesions that a follow-up FLAIR shows and the baseline does not",
        "description": f"{len(paths)} 3-D U-Nets, whose probabilities are averaged, and one that finds the "
        "brain. Run by `ms-new-lesions segment`, which also aligns and prepares the scans. MODEL_CARD.md "
        "says how they were made and how good they are.",
        "authors": "The ms-new-lesions maintainers",
        "copyright": "The ms-new-lesions maintainers; Apache License 2.0",
        "intended_use": "Research only: not a medical device, not for diagnosis",
        "data_source": card.data_of({path.name: loaded[path.name] for path in paths}),
        "data_type": "FLAIR, NIfTI",
        "references": [
            "Kamraoui, Ta, Manjón, Coupé: Image quality data augmentation for new MS lesion segmentation. "
            "MSSEG-2 challenge proceedings, MICCAI 2021"
        ],
        "network_data_format": _format(first),
        "settings": first.config.plain(),
        "files": {name: {"sha256": one.sha256, **_made(one)} for name, one in loaded.items()},
    }


def _format(network: Checkpoint) -> dict[str, Any]:
    """The tensors of the lesion networks, one window at a time."""
    side = network.config.windows.side
    window = {"type": "image", "modality": "MR", "spatial_shape": [side] * 3, "dtype": "float32"}
    maps = network.config.outputs == "maps"
    outputs = [MEANINGS[name] for name in MAPS] if maps else ["no new lesion", MEANINGS["new"]]
    scans = ("baseline", "follow-up")
    return {
        "inputs": {
            "image": window
            | {
                "format": "magnitude",
                "num_channels": 2,
                "value_range": [],
                "is_patch_data": True,
                "channel_def": {str(place): f"{scan} FLAIR" for place, scan in enumerate(scans)},
            }
        },
        "outputs": {
            "pred": window
            | {
                "format": "classes" if maps else "labels",  # a sigmoid each, or a softmax over both
                "num_channels": len(outputs),
                "value_range": [0, 1],
                "is_patch_data": True,
                "channel_def": {str(place): meaning for place, meaning in enumerate(outputs)},
            }
        },
    }


def _made(network: Checkpoint) -> dict[str, Any]:
    parameters = sum(values.numel() for values in network.network.parameters())
    return {"parameters": parameters, "date": network.provenance["date"], "data": network.provenance["data"]}


def _pinned(package: str) -> str:
    """The version that requirements.txt asks for."""
    found = re.search(rf"^{package}==([^\s;]+)", REQUIREMENTS.read_text(), re.MULTILINE | re.IGNORECASE)
    if found is None:
        raise InputError(f"{REQUIREMENTS}: no {package}; wanted the version of it")
    return found[1]


if __name__ == "__main__":
    commands.run(main)
