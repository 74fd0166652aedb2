"""The printed pages and the DICOM picture of a made-up result."""

import os
import re
import shutil
import subprocess
import zlib
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

pytest.importorskip("matplotlib")
pydicom = pytest.importorskip("pydicom")

from app.images import dicom  # noqa: E402
from app.results import dicom_key, paper  # noqa: E402
from app.results.text import Heading  # noqa: E402
from tests.images.dicom_files import write_enhanced, write_series  # noqa: E402
from tests.results.made_up_result import make_result, without_lesions  # noqa: E402

RESULT = make_result()
RED, BLUE, YELLOW = (paper.COLOURS[kind] for kind in ("new", "vanished", "possible"))


def _count(picture: paper.Rgb, colour: tuple[int, int, int]) -> int:
    return int((picture == colour).all(axis=-1).sum())


def test_each_outline_has_the_colour_of_its_kind_and_lies_about_its_lesion() -> None:
    """Lesion 1 is 6 voxels wide: in pixels half as wide as a voxel, a line about it has 4 x 12."""
    at = paper.centres(RESULT.shown, 4)
    assert at[0] is not None
    axial = paper._row(RESULT, at[0])[3]
    assert _count(axial, RED) == 4 * 6 * paper.picture.FINER
    assert _count(axial, BLUE) == _count(axial, YELLOW) == 0
    assert at[2] is not None
    assert _count(paper._row(RESULT, at[2])[3], BLUE) == 4 * 3 * paper.picture.FINER


def test_a_text_page_and_a_page_of_pictures_and_the_same_bytes_again(tmp_path: Path) -> None:
    paper.write_pdf(RESULT, tmp_path / "once.pdf")
    paper.write_pdf(RESULT, tmp_path / "again.pdf")
    content = (tmp_path / "once.pdf").read_bytes()
    assert content.startswith(b"%PDF") and len(re.findall(rb"/Type /Page\b", content)) == 2
    assert content == (tmp_path / "again.pdf").read_bytes()


def test_it_names_the_patient_only_if_told_to(tmp_path: Path) -> None:
    """Text is stored letter by letter as glyphs: the label makes a difference there, or nothing does."""
    drawn = []
    for number, heading in enumerate((Heading(), Heading("Trial 7"))):
        paper.write_pdf(RESULT, tmp_path / f"{number}.pdf", heading)
        streams = re.findall(
            rb"stream\r?\n(.*?)endstream", (tmp_path / f"{number}.pdf").read_bytes(), re.DOTALL
        )
        drawn.append(b"".join(zlib.decompressobj().decompress(one) for one in streams if one[:1] == b"x"))
    assert drawn[0] != drawn[1]
    assert len(list(paper.lesion_pages(without_lesions(RESULT)))) == 1


@pytest.mark.parametrize("write", [write_series, write_enhanced])
def test_the_dicom_picture_is_valid_and_filed_with_the_patient(write: object, tmp_path: Path) -> None:
    assert callable(write)
    write(sitk.Cast(RESULT.probability * 100, sitk.sitkFloat32), tmp_path / "series")
    series = dicom.find(tmp_path / "series")
    dicom_key.write_key_image(RESULT, series, tmp_path / "key.dcm")
    image, header = pydicom.dcmread(tmp_path / "key.dcm"), series.full_headers()[0]
    assert (image.PatientID, image.StudyInstanceUID) == (header.PatientID, header.StudyInstanceUID)
    assert image.SeriesInstanceUID != header.SeriesInstanceUID
    np.testing.assert_array_equal(image.pixel_array, paper.pixels(next(paper.lesion_pages(RESULT))))
    if shutil.which("dciodvfy") is None and "CI" not in os.environ:
        pytest.skip("dciodvfy is not installed; apt-get install dicom3tools")
    words = ["dciodvfy", str(tmp_path / "key.dcm")]
    said = subprocess.run(words, capture_output=True, text=True, check=False)
    assert [line for line in (said.stdout + said.stderr).splitlines() if line.startswith("Error")] == []
