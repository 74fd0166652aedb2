"""How do the shipped networks learn from a laboratory's own pairs, and what is it worth there?

    training/finetune.sh --data PAIRS --out my_weights

Checks every file first; docs/finetune.md says what is wanted. One network a fold begins with the shipped
weights and learns from the other folds' patients; those of its fold say when to stop, and together they
choose the cut. Each patient is then judged by the network that never saw him, at the cut that the others
choose.
"""

import argparse
import dataclasses
import hashlib
import logging
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import get_args

import numpy as np
import torch
from scipy import ndimage

from app.config import OperatingPoint
from app.errors import InputError
from app.machine import choose_device
from app.method import checkpoint
from app.method.brain import BrainExtractor
from app.method.predictor import Predictor
from app.pipeline import Chain
from training import card, commands, folds, operating_points, own_pairs, painting, publish, train, validate
from training.cases import TINY_MM3, Case, as_seen, patient_of, read_cases
from training.config import OWN_RECIPE, OwnConfig, TrainConfig
from training.dataset import MADE
from training.marks import Marked, left_out_cuts, marks_of
from training.own_pairs import OwnPair

MOST_FOLDS = 3  # networks of the ensemble: each costs a training, and one prediction a patient
LEAST_STEPS = 8  # validations a run, where few steps are asked for
TRAINING_SHARE = 0.8  # of the minutes that are left; the rest is for judging


def main() -> None:
    arguments = _parser().parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    logging.getLogger("app").setLevel(logging.WARNING)
    out: Path = arguments.out
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out}: there already; wanted a new folder for the weights")
    pairs, problems = own_pairs.find(arguments.data, out)
    problems += _problems_of_all(pairs, arguments.weights, arguments.prepared)
    if problems:
        for problem in problems:
            print(f"Error: {problem}", file=sys.stderr)
        sys.exit(1)
    deadline = time.monotonic() + 60 * arguments.minutes
    prepared = _prepare(pairs, arguments)
    finetune(pairs, prepared, arguments.weights, out, arguments.steps, deadline)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Train the shipped networks further on one's own pairs.")
    parser.add_argument("--data", type=Path, required=True, help="folder, BIDS data set or table of pairs")
    parser.add_argument("--out", type=Path, required=True, help="new folder for `segment --weights`")
    parser.add_argument("--weights", type=Path, default=publish.PUBLISHED, help="to begin with")
    parser.add_argument(
        "--prepared",
        type=Path,
        help="folder of training.prepare, to mix made pairs in; without it the networks may forget",
    )
    parser.add_argument("--preprocessing", choices=get_args(Chain), default="native", help="as of `segment`")
    parser.add_argument(
        "--runs", type=Path, default=Path("runs/finetune"), help="what a stopped run goes on from"
    )
    parser.add_argument("--steps", type=int, default=OWN_RECIPE.steps, help="of each network, at most")
    parser.add_argument("--minutes", type=float, default=100.0, help="for all of it, about")
    return parser


def _problems_of_all(pairs: Sequence[OwnPair], weights: Path, made_of: Path | None) -> list[InputError]:
    """What is wrong with the pairs together, with the weights, and with the folder of made pairs."""
    problems = []
    changed = {pair.patient for pair in pairs if pair.new_mm3 > TINY_MM3}
    if len(changed) < 2:
        problems.append(
            InputError(
                f"{len(changed)} patients with more than {TINY_MM3:g} mm^3 of new lesions; wanted two or "
                "more: one learns, another judges"
            )
        )
    twice = {pair.sha256 for pair in pairs if sum(other.sha256 == pair.sha256 for other in pairs) > 1}
    for digest in sorted(twice):
        names = ", ".join(pair.name for pair in pairs if pair.sha256 == digest)
        problems.append(InputError(f"{names}: the same files; wanted each pair once"))
    if not checkpoint.lesion_networks(weights):
        problems.append(
            InputError(f"{weights}: no {checkpoint.LESION_NETWORKS}; wanted weights to begin with")
        )
    if made_of is not None and not (made_of / "lesions.npz").is_file():
        problems.append(InputError(f"{made_of}: no lesions.npz; wanted a folder of training.prepare"))
    return problems


def _prepare(pairs: Sequence[OwnPair], arguments: argparse.Namespace) -> Path:
    """The folder of arrays and folds of just these pairs and weights."""
    networks = checkpoint.lesion_networks(arguments.weights)
    contents = sorted(pair.code for pair in pairs) + [checkpoint.verified_sha256(path) for path in networks]
    digest = hashlib.sha256(" ".join([*contents, arguments.preprocessing, str(arguments.prepared)]).encode())
    prepared: Path = arguments.runs / digest.hexdigest()[:8]
    device = choose_device("auto")
    extractor = BrainExtractor.from_file(arguments.weights / checkpoint.BRAIN_NETWORK, device)
    # as they were acquired: patches are drawn from them, degraded, and made equally sharp then
    config = dataclasses.replace(checkpoint.load(networks[0]).config.preprocess, match_sharpness=False)
    own_pairs.prepare(pairs, prepared, extractor, config, arguments.preprocessing)
    if arguments.prepared is not None and not (prepared / MADE).exists():
        (prepared / MADE).symlink_to(arguments.prepared.resolve(), target_is_directory=True)
    changed: dict[str, bool] = {}
    for case in read_cases(prepared / "pairs"):
        patient = patient_of(case.name)
        changed[patient] = changed.get(patient, False) or case.has_new
    folds.write(prepared, folds.draw(changed, min(MOST_FOLDS, sum(changed.values())), seed=1), seed=1)
    return prepared


