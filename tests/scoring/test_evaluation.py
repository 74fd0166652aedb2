import csv
import json
import logging
import math
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import click.testing
import numpy as np
import pytest
import SimpleITK as sitk

from app.cli.main import main
from app.images import storage
from app.scoring import evaluation, figures

Bar = tuple[int, int, int]  # row (y), first and last voxel (x)
SPACING = (1.0, 1.0, 2.0)  # voxels of 2 mm^3: a lesion needs two
ORIGIN = (10.0, 20.0, 30.0)


@pytest.fixture(autouse=True)
def _keep_log_handlers() -> Iterator[None]:
    """The command line sets up logging to a terminal that is gone after the test."""
    handlers = logging.getLogger().handlers[:]
    yield
    logging.getLogger().handlers[:] = handlers


@pytest.fixture
def drawn() -> None:
    """For tests that look at figures; the others go without, which saves a second each."""


@pytest.fixture(autouse=True)
def _no_figures(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if "drawn" not in request.fixturenames:
        monkeypatch.setattr(figures, "available", lambda: False)


def _bars(*bars: Bar) -> np.ndarray:
    mask = np.zeros((3, 12, 30), np.uint8)
    for row, first, last in bars:
        mask[1, row, first : last + 1] = 1
    return mask


def _write(values: np.ndarray, path: Path) -> Path:
    picture = sitk.GetImageFromArray(values)
    picture.SetSpacing(SPACING)
    picture.SetOrigin(ORIGIN)
    storage.write(picture, path)
    return path


# reference, prediction, expert 1, expert 2
CASES: dict[str, tuple[np.ndarray, ...]] = {
    # Found: F1 1, Dice 1. Both experts agree.
    "01": tuple(_bars((1, 1, 10)) for _ in range(4)),
    # One of two found, one of two predicted is false (6 voxels, 12 mm^3): SensL, PPVL, F1 0.5; Dice 2*5/(10 + 11). Expert 1 has one of two: F1 2/3.
    "02": (
        _bars((1, 1, 5), (4, 1, 5)),
        _bars((1, 1, 5), (8, 1, 6)),
        _bars((1, 1, 5)),
        _bars((1, 1, 5), (4, 1, 5)),
    ),
    # Nothing to find: bars of 4 and 1 voxels, 8 and 2 mm^3, of which the second is no lesion. Expert 2 marks 8 mm^3 too.
    "03": (_bars(), _bars((1, 1, 4), (5, 2, 2)), _bars(), _bars((6, 1, 4))),
    # Nothing to find, nothing found.
    "04": (_bars(), _bars(), _bars(), _bars()),
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
}


def _lay_out(folder: Path, references: str = "challenge", predictions: str = "flat") -> tuple[Path, Path]:
    """Write CASES; returns the folders of predictions and references."""
    for case, (reference, prediction, *experts) in CASES.items():
        _write(reference, folder / "ref" / REFERENCES[references].format(case=case))
        _write(prediction, folder / "pred" / PREDICTIONS[predictions].format(case=case))
        if references == "challenge":
            _write(
                np.random.default_rng(0).random((3, 12, 30)),
                folder / "ref" / case / "flair_time01_on_middle_space.nii.gz",
            )
            for number, expert in enumerate(experts, start=1):
                _write(expert, folder / "ref" / case / f"ground_truth_expert{number}.nii.gz")
        if predictions == "ours":
            _write(prediction * np.float32(0.7), folder / "pred" / case / "probability.nii.gz")
    return folder / "pred", folder / "ref"


def _run(*arguments: object) -> click.testing.Result:
    result = click.testing.CliRunner().invoke(main, [str(argument) for argument in ("evaluate", *arguments)])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def _evaluate(folder: Path, predictions: Path, references: Path, *more: object) -> Path:
    output = folder / "out"
    result = _run("--predictions", predictions, "--references", references, "--output", output, *more)
    assert result.exit_code == 0, result.output
    return output


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("references", REFERENCES)
@pytest.mark.parametrize("predictions", PREDICTIONS)
def test_cases_are_found_by_name(references: str, predictions: str, tmp_path: Path) -> None:
    jobs = evaluation.pair(*_lay_out(tmp_path, references, predictions))
    assert [(job.case, job.rater) for job in jobs] == [(case, "prediction") for case in CASES]
    assert all(job.case in str(job.prediction) and job.case in str(job.reference) for job in jobs)


def test_one_patients_own_folder_is_a_case(tmp_path: Path) -> None:
    one = _write(_bars((1, 1, 4)), tmp_path / "patient7" / "ground_truth.nii.gz")
    assert evaluation.find_masks(one.parent, evaluation.REFERENCE_NAMES) == {"patient7": one}


def test_a_row_a_case(tmp_path: Path) -> None:
    rows = {row["case"]: row for row in _rows(_evaluate(tmp_path, *_lay_out(tmp_path)) / "cases.csv")}
    assert list(rows) == list(CASES)
    assert [rows[case]["new_lesions"] for case in CASES] == ["1", "1", "0", "0"]
    assert [rows[case]["f1"] for case in CASES] == ["1.000000", "0.500000", "nan", "nan"]
    assert float(rows["02"]["dice"]) == pytest.approx(10 / 21, abs=1e-6)
    assert [rows["02"][name] for name in ("detected_lesions", "missed_lesions", "false_lesions")] == [
        "1",
        "1",
        "1",
    ]
    assert [rows["02"][name] for name in ("false_volume_mm3", "reference_volume_mm3")] == [
        "12.000000",
        "20.000000",
    ]
    assert [rows["03"][name] for name in ("false_lesions", "false_volume_mm3", "predicted_volume_mm3")] == [
        "1",
        "8.000000",
        "10.000000",
    ]


def test_a_row_a_lesion(tmp_path: Path) -> None:
    """Case 02's missed bar: voxels x = 1..5 of row 4, slice 1; the mean index (3, 4, 1) lies at LPS 10 + 3, 20 + 4, 30 + 2."""
    rows = [
        row for row in _rows(_evaluate(tmp_path, *_lay_out(tmp_path)) / "lesions.csv") if row["case"] == "02"
    ]
    assert [(row["mask"], row["number"], row["voxels"], row["detected"], row["overlap"]) for row in rows] == [
        ("reference", "1", "5", "1", "1.000000"),
        ("reference", "2", "5", "0", "0.000000"),
        ("predicted", "1", "6", "0", "0.000000"),
        ("predicted", "2", "5", "1", "1.000000"),
    ]
    assert [rows[1][side] for side in ("right_mm", "anterior_mm", "superior_mm", "volume_mm3")] == [
        "-13.00",
        "-24.00",
        "32.00",
        "10.000000",
    ]


def test_summary_keeps_cases_with_and_without_new_lesions_apart(tmp_path: Path) -> None:
    """F1 1 and 0.5: mean and median 0.75, and two cases drawn with replacement span both. One false lesion of 8 mm^3 in two cases without."""
    output = _evaluate(tmp_path, *_lay_out(tmp_path))
    summary = json.loads((output / "summary.json").read_text())
    part = summary["raters"]["prediction"]
    new, none = part["with_new_lesions"], part["without_new_lesions"]
    assert (
        new["cases"],
        new["lesions"],
        new["detected_lesions"],
        new["missed_lesions"],
        new["false_lesions"],
    ) == (2, 3, 2, 1, 1)
    assert new["f1"] == {
        "cases": 2,
        "mean": 0.75,
        "mean_95": [0.5, 1.0],
        "median": 0.75,
        "median_95": [0.5, 1.0],
    }
    assert (none["cases"], none["cases_without_false_lesion"]) == (2, 1)
    assert (
        none["false_lesions"]["mean"],
        none["false_volume_mm3"]["mean"],
        none["false_volume_mm3"]["mean_95"],
    ) == (0.5, 4.0, [0.0, 8.0])
    assert (summary["missing"], summary["rules"]["beta"]) == ([], 0.7)
    page = (output / "summary.md").read_text()
    assert "2 cases with new lesions: 2 of 3 detected, 1 false ones." in page
    assert "| lesion F1 | 2 | 0.750 [0.500, 1.000] | 0.750 [0.500, 1.000] |" in page


@pytest.mark.usefixtures("drawn")
def test_figures_are_drawn(tmp_path: Path) -> None:
    output = _evaluate(tmp_path, *_lay_out(tmp_path))
    assert _run("--compare", output, output, "--output", output).exit_code == 0
    assert {path.name for path in output.glob("*.png")} == {"summary.png", "comparison.png"}
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in output.glob("*.png"))


