"""Which pairs of a patient's visits are compared, and their names."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.patients import cases, visits
from app.patients.visits import PAIRS, Pairs, Scanned

FOUR: dict[Pairs, list[tuple[int, int]]] = {
    "consecutive": [(0, 1), (1, 2), (2, 3)],
    "first-last": [(0, 3)],
    "to-first": [(0, 1), (0, 2), (0, 3)],
    "all": [(0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3)],
}


@pytest.mark.parametrize("pairs", PAIRS)
def test_pairs_of_four_visits(pairs: Pairs) -> None:
    assert visits.chosen(4, pairs) == FOUR[pairs]


@given(count=st.integers(0, 9), pairs=st.sampled_from(PAIRS))
def test_two_visits_are_one_pair_and_earlier_ones_come_first(count: int, pairs: Pairs) -> None:
    found = visits.chosen(count, pairs)
    assert all(earlier < later < count for earlier, later in found)
    assert set(found) <= set(visits.chosen(count, "all"))
    if count == 2:
        assert found == [(0, 1)]
    assert bool(found) == (count > 1)


def _three(*missing: int) -> list[Scanned]:
    return [Scanned(f"M{n}", None if n in missing else Path(f"{n}.nii")) for n in (0, 6, 12)]


def test_a_pair_has_one_name_whatever_else_is_compared() -> None:
    names = {pairs: [case.name for case in visits.cases("P1", _three(), pairs)] for pairs in PAIRS}
    assert names == {
        "consecutive": ["P1_M6", "P1_M12"],
        "first-last": ["P1_M12_since-M0"],
        "all": ["P1_M6", "P1_M12_since-M0", "P1_M12"],
        "to-first": ["P1_M6", "P1_M12_since-M0"],
    }
    (chosen,) = visits.cases("P1", _three(), "consecutive", wanted={"M0", "M12"})
    assert chosen.name == "P1_M12_since-M0"
    (alone,) = visits.cases("P1", _three()[:2], "all")
    assert (alone.name, alone.baseline, alone.followup) == ("P1", Path("0.nii"), Path("6.nii"))


def test_a_visit_whose_scan_is_not_known_is_in_no_pair_and_none_goes_past_it() -> None:
    assert visits.cases("P1", _three(6), "consecutive") == []
    assert [case.name for case in visits.cases("P1", _three(6), "all")] == ["P1_M12_since-M0"]


def test_three_times_in_a_folder_are_two_pairs(tmp_path: Path) -> None:
    for time in (1, 2, 3):
        path = tmp_path / "P1" / f"flair_time0{time}.nii.gz"
        path.parent.mkdir(exist_ok=True)
        path.touch()
    found, problems = cases.find_cases(tmp_path)
    assert problems == []
    assert [(case.name, case.baseline.name, case.followup.name) for case in found] == [
        ("P1_time02", "flair_time01.nii.gz", "flair_time02.nii.gz"),
        ("P1_time03", "flair_time02.nii.gz", "flair_time03.nii.gz"),
    ]
    (ends,), _ = cases.find_cases(tmp_path, pairs="first-last")
    assert (ends.name, ends.patient) == ("P1_time03_since-time01", "P1")


def test_a_table_of_visits(tmp_path: Path) -> None:
    table = tmp_path / "visits.csv"
    table.write_text(
        "patient,visit,scan\nP2,M0,a.nii\nP1,M0,b.nii\nP1,M6,c.nii\nP1,M12,d.nii\nP2,M0,e.nii\nP3,M/6,f.nii\n"
    )
    found, problems = cases.read_table(table, "to-first")
    assert [(case.name, case.baseline.name, case.followup.name) for case in found] == [
        ("P1_M12_since-M0", "b.nii", "d.nii"),
        ("P1_M6", "b.nii", "c.nii"),
    ]
    said = [str(problem).removeprefix(f"{table}: ") for problem in problems]
    assert said[0] == "row 6: visit M0 of P2 once more; wanted visits that differ"
    assert said[1].startswith("row 7: visit 'M/6'; wanted letters, digits")
    assert said[2:] == ["one visit of P2; wanted two or more"]
