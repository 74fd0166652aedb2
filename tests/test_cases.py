from pathlib import Path

import pytest

from app.cases import find_cases
from app.errors import InputError


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
    _files(tmp_path, f"013/{two}", f"013/{one}", f"015/{one}", f"015/{two}", "013/ground_truth.nii.gz", "013/brain_mask.nii.gz")
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
    _files(tmp_path, "site/P1_time1.nii", "site/P1_time2.nii", "site/P2_time1.nii", "site/P2_time2.nii", "lyon/x/time01.nrrd", "lyon/x/time02.nrrd")
    assert [name for name, *_ in _found(tmp_path)] == ["lyon_x", "site_P1", "site_P2"]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["A/flair_time01.nii.gz"], "flair_time01.nii.gz: a baseline alone"),
        (["A/flair_time02.nii.gz", "A/other.nii.gz"], "flair_time02.nii.gz: a follow-up alone"),
        (["A/a.nii", "A/b.nii", "A/c.nii"], "3 images without time01 or time02"),
        (["A/a.nii"], "1 images without time01 or time02"),
        (["A/time01.nii", "A/time1.nii", "A/time02.nii"], "a second baseline"),
        (["a_b/time01.nii", "a_b/time02.nii", "a/b/time01.nii", "a/b/time02.nii"], "two patients would be called a_b"),
    ],
)
def test_what_is_no_pair_is_reported_and_the_rest_is_found(names: list[str], message: str, tmp_path: Path) -> None:
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
