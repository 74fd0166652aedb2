"""A patient of three visits from files to files. The pairs' results are made by hand: three heads that lie
10 mm apart, and a lesion that comes and goes.
"""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from click.testing import CliRunner

from app.cli.main import main
from app.errors import InputError
from app.images import grids, storage
from app.patients import cohort, following, visits
from app.patients.visits import Case, Scanned
from app.results import record
from tests.results.test_record import DONE

STEP_MM = 10.0  # each visit lies so far to the left of the one before
LESION = (slice(20, 24), slice(20, 24), slice(24, 28))  # at the first visit, (z, y, x): 64 mm³


def _scan(visit: int) -> sitk.Image:
    values = np.random.default_rng(visit).uniform(50, 150, (40, 44, 48)).astype(np.float32)
    image = sitk.GetImageFromArray(values)
    image.SetOrigin((STEP_MM * visit, 0.0, 0.0))
    return image


def _write_pair(case: Case, output: Path, kind: str | None, comparable: bool = True) -> None:
    """What a comparison leaves behind: one lesion of a kind, or none."""
    outputs = cohort.outputs_of(case, output).wanted()
    assert case.visits is not None
    earlier, later = (visit.number - 1 for visit in case.visits)
    grid = _scan(later)
    numbers = np.zeros((40, 44, 48), dtype=np.uint16)
    if kind is not None:
        numbers[LESION] = 1
    storage.write(grids.like(numbers, grid), outputs["numbers"])
    storage.write(
        grids.like((numbers * (1 if kind == "vanished" else 2)).astype(np.uint8), grid), outputs["visits"]
    )
    volumes = {"baseline_mm3": 64.0 * (kind == "vanished"), "followup_mm3": 64.0 * (kind == "new")}
    lesion = {"number": 1, "kind": kind, "centre_ras_mm": [0, 0, 0], **volumes}
    outputs["lesions_json"].write_text(
        json.dumps({"lesions": [lesion] if kind else [], "load_mm3": None, "surface_mm": 0.6})
    )
    shift = STEP_MM * (earlier - later)
    rows = [[1, 0, 0, shift], [0, 1, 0, 0], [0, 0, 1, 0]]
    comparison: dict[str, object] = {
        "verdict": "comparable" if comparable else "not comparable",
        "reasons": [],
    }
    done = replace(DONE, alignment=DONE.alignment | {"followup_to_baseline": rows}, comparison=comparison)
    record.write_record(done, outputs["record"])


@pytest.fixture
def cases(tmp_path: Path) -> list[Case]:
    paths = [tmp_path / f"{visit}.nii.gz" for visit in range(3)]
    for visit, path in enumerate(paths):
        storage.write(_scan(visit), path)
    return visits.cases("P1", [Scanned(f"M{6 * visit}", path) for visit, path in enumerate(paths)], "all")


def test_a_lesion_is_one_wherever_the_heads_lie(cases: list[Case], tmp_path: Path) -> None:
    """New from M0 to M6 and from M0 to M12, nothing from M6 to M12."""
    output = tmp_path / "out"
    kinds = {"P1_M6": "new", "P1_M12": None, "P1_M12_since-M0": "new"}
    for case in cases:
        _write_pair(case, output, kinds[case.name])
    results = {case.name: cohort.outputs_of(case, output) for case in cases}
    written = following.outputs_of(cases[0], output)
    followed = following.follow_patient(cases, results, written)
    (track,) = followed.found.tracks
    assert track.states == ("absent", "appears", "unchanged")
    assert track.volumes_mm3 == (0.0, 64.0, 64.0)
    assert followed.found.disagreements == []
    assert followed.headline() in written.page.read_text()
    assert sorted(path.name for path in (output / "P1").iterdir()) == [
        *("follow.csv", "follow.html", "follow.json"),
    ]
    again = following.follow_patient(cases, results, written)  # its own files may be replaced
    assert again.headline() == followed.headline()


