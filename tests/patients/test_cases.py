import os
import re
from pathlib import Path

import pytest

from app.errors import InputError
from app.patients.cases import find_cases, read_table


def _files(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")
    return folder


def _found(folder: Path) -> list[tuple[str, str, str]]:
    cases, problems = find_cases(folder)
    assert problems == []
    return [(case.name, case.baseline.name, case.followup.name) for case in cases]


def test_challenge_folders(tmp_path: Path) -> None:
    one, two = "flair_time01_on_middle_space.nii.gz", "flair_time02_on_middle_space.nii.gz"
    _files(
        tmp_path,
        f"013/{two}",
        f"013/{one}",
        f"015/{one}",
        f"015/{two}",
        "013/ground_truth.nii.gz",
        "013/brain_mask.nii.gz",
    )
    assert _found(tmp_path) == [("013", one, two), ("015", one, two)]


def test_a_plain_pair_is_in_the_order_of_its_names(tmp_path: Path) -> None:
    _files(tmp_path, "b.nii.gz", "a.nii.gz", "notes.txt")
    assert _found(tmp_path) == [("patient", "a.nii.gz", "b.nii.gz")]


def test_one_pair_in_the_input_folder_itself(tmp_path: Path) -> None:
    _files(tmp_path, "followup.mha", "baseline.mha")
    assert _found(tmp_path) == [("patient", "baseline.mha", "followup.mha")]


def test_pairs_side_by_side(tmp_path: Path) -> None:
    _files(tmp_path, "P1_time01.nii.gz", "P1_time02.nii.gz", "P2_time01.nii.gz", "P2_time02.nii.gz")
    assert [name for name, *_ in _found(tmp_path)] == ["P1", "P2"]


def test_pairs_side_by_side_in_folders(tmp_path: Path) -> None:
    _files(
        tmp_path,
        "site/P1_time1.nii",
        "site/P1_time2.nii",
        "site/P2_time1.nii",
        "site/P2_time2.nii",
        "lyon/x/time01.nrrd",
        "lyon/x/time02.nrrd",
    )
    assert [name for name, *_ in _found(tmp_path)] == ["lyon_x", "site_P1", "site_P2"]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["A/flair_time01.nii.gz"], "flair_time01.nii.gz: a baseline alone"),
        (["A/flair_time02.nii.gz", "A/other.nii.gz"], "flair_time02.nii.gz: a follow-up alone"),
        (["A/a.nii", "A/b.nii", "A/c.nii"], "3 images (a.nii, b.nii, c.nii), 3 of which may be a FLAIR scan"),
        (["A/a.nii"], "1 images (a.nii), 1 of which may be"),
        (["A/time01.nii", "A/time1.nii", "A/time02.nii"], "a second baseline"),
        (
            ["a_b/time01.nii", "a_b/time02.nii", "a/b/time01.nii", "a/b/time02.nii"],
            "two patients would be called a_b",
        ),
    ],
)
def test_what_is_no_pair_is_reported_and_the_rest_is_found(
    names: list[str], message: str, tmp_path: Path
) -> None:
    _files(tmp_path, *names, "good/time01.nii", "good/time02.nii")
    cases, problems = find_cases(tmp_path)
    assert "good" in [case.name for case in cases]
    assert len(problems) == 1
    assert message in str(problems[0])


def test_a_missing_or_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        find_cases(tmp_path / "nowhere")
    with pytest.raises(InputError, match="no image in it"):
        find_cases(tmp_path)


def test_earlier_results_inside_the_input_are_no_patients(tmp_path: Path) -> None:
    _files(
        tmp_path,
        "A/time01.nii",
        "A/time02.nii",
        "results/A/new_lesions.nii.gz",
        "results/A/probability.nii.gz",
    )
    cases, problems = find_cases(tmp_path, output=tmp_path / "results")
    assert [case.name for case in cases] == ["A"]
    assert problems == []


def _table(folder: Path, text: str) -> Path:
    (folder / "pairs.csv").write_bytes(text.encode())
    return folder / "pairs.csv"


