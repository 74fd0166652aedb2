"""Does the self-grade of a pair agree with a long run, lesions painted into one follow-up again and again?

    python -m benchmarks.self_grade --pair t1.nii.gz t2.nii.gz --pair other1.nii.gz other2.nii.gz --seeds 5

The first seed is the one that users get. Its 95 % interval should hold the share that the others find
together in 19 of 20 comparisons.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import SimpleITK as sitk
import torch

from app import assessment, pipeline
from app.images import storage
from app.method.grade import SEED, Found, SelfGrade
from app.method.predictor import Predictor
from app.pipeline import Networks, Result
from training import commands


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare the self-grade with a long run.")
    parser.add_argument("--pair", type=Path, nargs=2, action="append", required=True)
    parser.add_argument("--weights", type=Path, default=Path("weights"))
    parser.add_argument("--seeds", type=int, default=5, help="runs beside the one that users get")
    arguments = parser.parse_args()
    networks = Networks.load(arguments.weights, torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    within = []
    for number, (baseline, followup) in enumerate(arguments.pair, start=1):
        scans = storage.read(baseline), storage.read(followup)
        result = pipeline.segment(*scans, networks)
        grades = graded(result, scans[1], networks.predictor, range(SEED, SEED + 1 + arguments.seeds))
        print(f"pair {number}:")
        within += compare(grades)
    print(f"within the interval: {sum(within)} of {len(within)}")


def graded(
    result: Result, followup: sitk.Image, predictor: Predictor, seeds: Sequence[int]
) -> list[SelfGrade]:
    """The self-grade of a pair by each seed."""
    return [
        assessment.graded(
            result.pair, result.shown, followup, result.aligned, result.quality[1], predictor, seed
        )
        for seed in seeds
    ]


def compare(grades: Sequence[SelfGrade]) -> list[bool]:
    """Print the first grade beside all others together, by size; whether its interval holds their share."""
    within = []
    for first, *others in zip(*(grade.found for grade in grades), strict=True):
        together = Found(first.size_mm3, sum(one.painted for one in others), sum(one.found for one in others))
        low, high = first.interval()
        share = together.found / max(together.painted, 1)
        within.append(low <= share <= high)
        print(
            f"  {first.size_mm3:.0f} mm3: {first.found} of {first.painted} ({low:.2f} to {high:.2f}); "
            f"long run {together.found} of {together.painted} ({share:.2f})"
            f"{'' if within[-1] else ': outside'}"
        )
    return within


if __name__ == "__main__":
    commands.run(main)
