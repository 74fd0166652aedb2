"""What the networks of a weights folder do on whole scans that they were not trained on.

    python -m training.validate --prepared runs/open/prepared --weights weights [--choose]

Without `--choose`, networks are judged at the stored operating point.
Open data are judged by training/yardstick.py: lesions painted into real pairs, real pairs without change,
real new lesions. Each patient is judged by the networks that were not trained on his pairs. With `--choose`,
each is judged at the cut that the others' pairs choose, with other shapes than it is judged by; the stored
cut is the one that all choose. The challenge's patients are each predicted by the one network whose fold held
them out, and scored by the challenge's measures. Everything is scored on the network's 1 mm grid with the
truth brought there by nearest neighbour, ignore zones taken out of prediction and truth.
"""

import argparse
import dataclasses
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from app.config import OperatingPoint
from app.errors import InputError
from app.machine import choose_device
from app.method import checkpoint
from app.method.detection import all_lesions
from app.method.predictor import LesionMaps, Predictor
from app.scoring import metrics
from app.scoring.metrics import CaseMetrics
from training import (
    calibration,
    card,
    commands,
    folds,
    metadata,
    operating_points,
    painting,
    reading,
    sheet,
    yardstick,
)
from training.cases import SPACING_MM, VOXEL_MM3, Case, as_seen, patient_of, read_cases
from training.marks import Marked, as_unread, cut_for, left_out_cuts, marks_of

POSSIBLE_FALSE_A_PAIR = 2.0  # false marks a pair above the lower cut


def main() -> None:
    parser = argparse.ArgumentParser(description="Validate the networks of a folder on whole scans.")
    parser.add_argument(
        "--prepared", type=Path, required=True, help="folder written by training.prepare or training.msseg2"
    )
    parser.add_argument("--weights", type=Path, required=True, help="folder of trained weights")
    parser.add_argument(
        "--choose", action="store_true", help="choose the cut for half a false mark a pair, and store it"
    )
    parser.add_argument(
        "--sheet", type=Path, help="PNG to write: every mark and every missed lesion of the open pairs"
    )
    parser.add_argument(
        "--card", action="store_true", help="write MODEL_CARD.md and metadata.json beside the weights"
    )
    arguments = parser.parse_args()
    torch.set_num_threads(1)

    cases = read_cases(arguments.prepared / "pairs")
    if folds.of_challenge(arguments.prepared):
        lines = validate_folds(arguments.prepared, arguments.weights, cases)
    else:
        lines = validate_open(arguments.prepared, arguments.weights, cases, arguments.choose, arguments.sheet)
    if arguments.card:
        card.write(arguments.weights, lines)
        metadata.write(arguments.weights)


def validate_open(
    prepared: Path, weights: Path, cases: Sequence[Case], choose: bool, page: Path | None = None
) -> list[str]:
    """Judge networks on the open pairs; the lines printed.

    With `choose`, store the cuts and the calibration. With `page`, draw the contact sheet.
    """
    predictors = unseen(weights, {patient_of(case.name) for case in cases})
    config = next(iter(predictors.values())).config
    point, preprocess = config.point, config.preprocess
    cuts = dict.fromkeys(predictors, point.certain)
    count = len(checkpoint.lesion_networks(weights))
    own = ", ".join(f"{patient} {len(one.networks)} of {count}" for patient, one in predictors.items())
    judges = f"  judged by the networks that were not trained on the patient: {own}"
    lines = [operating_points.in_words(point), judges]
    judged = mark_painted(predictors, cases, prepared, painting.REPORTING_SEED)
    lines += yardstick.painted_lines(judged, cuts)
    if choose:
        chosen_on = mark_painted(predictors, cases, prepared, painting.CHOOSING_SEED)
        cuts, point = left_out_cuts(chosen_on), store_choice(weights, chosen_on, point)
        others = ", ".join(f"{patient} {cut:.4f}" for patient, cut in sorted(cuts.items()))
        lines = [
            operating_points.in_words(point),
            judges,
            f"  each patient judged at the cut of the others: {others}",
        ]
        lines += yardstick.painted_lines(judged, cuts)
        lines += calibration.left_out_lines(chosen_on, judged)
    share, false = yardstick.share_found([as_unread(one) for one in judged])
    lines.append(
        "  if marks that a reader took for new, or that may be, were false where no mask has them: "
        f"{share:.2f} found, {false:.2f} false marks a pair"
    )
    print("\n".join(lines), flush=True)
    cases = [as_seen(case, preprocess) for case in cases]
    maps = {case.name: predictors[patient_of(case.name)].maps(case.channels, case.brain) for case in cases}
    points = {patient: dataclasses.replace(point, certain=cut) for patient, cut in cuts.items()}
    masks = yardstick.masks_of({name: found.new for name, found in maps.items()}, cases, points)
    real = [*yardstick.quiet_lines(masks, cases), *yardstick.real_lines(masks, cases)]
    items = [item for case in cases for item in sheet.items_of(case, masks[case.name])]
    real += [*lesion_lines(prepared / "pairs", maps), *sheet.reading_lines(items, reading.read_reading())]
    real += yardstick.derived_lines(masks, cases)
    if page is not None:
        sheet.draw(items, {case.name: case for case in cases}, masks, page)
    print("\n".join(real), flush=True)
    return [*lines, *real]


def unseen(weights: Path, patients: Collection[str]) -> dict[str, Predictor]:
    """{patient: the networks of a folder that were not trained on his pairs}.

    Raises InputError if there is none for one of them.
    """
    device = choose_device("auto")
    whole = Predictor.from_folder(weights, device)
    origins = [checkpoint.load(path).provenance for path in checkpoint.lesion_networks(weights)]
    predictors = {}
    for patient in sorted(patients):
        own = [
            network
            for network, origin in zip(whole.networks, origins, strict=True)
            if not folds.saw(origin, patient)
        ]
        if not own:
            raise InputError(f"{weights}: every network was trained on {patient}; wanted one that was not")
        predictors[patient] = Predictor(own, whole.config, device)
    return predictors


