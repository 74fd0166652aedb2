"""A made-up challenge of four cases that can be scored on paper, and the command that scores it."""

import csv
from pathlib import Path

import click.testing
import numpy as np
import SimpleITK as sitk

from app.cli.main import main
from app.images import storage

Bar = tuple[int, int, int]  # row (y), first and last voxel (x)
SPACING = (1.0, 1.0, 2.0)  # voxels of 2 mm^3: a lesion needs two
ORIGIN = (10.0, 20.0, 30.0)
PROBABILITY = np.float32(0.75)  # of every voxel of a prediction


def bars(*rows: Bar) -> np.ndarray:
    mask = np.zeros((3, 12, 30), np.uint8)
    for row, first, last in rows:
        mask[1, row, first : last + 1] = 1
    return mask


def write(values: np.ndarray, path: Path) -> Path:
    picture = sitk.GetImageFromArray(values)
    picture.SetSpacing(SPACING)
    picture.SetOrigin(ORIGIN)
    storage.write(picture, path)
    return path


# reference, prediction, expert 1, expert 2
CASES: dict[str, tuple[np.ndarray, ...]] = {
    # Found: F1 1, Dice 1. Both experts agree.
    "01": tuple(bars((1, 1, 10)) for _ in range(4)),
    # One of two found, one of two predicted is false (6 voxels, 12 mm^3): SensL, PPVL, F1 0.5;
    # Dice 2*5/(10 + 11). Expert 1 has one of two: F1 2/3.
    "02": (
        bars((1, 1, 5), (4, 1, 5)),
        bars((1, 1, 5), (8, 1, 6)),
        bars((1, 1, 5)),
        bars((1, 1, 5), (4, 1, 5)),
    ),
    # Nothing to find: bars of 4 and 1 voxels, 8 and 2 mm^3, of which the second is no lesion. Expert 2 marks
    # 8 mm^3 too.
    "03": (bars(), bars((1, 1, 4), (5, 2, 2)), bars(), bars((6, 1, 4))),
    # Nothing to find, nothing found.
    "04": (bars(), bars(), bars(), bars()),
}
REFERENCES = {
    "challenge": "{case}/ground_truth.nii.gz",
    "flat": "{case}.nii.gz",
    "flat and named": "{case}_ground_truth.nii",
    "own name": "{case}/anything.mha",
}
PREDICTIONS = {
    "flat": "{case}.nii.gz",
    "ours": "{case}/new_lesions.nii.gz",
    "container": "{case}/output_segmentation.nii.gz",
    "flat and named": "{case}_new_lesions.nrrd",
    "flat with maps": "{case}.nii.gz",
}
PROBABILITIES = {"ours": "{case}/probability.nii.gz", "flat with maps": "{case}_probability.nii.gz"}


def lay_out(folder: Path, references: str = "challenge", predictions: str = "flat") -> tuple[Path, Path]:
    """Write CASES; returns the folders of predictions and references."""
    for case, (reference, prediction, *experts) in CASES.items():
        write(reference, folder / "ref" / REFERENCES[references].format(case=case))
        write(prediction, folder / "pred" / PREDICTIONS[predictions].format(case=case))
        if references == "challenge":
            scan = np.random.default_rng(0).random((3, 12, 30))
            write(scan, folder / "ref" / case / "flair_time01_on_middle_space.nii.gz")
            for number, expert in enumerate(experts, start=1):
                write(expert, folder / "ref" / case / f"ground_truth_expert{number}.nii.gz")
        if predictions in PROBABILITIES:
            write(prediction * PROBABILITY, folder / "pred" / PROBABILITIES[predictions].format(case=case))
    return folder / "pred", folder / "ref"


def second_method(folder: Path) -> Path:
    """As the first, but nothing is found in 01, and nothing false in 03."""
    for case, (_, prediction, *_) in CASES.items():
        write(bars() if case in ("01", "03") else prediction, folder / "second" / f"{case}.nii.gz")
    return folder / "second"


def run(*arguments: object) -> click.testing.Result:
    result = click.testing.CliRunner().invoke(main, [str(argument) for argument in ("evaluate", *arguments)])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def evaluate(folder: Path, predictions: object, references: Path, *more: object) -> Path:
    output = folder / "out"
    result = run("--predictions", predictions, "--references", references, "--output", output, *more)
    assert result.exit_code == 0, result.output
    return output


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))
