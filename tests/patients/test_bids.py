"""Pairs of a BIDS data set. Scans are empty files: only names are looked at."""

from pathlib import Path

import pytest

from app.errors import InputError
from app.patients.bids import find_cases, is_bids


def _scans(folder: Path, *names: str) -> Path:
    """Files such as sub-01/ses-01/anat/sub-01_ses-01_FLAIR.nii.gz, from 'sub-01/ses-01' or with more entities
    'sub-01/ses-01_run-1'.
    """
    for name in names:
        subject, session = name.split("/")
        path = folder / subject / session.split("_")[0] / "anat" / f"{subject}_{session}_FLAIR.nii.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return folder


def _pairs(folder: Path) -> list[tuple[str, str]]:
    """(session of the baseline, session of the follow-up) in the order of time, and no problem."""
    cases, problems = find_cases(folder)
    assert problems == []
    pairs = [
        (
            case.baseline.parent.parent.name.removeprefix("ses-"),
            case.followup.parent.parent.name.removeprefix("ses-"),
        )
        for case in cases
    ]
    followups = {followup for _, followup in pairs}
    (first,) = [pair for pair in pairs if pair[0] not in followups]
    ordered = [first]
    while len(ordered) < len(pairs):
        ordered += [pair for pair in pairs if pair[0] == ordered[-1][1]]
    return ordered


def test_consecutive_sessions_are_paired_and_named_as_derivatives(tmp_path: Path) -> None:
    _scans(
        tmp_path, "sub-02/ses-01", "sub-02/ses-02", "sub-01/ses-01", "sub-01/ses-03", "sub-01/ses-02_acq-3D"
    )
    (tmp_path / "sub-01" / "ses-01" / "anat" / "sub-01_ses-01_FLAIR.json").touch()
    (tmp_path / "sub-01" / "ses-01" / "anat" / "sub-01_ses-01_T1w.nii.gz").touch()
    cases, problems = find_cases(tmp_path)
    assert problems == []
    assert [(case.name, case.baseline.name, case.followup.name, case.bids) for case in cases] == [
        (
            "sub-01_ses-02",
            "sub-01_ses-01_FLAIR.nii.gz",
            "sub-01_ses-02_acq-3D_FLAIR.nii.gz",
            "sub-01/ses-02/anat/sub-01_ses-02_acq-3D_desc-newLesions",
        ),
        (
            "sub-01_ses-03",
            "sub-01_ses-02_acq-3D_FLAIR.nii.gz",
            "sub-01_ses-03_FLAIR.nii.gz",
            "sub-01/ses-03/anat/sub-01_ses-03_desc-newLesions",
        ),
        (
            "sub-02_ses-02",
            "sub-02_ses-01_FLAIR.nii.gz",
            "sub-02_ses-02_FLAIR.nii.gz",
            "sub-02/ses-02/anat/sub-02_ses-02_desc-newLesions",
        ),
    ]


def test_subjects_sessions_and_pairs_can_be_chosen(tmp_path: Path) -> None:
    """A pair that leaves a session out says since which one."""
    scans = (f"sub-{subject}/ses-M{month:02d}" for subject in ("A", "B") for month in (0, 6, 12))
    _scans(tmp_path, *scans)
    cases, problems = find_cases(tmp_path, "to-first", subjects=["B"])
    assert problems == []
    assert [(case.name, case.bids) for case in cases] == [
        ("sub-B_ses-M06", "sub-B/ses-M06/anat/sub-B_ses-M06_desc-newLesions"),
        ("sub-B_ses-M12_since-ses-M00", "sub-B/ses-M12/anat/sub-B_ses-M12_desc-newLesionsSinceM00"),
    ]
    cases, problems = find_cases(tmp_path, subjects=["A"], sessions=["M00", "M12"])
    assert [case.name for case in cases] == ["sub-A_ses-M12_since-ses-M00"]
    cases, problems = find_cases(tmp_path, sessions=["M06"])
    assert cases == []
    assert ["FLAIR scan: 1; wanted two or more" in str(problem) for problem in problems] == [True, True]


