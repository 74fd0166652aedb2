import json
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from app.scoring import challenge as scored
from tests.scoring.challenge import (
    CASES,
    bars,
    evaluate,
    lay_out,
    rows,
    run,
    second_method,
    write,
)

TABLES = {"cases.csv", "lesions.csv", "summary.csv", "summary.json", "summary.md"}


def _summary(output: Path) -> dict:
    return json.loads((output / "summary.json").read_text())


def test_a_row_a_case(tmp_path: Path) -> None:
    table = {row["case"]: row for row in rows(evaluate(tmp_path, *lay_out(tmp_path)) / "cases.csv")}
    assert list(table) == list(CASES)
    assert {row["rater"] for row in table.values()} == {"pred"}
    assert [table[case]["new_lesions"] for case in CASES] == ["1", "1", "0", "0"]
    assert [table[case]["f1"] for case in CASES] == ["1.000000", "0.500000", "nan", "nan"]
    assert float(table["02"]["dice"]) == pytest.approx(10 / 21, abs=1e-6)
    counts = ("detected_lesions", "missed_lesions", "false_lesions")
    assert [table["02"][name] for name in counts] == ["1", "1", "1"]
    volumes = ("false_volume_mm3", "reference_volume_mm3")
    assert [table["02"][name] for name in volumes] == ["12.000000", "20.000000"]
    found = ("false_lesions", "false_volume_mm3", "predicted_volume_mm3")
    assert [table["03"][name] for name in found] == ["1", "8.000000", "10.000000"]


def test_a_row_a_lesion(tmp_path: Path) -> None:
    """Case 02's missed bar: voxels x = 1..5 of row 4, slice 1. The mean index (3, 4, 1) lies at LPS 10 + 3,
    20 + 4, 30 + 2."""
    output = evaluate(tmp_path, *lay_out(tmp_path))
    table = [row for row in rows(output / "lesions.csv") if row["case"] == "02"]
    columns = ("mask", "number", "voxels", "detected", "overlap", "mean_probability")
    assert [tuple(row[name] for name in columns) for row in table] == [
        ("reference", "1", "5", "1", "1.000000", ""),
        ("reference", "2", "5", "0", "0.000000", ""),
        ("predicted", "1", "6", "0", "0.000000", ""),
        ("predicted", "2", "5", "1", "1.000000", ""),
    ]
    place = ("right_mm", "anterior_mm", "superior_mm", "volume_mm3")
    assert [table[1][side] for side in place] == ["-13.00", "-24.00", "32.00", "10.000000"]


def test_summary_keeps_cases_with_and_without_new_lesions_apart(tmp_path: Path) -> None:
    """F1 1 and 0.5: mean and median 0.75, and two cases drawn with replacement span both. One false lesion of
    8 mm^3 in two cases without."""
    output = evaluate(tmp_path, *lay_out(tmp_path))
    summary = _summary(output)
    part = summary["raters"]["pred"]
    new, none = part["with_new_lesions"], part["without_new_lesions"]
    counts = ("cases", "lesions", "detected_lesions", "missed_lesions", "false_lesions")
    assert [new[name] for name in counts] == [2, 3, 2, 1, 1]
    spread = {"mean": 0.75, "mean_95": [0.5, 1.0], "median": 0.75, "median_95": [0.5, 1.0]}
    assert new["f1"] == {"cases": 2} | spread
    assert (none["cases"], none["cases_without_false_lesion"]) == (2, 1)
    assert none["false_lesions"]["mean"] == 0.5
    volume = none["false_volume_mm3"]
    assert (volume["mean"], volume["mean_95"]) == (4.0, [0.0, 8.0])
    assert (summary["missing"], summary["rules"]["beta"]) == ({"pred": []}, 0.7)
    assert (summary["ranking"], summary["comparisons"]) == (None, [])
    page = (output / "summary.md").read_text()
    assert "| pred | 3 | 2 | 1 | 1 |" in page
    assert "| pred | 2 | 0.750 [0.500, 1.000] | 0.738 [0.476, 1.000] |" in page


def test_undefined_measures_are_left_out_and_counted(tmp_path: Path) -> None:
    """A reference of one voxel, 2 mm^3, holds no lesion: SensL is undefined, F1 is 0."""
    reference = write(bars((1, 1, 1)), tmp_path / "ref" / "a.nii.gz")
    prediction = write(bars((1, 1, 1)), tmp_path / "pred" / "a.nii.gz")
    output = evaluate(tmp_path, prediction.parent, reference.parent)
    part = _summary(output)["raters"]["pred"]["with_new_lesions"]
    nothing = {"mean": None, "mean_95": [None, None], "median": None, "median_95": [None, None]}
    assert part["sensl"] == {"cases": 0} | nothing
    assert part["f1"]["mean"] == 0
    assert (
        "| pred | 1 | 0.000 [0.000, 0.000] | 1.000 [1.000, 1.000] | – | 0.000 [0.000, 0.000] |"
        in (output / "summary.md").read_text()
    )