def finetune(
    pairs: Sequence[OwnPair], prepared: Path, weights: Path, out: Path, steps: int, deadline: float
) -> None:
    """Train, choose, judge and write the new weights; prints how good the old and the new ones are."""
    names = {f"{pair.code} forward": pair.name for pair in pairs}
    device = choose_device("auto")
    old = Predictor.from_folder(weights, device)
    cases = [as_seen(case, old.config.preprocess) for case in read_cases(prepared / "pairs")]
    before = _measures(
        dict.fromkeys((case.patient for case in cases), old), cases, names, old.config.point, {}
    )
    of_patient = folds.read(prepared)
    count = max(of_patient.values())
    starts = checkpoint.lesion_networks(weights)
    for fold in range(1, count + 1):
        start = starts[(fold - 1) % len(starts)]
        left_s = (deadline - time.monotonic()) * TRAINING_SHARE / (count + 1 - fold)
        config = config_of(start, steps)
        train.train(
            prepared, prepared / f"fold{fold}", config, device, fold, max(left_s, 0) / 60, start=start
        )
    publish.publish([prepared / f"fold{fold}" / "best.pt" for fold in range(1, count + 1)], out)

    predictors = {
        case.patient: predictor
        for case in cases
        if (predictor := _unseen(out, of_patient[patient_of(case.name)], device))
    }
    marked = _marked(predictors, cases, prepared)
    point = dataclasses.replace(old.config.point, possible=None)
    cuts = left_out_cuts(marked)
    validate.store_choice(out, marked, point, calibrate=(prepared / MADE).exists())
    after = _measures(predictors, cases, names, point, cuts)
    lines = [
        f"before: {operating_points.in_words(old.config.point)}",
        *before,
        "after: each patient by the network that never saw him, at the cut that the others choose; his fold",
        "chose when to stop, so expect a little less of new patients",
        *after,
    ]
    print("\n".join(lines), flush=True)
    # the card may be handed on with the weights: no patient is named in it
    card.write(out, [line for line in lines if not any(line.startswith(name) for name in names.values())])
    print(f"{out}: {count} networks; ms-new-lesions segment --weights {out} ...", flush=True)


def config_of(start: Path, steps: int) -> TrainConfig:
    """The recipe for going on from these weights."""
    config = checkpoint.load(start).config
    validations = min(OWN_RECIPE.validate_steps, max(steps // LEAST_STEPS, 1))
    return dataclasses.replace(
        OWN_RECIPE,
        features=config.network.features,
        loss="maps" if config.outputs == "maps" else "dice_ce",
        steps=steps,
        validate_steps=validations,
        patches=OwnConfig(patch=config.windows.side, match_sharpness=config.preprocess.match_sharpness),
    )


def _unseen(out: Path, fold: int, device: torch.device) -> Predictor:
    """The network that the patients of a fold did not train."""
    loaded = checkpoint.load(checkpoint.lesion_network(out, fold))
    return Predictor([loaded.network], loaded.config, device)


def _marked(predictors: Mapping[str, Predictor], cases: Sequence[Case], prepared: Path) -> list[Marked]:
    """The marks of every pair on its own lesions and, where lesions can be made, on painted ones."""
    marked = []
    for case in cases:
        predictor = predictors[case.patient]
        labels, count = ndimage.label(case.truth)
        pair = painting.Painted(
            name=case.name,
            channels=case.channels,
            brain=case.brain,
            labels=labels.astype(np.int32),
            inside=case.truth,
            contrasts_z=[0.0] * count,  # not known, and not asked for
            known=case.ignore,
        )
        marked.append(marks_of(predictor(pair.channels, pair.brain), pair, predictor.config.point))
    if (prepared / MADE).exists():
        of_patient = {patient_of(case.name): predictors[case.patient] for case in cases}
        marked += validate.mark_painted(of_patient, cases, prepared / MADE, painting.CHOOSING_SEED)
    return marked


def _measures(
    predictors: Mapping[str, Predictor],
    cases: Sequence[Case],
    names: Mapping[str, str],
    point: OperatingPoint,
    cuts: Mapping[str, float],
) -> list[str]:
    """The table of all pairs, each at the cut of its patient."""
    measures = {}
    for case in cases:
        cut = cuts.get(patient_of(case.name), point.certain)
        probability = predictors[case.patient](case.channels, case.brain)
        own = dataclasses.replace(point, certain=cut)
        measures[names[case.name]] = operating_points.score(probability, case, own)
    renamed = [dataclasses.replace(case, name=names[case.name]) for case in cases]
    return validate.case_lines(measures, renamed)


if __name__ == "__main__":
    commands.run(main)
