"""DICOM Segmentation out: valid, bit for bit the mask, beside the series it was found in; and the whole way
from folder to file.
"""

import csv
import os
import shutil
import subprocess
import sys
from pathlib import Path

import highdicom as hd
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from click.testing import CliRunner, Result

from app import __version__
from app.cli.main import main
from app.errors import InputError
from app.images import dicom, dicom_seg, grids, storage
from app.method import detection
from app.phantom import Phantom
from benchmarks.stand_in import COARSE
from tests.conftest import REPOSITORY
from tests.images.dicom_files import PATIENT, PATIENT_ID, SECRETS, edit, write_enhanced, write_series


def _mask(scan: sitk.Image, empty: bool = False) -> sitk.Image:
    """A block over two slices and a voxel in a corner of the first; or nothing."""
    values = np.zeros(scan.GetSize()[::-1], np.uint8)
    if not empty:
        values[3:5, 4:9, 2:5] = 1
        values[0, -1, 0] = 1
    return grids.like(values, scan)


def _read_back(path: Path, grid: sitk.Image) -> "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]":
    """The voxels of a segmentation on a grid (z, y, x), each frame put where its own position says; every
    other voxel is 0.
    """
    segmentation = pydicom.dcmread(path)
    frames = segmentation.pixel_array.reshape(-1, segmentation.Rows, segmentation.Columns)
    values = np.zeros(grid.GetSize()[::-1], np.uint8)
    for frame, groups in zip(frames, segmentation.PerFrameFunctionalGroupsSequence, strict=True):
        position = [float(side) for side in groups.PlanePositionSequence[0].ImagePositionPatient]
        x, y, z = grid.TransformPhysicalPointToContinuousIndex(position)
        assert np.allclose((x, y, z), (0, 0, round(z)), atol=1e-4)
        values[round(z)] |= frame
    return values


@pytest.fixture(params=["single", "enhanced"])
def series(request: pytest.FixtureRequest, scan: sitk.Image, tmp_path: Path) -> dicom.Series:
    """The oblique scan, as one slice a file and as one file with the slices in falling order."""
    if request.param == "single":
        write_series(scan, tmp_path / "series")
    else:
        write_enhanced(scan, tmp_path / "series" / "enhanced")
    return dicom.find(tmp_path / "series")


@pytest.mark.parametrize("empty", [False, True])
def test_the_segmentation_is_the_mask_bit_for_bit(empty: bool, series: dicom.Series, tmp_path: Path) -> None:
    """Only the three slices with lesions are there: 0, 3 and 4; of an empty mask all ten, as a segmentation
    of no frame is not allowed.
    """
    scan = series.read()
    mask = _mask(scan, empty)
    dicom_seg.write_segmentation(mask, series, tmp_path / "new_lesions.dcm")
    assert np.array_equal(_read_back(tmp_path / "new_lesions.dcm", scan), sitk.GetArrayFromImage(mask))

    segmentation = hd.seg.segread(tmp_path / "new_lesions.dcm")
    assert segmentation.NumberOfFrames == (10 if empty else 3)
    volume = segmentation.get_volume(combine_segments=True, allow_missing_positions=True)
    assert volume.array.sum() == sitk.GetArrayFromImage(mask).sum()
    assert np.allclose(sorted(volume.spacing), sorted(scan.GetSpacing()))


def test_each_frame_refers_to_the_slice_it_was_found_in(series: dicom.Series, tmp_path: Path) -> None:
    scan = series.read()
    dicom_seg.write_segmentation(_mask(scan), series, tmp_path / "new_lesions.dcm")
    segmentation = hd.seg.segread(tmp_path / "new_lesions.dcm")
    assert {uid for _, _, uid in segmentation.get_source_image_uids()} == {
        header.SOPInstanceUID for header in series.headers
    }
    assert segmentation.ReferencedSeriesSequence[0].SeriesInstanceUID == series.uid
    values = sitk.GetArrayFromImage(_mask(scan))
    if len(series.files) > 1:
        uids = [header.SOPInstanceUID for header in series.full_headers()]
        by_source = segmentation.get_pixels_by_source_instance(
            uids, combine_segments=True, assert_missing_frames_are_empty=True
        )
        assert np.array_equal(by_source, values)
    else:  # frames are in falling order
        uid = series.headers[0].SOPInstanceUID
        by_source = segmentation.get_pixels_by_source_frame(
            uid, list(range(1, 11)), combine_segments=True, assert_missing_frames_are_empty=True
        )
        assert np.array_equal(by_source, values[::-1])