@pytest.mark.parametrize(
    ("labels", "pairs"),
    [
        (["2", "10", "1"], [("1", "2"), ("2", "10")]),
        (["M12", "M0", "M6"], [("M0", "M6"), ("M6", "M12")]),
        (["followup", "baseline"], [("baseline", "followup")]),
        (["followup2", "followup1", "baseline"], [("baseline", "followup1"), ("followup1", "followup2")]),
        (["20240131", "20231224"], [("20231224", "20240131")]),
    ],
)
def test_sessions_are_ordered_by_their_numbers(
    labels: list[str], pairs: list[tuple[str, str]], tmp_path: Path
) -> None:
    assert _pairs(_scans(tmp_path, *(f"sub-01/ses-{label}" for label in labels))) == pairs


TIMES = {"pre": "2021-05-01T10:00:00", "post": "2022-01-15T09:30:00.5", "late": "2023-03-01T08:00:00Z"}


def _sessions_table(subject: Path, times: dict[str, str]) -> None:
    rows = [f"ses-{session}\t{time}\t41" for session, time in times.items()]
    (subject / f"{subject.name}_sessions.tsv").write_text(
        "\n".join(["session_id\tacq_time\tage", *rows]) + "\n"
    )


def test_sessions_are_ordered_by_acquisition_time_if_all_have_one(tmp_path: Path) -> None:
    _scans(tmp_path, "sub-01/ses-pre", "sub-01/ses-post", "sub-01/ses-late")
    _sessions_table(tmp_path / "sub-01", TIMES)
    assert _pairs(tmp_path) == [("pre", "post"), ("post", "late")]


def test_times_and_numbers_that_contradict_each_other_are_a_problem(tmp_path: Path) -> None:
    _scans(tmp_path, "sub-01/ses-M6", "sub-01/ses-M12")
    _sessions_table(tmp_path / "sub-01", {"M6": TIMES["post"], "M12": TIMES["pre"]})
    cases, problems = find_cases(tmp_path)
    assert cases == []
    assert "ses-M12, ses-M6 by the acq_time of sub-01_sessions.tsv, ses-M6, ses-M12 by their labels" in str(
        problems[0]
    )


def test_a_table_of_sessions_in_another_encoding_is_read(tmp_path: Path) -> None:
    _scans(tmp_path, "sub-01/ses-pre", "sub-01/ses-post")
    rows = "".join(f"ses-{name}\t{TIMES[name]}\tGen\xe8ve\n" for name in ("pre", "post"))
    table = tmp_path / "sub-01" / "sub-01_sessions.tsv"
    table.write_bytes(f"session_id\tacq_time\tsite\n{rows}".encode("latin-1"))
    assert _pairs(tmp_path) == [("pre", "post")]


def test_files_of_attributes_are_no_scans(tmp_path: Path) -> None:
    """macOS leaves ._sub-01_ses-1_FLAIR.nii.gz beside a scan on other file systems."""
    _scans(tmp_path, "sub-01/ses-1", "sub-01/ses-2")
    for scan in list(tmp_path.rglob("*_FLAIR.nii.gz")):
        (scan.parent / f"._{scan.name}").touch()
    assert _pairs(tmp_path) == [("1", "2")]


def test_linked_subjects_and_sessions_are_followed(tmp_path: Path) -> None:
    _scans(tmp_path / "store", "sub-01/ses-1", "sub-01/ses-2", "sub-02/ses-1", "sub-02/ses-2")
    raw = tmp_path / "raw"
    (raw / "sub-02").mkdir(parents=True)
    (raw / "sub-01").symlink_to(tmp_path / "store" / "sub-01")
    for session in ("ses-1", "ses-2"):
        (raw / "sub-02" / session).symlink_to(tmp_path / "store" / "sub-02" / session)
    assert is_bids(raw)
    cases, problems = find_cases(raw)
    assert ([case.name for case in cases], problems) == (["sub-01_ses-2", "sub-02_ses-2"], [])