def test_has_a_patient_any_new_lesion(tmp_path: Path) -> None:
    """Called: 01, 02 and, falsely, 03. Predicted volumes 20, 22, 10 and 0 mm^3 put all in order: area 1.

    The largest probability is 0.75 in 01, 02 and 03, and 0 in 04: of four pairs two are won, two are equal.
    """
    output = evaluate(tmp_path, *lay_out(tmp_path, predictions="ours"))
    patients = _summary(output)["raters"]["pred"]["patients"]
    assert (patients["sensitivity"]["part"], patients["sensitivity"]["whole"]) == (2, 2)
    assert (patients["specificity"]["part"], patients["specificity"]["whole"]) == (1, 2)
    assert patients["by_volume"]["auc"]["value"] == 1
    assert patients["by_volume"]["roc"][2] == [20, 1, 1]
    assert patients["by_probability"]["auc"]["value"] == 0.75
    assert patients["by_probability"]["roc"] == [[None, 0, 1], [0.75, 1, 0.5], [0, 1, 0]]


def test_detection_by_size(tmp_path: Path) -> None:
    """True: 20 mm^3 found, 10 mm^3 found, 10 mm^3 missed. False: 12 mm^3 and 8 mm^3."""
    output = evaluate(tmp_path, *lay_out(tmp_path))
    sizes = {part["from_mm3"]: part for part in _summary(output)["raters"]["pred"]["sizes"]}
    assert [(sizes[low]["detected"]["part"], sizes[low]["detected"]["whole"]) for low in (3, 10, 30)] == [
        (0, 0),
        (2, 3),
        (0, 0),
    ]
    assert [sizes[low]["false_lesions"] for low in (3, 10, 30)] == [1, 1, 0]
    assert sizes[3000]["to_mm3"] is None


def test_calibration_of_voxels_and_lesions(tmp_path: Path) -> None:
    """26 voxels at 0.75, of which 10 of 01 and 5 of 02 are true; of four lesions two are."""
    output = evaluate(tmp_path, *lay_out(tmp_path, predictions="flat with maps"))
    calibration = _summary(output)["raters"]["pred"]["calibration"]
    voxels, lesions = calibration["voxels"][7], calibration["lesions"][7]
    assert (voxels["true"]["part"], voxels["true"]["whole"], voxels["mean_probability"]) == (15, 26, 0.75)
    assert calibration["voxels"][0]["true"]["part"] == 5  # the missed lesion
    assert (lesions["true"]["part"], lesions["true"]["whole"]) == (2, 4)
    assert calibration["voxel_calibration_error"] == pytest.approx(0.75 - 15 / 26)
    assert calibration["lesion_calibration_error"] == pytest.approx(0.75 - 2 / 4)
    assert {row["peak_probability"] for row in rows(output / "cases.csv")} == {"0.750000", "0.000000"}


def test_bins_of_probability() -> None:
    """0.05 and 0 in the first bin, 0.1 in the second, 1 in the last."""
    probability = np.array([0.05, 0, 0.1, 1], np.float32).reshape(1, 2, 2)
    reference = np.array([1, 0, 1, 1], bool).reshape(1, 2, 2)
    found = [
        (part.bin, part.voxels, part.lesion_voxels) for part in scored.reliability(probability, reference)
    ]
    assert found == [(0, 2, 1), (1, 1, 1), (9, 1, 1)]


def test_methods_ranked_and_compared(tmp_path: Path) -> None:
    """The second method has F1 0 and 0.5 against 1 and 0.5, but no false lesion in the cases without.

    F1 falls by 1 in 01 and by 0 in 02: mean -0.5. With one difference that is not 0 its mirror image is as
    extreme: p = 1. Each method wins two of the four measures, so that they share the first place.
    """
    predicted, references = lay_out(tmp_path)
    methods = f"first={predicted}", "--predictions", second_method(tmp_path)
    output = evaluate(tmp_path, methods[0], references, *methods[1:])
    summary = _summary(output)
    ranks = {name: part["rank"] for name, part in summary["ranking"]["measures"].items()}
    assert summary["ranking"]["methods"] == ["first", "second"]
    assert ranks == {
        "f1": [1, 2],
        "dice": [1, 2],
        "false_lesions": [2, 1],
        "false_volume_mm3": [2, 1],
        "overall": [1, 1],
    }
    (comparison,) = summary["comparisons"]
    f1 = comparison["with_new_lesions"]["f1"]
    names = ("cases", "mean_first", "mean_second", "difference_mean", "wilcoxon_p", "wilcoxon_p_holm")
    assert [f1[name] for name in names] == [2, 0.75, 0.25, -0.5, 1, 1]
    assert f1["difference_mean_95"] == [-1.0, 0.0]
    assert comparison["without_new_lesions"]["false_volume_mm3"]["difference_mean"] == -4.0
    assert "| second less first | -0.500 [-1.000, 0.000], p 1 |" in (output / "summary.md").read_text()
    assert [row["rater"] for row in rows(output / "cases.csv")] == ["first"] * 4 + ["second"] * 4