def test_a_table_names_pairs_relative_to_itself(tmp_path: Path) -> None:
    """With the byte order mark and the line ends of a spreadsheet program, and a column more."""
    table = _table(
        tmp_path,
        "\ufeffage,baseline,patient,followup\r\n"
        "41,x/one.nii.gz,P2,x/two.nii.gz\r\n35,/scans/a.mha,P1, b.mha \r\n",
    )
    cases, problems = read_table(table)
    assert problems == []
    assert [(case.name, case.baseline, case.followup) for case in cases] == [
        ("P1", Path("/scans/a.mha"), tmp_path / "b.mha"),
        ("P2", tmp_path / "x" / "one.nii.gz", tmp_path / "x" / "two.nii.gz"),
    ]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("P1,c.nii,d.nii", "row 3: P1 once more"),
        (",c.nii,d.nii", "row 3: patient ''; wanted letters"),
        ("../P2,c.nii,d.nii", "row 3: patient '../P2'"),
        ("P2,c.nii", "row 3: a scan is missing"),
        ("P2,c.nii,", "row 3: a scan is missing"),
    ],
)
def test_a_row_that_is_no_pair_is_reported_and_the_rest_is_found(
    row: str, message: str, tmp_path: Path
) -> None:
    cases, problems = read_table(
        _table(tmp_path, f"patient,baseline,followup\nP1,a.nii,b.nii\n{row}\nP3,e.nii,f.nii\n")
    )
    assert [case.name for case in cases] == ["P1", "P3"]
    assert len(problems) == 1
    assert message in str(problems[0])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "patient;baseline;followup\nP1;a;b\n",
            "columns 'patient;baseline;followup'; wanted patient, baseline, followup",
        ),
        ("patient,baseline,followup\n", "no rows"),
        ("patient,baseline,followup\nP1,a.nii,b\0.nii\n", "cannot be read (NUL bytes)"),
        ("", "wanted patient, baseline, followup"),
    ],
)
def test_a_table_that_is_none_is_refused(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        read_table(_table(tmp_path, text))


def test_a_table_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "latin.csv").write_bytes("patient,baseline,followup\nMüller,a,b\n".encode("latin-1"))
    for path in (tmp_path / "latin.csv", tmp_path / "nowhere.csv"):
        with pytest.raises(InputError, match="cannot be read"):
            read_table(path)