def test_numbers_serve_where_a_time_is_missing(tmp_path: Path) -> None:
    _scans(tmp_path, "sub-01/ses-1", "sub-01/ses-2")
    _sessions_table(tmp_path / "sub-01", {"1": TIMES["post"], "2": "n/a"})
    assert _pairs(tmp_path) == [("1", "2")]


@pytest.mark.parametrize("labels", [["pre", "post"], ["1", "01"], ["baseline", "a1", "b2"]])
def test_an_order_that_cannot_be_told_is_a_problem(labels: list[str], tmp_path: Path) -> None:
    _scans(tmp_path, *(f"sub-01/ses-{label}" for label in labels), "sub-02/ses-1", "sub-02/ses-2")
    cases, problems = find_cases(tmp_path)
    assert [case.name for case in cases] == ["sub-02_ses-2"]
    assert len(problems) == 1
    assert (
        "in no order that can be told; wanted numbers in their labels, or sub-01_sessions.tsv with acq_time"
        in str(problems[0])
    )


def test_a_session_without_a_flair_is_no_time_point(tmp_path: Path) -> None:
    _scans(tmp_path, "sub-01/ses-1", "sub-01/ses-3")
    t1 = tmp_path / "sub-01" / "ses-2" / "anat" / "sub-01_ses-2_T1w.nii.gz"
    t1.parent.mkdir(parents=True)
    t1.touch()
    assert _pairs(tmp_path) == [("1", "3")]


def test_several_scans_in_a_session_are_one_problem_and_other_pairs_stay(tmp_path: Path) -> None:
    """Sessions 1 2 3 4 5, two scans in 3: 1-2 and 4-5 are pairs, 2-3 and 3-4 are not, nor is 2-4."""
    _scans(
        tmp_path,
        *(f"sub-01/ses-{number}" for number in (1, 2, 4, 5)),
        "sub-01/ses-3_run-1",
        "sub-01/ses-3_run-2",
    )
    cases, problems = find_cases(tmp_path)
    assert [case.name for case in cases] == ["sub-01_ses-2", "sub-01_ses-5"]
    assert len(problems) == 1
    assert (
        "sub-01_ses-3_run-1_FLAIR.nii.gz, sub-01_ses-3_run-2_FLAIR.nii.gz; wanted one FLAIR scan a session"
        in str(problems[0])
    )
    assert "\n" not in str(problems[0])


def test_a_subject_with_one_time_point_or_without_sessions_is_a_problem(tmp_path: Path) -> None:
    _scans(tmp_path, "sub-01/ses-1", "sub-02/ses-1", "sub-02/ses-2")
    loose = tmp_path / "sub-03" / "anat" / "sub-03_FLAIR.nii.gz"
    loose.parent.mkdir(parents=True)
    loose.touch()
    cases, problems = find_cases(tmp_path)
    assert [case.name for case in cases] == ["sub-02_ses-2"]
    assert [str(problem).removeprefix(f"{tmp_path}/") for problem in problems] == [
        "sub-01: sessions (ses-*) with a FLAIR scan: 1; wanted two or more",
        "sub-03: sessions (ses-*) with a FLAIR scan: 0; wanted two or more",
    ]


def test_a_data_set_without_flair_is_refused(tmp_path: Path) -> None:
    (tmp_path / "dataset_description.json").write_text("{}")
    (tmp_path / "sub-01").mkdir()
    assert is_bids(tmp_path)
    with pytest.raises(InputError, match="no FLAIR scan in this BIDS data set"):
        find_cases(tmp_path)


def test_derivatives_and_other_layouts_are_not_taken_for_raw_scans(tmp_path: Path) -> None:
    _scans(tmp_path / "raw", "sub-01/ses-1", "sub-01/ses-2")
    _scans(tmp_path / "raw" / "derivatives" / "other", "sub-01/ses-3")
    assert is_bids(tmp_path / "raw")
    assert _pairs(tmp_path / "raw") == [("1", "2")]
    challenge = tmp_path / "challenge" / "sub-01"
    challenge.mkdir(parents=True)
    for name in ("flair_time01.nii.gz", "flair_time02.nii.gz"):
        (challenge / name).touch()
    assert not is_bids(tmp_path / "challenge")
