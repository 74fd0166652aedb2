"""Checkpoints of one or more runs, as one ensemble in a weights folder.

python -m training.publish runs/open/heads/last.pt runs/open/scans/last.pt --weights weights
"""

import argparse
import dataclasses
from collections.abc import Sequence
from pathlib import Path

from app.errors import InputError
from app.method import checkpoint
from training import commands

PUBLISHED = Path(__file__).resolve().parent.parent / "weights"


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Copy checkpoints to a weights folder as lesions1.pt, lesions2.pt, ..."
    )
    parser.add_argument("checkpoints", type=Path, nargs="+")
    parser.add_argument("--weights", type=Path, required=True)
    arguments = parser.parse_args()
    publish(arguments.checkpoints, arguments.weights)


def publish(checkpoints: Sequence[Path], weights: Path) -> None:
    """Write the lesion networks and their hashes, and no other, all with the operating point of the first
    (validate --choose finds theirs). A folder without a brain extraction gets the published one.

    Raises InputError if the networks were trained on other windows or grids.
    """
    folds = [checkpoint.load(path) for path in checkpoints]
    first = folds[0].config
    for number, (path, fold) in enumerate(zip(checkpoints, folds, strict=True), start=1):
        if (fold.config.preprocess, fold.config.windows) != (first.preprocess, first.windows):
            raise InputError(
                f"{path}: trained on other windows or another grid than {checkpoints[0]}; wanted "
                "folds of one kind"
            )
        config = dataclasses.replace(fold.config, point=first.point)
        checkpoint.save(checkpoint.lesion_network(weights, number), fold.network, config, fold.provenance)
    published = {checkpoint.lesion_network(weights, number) for number in range(1, len(folds) + 1)}
    for path in set(checkpoint.lesion_networks(weights)) - published:
        checkpoint.remove(path)  # of an ensemble published before
    if not (weights / checkpoint.BRAIN_NETWORK).exists():
        checkpoint.copy(PUBLISHED / checkpoint.BRAIN_NETWORK, weights)


if __name__ == "__main__":
    commands.run(main)