def test_volumes_are_counted_by_their_bins() -> None:
    """3.5 and 9 lie in 3-10, 10 in 10-30, and 5000 in the last."""
    assert figures._by_volume([3.5, 9, 10, 5000]).tolist() == [2, 1, 0, 0, 0, 0, 1]
    assert figures._by_volume([]).tolist() == [0] * 7


def test_undefined_measures_are_left_out_and_counted(tmp_path: Path) -> None:
    """A reference of one voxel, 2 mm^3, holds no lesion: SensL is undefined, F1 is 0."""
    reference, prediction = (
        _write(_bars((1, 1, 1)), tmp_path / "ref" / "a.nii.gz"),
        _write(_bars((1, 1, 1)), tmp_path / "pred" / "a.nii.gz"),
    )
    output = _evaluate(tmp_path, prediction.parent, reference.parent)
    part = json.loads((output / "summary.json").read_text())["raters"]["prediction"]
    assert part["with_new_lesions"]["sensl"] == {
        "cases": 0,
        "mean": None,
        "mean_95": [None, None],
        "median": None,
        "median_95": [None, None],
    }
    assert part["with_new_lesions"]["f1"]["mean"] == 0
    assert "| SensL | 0 | – | – |" in (output / "summary.md").read_text()


def test_interval_of_the_mean_agrees_with_its_standard_error() -> None:
    """Of 400 normal values the 95 % interval reaches 1.96 standard errors to each side, within a tenth."""
    values = np.random.default_rng(0).normal(5, 2, 400)
    described = evaluation._describe(values.tolist())
    error = values.std() / math.sqrt(400)
    assert described["mean_95"] == pytest.approx(
        [values.mean() - 1.96 * error, values.mean() + 1.96 * error], abs=0.2 * error
    )


