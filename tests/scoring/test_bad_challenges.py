"""What cannot be scored: named in one line, all at once, and nothing is written."""

import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from app.images import storage
from tests.scoring.challenge import (
    CASES,
    ORIGIN,
    PROBABILITY,
    bars,
    evaluate,
    lay_out,
    rows,
    run,
    second_method,
    write,
)


def _summary(output: Path) -> dict:
    return json.loads((output / "summary.json").read_text())


def test_a_missing_prediction_is_an_error_unless_it_is_taken_as_empty(tmp_path: Path) -> None:
    predictions, references = lay_out(tmp_path)
    (predictions / "02.nii.gz").unlink()
    refused = run("--predictions", predictions, "--references", references, "--output", tmp_path / "out")
    assert (refused.exit_code, (tmp_path / "out").exists()) == (1, False)
    assert "1 of 4 predictions are missing (02); wanted one a case, or --missing empty" in refused.stderr

    output = evaluate(tmp_path, predictions, references, "--missing", "empty")
    row = next(row for row in rows(output / "cases.csv") if row["case"] == "02")
    names = ("missing", "f1", "dice", "missed_lesions")
    assert [row[name] for name in names] == ["1", "0.000000", "0.000000", "2"]
    assert _summary(output)["missing"] == {"pred": ["02"]}
    assert "pred: missing predictions, taken as empty: 02." in (output / "summary.md").read_text()


def test_predictions_without_a_reference_are_named(tmp_path: Path) -> None:
    predictions, references = lay_out(tmp_path)
    write(bars(), predictions / "99.nii.gz")
    result = run("--predictions", predictions, "--references", references, "--output", tmp_path / "out")
    assert result.exit_code == 0
    assert "1 predictions have no reference and are not scored: 99" in result.stderr


def test_all_bad_files_of_all_methods_are_listed_at_once(tmp_path: Path) -> None:
    """Names and contents alike. With --keep-going the rest is scored, and the exit code is still 1."""
    predicted, references = lay_out(tmp_path)
    second = second_method(tmp_path)
    (predicted / "02.nii.gz").write_text("")
    (predicted / "03.nii.gz").unlink()
    write(bars()[:, :, 1:], second / "04.nii.gz")
    arguments = ["--predictions", predicted, "--predictions", second, "--predictions", tmp_path / "none"]
    arguments += ["--references", references, "--output", tmp_path / "out"]
    lines = [
        "pred/02.nii.gz: truncated or damaged",
        "pred: 1 of 4 predictions are missing (03)",
        "second/04.nii.gz: 29x12x3 voxels of 1x1x2 mm; wanted the grid of",
        "none: no such folder",
    ]
    refused = run(*arguments)
    assert (refused.exit_code, (tmp_path / "out").exists()) == (1, False)
    assert "Error: 4 problems with the masks:" in refused.stderr
    assert all(sum(line in text for text in refused.stderr.splitlines()) == 1 for line in lines)

    left_out = run(*arguments, "--keep-going")
    assert left_out.exit_code == 1
    assert "Error: left out, 4 problems with the masks:" in left_out.stderr
    assert all(sum(line in text for text in left_out.stderr.splitlines()) == 1 for line in lines)
    summary = _summary(tmp_path / "out")
    assert summary["left_out"] == {"pred": ["02", "03"], "second": ["04"], "none": list(CASES)}
    assert summary["ranking"]["measures"]["f1"]["cases"] == 1  # 01 is the only one of both
    page = (tmp_path / "out" / "summary.md").read_text()
    assert "pred: left out, without a mask that can be scored: 02, 03." in page


def test_an_output_that_is_no_folder_is_refused_in_one_line(tmp_path: Path) -> None:
    predicted, references = lay_out(tmp_path)
    (tmp_path / "out").touch()
    result = run("--predictions", predicted, "--references", references, "--output", tmp_path / "out")
    assert result.exit_code == 1
    assert "out: cannot be written" in result.stderr


def test_nothing_left_is_an_error_even_if_it_should_go_on(tmp_path: Path) -> None:
    predicted, references = lay_out(tmp_path)
    for path in predicted.iterdir():
        path.write_text("")
    arguments = ["--predictions", predicted, "--references", references, "--output", tmp_path / "out"]
    assert run(*arguments, "--keep-going").exit_code == 1
    assert not (tmp_path / "out").exists()