def test_loads_are_the_mean_of_what_comparisons_have(cases: list[Case], tmp_path: Path) -> None:
    """Networks that draw all lesions: what they do not mark is no lesion."""
    output = tmp_path / "out"
    loads = {"P1_M6": (100.0, 164.0), "P1_M12": (170.0, 180.0), "P1_M12_since-M0": (110.0, 190.0)}
    for case in cases:
        _write_pair(case, output, "new" if case.name != "P1_M12" else None)
        path = cohort.outputs_of(case, output).wanted()["lesions_json"]
        before, after = loads[case.name]
        content = json.loads(path.read_text()) | {"load_mm3": {"baseline": before, "followup": after}}
        path.write_text(json.dumps(content))
    results = {case.name: cohort.outputs_of(case, output) for case in cases}
    followed = following.follow_patient(cases, results, following.outputs_of(cases[0], output))
    assert followed.load_mm3 == [105.0, 167.0, 185.0]
    (one,) = followed.found.disagreements  # nothing where the others have a lesion at both visits
    assert (one.visits, one.pair_says) == ((1, 2), "no change")


def test_a_comparison_that_failed_is_left_out_and_said(cases: list[Case], tmp_path: Path) -> None:
    output = tmp_path / "out"
    failed = "P1_M12_since-M0"
    results = {}
    for case in cases:
        if case.name != failed:
            _write_pair(case, output, "new" if case.name == "P1_M6" else "vanished")
            results[case.name] = cohort.outputs_of(case, output)
    followed = following.follow_patient(cases, results, following.outputs_of(cases[0], output))
    assert followed.left_out == [failed]
    assert followed.found.tracks[0].states == ("absent", "appears", "vanishes")


def test_without_the_last_visit_there_is_nothing_to_follow_to(cases: list[Case], tmp_path: Path) -> None:
    (first,) = [case for case in cases if case.name == "P1_M6"]
    _write_pair(first, tmp_path / "out", "new")
    results = {first.name: cohort.outputs_of(first, tmp_path / "out")}
    with pytest.raises(InputError, match="no comparison with the last visit was done"):
        following.follow_patient(cases, results, following.outputs_of(first, tmp_path / "out"))


def test_files_of_others_are_not_replaced(cases: list[Case], tmp_path: Path) -> None:
    written = following.outputs_of(cases[0], tmp_path / "out")
    written.page.parent.mkdir(parents=True)
    written.page.write_text("mine")
    with pytest.raises(InputError, match=r"follow\.html: is there already"):
        following.check_output(cases, tmp_path / "out")


def test_a_single_visit_is_refused(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["follow", str(tmp_path / "a.nii"), "-o", str(tmp_path / "out")])
    assert result.exit_code == 1
    assert result.stderr == "Error: 1 visit; wanted two or more, in the order of time\n"


@pytest.mark.slow
def test_three_visits_are_followed_and_a_second_call_compares_nothing_again(
    scans: tuple[Path, Path], weights: Path, tmp_path: Path
) -> None:
    """The demo's patient twice, and the later scan once more: what is new is new at both."""
    given = [*map(str, scans), str(scans[1])]
    options = ["-o", str(tmp_path / "out"), "--pairs", "consecutive", "--weights", str(weights)]
    machine = ["--threads", "1", "--device", "cpu"]
    first = CliRunner().invoke(main, ["follow", *given, *options, *machine])
    assert first.exit_code == 0, first.output
    content = json.loads((tmp_path / "out" / "follow.json").read_text())
    assert content["visits"] == ["1", "2", "3"]
    assert (tmp_path / "out" / "visit_3" / "report.html").is_file()
    page = (tmp_path / "out" / "index.html").read_text()
    assert '<a href="follow.html">all visits</a>' in page
    assert "<h1>2 pairs of 1 patient, " in page
    second = CliRunner().invoke(main, ["follow", *given, *options, *machine])
    assert "2 of 2 pairs done (2 of them before)" in second.stdout