def test_results_do_not_depend_on_threads_or_the_run(tmp_path: Path) -> None:
    predictions, references = _lay_out(tmp_path)
    written = []
    for threads in (1, 3):
        output = _evaluate(tmp_path, predictions, references, "--threads", threads, "--experts")
        written.append({path.name: path.read_bytes() for path in output.iterdir()})
    assert written[0] == written[1]
    assert set(written[0]) == {"cases.csv", "lesions.csv", "summary.json", "summary.md"}


def test_experts_are_scored_against_the_consensus(tmp_path: Path) -> None:
    """F1 of expert 1: 1 and, with one of two lesions found, 2*1*0.5/1.5 = 2/3; of expert 2: 1 and 1, and a false lesion in case 03."""
    output = _evaluate(tmp_path, *_lay_out(tmp_path), "--experts")
    rows = _rows(output / "cases.csv")
    assert [row["rater"] for row in rows] == ["prediction"] * 4 + ["expert1"] * 4 + ["expert2"] * 4
    raters = json.loads((output / "summary.json").read_text())["raters"]
    assert list(raters) == ["prediction", "expert1", "expert2", "all experts"]
    assert [raters[rater]["with_new_lesions"]["f1"]["mean"] for rater in raters] == pytest.approx(
        [0.75, 5 / 6, 1, 11 / 12]
    )
    assert [raters[rater]["without_new_lesions"]["false_lesions"]["mean"] for rater in raters] == [
        0.5,
        0,
        0.5,
        0.25,
    ]
    assert "## Expert1" in (output / "summary.md").read_text()


