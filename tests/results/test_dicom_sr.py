"""The structured report of a made-up result, beside a made-up series: valid, and as the tables say."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
import SimpleITK as sitk

pydicom = pytest.importorskip("pydicom")
hd = pytest.importorskip("highdicom")

from app.images import dicom  # noqa: E402
from app.results import dicom_sr  # noqa: E402
from tests.images.dicom_files import write_enhanced, write_series  # noqa: E402
from tests.results.made_up_result import make_result, without_lesions  # noqa: E402

RESULT = make_result()


@pytest.fixture(params=["single", "enhanced"])
def series(request: pytest.FixtureRequest, tmp_path: Path) -> dicom.Series:
    scan = sitk.Cast(RESULT.probability * 100, sitk.sitkFloat32)
    (write_series if request.param == "single" else write_enhanced)(scan, tmp_path / "series")
    return dicom.find(tmp_path / "series")


@pytest.mark.parametrize("empty", [False, True])
def test_dciodvfy_finds_no_error(empty: bool, series: dicom.Series, tmp_path: Path) -> None:
    if shutil.which("dciodvfy") is None and "CI" not in os.environ:
        pytest.skip("dciodvfy is not installed; apt-get install dicom3tools")
    dicom_sr.write_report(without_lesions(RESULT) if empty else RESULT, series, tmp_path / "report.dcm")
    said = subprocess.run(
        ["dciodvfy", str(tmp_path / "report.dcm")], capture_output=True, text=True, check=False
    )
    assert [line for line in (said.stdout + said.stderr).splitlines() if line.startswith("Error")] == []


def test_each_lesion_is_a_group_with_its_size_and_what_became_of_it(
    series: dicom.Series, tmp_path: Path
) -> None:
    dicom_sr.write_report(RESULT, series, tmp_path / "report.dcm")
    report = hd.sr.Comprehensive3DSR.from_dataset(pydicom.dcmread(tmp_path / "report.dcm"))
    groups = report.content.get_image_measurement_groups()
    told = [
        (
            group.tracking_identifier,
            group.get_qualitative_evaluations()[0].value.meaning,
            float(group.get_measurements()[0].value),
        )
        for group in groups[1:]
    ]
    assert groups[0].tracking_identifier == "all new lesions"
    assert float(groups[0].get_measurements()[0].value) == 280.0
    assert told == [("lesion 1", "New", 216.0), ("lesion 2", "New", 64.0), ("lesion 3", "Vanished", 27.0)]
