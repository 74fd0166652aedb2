"""From the folders of the MSSEG-2 challenge to the compact arrays that training reads, and who validates
which fold.

    python -m training.msseg2 --data MSSEG2/training --out runs/msseg2/prepared

A patient's folder holds flair_time01_on_middle_space.nii.gz, flair_time02_on_middle_space.nii.gz,
ground_truth.nii.gz (the consensus) and, for who has them, all of ground_truth_expert1.nii.gz to 4. Arrays are
`(z, y, x)` at 1 mm, axes running to superior, posterior and left.
"""

import argparse
import functools
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

import numpy as np
import SimpleITK as sitk
import torch

from app import pipeline
from app.arrays import Mask
from app.config import PreprocessConfig
from app.images import grids, storage
from app.method import checkpoint
from app.method.brain import BrainExtractor
from app.patients.cases import find_cases
from app.patients.visits import Case
from app.pipeline import Chain, Steps
from training import commands, folds
from training.prepare import MARGIN_MM, WEIGHTS, Arrays, box_around, save_arrays

EXPERTS = (1, 2, 3, 4)


def main() -> None:
    parser = argparse.ArgumentParser(description="The challenge's folders to prepared arrays and folds.")
    parser.add_argument("--data", type=Path, required=True, help="folder with one folder a patient")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--folds", type=int, default=5, help="the paper does not say how many")
    parser.add_argument("--seed", type=int, default=1, help="of the folds")
    parser.add_argument(
        "--preprocessing",
        choices=get_args(Chain),
        default="native",
        help='as of "app segment"; "none": skull and bias field are gone',
    )
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    prepare_challenge(arguments.data, arguments.out, arguments.folds, arguments.seed, arguments.preprocessing)


def prepare_challenge(data: Path, out: Path, count: int, seed: int, preprocessing_by: Chain) -> None:
    """Write `pairs/<patient>.npz` and `folds.json`; pairs that are there already are kept.

    Raises InputError for a patient without all files.
    """
    cases, problems = find_cases(data)
    if problems:
        raise problems[0]
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    extractor = BrainExtractor.from_file(WEIGHTS / checkpoint.BRAIN_NETWORK, device)
    changed = {}
    for case in cases:
        path = out / "pairs" / f"{case.name}.npz"
        save_arrays(path, functools.partial(prepare_patient, case, extractor, preprocessing_by))
        with np.load(path) as arrays:
            changed[case.name] = bool(arrays["truth_forward"].any())
    folds.write(out, folds.draw(changed, count, seed), seed)


def prepare_patient(case: Case, extractor: BrainExtractor, preprocessing_by: Chain) -> Arrays:
    """`channels`, `brain`, `truth_forward` (consensus), nothing to ignore, and `experts` where there are four
    masks of them.

    On the network's grid, masks by nearest neighbour. Raises InputError where only some of the experts' masks
    are there.
    """
    baseline, followup = storage.read(case.baseline), storage.read(case.followup)
    names = ["ground_truth"]
    own = [f"ground_truth_expert{expert}" for expert in EXPERTS]
    if any((case.followup.parent / f"{name}.nii.gz").is_file() for name in own):
        names += own
    masks = [storage.read_mask(case.followup.parent / f"{name}.nii.gz", followup) for name in names]
    return arrays_of(baseline, followup, masks, extractor, PreprocessConfig(), preprocessing_by)


def arrays_of(
    baseline: sitk.Image,
    followup: sitk.Image,
    masks: Sequence[sitk.Image],
    extractor: BrainExtractor,
    config: PreprocessConfig,
    preprocessing_by: Chain,
) -> Arrays:
    """The arrays of a pair with one mask of what is new, or more: then the first is the consensus of the
    others, the experts'.
    """
    steps = Steps(preprocessing_by)
    aligned, pair = pipeline.prepare(baseline, followup, extractor, config, steps=steps)
    box = box_around(pair.brain, MARGIN_MM)

    def on_grid(mask: sitk.Image) -> Mask:
        moved = grids.labels_on(mask, pair.grid, aligned.to_followup)
        return sitk.GetArrayFromImage(moved)[box] > 0  # type: ignore[no-any-return]

    truth, *experts = (on_grid(mask) for mask in masks)
    arrays = {
        "channels": pair.channels()[:, *box].astype(np.float16),
        "brain": pair.brain[box],
        "truth_forward": truth,
        "ignore_forward": np.zeros_like(truth),
    }
    return arrays | {"experts": np.stack(experts)} if experts else arrays


if __name__ == "__main__":
    commands.run(main)