def test_experts_of_a_flat_folder(tmp_path: Path) -> None:
    reference = _write(_bars((1, 1, 4)), tmp_path / "7_ground_truth.nii.gz")
    expert = _write(_bars((1, 1, 4)), tmp_path / "7_ground_truth_expert3.nii.gz")
    references = evaluation.find_masks(tmp_path, evaluation.REFERENCE_NAMES)
    assert references == {"7": reference}
    assert evaluation.find_experts(tmp_path, references) == [
        evaluation.Job("7", "expert3", expert, reference)
    ]


def test_a_missing_prediction_is_an_error_unless_it_is_taken_as_empty(tmp_path: Path) -> None:
    predictions, references = _lay_out(tmp_path)
    (predictions / "02.nii.gz").unlink()
    refused = _run("--predictions", predictions, "--references", references, "--output", tmp_path / "out")
    assert (refused.exit_code, (tmp_path / "out").exists()) == (1, False)
    assert "1 of 4 predictions are missing (02); wanted one a case, or --missing empty" in refused.stderr

    output = _evaluate(tmp_path, predictions, references, "--missing", "empty")
    row = next(row for row in _rows(output / "cases.csv") if row["case"] == "02")
    assert (row["missing"], row["f1"], row["dice"], row["missed_lesions"]) == (
        "1",
        "0.000000",
        "0.000000",
        "2",
    )
    assert json.loads((output / "summary.json").read_text())["missing"] == ["02"]
    assert "Missing predictions, taken as empty: 02." in (output / "summary.md").read_text()


def test_predictions_without_a_reference_are_named(tmp_path: Path) -> None:
    predictions, references = _lay_out(tmp_path)
    _write(_bars(), predictions / "99.nii.gz")
    result = _run("--predictions", predictions, "--references", references, "--output", tmp_path / "out")
    assert result.exit_code == 0
    assert "1 predictions have no reference and are not scored: 99" in result.stderr


@pytest.mark.usefixtures("drawn")
def test_without_matplotlib_there_is_no_figure_but_all_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    predictions, references = _lay_out(tmp_path)
    monkeypatch.setitem(sys.modules, "matplotlib", None)  # type: ignore[arg-type]
    result = _run("--predictions", predictions, "--references", references, "--output", tmp_path / "out")
    assert result.exit_code == 0
    assert "matplotlib is missing; install it with" in result.stderr
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "cases.csv",
        "lesions.csv",
        "summary.json",
        "summary.md",
    }


def _spoil(kind: str, predictions: Path, references: Path) -> None:
    """Make something unusable in a good challenge."""
    case = predictions / "02.nii.gz"
    match kind:
        case "size":
            _write(_bars()[:, :, 1:], case)
        case "spacing":
            picture = sitk.GetImageFromArray(_bars())
            picture.SetOrigin(ORIGIN)
            storage.write(picture, case)
        case "no common case":
            for path in predictions.iterdir():
                path.rename(predictions / f"x{path.name}")
        case "labels":
            _write(_bars((1, 1, 4)) + 2 * _bars((5, 1, 4)), case)
        case "labels in the reference":
            _write(_bars((1, 1, 4)) + 2 * _bars((5, 1, 4)), references / "02" / "ground_truth.nii.gz")
        case "probability":
            _write(_bars((1, 1, 4)) * np.float32(0.7), case)
        case "no zeros":
            _write(_bars() + 1, case)
        case "truncated":
            _write(np.random.default_rng(0).integers(0, 2, (3, 12, 30), np.uint8), case)
            case.write_bytes(case.read_bytes()[:-100])
        case "two broken":
            case.write_text("")
            (predictions / "03.nii.gz").write_text("")
        case "no predictions":
            for path in predictions.iterdir():
                path.unlink()
        case "no such folder":
            predictions.rename(predictions.with_name("elsewhere"))
        case "two masks":
            _write(_bars(), predictions / "05" / "a.nii.gz")
            _write(_bars(), predictions / "05" / "b.nii.gz")
        case "case twice":
            _write(_bars(), predictions / "02" / "new_lesions.nii.gz")