def test_every_number_of_the_page_stands_in_one_table(tmp_path: Path) -> None:
    predicted, references = lay_out(tmp_path, predictions="ours")
    output = evaluate(
        tmp_path, f"first={predicted}", references, "--predictions", second_method(tmp_path), "--experts"
    )
    table = {
        (row["rater"], row["other"], row["group"], row["measure"], row["statistic"]): row
        for row in rows(output / "summary.csv")
    }
    assert len(table) == len(rows(output / "summary.csv"))
    expected = {
        ("first", "", "with_new_lesions", "f1", "mean"): "0.750000",
        ("first", "", "with_new_lesions", "missed_lesions", "count"): "1",
        ("expert1", "", "with_new_lesions", "f1", "mean"): "0.833333",
        ("all experts", "", "without_new_lesions", "false_lesions", "mean"): "0.250000",
        ("first", "", "patients", "specificity", "rate"): "0.500000",
        ("first", "", "patients", "by_probability", "auc"): "0.750000",
        ("first", "", "lesions of 10-30 mm3", "detected", "rate"): "0.666667",
        ("first", "", "probability 0.7-0.8", "true lesions", "rate"): "0.500000",
        ("second", "", "ranking", "f1", "rank"): "2",
        ("first", "second", "with_new_lesions", "f1", "mean difference"): "-0.500000",
        ("second", "expert2", "with_new_lesions", "f1", "mean difference"): "0.750000",
    }
    assert {key: table[key]["value"] for key in expected} == expected
    assert table["first", "", "with_new_lesions", "f1", "mean"]["low_95"] == "0.500000"


def test_experts_are_scored_against_the_consensus_and_have_no_rank(tmp_path: Path) -> None:
    """F1 of expert 1: 1 and, with one of two lesions found, 2*1*0.5/1.5 = 2/3; of expert 2: 1 and 1, and a
    false lesion in case 03."""
    predicted, references = lay_out(tmp_path)
    output = evaluate(tmp_path, predicted, references, "--predictions", second_method(tmp_path), "--experts")
    table = rows(output / "cases.csv")
    names = ["pred", "second", "expert1", "expert2"]
    assert [row["rater"] for row in table] == [name for name in names for _ in CASES]
    summary = _summary(output)
    raters = summary["raters"]
    assert list(raters) == [*names, "all experts"]
    f1 = [raters[rater]["with_new_lesions"]["f1"]["mean"] for rater in raters]
    assert f1 == pytest.approx([0.75, 0.25, 5 / 6, 1, 11 / 12])
    false = [raters[rater]["without_new_lesions"]["false_lesions"]["mean"] for rater in raters]
    assert false == [0.5, 0, 0, 0.5, 0.25]
    assert summary["ranking"]["methods"] == ["pred", "second"]
    assert [(comparison["first"], comparison["second"]) for comparison in summary["comparisons"]] == [
        ("pred", "second"),
        ("pred", "expert1"),
        ("pred", "expert2"),
        ("second", "expert1"),
        ("second", "expert2"),
    ]


def test_results_do_not_depend_on_threads_or_the_run(tmp_path: Path) -> None:
    predictions, references = lay_out(tmp_path)
    written = []
    for threads in (1, 3):
        output = evaluate(tmp_path, predictions, references, "--threads", threads, "--experts")
        written.append({path.name: path.read_bytes() for path in output.iterdir()})
    assert written[0] == written[1]
    assert set(written[0]) == TABLES


def test_an_earlier_evaluation_stands_for_its_masks(tmp_path: Path) -> None:
    """Read back from the tables, every number is the same; a new method joins without the old masks."""
    predicted, references = lay_out(tmp_path, predictions="ours")
    first = evaluate(tmp_path, f"a={predicted}", references, "--experts")
    assert run("--predictions", first, "--output", tmp_path / "again").exit_code == 0
    assert (tmp_path / "again" / "summary.md").read_text() == (first / "summary.md").read_text()

    both = tmp_path / "both"
    methods = ["--predictions", f"b={first}", "--predictions", second_method(tmp_path)]
    assert run(*methods, "--references", references, "--output", both).exit_code == 0
    assert list(_summary(both)["raters"]) == ["b", "second", "expert1", "expert2", "all experts"]
    renamed = run("--predictions", f"c={both}", "--output", tmp_path / "refused")
    assert "2 methods in it; wanted it without c=" in renamed.stderr


