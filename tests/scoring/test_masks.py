from pathlib import Path

import numpy as np
import pytest

from app.errors import InputError
from app.scoring import masks
from app.scoring.masks import Job, Method
from tests.scoring.challenge import CASES, PREDICTIONS, PROBABILITIES, REFERENCES, bars, lay_out, write


@pytest.mark.parametrize("references", REFERENCES)
@pytest.mark.parametrize("predictions", PREDICTIONS)
def test_cases_are_found_by_name(references: str, predictions: str, tmp_path: Path) -> None:
    predicted, true = lay_out(tmp_path, references, predictions)
    problems: list[str] = []
    jobs = masks.find_jobs([Method("a", predicted)], true, False, False, problems)
    assert problems == []
    assert [(job.case, job.rater) for job in jobs] == [(case, "a") for case in CASES]
    assert all(job.case in str(job.prediction) and job.case in str(job.reference) for job in jobs)
    assert all((job.probability is not None) == (predictions in PROBABILITIES) for job in jobs)


def test_one_patients_own_folder_is_a_case(tmp_path: Path) -> None:
    one = write(bars((1, 1, 4)), tmp_path / "patient7" / "ground_truth.nii.gz")
    assert masks.find_masks(one.parent, masks.REFERENCE_NAMES, []) == {"patient7": one}


def test_a_tree_of_bids_derivatives_is_read(tmp_path: Path) -> None:
    stem = tmp_path / "sub-01" / "ses-02" / "anat" / "sub-01_ses-02_desc-newLesions"
    mask = write(bars((1, 1, 4)), stem.with_name(f"{stem.name}_mask.nii.gz"))
    probability = write(bars((1, 1, 4)) * np.float32(0.5), stem.with_name(f"{stem.name}_probseg.nii.gz"))
    assert masks.find_masks(tmp_path, masks.PREDICTION_NAMES, []) == {"sub-01_ses-02_anat": mask}
    assert masks.find_probabilities(tmp_path) == {"sub-01_ses-02_anat": probability}


def test_experts_of_a_flat_folder(tmp_path: Path) -> None:
    reference = write(bars((1, 1, 4)), tmp_path / "7_ground_truth.nii.gz")
    expert = write(bars((1, 1, 4)), tmp_path / "7_ground_truth_expert3.nii.gz")
    references = masks.find_masks(tmp_path, masks.REFERENCE_NAMES, [])
    assert references == {"7": reference}
    assert masks.find_experts(tmp_path, references, []) == [Job("7", "expert3", expert, reference)]


def test_an_experts_mask_without_a_reference_is_named(tmp_path: Path) -> None:
    reference = write(bars((1, 1, 4)), tmp_path / "7_ground_truth.nii.gz")
    write(bars((1, 1, 4)), tmp_path / "8_ground_truth_expert1.nii.gz")
    problems: list[str] = []
    assert masks.find_experts(tmp_path, {"7": reference}, problems) == []
    assert len(problems) == 1
    assert "8_ground_truth_expert1.nii.gz: an expert's mask without a reference beside it" in problems[0]


def test_a_method_goes_by_its_name_or_by_its_folder(tmp_path: Path) -> None:
    odd = tmp_path / "a=b"
    odd.mkdir()
    named = masks.name_methods([f"ours={tmp_path}", f"{tmp_path}/team/", str(odd)])
    assert named == [
        Method("ours", tmp_path, asked=True),
        Method("team", tmp_path / "team"),
        Method("a=b", odd),
    ]


@pytest.mark.parametrize(
    ("methods", "message"),
    [
        (["x/out", "y/out"], "a second method called out"),
        (["expert1=x"], "expert1 is what an expert is called"),
        (["all experts=x"], "all experts is what an expert is called"),
    ],
)
def test_names_that_leave_a_doubt_are_refused(methods: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        masks.name_methods(methods)


def test_a_name_that_a_spreadsheet_would_run_is_refused(tmp_path: Path) -> None:
    for name in ("=cmd", "P1"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "ground_truth.nii.gz").touch()
    problems: list[str] = []
    assert list(masks.find_masks(tmp_path, masks.REFERENCE_NAMES, problems)) == ["P1"]
    assert "a case would be called =cmd, which a spreadsheet takes for a formula" in problems[0]
    with pytest.raises(InputError, match="@SUM is what a spreadsheet takes for a formula"):
        masks.name_methods([f"@SUM={tmp_path}"])