SPOILED = {
    "size": "29x12x3 voxels of 1x1x2 mm; wanted the grid of",
    "spacing": "spacing (1.0, 1.0, 1.0) instead of (1.0, 1.0, 2.0)",
    "no common case": "no case in common with",
    "labels": "02.nii.gz: 3 values, 0, 1, 2; wanted a mask, 0 and one other value",
    "labels in the reference": "ground_truth.nii.gz: 3 values, 0, 1, 2; wanted a mask, 0 and one other value",
    "probability": "02.nii.gz: values with fractions, as in a probability map",
    "no zeros": "02.nii.gz: 1 values, 1; wanted a mask, 0 and one other value",
    "truncated": "02.nii.gz: truncated",
    "two broken": "03.nii.gz: not a NIfTI-1 file",
    "no predictions": "no mask in it",
    "no such folder": "no such folder",
    "two masks": "a.nii.gz, b.nii.gz; wanted one mask, called new_lesions or output_segmentation",
    "case twice": "a second mask of case 02",
}


@pytest.mark.parametrize("kind", SPOILED)
def test_unusable_challenges_are_refused_in_one_line(kind: str, tmp_path: Path) -> None:
    predictions, references = _lay_out(tmp_path)
    _spoil(kind, predictions, references)
    result = _run("--predictions", predictions, "--references", references, "--output", tmp_path / "out")
    assert result.exit_code == 1
    assert not (tmp_path / "out").exists()
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
    assert SPOILED[kind] in line
    if kind == "two broken":
        assert "02.nii.gz: not a NIfTI-1 file" in line


def test_no_experts_is_an_error(tmp_path: Path) -> None:
    predictions, references = _lay_out(tmp_path, references="flat")
    result = _run(
        "--predictions", predictions, "--references", references, "--output", tmp_path / "out", "--experts"
    )
    assert (result.exit_code, (tmp_path / "out").exists()) == (1, False)
    assert "no expert's mask" in result.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--predictions", "a"],
        ["--references", "b"],
        ["--compare", "a"],
        ["--compare", "a", "b", "--experts"],
        ["--threads", "0"],
    ],
)
def test_incomplete_commands_are_refused(arguments: list[str], tmp_path: Path) -> None:
    assert _run("--output", tmp_path / "out", *arguments).exit_code == 2


def test_two_methods_compared(tmp_path: Path) -> None:
    """The first method scored before, the second now: as the first, but nothing found in 01 and nothing false in 03.

    F1 falls by 1 in 01 and by 0 in 02: mean -0.5. One difference that is not 0: its rank sum is as extreme as its mirror image's, p = 1.
    """
    predictions, references = _lay_out(tmp_path)
    first = _evaluate(tmp_path, predictions, references)
    for case, (_, prediction, *_) in CASES.items():
        _write(_bars() if case in ("01", "03") else prediction, tmp_path / "second" / f"{case}.nii.gz")
    result = _run(
        "--compare", first, tmp_path / "second", "--references", references, "--output", tmp_path / "both"
    )
    assert result.exit_code == 0, result.output
    assert {path.name for path in (tmp_path / "both").iterdir()} == {
        "comparison.csv",
        "comparison.json",
        "comparison.md",
    }
    comparison = json.loads((tmp_path / "both" / "comparison.json").read_text())
    f1 = comparison["with_new_lesions"]["f1"]
    assert (f1["cases"], f1["mean_first"], f1["mean_second"], f1["difference_mean"], f1["wilcoxon_p"]) == (
        2,
        0.75,
        0.25,
        -0.5,
        1.0,
    )
    assert f1["difference_mean_95"] == [-1.0, 0.0]
    assert comparison["without_new_lesions"]["false_volume_mm3"]["difference_mean"] == -4.0
    rows = {(row["case"], row["measure"]): row for row in _rows(tmp_path / "both" / "comparison.csv")}
    assert [rows["01", "f1"][name] for name in ("first", "second", "difference")] == [
        "1.000000",
        "0.000000",
        "-1.000000",
    ]
    assert (
        "| lesion F1 | 2 | 0.750 | 0.250 | -0.500 [-1.000, 0.000] | 1 |"
        in (tmp_path / "both" / "comparison.md").read_text()
    )