def test_nothing_of_an_earlier_evaluation_is_left_in_the_folder(tmp_path: Path) -> None:
    predicted, references = lay_out(tmp_path, predictions="ours")
    output = evaluate(tmp_path, predicted, references)
    assert (output / "calibration.csv").is_file()
    (output / "ranking.png").touch()
    (output / "notes.txt").touch()
    evaluate(tmp_path, second_method(tmp_path), references)
    assert {path.name for path in output.iterdir()} == TABLES | {"notes.txt"}


def test_a_method_does_not_differ_from_itself(tmp_path: Path) -> None:
    """Scored before and scored now: the table's six decimals must not make a difference."""
    predicted, references = lay_out(tmp_path)
    first = evaluate(tmp_path, predicted, references)
    methods = ["--predictions", f"before={first}", "--predictions", f"now={predicted}"]
    assert run(*methods, "--references", references, "--output", tmp_path / "both").exit_code == 0
    summary = _summary(tmp_path / "both")
    for measure in summary["comparisons"][0]["with_new_lesions"].values():
        names = ("difference_mean", "difference_mean_95", "wilcoxon_p")
        assert [measure[name] for name in names] == [0, [0, 0], 1]
    assert all(part["rank"] == [1, 1] for part in summary["ranking"]["measures"].values())


def test_what_cannot_be_compared(tmp_path: Path) -> None:
    predicted, references = lay_out(tmp_path)
    first = evaluate(tmp_path, f"first={predicted}", references)

    broken = tmp_path / "other"
    broken.mkdir()
    (broken / "cases.csv").write_text("case,rater\n01,prediction\n")

    def refused(second: Path, *more: object) -> str:
        output = tmp_path / "both"
        result = run("--predictions", first, "--predictions", second, "--output", output, *more)
        assert (result.exit_code, output.exists()) == (1, False)
        return result.stderr

    assert "lesions.csv: cannot be read (No such file or directory)" in refused(broken)
    (broken / "lesions.csv").write_bytes((first / "lesions.csv").read_bytes())
    assert "cases.csv: no column missing" in refused(broken)
    table = (first / "cases.csv").read_text()
    (broken / "cases.csv").write_text(table.replace(",0.500000,", ",half,", 1))
    assert "could not convert string to float: 'half'" in refused(broken)
    (broken / "cases.csv").write_text(table)
    assert "a second method called first; wanted NAME=FOLDER" in refused(broken)
    write(bars((9, 1, 20)), references / "01" / "ground_truth.nii.gz")
    assert "case 01 was scored against 40 mm3 of lesions, in first against 20" in refused(
        predicted, "--references", references
    )


@pytest.mark.usefixtures("drawn")
def test_without_matplotlib_there_is_no_figure_but_all_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    predictions, references = lay_out(tmp_path)
    monkeypatch.setitem(sys.modules, "matplotlib", None)  # type: ignore[arg-type]
    result = run("--predictions", predictions, "--references", references, "--output", tmp_path / "out")
    assert result.exit_code == 0
    assert "matplotlib is missing; install it with" in result.stderr
    assert {path.name for path in (tmp_path / "out").iterdir()} == TABLES


@pytest.mark.slow
def test_sixty_cases_at_1_mm(tmp_path: Path) -> None:
    """The size of the challenge's test set; prints how long it takes (pytest -s)."""
    for number in range(60):
        rng = np.random.default_rng(number)
        reference = np.zeros((182, 218, 182), np.uint8)
        for _ in range(0 if number % 3 == 0 else 10):
            z, y, x = rng.integers(40, 140, 3)
            reference[z : z + 4, y : y + 5, x : x + 6] = 1
        write(reference, tmp_path / "ref" / f"{number:02d}" / "ground_truth.nii.gz")
        write(np.roll(reference, 2, axis=2), tmp_path / "pred" / f"{number:02d}.nii.gz")
    started = time.perf_counter()
    output = evaluate(tmp_path, tmp_path / "pred", tmp_path / "ref", "--threads", "2")
    print(f"\n60 cases of 182x218x182 voxels: {time.perf_counter() - started:.1f} s")  # noqa: T201
    table = rows(output / "cases.csv")
    assert len(table) == 60
    # a third outside is not too much
    assert all(float(row["f1"]) == 1 for row in table if row["new_lesions"] == "1")