@pytest.mark.skipif(
    shutil.which("dciodvfy") is None and "CI" not in os.environ,
    reason="dciodvfy is not installed; apt-get install dicom3tools",
)
@pytest.mark.parametrize("empty", [False, True])
def test_dciodvfy_has_nothing_to_say(empty: bool, series: dicom.Series, tmp_path: Path) -> None:
    """It names the kind of object, and then every error and warning."""
    dicom_seg.write_segmentation(_mask(series.read(), empty), series, tmp_path / "new_lesions.dcm")
    verified = subprocess.run(
        ["dciodvfy", str(tmp_path / "new_lesions.dcm")], capture_output=True, text=True, check=False
    )
    assert verified.stderr + verified.stdout == "Segmentation\n"


def test_it_says_what_and_by_whom_and_files_itself_with_the_patient(
    series: dicom.Series, tmp_path: Path
) -> None:
    dicom_seg.write_segmentation(_mask(series.read()), series, tmp_path / "new_lesions.dcm")
    segmentation = hd.seg.segread(tmp_path / "new_lesions.dcm")
    (segment,) = segmentation.SegmentSequence
    category, kind = (
        segment.SegmentedPropertyCategoryCodeSequence[0],
        segment.SegmentedPropertyTypeCodeSequence[0],
    )
    region = segment.AnatomicRegionSequence[0]
    assert (category.CodeValue, category.CodingSchemeDesignator) == (
        "49755003",
        "SCT",
    )  # morphologically abnormal structure
    assert (kind.CodeValue, kind.CodingSchemeDesignator) == ("52988006", "SCT")  # lesion
    assert (region.CodeValue, region.CodingSchemeDesignator) == ("12738006", "SCT")  # brain
    algorithm = segment.SegmentationAlgorithmIdentificationSequence[0]
    assert (segment.SegmentAlgorithmType, algorithm.AlgorithmName, algorithm.AlgorithmVersion) == (
        "AUTOMATIC",
        "ms-new-lesions",
        __version__,
    )
    assert segmentation.SegmentationType == "BINARY"
    assert "research only" in segmentation.ContentDescription
    assert "research only" in segmentation.SeriesDescription
    header = series.full_headers()[0]
    assert (segmentation.PatientName, segmentation.PatientID) == (PATIENT, PATIENT_ID)
    for keyword in (
        "PatientBirthDate",
        "StudyInstanceUID",
        "StudyDate",
        "AccessionNumber",
        "FrameOfReferenceUID",
    ):
        assert segmentation[keyword].value == header[keyword].value
    assert segmentation.SeriesInstanceUID != header.SeriesInstanceUID
    assert segmentation.SeriesNumber == 500


def test_anonymised_files_without_any_patient_are_fine(scan: sitk.Image, tmp_path: Path) -> None:
    for file in write_series(scan, tmp_path / "series"):
        edit(file, **dict.fromkeys(dicom_seg.EXPECTED))
    series = dicom.find(tmp_path / "series")
    dicom_seg.check(series)
    dicom_seg.write_segmentation(_mask(scan), series, tmp_path / "new_lesions.dcm")
    assert hd.seg.segread(tmp_path / "new_lesions.dcm").PatientID == ""


@pytest.mark.parametrize(
    "values", [{"PatientSex": "erika"}, {"PatientBirthDate": "1964.MM"}, {"FrameOfReferenceUID": None}]
)
def test_a_series_that_cannot_be_referred_to_is_refused_without_the_value(
    values: dict[str, str | None], scan: sitk.Image, tmp_path: Path
) -> None:
    for file in write_series(scan, tmp_path):
        edit(file, **values)
    with pytest.raises(InputError, match="wanted one that a segmentation can refer to") as refused:
        dicom_seg.check(dicom.find(tmp_path))
    assert not any(str(value) in str(refused.value) for value in values.values())


# ---- from folder to file


