"""Lesions painted into the follow-up of real pairs, by size and contrast: what networks find where the truth
is known exactly.

    python -m benchmarks.painted --prepared runs/open/prepared --weights weights other-weights

The pairs are those of validation, in both time orders. Contrast is in spreads (1.4826 MAD) of the brain. A
mark is false if it touches no painted lesion and lies mostly outside of what is known to change. Networks are
compared at the number of false marks that they bring; each patient's cut is the one that the other patients'
pairs choose, and networks trained on his pairs do not judge him.
"""

import argparse
from pathlib import Path

import torch

from training import commands, operating_points, yardstick
from training.cases import patient_of, read_cases
from training.painting import REPORTING_SEED
from training.validate import mark_painted, unseen

FALSE_A_PAIR = (0.1, 0.25, 0.5, 1.0, 2.0)


def main() -> None:
    parser = argparse.ArgumentParser(description="Score networks on lesions painted into real pairs.")
    parser.add_argument("--prepared", type=Path, required=True, help="folder written by training.prepare")
    parser.add_argument("--weights", type=Path, nargs="+", required=True)
    parser.add_argument("--seed", type=int, default=REPORTING_SEED)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    cases = read_cases(arguments.prepared / "pairs")
    for weights in arguments.weights:
        predictors = unseen(weights, {patient_of(case.name) for case in cases})
        point = next(iter(predictors.values())).config.point
        marked = mark_painted(predictors, cases, arguments.prepared, arguments.seed)
        print(f"\n{weights}, as stored ({operating_points.in_words(point)}):")
        print(
            "\n".join(
                yardstick.painted_lines(marked, dict.fromkeys(yardstick.patients(marked), point.certain))
            )
        )
        for allowed in FALSE_A_PAIR:
            share, false = yardstick.share_found(marked, allowed)
            print(
                f"  cuts for {allowed:g} false marks a pair: {share:.2f} found, {false:.2f} false "
                "marks a pair"
            )


if __name__ == "__main__":
    commands.run(main)