@pytest.mark.parametrize(
    ("names", "pair", "by"),
    [
        (["FLAIR_M12.nii.gz", "FLAIR_M6.nii.gz"], ["FLAIR_M6.nii.gz", "FLAIR_M12.nii.gz"], "their numbers"),
        (["s10_flair.nii", "s9_flair.nii"], ["s9_flair.nii", "s10_flair.nii"], "their numbers"),
        (["b_2021-03-01.nii", "a_20220301.nii"], ["b_2021-03-01.nii", "a_20220301.nii"], "their dates"),
        (["flair_post.nii", "flair_pre.nii"], ["flair_pre.nii", "flair_post.nii"], "their words"),
        (["b.nii", "a.nii"], ["a.nii", "b.nii"], "the alphabet"),
        # of what lies in the folder, the two that say FLAIR
        (
            ["flair_2.nii", "flair_1.nii", "t1_1.nii", "flair_1_mask.nii"],
            ["flair_1.nii", "flair_2.nii"],
            "their numbers",
        ),
        (["flair_t1.nii", "flair_t2.nii"], ["flair_t1.nii", "flair_t2.nii"], "their numbers"),
    ],
)
def test_the_order_of_a_plain_pair_and_what_tells_it(
    names: list[str], pair: list[str], by: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Both names are said, since the order is a guess."""
    _files(tmp_path / "P1", *names)
    assert _found(tmp_path) == [("P1", *pair)]
    assert f"P1: {pair[0]} is taken as the baseline, {pair[1]} as the follow-up, by {by}" in caplog.text
    (case,), _ = find_cases(tmp_path)
    assert case.doubt.startswith(f"which scan is the earlier one was told by {by}: check it")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["M12_20200101.nii", "M6_20210101.nii"], "their dates or numbers contradict each other"),
        (["scan2_v1.nii", "scan1_v2.nii"], "their dates or numbers contradict each other"),
        (["FLAIR.nii.gz", "T1.nii.gz"], "2 images (FLAIR.nii.gz, T1.nii.gz), 1 of which may be a FLAIR scan"),
        (["P_FLAIR.nii.gz", "P_FLAIR_mask.nii.gz"], "1 of which may be a FLAIR scan"),
        (["p_t1.nii", "p_t2.nii"], "0 of which may be a FLAIR scan"),
        (["t1w_time01.nii", "t1w_time02.nii"], "0 of which may be a FLAIR scan"),
    ],
)
def test_two_images_that_are_no_pair_of_flairs(names: list[str], message: str, tmp_path: Path) -> None:
    _files(tmp_path, *(f"P1/{name}" for name in names), "good/time01.nii", "good/time02.nii")
    cases, problems = find_cases(tmp_path)
    assert [case.name for case in cases] == ["good"]
    assert len(problems) == 1
    assert message in str(problems[0])


def test_links_are_followed_and_lead_into_no_loop(tmp_path: Path) -> None:
    """A patient that is a link, scans that are, and links back to where they lie, or above."""
    store = _files(tmp_path / "store", "P1/time01.nii", "P1/time02.nii")
    root = tmp_path / "root"
    (root / "P2").mkdir(parents=True)
    (root / "P1").symlink_to(store / "P1")
    for scan in ("time01.nii", "time02.nii"):
        (root / "P2" / scan).symlink_to(store / "P1" / scan)
    (root / "P2" / "again").symlink_to(root)
    (root / "P2" / "above").symlink_to(tmp_path)
    (root / "P2" / "itself").symlink_to(root / "P2" / "itself")
    assert [name for name, *_ in _found(root)] == ["P1", "P2"]


@pytest.mark.skipif(os.name == "nt" or os.geteuid() != 0, reason="root alone can become another user")
def test_a_folder_that_may_not_be_entered_is_a_problem(tmp_path: Path) -> None:
    """User 65534 may list its files, and no more."""
    _files(tmp_path, "P1/time01.nii", "P1/time02.nii", "P2/time01.nii", "P2/time02.nii")
    for place in (tmp_path, *tmp_path.parents[:3]):
        place.chmod(place.stat().st_mode | 0o055)
    (tmp_path / "P2").chmod(0o744)
    os.seteuid(65534)
    try:
        cases, problems = find_cases(tmp_path)
    finally:
        os.seteuid(0)
    assert [case.name for case in cases] == ["P1"]
    assert [str(problem).partition(": ")[2] for problem in problems] == [
        "cannot be read (Permission denied); wanted a folder with read permission"
    ]


def test_results_reached_by_a_link_are_no_patients(tmp_path: Path) -> None:
    _files(tmp_path, "in/A/time01.nii", "in/A/time02.nii", "out/B/time01.nii", "out/B/time02.nii")
    (tmp_path / "in" / "results").symlink_to(tmp_path / "out")
    cases, problems = find_cases(tmp_path / "in", output=tmp_path / "out")
    assert ([case.name for case in cases], problems) == (["A"], [])


def test_a_name_longer_than_a_file_system_takes_is_a_problem(tmp_path: Path) -> None:
    _files(tmp_path, f"{'x' * 150}/{'y' * 150}/time01.nii", f"{'x' * 150}/{'y' * 150}/time02.nii")
    cases, problems = find_cases(tmp_path)
    assert cases == []
    assert "301 bytes; wanted 200 at most" in str(problems[0])


def test_blanks_and_empty_rows_of_a_table(tmp_path: Path) -> None:
    text = 'patient, baseline, followup\nP1, a.nii, "b, c.nii"\n,,\n\nP2, a.nii,\n,,\n'
    cases, problems = read_table(_table(tmp_path, text))
    assert [(case.name, case.baseline.name, case.followup.name) for case in cases] == [
        ("P1", "a.nii", "b, c.nii")
    ]
    assert [str(problem).partition(": ")[2] for problem in problems] == [
        "row 5: a scan is missing; wanted a baseline and a followup"
    ]


def test_a_table_of_tabs(tmp_path: Path) -> None:
    table = tmp_path / "pairs.TSV"
    table.write_text("patient\tbaseline\tfollowup\nP1\ta.nii\tb, c.nii\n")
    (case,), _ = read_table(table)
    assert case.followup == tmp_path / "b, c.nii"


def test_a_column_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="each once"):
        read_table(_table(tmp_path, "patient,baseline,followup,baseline\nP1,a,b,c\n"))


def test_a_file_is_no_missing_folder(tmp_path: Path) -> None:
    (tmp_path / "pairs.xlsx").touch()
    with pytest.raises(InputError, match=r"pairs.xlsx: not a folder; .* or a table \(.csv, .tsv\)"):
        find_cases(tmp_path / "pairs.xlsx")


def test_a_name_that_is_a_formula_is_a_problem(tmp_path: Path) -> None:
    _files(tmp_path, "=cmd/time01.nii", "=cmd/time02.nii", "P1/time01.nii", "P1/time02.nii")
    cases, problems = find_cases(tmp_path)
    assert [case.name for case in cases] == ["P1"]
    assert "=cmd, which a spreadsheet takes for a formula" in str(problems[0])