@pytest.fixture(scope="module")
def folders(patient: Phantom, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The made-up patient's two visits: a study with an enhanced FLAIR, and one with single slices."""
    folder = tmp_path_factory.mktemp("visits")
    write_enhanced(patient.baseline, folder / "baseline" / "flair" / "IM1")
    write_series(patient.baseline, folder / "baseline" / "t1", "t1_mprage", 2)
    write_series(patient.followup, folder / "followup", MRAcquisitionType="2D")
    return folder / "baseline", folder / "followup"


def _run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.mark.slow
def test_folders_become_a_segmentation_and_only_it_holds_the_name(
    folders: tuple[Path, Path], weights: Path, tmp_path: Path
) -> None:
    """The segmentation holds the mask that the probability map gives."""
    scans = (
        "segment",
        "-t1",
        folders[0],
        "-t2",
        folders[1],
        "--weights",
        weights,
        "-o",
        tmp_path / "new_lesions.dcm",
    )
    others = (
        "--probability",
        tmp_path / "p.nii.gz",
        "--lesions",
        tmp_path / "l.csv",
        "--report",
        tmp_path / "r.html",
        "--record",
        tmp_path / "run.json",
        *("--sr", tmp_path / "sr.dcm", "--key-image", tmp_path / "key.dcm", "--pdf", tmp_path / "r.pdf"),
    )
    result = _run(*scans, *others)
    assert result.exit_code == 0, result.output
    assert f"{folders[0]}: series 5: t2_flair_sag, MR" in result.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "key.dcm",
        "l.csv",
        "new_lesions.dcm",
        "p.nii.gz",
        "r.html",
        "r.pdf",
        "run.json",
        "sr.dcm",
    ]
    assert "the follow-up was acquired in 2-D" in (tmp_path / "run.json").read_text()

    probability = storage.read(tmp_path / "p.nii.gz")
    assert grids.same_grid(probability, dicom.find(folders[1]).read())
    mask = detection.lesion_mask(grids.array(probability), COARSE.point, grids.voxel_mm3(probability))
    assert mask.any()
    assert np.array_equal(_read_back(tmp_path / "new_lesions.dcm", probability), mask)
    rows = csv.DictReader((tmp_path / "l.csv").open())
    assert sum(int(row["voxels"]) for row in rows if row["kind"] == "new") == mask.sum()

    assert SECRETS[0].encode() in (tmp_path / "new_lesions.dcm").read_bytes()
    header = sitk.ReadImage(str(tmp_path / "p.nii.gz"))
    texts = [
        result.output,
        result.stderr,
        *((tmp_path / name).read_text() for name in ("l.csv", "r.html", "run.json")),
    ]
    for text in (*texts, *(header.GetMetaData(key) for key in header.GetMetaDataKeys())):
        assert not any(secret in text for secret in SECRETS)


@pytest.mark.slow
def test_folders_become_the_same_mask_as_dicom_and_as_nifti(
    folders: tuple[Path, Path], weights: Path, tmp_path: Path
) -> None:
    for name in ("new_lesions.dcm", "new_lesions.nii.gz"):
        result = _run(
            "segment", "-t1", folders[0], "-t2", folders[1], "--weights", weights, "-o", tmp_path / name
        )
        assert result.exit_code == 0, result.output
    mask = storage.read_mask(tmp_path / "new_lesions.nii.gz")
    assert grids.same_grid(mask, dicom.find(folders[1]).read())
    assert np.array_equal(_read_back(tmp_path / "new_lesions.dcm", mask), sitk.GetArrayFromImage(mask))


def test_headers_that_break_rules_are_not_quoted(scan: sitk.Image, tmp_path: Path) -> None:
    """In an own process, where both libraries' logs and Python's warnings go to stderr by themselves, as
    under `-v`.
    """
    for file in write_series(scan, tmp_path / "series"):
        header = pydicom.dcmread(file)
        for keyword, kind, value in (
            ("PatientName", "PN", "Mustermann^Erika^a^b^c^d^e=x=y=z"),
            ("OtherPatientIDs", "LO", PATIENT_ID * 9),
        ):
            header.add(pydicom.DataElement(keyword, kind, value, validation_mode=pydicom.config.IGNORE))
        header.save_as(file)
    code = """
import logging, pathlib, sys
logging.basicConfig(level=logging.INFO)
from app.images import dicom, dicom_seg
series = dicom.find(pathlib.Path(sys.argv[1]) / "series")
dicom_seg.write_segmentation(series.read() > 50, series, pathlib.Path(sys.argv[1]) / "mask.dcm")
"""
    ended = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    )
    assert ended.stdout + ended.stderr == ""
    assert (tmp_path / "mask.dcm").is_file()


