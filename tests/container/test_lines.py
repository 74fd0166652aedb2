"""Do the lines of the docs that start the image work as typed? Without Docker, with `podman` for `docker`."""

import json
import re
import shutil
from pathlib import Path

import pydicom
import pytest
import SimpleITK as sitk
from pydicom.uid import JPEGLosslessSV1

from app import __version__
from benchmarks.engine import IMAGE, SETTINGS, Engine
from tests import typed
from tests.conftest import REPOSITORY
from tests.images.dicom_files import pack, write_series

pytestmark = pytest.mark.container


def _type(engine: Engine, page: str, start: str, folder: Path) -> str:
    """Run the only block of a page that holds `start`, in a folder; returns its standard output."""
    text = (REPOSITORY / "docs" / page).read_text(encoding="utf-8")
    (lines,) = [block for block in re.findall(r"^```sh\n(.*?)^```", text, re.M | re.S) if start in block]
    lines = re.sub(r"\bdocker\b", engine.command, lines).replace(f"ms-new-lesions:{__version__}", IMAGE)
    return typed.run(lines, folder, SETTINGS)


def _has_lesions(mask: Path) -> bool:
    return bool(sitk.GetArrayViewFromImage(sitk.ReadImage(str(mask))).any())


def test_it_says_what_it_is(engine: Engine, tmp_path: Path) -> None:
    said = _type(engine, "organisers.md", "image inspect", tmp_path)
    assert said.startswith(f"ms-new-lesions {__version__}\n")
    assert json.loads(said.splitlines()[-1])["org.opencontainers.image.version"] == __version__
    bill = json.loads(_type(engine, "organisers.md", "sbom.json", tmp_path))
    assert bill["bomFormat"] == "CycloneDX"


def test_a_patient_by_file_names(engine: Engine, scans: Path, tmp_path: Path) -> None:
    shutil.copytree(scans, tmp_path, dirs_exist_ok=True)
    text = (REPOSITORY / "docs" / "organisers.md").read_text(encoding="utf-8")
    line = re.search(r"`command-line.sh` holds `(.+?)`", text, re.DOTALL)
    assert line
    (tmp_path / "command-line.sh").write_text(" ".join(line[1].split()) + "\n")
    _type(engine, "organisers.md", "ms-new-lesions:0.1.0 command-line.sh", tmp_path)
    assert _has_lesions(tmp_path / "output_segmentation.nii.gz")


def test_a_cohort_and_its_scores(engine: Engine, scans: Path, tmp_path: Path) -> None:
    shutil.copytree(scans, tmp_path / "in" / "P1")
    for name in ("out", "scores"):
        (tmp_path / name).mkdir()
    _type(engine, "organisers.md", '-v "$PWD/in:/input:ro"', tmp_path)
    mask = tmp_path / "out" / "P1" / "new_lesions.nii.gz"
    assert _has_lesions(mask)
    (tmp_path / "truth" / "P1").mkdir(parents=True)
    shutil.copy(mask, tmp_path / "truth" / "P1" / "ground_truth.nii.gz")
    _type(engine, "organisers.md", "/references:ro", tmp_path)
    assert (tmp_path / "scores" / "measures.png").stat().st_size > 0  # the image draws figures


def test_a_bids_app(engine: Engine, scans: Path, tmp_path: Path) -> None:
    description = {"Name": "A made-up patient", "BIDSVersion": "1.10.0", "DatasetType": "raw"}
    for session, scan in (("ses-01", "flair_time01.nii.gz"), ("ses-02", "flair_time02.nii.gz")):
        path = tmp_path / "bids" / "sub-01" / session / "anat" / f"sub-01_{session}_FLAIR.nii.gz"
        path.parent.mkdir(parents=True)
        shutil.copy(scans / scan, path)
    (tmp_path / "bids" / "dataset_description.json").write_text(json.dumps(description))
    (tmp_path / "results").mkdir()
    _type(engine, "bids.md", "docker run", tmp_path)
    (mask,) = (tmp_path / "results").rglob("sub-01_ses-02_desc-newLesions_mask.nii.gz")
    assert _has_lesions(mask)
    described = json.loads((tmp_path / "results" / "dataset_description.json").read_text())
    assert described["GeneratedBy"][0]["Container"] == {
        "Type": "docker",
        "Tag": f"ms-new-lesions:{__version__}",
    }


def test_three_visits(engine: Engine, scans: Path, tmp_path: Path) -> None:
    for visit, scan in (("2021", "time01"), ("2022", "time02"), ("2023", "time02")):
        shutil.copy(scans / f"flair_{scan}.nii.gz", tmp_path / f"{visit}.nii.gz")
    _type(engine, "follow.md", "docker run", tmp_path)
    followed = json.loads((tmp_path / "P14" / "follow.json").read_text())
    assert len(followed["lesions"]) > 0
    assert (tmp_path / "P14" / "follow.html").is_file()


def test_dicom_in_and_out(engine: Engine, scans: Path, tmp_path: Path) -> None:
    for day, scan in (("2023-05-02", "time01"), ("2024-04-30", "time02")):
        (tmp_path / day).mkdir()
        for file in write_series(sitk.ReadImage(str(scans / f"flair_{scan}.nii.gz")), tmp_path / scan):
            pack(file, tmp_path / day / file.name, JPEGLosslessSV1)  # which gdcm alone unpacks
    _type(engine, "dicom.md", "docker run", tmp_path)
    segmentation = pydicom.dcmread(tmp_path / "new_lesions.dcm")
    assert segmentation.Modality == "SEG"
    assert segmentation.pixel_array.any()


def test_grand_challenge(engine: Engine, scans: Path, tmp_path: Path) -> None:
    for slug, scan in (("baseline", "time01"), ("follow-up", "time02")):
        folder = tmp_path / "in" / "images" / f"{slug}-flair-brain-mri"
        folder.mkdir(parents=True)
        sitk.WriteImage(sitk.ReadImage(str(scans / f"flair_{scan}.nii.gz")), str(folder / "scan.mha"))
    (tmp_path / "out").mkdir()
    (tmp_path / "out").chmod(0o777)  # the line names no user
    try:
        _type(engine, "grand-challenge.md", "docker run", tmp_path)
    finally:
        engine.call("rmi", "msnl-gc")
    assert _has_lesions(tmp_path / "out" / "images" / "new-ms-lesions" / "scan.mha")
