"""The best checkpoints of one or more runs, as one ensemble in a weights folder.

python -m training.publish runs/open/seed1/best.pt runs/open/seed2/best.pt --weights weights
"""

import argparse
import dataclasses
from collections.abc import Sequence
from pathlib import Path

from app import checkpoint
from app.errors import InputError
from training import commands


def main() -> None:
    parser = argparse.ArgumentParser(description="Copy checkpoints to a weights folder as fold1.pt, fold2.pt, ...")
    parser.add_argument("checkpoints", type=Path, nargs="+")
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--threshold", type=float, help="probability; that of the first checkpoint if left out")
    parser.add_argument("--minimum-mm3", type=float, help="smaller lesions are dropped; that of the first checkpoint if left out")
    arguments = parser.parse_args()
    publish(arguments.checkpoints, arguments.weights, arguments.threshold, arguments.minimum_mm3)


def publish(checkpoints: Sequence[Path], weights: Path, threshold: float | None = None, minimum_mm3: float | None = None) -> None:
    """Write fold<n>.pt and their hashes, and no other, all with one operating point: the one given, or that of the first checkpoint.

    Raises InputError if the networks were trained on other windows or grids.
    """
    folds = [checkpoint.load(path) for path in checkpoints]
    first = folds[0].config
    predict = dataclasses.replace(
        first.predict,
        threshold=first.predict.threshold if threshold is None else threshold,
        minimum_volume_mm3=first.predict.minimum_volume_mm3 if minimum_mm3 is None else minimum_mm3,
    )
    for number, (path, fold) in enumerate(zip(checkpoints, folds, strict=True), start=1):
        if (fold.config.preprocess, fold.config.predict.window) != (first.preprocess, first.predict.window):
            raise InputError(f"{path}: trained on other windows or another grid than {checkpoints[0]}; wanted folds of one kind")
        config = dataclasses.replace(fold.config, predict=predict)
        checkpoint.save(weights / f"fold{number}.pt", fold.network, config, fold.provenance)
    for path in set(weights.glob("fold*.pt")) - {weights / f"fold{number}.pt" for number in range(1, len(folds) + 1)}:
        checkpoint.remove(path)  # of an ensemble published before


if __name__ == "__main__":
    commands.run(main)