def test_a_method_does_not_differ_from_itself(tmp_path: Path) -> None:
    """Scored before and scored now: the table's six decimals must not make a difference."""
    predictions, references = _lay_out(tmp_path)
    first = _evaluate(tmp_path, predictions, references)
    assert (
        _run(
            "--compare", first, predictions, "--references", references, "--output", tmp_path / "both"
        ).exit_code
        == 0
    )
    comparison = json.loads((tmp_path / "both" / "comparison.json").read_text())
    for measure in comparison["with_new_lesions"].values():
        assert (measure["difference_mean"], measure["difference_mean_95"], measure["wilcoxon_p"]) == (
            0,
            [0, 0],
            1,
        )


def test_eight_cases_all_better_by_wilcoxon() -> None:
    """All of eight differences positive: of 2^8 sign patterns one is as extreme, and its mirror image: p = 2/256."""
    first = np.arange(8) / 100
    compared = evaluation._compare_measure(first, first + np.arange(1, 9) / 20)
    assert compared["wilcoxon_p"] == pytest.approx(2 / 256)


def test_what_cannot_be_compared(tmp_path: Path) -> None:
    predictions, references = _lay_out(tmp_path)
    first = _evaluate(tmp_path, predictions, references)

    def refused(second: Path, *more: object) -> str:
        result = _run("--compare", first, second, "--output", tmp_path / "both", *more)
        assert (result.exit_code, (tmp_path / "both").exists()) == (1, False)
        return result.stderr

    assert "wanted an earlier evaluation, or --references to score its masks" in refused(predictions)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "cases.csv").write_text("case,rater\n01,prediction\n")
    assert "not a table of this version" in refused(tmp_path / "other")
    _write(_bars((9, 1, 20)), references / "01" / "ground_truth.nii.gz")
    assert "case 01 was scored against 40 mm3 of lesions" in refused(predictions, "--references", references)


@pytest.mark.slow
def test_sixty_cases_at_1_mm(tmp_path: Path) -> None:
    """The size of the challenge's test set; prints how long it takes (pytest -s)."""
    for number in range(60):
        rng = np.random.default_rng(number)
        reference = np.zeros((182, 218, 182), np.uint8)
        for _ in range(0 if number % 3 == 0 else 10):
            z, y, x = rng.integers(40, 140, 3)
            reference[z : z + 4, y : y + 5, x : x + 6] = 1
        _write(reference, tmp_path / "ref" / f"{number:02d}" / "ground_truth.nii.gz")
        _write(np.roll(reference, 2, axis=2), tmp_path / "pred" / f"{number:02d}.nii.gz")
    started = time.perf_counter()
    output = _evaluate(tmp_path, tmp_path / "pred", tmp_path / "ref", "--threads", "2")
    print(f"\n60 cases of 182x218x182 voxels: {time.perf_counter() - started:.1f} s")  # noqa: T201
    rows = _rows(output / "cases.csv")
    assert len(rows) == 60
    assert all(
        float(row["f1"]) == 1 for row in rows if row["new_lesions"] == "1"
    )  # a third outside is not too much