def mark_painted(
    predictors: Mapping[str, Predictor], cases: Sequence[Case], prepared: Path, seed: int
) -> list[Marked]:
    """The marks of each case, as it was acquired, with lesions painted into it, by its patient's networks."""
    marked, read = [], reading.read_reading()
    for painted in painting.painted(cases, prepared, seed):
        predictor = predictors[painted.patient]
        pair = as_seen(painted, predictor.config.preprocess)
        marked.append(marks_of(predictor(pair.channels, pair.brain), pair, predictor.config.point, read))
    return marked


def lesion_lines(pairs: Path, maps: dict[str, LesionMaps]) -> list[str]:
    """Dice of the maps of all lesions with the experts' masks, of both visits; nothing for networks that know
    new lesions alone.
    """
    lines = []
    for path in sorted(pairs.glob("*.npz")):
        found = maps[f"{path.stem} forward"]
        with np.load(path) as arrays:
            if "lesions" in arrays and found.baseline is not None and found.followup is not None:
                masks = all_lesions([found.baseline, found.followup], VOXEL_MM3)
                both = zip(masks, arrays["lesions"], strict=True)
                dice = ", ".join(f"{yardstick.lesion_dice(mask, lesions):.2f}" for mask, lesions in both)
                lines.append(f"  all lesions of {path.stem}, earlier and later visit: Dice {dice}")
    return lines


def validate_folds(prepared: Path, weights: Path, cases: Sequence[Case]) -> list[str]:
    """Judge one network a fold on the patients that it never saw; the lines for the card, without the
    challenge's patients.
    """
    predictors = out_of_fold(prepared, weights)
    point = next(iter(predictors.values())).config.point
    measures = {
        case.name: operating_points.score(predictors[case.patient](case.channels, case.brain), case, point)
        for case in cases
    }
    table, experts = case_lines(measures, cases), expert_lines(prepared / "pairs")
    print("\n".join([operating_points.in_words(point), *table, *experts]), flush=True)
    return [operating_points.in_words(point), table[-1], *experts]


def out_of_fold(prepared: Path, weights: Path) -> dict[str, Predictor]:
    """{patient: the network that never saw it}.

    Raises InputError if the weights are not one network a fold.
    """
    of_patient = folds.read(prepared)
    paths = {fold: checkpoint.lesion_network(weights, fold) for fold in sorted(set(of_patient.values()))}
    if set(checkpoint.lesion_networks(weights)) != set(paths.values()):
        raise InputError(
            f"{weights}: not one lesion network for each of the {len(paths)} folds of "
            f"{prepared / folds.FILE}; wanted weights of this training"
        )
    networks = {fold: checkpoint.load(path) for fold, path in paths.items()}
    predictors = {
        fold: Predictor([loaded.network], loaded.config, choose_device("auto"))
        for fold, loaded in networks.items()
    }
    return {patient: predictors[fold] for patient, fold in of_patient.items()}


def store_choice(
    weights: Path, chosen_on: Sequence[Marked], point: OperatingPoint, calibrate: bool = True
) -> OperatingPoint:
    """Store the cuts and the calibration (or none) that all painted pairs choose in every network of a
    folder; the new point.
    """
    knots = calibration.fit(*calibration.scored_marks(chosen_on)) if calibrate else ()
    low, high = cut_for(chosen_on, POSSIBLE_FALSE_A_PAIR), cut_for(chosen_on)
    chosen = dataclasses.replace(point, certain=high, possible=low)
    for path in checkpoint.lesion_networks(weights):
        loaded = checkpoint.load(path)
        config = dataclasses.replace(loaded.config, point=chosen, calibration=knots)
        checkpoint.save(path, loaded.network, config, loaded.provenance)
    return chosen


def case_lines(measures: dict[str, CaseMetrics], cases: Sequence[Case]) -> list[str]:
    lines = [f"{'':20s}    F1  Dice SensL  PPVL  lesions found missed false"]
    for name, m in measures.items():
        counts = f"{m.reference_lesions:9d}{m.detected_lesions:6d}{m.missed_lesions:7d}{m.false_lesions:6d}"
        lines.append(f"{name:20s}{m.f1:6.3f}{m.dice:6.3f}{m.sensl:6.2f}{m.ppvl:6.2f}{counts}")
    f1, dice, false = operating_points.summary(measures, cases)
    return [
        *lines,
        f"mean F1 {f1:.3f}, Dice {dice:.3f} where lesions are new; {false} false lesions where none is",
    ]


def expert_lines(pairs: Path) -> list[str]:
    """How well each of the challenge's experts agrees with the consensus, by the same measures: what a
    network can be held against.
    """
    scores: dict[int, list[tuple[float, float]]] = {}
    for path in sorted(pairs.glob("*.npz")):
        with np.load(path) as arrays:
            truth = arrays["truth_forward"] & arrays["brain"]
            if "experts" in arrays and truth.any():
                for number, expert in enumerate(arrays["experts"], start=1):
                    measures = metrics.evaluate(expert & arrays["brain"], truth, SPACING_MM, distances=False)
                    scores.setdefault(number, []).append((measures.f1, measures.dice))
    means = {number: np.mean(values, axis=0) for number, values in scores.items()}
    return [
        f"expert {number} against the consensus: mean F1 {f1:.3f}, Dice {dice:.3f}"
        for number, (f1, dice) in means.items()
    ]


if __name__ == "__main__":
    commands.run(main)