def _spoil(kind: str, predictions: Path, references: Path) -> None:
    """Make something unusable in a good challenge."""
    case = predictions / "02.nii.gz"
    match kind:
        case "size":
            write(bars()[:, :, 1:], case)
        case "spacing":
            picture = sitk.GetImageFromArray(bars())
            picture.SetOrigin(ORIGIN)
            storage.write(picture, case)
        case "no common case":
            for path in predictions.iterdir():
                path.rename(predictions / f"x{path.name}")
        case "labels":
            write(bars((1, 1, 4)) + 2 * bars((5, 1, 4)), case)
        case "labels in the reference":
            write(bars((1, 1, 4)) + 2 * bars((5, 1, 4)), references / "02" / "ground_truth.nii.gz")
        case "fractions":
            write(bars((1, 1, 4)) * PROBABILITY, case)
        case "percent":
            write(bars((1, 1, 4)) * np.float32(75), predictions / "02_probability.nii.gz")
        case "map of another grid":
            write(bars()[:, :, 1:] * PROBABILITY, predictions / "02_probability.nii.gz")
        case "no zeros":
            write(bars() + 1, case)
        case "truncated":
            write(np.random.default_rng(0).integers(0, 2, (3, 12, 30), np.uint8), case)
            case.write_bytes(case.read_bytes()[:-100])
        case "no predictions":
            for path in predictions.iterdir():
                path.unlink()
        case "no such folder":
            predictions.rename(predictions.with_name("elsewhere"))
        case "two masks":
            write(bars(), predictions / "05" / "a.nii.gz")
            write(bars(), predictions / "05" / "b.nii.gz")
        case "case twice":
            write(bars(), predictions / "02" / "new_lesions.nii.gz")


SPOILED = {
    "size": "29x12x3 voxels of 1x1x2 mm; wanted the grid of",
    "spacing": "spacing (1.0, 1.0, 1.0) instead of (1.0, 1.0, 2.0)",
    "no common case": "no case in common with",
    "labels": "02.nii.gz: 3 values, 0, 1, 2; wanted a mask, 0 and one other value",
    "labels in the reference": "ground_truth.nii.gz: 3 values, 0, 1, 2; wanted a mask, 0 and one other value",
    "fractions": "02.nii.gz: values with fractions, as in a probability map",
    "percent": "02_probability.nii.gz: values from 0 to 75; wanted probabilities from 0 to 1",
    "map of another grid": "02_probability.nii.gz: 29x12x3 voxels of 1x1x2 mm; wanted the grid of",
    "no zeros": "02.nii.gz: 1 values, 1; wanted a mask, 0 and one other value",
    "truncated": "02.nii.gz: truncated",
    "no predictions": "no mask in it",
    "no such folder": "no such folder",
    "two masks": "a.nii.gz, b.nii.gz; wanted one mask, called new_lesions or output_segmentation",
    "case twice": "a second mask of case 02",
}


@pytest.mark.parametrize("kind", SPOILED)
def test_unusable_challenges_are_refused_in_one_line(kind: str, tmp_path: Path) -> None:
    predictions, references = lay_out(tmp_path)
    _spoil(kind, predictions, references)
    result = run("--predictions", predictions, "--references", references, "--output", tmp_path / "out")
    assert result.exit_code == 1
    assert not (tmp_path / "out").exists()
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
    assert SPOILED[kind] in line


def test_no_experts_is_an_error(tmp_path: Path) -> None:
    predictions, references = lay_out(tmp_path, references="flat")
    arguments = ["--predictions", predictions, "--references", references, "--output", tmp_path / "out"]
    result = run(*arguments, "--experts")
    assert (result.exit_code, (tmp_path / "out").exists()) == (1, False)
    assert "no expert's mask" in result.stderr


@pytest.mark.parametrize(
    "arguments",
    [[], ["--predictions", "a"], ["--references", "b"], ["--predictions", "a", "--threads", "0"]],
)
def test_incomplete_commands_are_refused(arguments: list[str], tmp_path: Path) -> None:
    assert run("--output", tmp_path / "out", *arguments).exit_code == 2