def test_a_segmentation_of_a_file_that_is_no_dicom_is_refused_before_any_work(
    folders: tuple[Path, Path], weights: Path, tmp_path: Path
) -> None:
    storage.write(dicom.find(folders[1]).read(), tmp_path / "followup.nii.gz")
    result = _run(
        "segment",
        "-t1",
        folders[0],
        "-t2",
        tmp_path / "followup.nii.gz",
        "-o",
        tmp_path / "mask.dcm",
        "--weights",
        weights,
    )
    assert result.exit_code == 1
    assert "wanted a follow-up that is DICOM too" in result.stderr
    assert not (tmp_path / "mask.dcm").exists()


def test_a_series_can_be_named_for_each_visit(folders: tuple[Path, Path], tmp_path: Path) -> None:
    """The baseline's is taken, the follow-up's is not there; an image has none."""
    scans = ("-t1", folders[0], "-t2", folders[1], "-o", tmp_path / "mask.nii.gz")
    result = _run("segment", *scans, "--baseline-series", "2", "--followup-series", "9")
    assert result.exit_code == 1
    assert f"{folders[0]}: series 2: t1_mprage, MR" in result.stderr
    assert (
        f"Error: {folders[1]}: no series with the number 9; wanted one that is there: type "
        "--baseline-series NUMBER or --followup-series NUMBER\n  series 5: t2_flair_sag, MR" in result.stderr
    )
    storage.write(dicom.find(folders[1]).read(), tmp_path / "followup.nii.gz")
    result = _run(
        "prepare",
        "-t1",
        folders[0],
        "-t2",
        tmp_path / "followup.nii.gz",
        "-o",
        tmp_path / "out",
        "--followup-series",
        "5",
    )
    assert result.exit_code == 1
    assert "followup.nii.gz: not DICOM, but a series is named; wanted a DICOM folder" in result.stderr


def test_an_ambiguous_folder_leaves_no_output(
    folders: tuple[Path, Path], weights: Path, tmp_path: Path
) -> None:
    both = tmp_path / "both"
    for folder, name in zip(folders, ("a", "b"), strict=True):
        shutil.copytree(folder, both / name)
    result = _run(
        "segment", "-t1", both, "-t2", folders[1], "-o", tmp_path / "mask.nii.gz", "--weights", weights
    )
    assert result.exit_code == 1
    assert result.stderr.startswith(f"Error: {both}: 2 series could be the FLAIR")
    assert not (tmp_path / "mask.nii.gz").exists()


@pytest.mark.slow
def test_a_table_of_patients_may_name_folders(
    folders: tuple[Path, Path], weights: Path, tmp_path: Path
) -> None:
    """The second patient's baseline holds two FLAIRs: the summary says so, without the operator's words.

    Started again, nobody is done twice.
    """
    for folder, name in zip(folders, ("a", "b"), strict=True):
        shutil.copytree(folder, tmp_path / "both" / name)
    (tmp_path / "table.csv").write_text(
        f"patient,baseline,followup\n1,{folders[0]},{folders[1]}\n2,both,{folders[1]}\n"
    )
    first = _run("run", "--input", tmp_path / "table.csv", "--output", tmp_path / "out", "--weights", weights)
    assert first.exit_code == 1
    rows = {row["patient"]: row for row in csv.DictReader((tmp_path / "out" / "summary.csv").open())}
    assert rows["1"]["status"] == "done", rows
    assert (
        rows["2"]["problem"]
        == "baseline: 2 series could be the FLAIR; wanted one, or the number of the one meant"
    )
    assert grids.same_grid(
        storage.read_mask(tmp_path / "out" / "1" / "new_lesions.nii.gz"), dicom.find(folders[1]).read()
    )
    assert (
        "finished before"
        in _run(
            "run", "--input", tmp_path / "table.csv", "--output", tmp_path / "out", "--weights", weights
        ).stderr
    )
