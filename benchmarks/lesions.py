"""How well do the networks draw all lesions of one scan? Dice with an expert's mask.

    python -m benchmarks.lesions --scan FLAIR MASK [--scan FLAIR MASK ...] [--weights weights]

The scan is its own baseline, so that nothing is new; the map of all lesions at follow-up is carried back to
the scan's grid. The mask must be on that grid. A scan that the networks were trained on flatters them:
training/README.md says which those are.
"""

import argparse
from pathlib import Path

import torch

from app import assessment, pipeline
from app.errors import InputError
from app.images import grids, storage
from app.method.detection import all_lesions
from app.pipeline import Networks
from training import commands
from training.yardstick import lesion_dice


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--scan", type=Path, nargs=2, action="append", required=True, metavar=("FLAIR", "MASK")
    )
    parser.add_argument("--weights", type=Path, default=Path("weights"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    networks = Networks.load(arguments.weights, torch.device("cpu"))
    print("| scan | expert, ml | ours, ml | Dice |\n|---|---|---|---|", flush=True)
    for scan, mask in arguments.scan:
        print(row(scan, mask, networks), flush=True)


def row(path: Path, mask: Path, networks: Networks) -> str:
    """Raises InputError for scans and masks that cannot be used, and for networks without such a map."""
    scan = storage.read(path)
    drawn = grids.array(storage.read_mask(mask, scan)) > 0
    aligned, pair = pipeline.prepare(scan, scan, networks.brain, networks.predictor.config.preprocess)
    lesions = networks.predictor.maps(pair.channels(), pair.brain).followup
    if lesions is None:
        raise InputError("these networks know new lesions alone; wanted some that draw all lesions")
    voxel_mm3 = grids.voxel_mm3(scan)
    (found,) = all_lesions([grids.array(assessment.to_followup(lesions, pair, scan, aligned))], voxel_mm3)
    expert_ml, ours_ml = (float(mask.sum()) * voxel_mm3 / 1000 for mask in (drawn, found))
    return f"| {path.stem} | {expert_ml:.1f} | {ours_ml:.1f} | {lesion_dice(found, drawn):.2f} |"


if __name__ == "__main__":
    commands.run(main)
