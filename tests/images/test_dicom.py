"""DICOM folders in: the right series, whole, in its place; or one clear line, without the patient's name."""

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import highdicom as hd
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from pydicom.uid import (
    CTImageStorage,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
    generate_uid,
)

from app.errors import InputError
from app.images import dicom, grids, storage
from app.images.scan import Scan
from tests.conftest import REPOSITORY
from tests.images.dicom_files import SECRETS, edit, pack, write_enhanced, write_series


def _assert_same_scan(found: sitk.Image, scan: sitk.Image, rounding: float) -> None:
    """Sizes, places within a micrometre (positions are written with ten decimals), values within what
    integers can hold.
    """
    assert found.GetSize() == scan.GetSize()
    assert np.abs(grids.corners(found) - grids.corners(scan)).max() < 1e-6
    assert np.allclose(found.GetDirection(), scan.GetDirection(), atol=1e-8)
    assert np.abs(grids.array(found) - grids.array(scan)).max() <= rounding


# ---- in its place


def test_an_oblique_series_in_shuffled_files_lies_where_the_image_does(
    scan: sitk.Image, tmp_path: Path
) -> None:
    files = write_series(scan, tmp_path)
    assert files != sorted(files)
    _assert_same_scan(dicom.find(tmp_path).read(), scan, rounding=0.5)


def test_a_series_is_read_as_gdcm_reads_it(scan: sitk.Image, tmp_path: Path) -> None:
    """GDCM inside SimpleITK sorts and places slices by its own code."""
    write_series(scan, tmp_path)
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(tmp_path)))
    _assert_same_scan(dicom.find(tmp_path).read(), reader.Execute(), rounding=0.0)


def test_directions_that_were_rounded_are_at_right_angles_again(scan: sitk.Image, tmp_path: Path) -> None:
    """Some archives keep three decimals. Images would not be read back if axes were not at right angles."""
    for file in write_series(scan, tmp_path / "series"):
        edit(
            file,
            ImageOrientationPatient=[
                f"{value:.3f}" for value in pydicom.dcmread(file).ImageOrientationPatient
            ],
        )
    found = dicom.find(tmp_path / "series").read()
    axes = np.reshape(found.GetDirection(), (3, 3))
    assert np.abs(axes.T @ axes - np.eye(3)).max() < 1e-12
    assert (
        np.abs(grids.corners(found) - grids.corners(scan)).max() < 0.001 * 70
    )  # mm: no corner is more than 70 mm from the first
    storage.write(found, tmp_path / "scan.nii.gz")
    assert grids.same_grid(storage.read(tmp_path / "scan.nii.gz"), found)


@pytest.mark.parametrize("axes", ["LPS", "RAI", "PIR", "ASL"])
def test_every_way_to_slice_a_head_comes_back(axes: str, scan: sitk.Image, tmp_path: Path) -> None:
    """Axial, sagittal and coronal, from either end.

    Slices may come back from the other end, with the same voxel at the same place.
    """
    sliced = sitk.DICOMOrient(scan, axes)
    write_series(sliced, tmp_path)
    found = dicom.find(tmp_path).read()
    assert np.linalg.det(np.reshape(found.GetDirection(), (3, 3))) == pytest.approx(1)
    back = sitk.Resample(found, sliced, sitk.Transform(), sitk.sitkNearestNeighbor)
    assert np.abs(grids.array(back) - grids.array(sliced)).max() <= 0.5


def test_an_enhanced_file_lies_where_the_image_does(scan: sitk.Image, tmp_path: Path) -> None:
    """Alone, named as a file, and as the only thing in a folder."""
    path = write_enhanced(scan, tmp_path / "study" / "enhanced.dcm", slope=0.25)
    _assert_same_scan(dicom.find(path).read(), scan, rounding=0.125)
    _assert_same_scan(dicom.find(tmp_path).read(), scan, rounding=0.125)


def test_an_enhanced_file_is_read_as_highdicom_reads_it(scan: sitk.Image, tmp_path: Path) -> None:
    path = write_enhanced(scan, tmp_path / "enhanced.dcm")
    volume = hd.imread(path).get_volume()
    found = dicom.find(path).read()
    for index in ((0, 0, 0), (9, 23, 19), (4, 7, 11)):
        place = found.TransformIndexToPhysicalPoint(tuple(reversed(index)))
        theirs = np.rint(volume.map_reference_to_indices(np.array([place]))[0]).astype(int)
        assert np.allclose(volume.map_indices_to_reference(theirs[None])[0], place, atol=1e-5)
        assert volume.array[tuple(theirs)] == found[tuple(reversed(index))]


def test_single_slices_that_an_archive_made_one_file_of_are_read(scan: sitk.Image, tmp_path: Path) -> None:
    """Legacy Converted Enhanced MR, converted by highdicom."""
    sources = [pydicom.dcmread(file) for file in write_series(scan, tmp_path / "single")]
    converted = hd.legacy.LegacyConvertedEnhancedMRImage(sources, generate_uid(), 7, generate_uid(), 1)
    converted.SeriesDescription = "t2_flair_sag"
    converted.save_as(tmp_path / "converted.dcm")
    _assert_same_scan(dicom.find(tmp_path / "converted.dcm").read(), scan, rounding=0.5)


def test_each_slice_has_its_own_rescaling(scan: sitk.Image, tmp_path: Path) -> None:
    """Slope 2 and intercept 3 for one slice of ten: it alone becomes 2 x + 3."""
    files = write_series(scan, tmp_path)
    before = grids.array(dicom.find(tmp_path).read())
    edit(files[4], RescaleSlope="2", RescaleIntercept="3")
    after = grids.array(dicom.find(tmp_path).read())
    expected = before.copy()
    expected[4] = 2 * before[4] + 3
    assert np.array_equal(after, expected)


@pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless, JPEG2000Lossless, JPEGLosslessSV1])
def test_packed_pixels_are_unpacked(syntax: pydicom.uid.UID, scan: sitk.Image, tmp_path: Path) -> None:
    """GDCM packs, as archives do."""
    plain, packed = tmp_path / "plain", tmp_path / "packed"
    packed.mkdir()
    for file in write_series(scan, plain):
        pack(file, packed / file.name, syntax)
    assert {pydicom.dcmread(file).file_meta.TransferSyntaxUID for file in packed.iterdir()} == {syntax}
    _assert_same_scan(dicom.find(packed).read(), dicom.find(plain).read(), rounding=0.0)


@pytest.mark.parametrize(
    "write", [write_series, lambda scan, folder, slope: write_enhanced(scan, folder / "IM", slope=slope)]
)
@pytest.mark.parametrize("study", [1, 2])
def test_a_real_oblique_flair_lies_where_its_nifti_file_does(
    study: int, write: Callable[..., object], open_data: Path, tmp_path: Path
) -> None:
    """Integers of a 30,000th of the brightest voxel."""
    scan = storage.read(
        open_data / "open_ms_data" / "longitudinal" / "raw" / "patient01" / f"study{study}_FLAIR.nii.gz"
    )
    slope = float(grids.array(scan).max()) / 30000
    write(scan, tmp_path, slope=slope)
    _assert_same_scan(dicom.find(tmp_path).read(), scan, rounding=0.51 * slope)


# ---- the right one


def _localizer(scan: sitk.Image, folder: Path, number: int, description: str) -> None:
    """Three slices: one axial, one sagittal, one coronal."""
    files = write_series(scan[..., :3], folder, description, number)
    edit(files[1], ImageOrientationPatient=["0", "1", "0", "0", "0", "-1"])
    edit(files[2], ImageOrientationPatient=["1", "0", "0", "0", "0", "-1"])


def _study(scan: sitk.Image, folder: Path) -> Path:
    """What an archive gives of one visit, the FLAIR being series 5."""
    _localizer(scan, folder / "A", 1, "localizer")
    write_series(scan, folder / "B", "t1_mprage_sag", 2)
    write_series(scan, folder / "C", "t2_tse_tra", 3)
    write_series(scan, folder / "D", "Ax T1 FLAIR", 4)
    write_series(scan, folder / "E", "t2_spc_DarkFluid_sag", 5)
    write_series(scan, folder / "F", "t2_flair_MPR_tra", 6, ImageType=["DERIVED", "SECONDARY", "MPR"])
    write_series(scan, folder / "G", "FLAIR localizer", 7)
    write_series(scan, folder / "H", "FLAIR CT", 8, Modality="CT", SOPClassUID=CTImageStorage)
    (folder / "README.TXT").write_text("How to start the viewer")
    (folder / ".hidden").write_bytes(b"")
    return folder


def test_the_flair_is_found_among_the_series_of_a_study(scan: sitk.Image, tmp_path: Path) -> None:
    found = dicom.find(_study(scan, tmp_path))
    assert str(found) == "series 5: t2_spc_DarkFluid_sag, MR, 20x24x10"
    _assert_same_scan(found.read(), scan, rounding=0.5)


def test_two_flairs_are_listed_and_one_can_be_named(scan: sitk.Image, tmp_path: Path) -> None:
    write_series(scan, tmp_path / "a", "t2_flair_sag", 5)
    write_series(scan[..., :6], tmp_path / "b", "t2_flair_tra", 12)
    _every(sorted((tmp_path / "b").iterdir()), StudyInstanceUID=dicom.find(tmp_path / "a").study)
    with pytest.raises(InputError) as refused:
        dicom.find(tmp_path)
    assert str(refused.value).splitlines() == [
        f"{tmp_path}: 2 series could be the FLAIR; wanted one: type --baseline-series NUMBER or "
        "--followup-series NUMBER",
        "  series 5: t2_flair_sag, MR, 20x24x10",
        "  series 12: t2_flair_tra, MR, 20x24x6",
    ]
    assert dicom.find(tmp_path, "12").read().GetSize() == (20, 24, 6)
    assert dicom.find(tmp_path, dicom.find(tmp_path, "5").uid).number == "5"
    with pytest.raises(
        InputError,
        match=(
            r"no series with the number 6; wanted one that is there: type --baseline-series .*\n  "
            r"series 5: .*\n  series 12: "
        ),
    ):
        dicom.find(tmp_path, "6")


def test_a_flair_that_makes_no_volume_gives_way_to_one_that_does(scan: sitk.Image, tmp_path: Path) -> None:
    _localizer(scan, tmp_path / "a", 3, "3-plane FLAIR")
    write_series(scan, tmp_path / "b", "3D FLAIR", 4)
    assert dicom.find(tmp_path).number == "4"


def test_a_folder_without_a_flair_lists_what_there_is_and_why_it_is_none(
    scan: sitk.Image, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A computed series is not taken unasked among others, but can be named."""
    write_series(scan, tmp_path / "a", "t1_mprage", 2)
    study = dicom.find(tmp_path, "2").study
    write_series(
        scan,
        tmp_path / "b",
        "flair_MPR",
        3,
        StudyInstanceUID=study,
        ImageType=["DERIVED", "SECONDARY", "MPR"],
    )
    write_series(scan, tmp_path / "c", "t2_tse", 4, StudyInstanceUID=study)
    with pytest.raises(InputError) as refused:
        dicom.find(tmp_path)
    assert str(refused.value).splitlines() == [
        f"{tmp_path}: no series could be the FLAIR; wanted one: type --baseline-series NUMBER or "
        "--followup-series NUMBER",
        "  series 2: t1_mprage, MR, 20x24x10 (T1-weighted)",
        "  series 3: flair_MPR, MR, 20x24x10 (computed, or made to plan others (Image Type DERIVED))",
        "  series 4: t2_tse, MR, 20x24x10 (its description does not say FLAIR)",
    ]
    assert dicom.find(tmp_path, "3").read().GetSize() == scan.GetSize()
    assert caplog.text == ""


@pytest.mark.parametrize(
    ("description", "values", "warning"),
    [
        ("", {}, "it has no description; taken as a FLAIR, as the only series there"),
        ("sag_p2_iso", {}, "its description does not say FLAIR; taken as a FLAIR"),
        (
            "t2_flair_sag",
            {"ImageType": ["DERIVED", "PRIMARY", "DIS3D"]},
            r"\(Image Type DERIVED\); taken as a FLAIR",
        ),
    ],
)
def test_a_lone_series_is_taken_with_a_warning(
    description: str,
    values: dict[str, list[str]],
    warning: str,
    scan: sitk.Image,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    write_series(scan, tmp_path, description, **values)
    dicom.find(tmp_path).read()
    assert re.search(warning, caplog.text)


@pytest.mark.parametrize(
    "description", ["t1_mprage", "ep2d_diff_ADC", "SWI", "PD TSE", "T1 FLAIR", "FLAIR localizer"]
)
def test_a_lone_series_that_calls_itself_something_else_is_refused(
    description: str, scan: sitk.Image, tmp_path: Path
) -> None:
    write_series(scan, tmp_path, description)
    with pytest.raises(
        InputError, match=r"no series could be the FLAIR; wanted one: type .*\n  series 5: .*\)$"
    ):
        dicom.find(tmp_path)


@pytest.mark.parametrize(
    "description", ["t2_spc_da-fl_sag_p2_iso", "3D T2/FLAIR post T1 Gd", "t2_spc_DarkFluid", "SAG CUBE FLAIR"]
)
def test_unusual_names_of_a_flair_are_known(
    description: str, scan: sitk.Image, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_series(scan, tmp_path / "a", description)
    write_series(scan, tmp_path / "b", "t1_mprage", 2)
    dicom.find(tmp_path).read()
    assert caplog.text == ""


def test_one_number_for_two_visits_is_refused_with_the_uids_to_type(scan: sitk.Image, tmp_path: Path) -> None:
    write_series(scan, tmp_path / "2024", number=5, StudyDate="20240501")
    write_series(scan, tmp_path / "2023", number=5, StudyDate="20230501")
    uids = [dicom.find(tmp_path / year).uid for year in ("2023", "2024")]
    with pytest.raises(InputError) as refused:
        dicom.find(tmp_path, "5")
    assert str(refused.value).splitlines() == [
        f"{tmp_path}: 2 series with the number 5; wanted one: give the folder of one visit, or type"
        " --baseline-series UID or --followup-series UID",
        f"  series 5: t2_flair_sag, MR, 20x24x10, visit 1 of 2 by date, UID {uids[0]}",
        f"  series 5: t2_flair_sag, MR, 20x24x10, visit 2 of 2 by date, UID {uids[1]}",
    ]
    assert [dicom.find(tmp_path, uid).uid for uid in uids] == uids


def test_an_empty_file_beside_the_series_is_warned_about(
    scan: sitk.Image, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_series(scan, tmp_path)
    (tmp_path / "LOCK").write_bytes(b"")
    _assert_same_scan(dicom.find(tmp_path).read(), scan, rounding=0.5)
    assert "1 files beside it are empty; if they were slices of it, copy the folder again" in caplog.text


def test_an_empty_rescale_slope_is_none(scan: sitk.Image, tmp_path: Path) -> None:
    _every(write_series(scan, tmp_path), RescaleSlope="", RescaleIntercept="")
    _assert_same_scan(dicom.find(tmp_path).read(), scan, rounding=0.5)


@pytest.mark.parametrize(
    "character_set",
    ["ISO_IR 192", ["", "ISO 2022 IR 87"], "ISO 2022 IR 13", "GB18030", "no such set", "ISO_IR 100"],
)
def test_any_character_set_is_read(character_set: object, scan: sitk.Image, tmp_path: Path) -> None:
    for file in write_series(scan, tmp_path):
        edit(file, SpecificCharacterSet=character_set)
        content = file.read_bytes().replace(b"Mustermann", b"\x1b$B;3ED\x1b(B")  # ten bytes of ISO 2022
        file.write_bytes(content)
    _assert_same_scan(dicom.find(tmp_path).read(), scan, rounding=0.5)


def test_enhanced_files_of_a_slice_each_are_one_scan(scan: sitk.Image, tmp_path: Path) -> None:
    series = generate_uid()
    for k in range(scan.GetDepth()):
        edit(write_enhanced(scan[..., k : k + 1], tmp_path / f"IM{k}"), SeriesInstanceUID=series)
    _assert_same_scan(dicom.find(tmp_path).read(), scan, rounding=0.5)


def test_a_series_that_is_no_head_s_is_refused(scan: sitk.Image, tmp_path: Path) -> None:
    scan.SetSpacing((0.1, 0.1, 0.3))
    write_series(scan, tmp_path)
    with pytest.raises(InputError, match=r"series 5: a box of 2x2.4x3 mm; wanted 10 to 1000 mm a side"):
        dicom.find(tmp_path).read()


def test_padding_of_a_series_becomes_0(scan: sitk.Image, tmp_path: Path) -> None:
    values = sitk.GetArrayFromImage(scan)
    values[:, :, :4] = 0
    write_series(grids.like(values, scan), tmp_path, RescaleIntercept="-1000", RescaleSlope="1")
    found = grids.array(dicom.find(tmp_path).read())
    assert (found[:, :, :4] == 0).all()
    assert found[:, :, 4:].std() == pytest.approx(values[:, :, 4:].std(), rel=0.01)


def test_images_that_are_there_twice_are_taken_once_with_a_warning(
    scan: sitk.Image, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_series(scan, tmp_path / "a")
    shutil.copytree(tmp_path / "a", tmp_path / "copy")
    _assert_same_scan(dicom.find(tmp_path).read(), scan, rounding=0.5)
    assert "10 of its images are there twice; taken once" in caplog.text


def test_a_description_cannot_write_to_the_terminal(scan: sitk.Image, tmp_path: Path) -> None:
    write_series(scan, tmp_path, description="flair\x07\x9b2J")
    assert str(dicom.find(tmp_path)) == "series 5: flair2J, MR, 20x24x10"


def test_names_of_files_do_not_matter(scan: sitk.Image, tmp_path: Path) -> None:
    """.IMA, none, .dcm; and one of before 1993, which starts with its first element."""
    files = write_series(scan, tmp_path)
    for k, file in enumerate(files[:6]):
        file.rename(tmp_path / f"{SECRETS[0]}.MR.{k:04d}.IMA")
    files[6].rename(tmp_path / "x.dcm")
    old = pydicom.dcmread(files[7])
    old.preamble, old.file_meta = None, pydicom.FileMetaDataset()
    pydicom.dcmwrite(files[7], old, implicit_vr=True, little_endian=True, enforce_file_format=False)
    assert files[7].read_bytes()[:2] == b"\x08\x00"
    _assert_same_scan(dicom.find(tmp_path).read(), scan, rounding=0.5)


def test_a_record_knows_a_series_by_its_files_alone(scan: sitk.Image, tmp_path: Path) -> None:
    """Other series beside it, other names: the same input; another series: another."""
    write_series(scan, tmp_path / "a")
    known = Scan.find(tmp_path).sha256()
    write_series(scan, tmp_path / "b", "t1_mprage", 2)
    next((tmp_path / "a").iterdir()).rename(tmp_path / "a" / "renamed")
    assert Scan.find(tmp_path).sha256() == known
    assert Scan.find(tmp_path, "2").sha256() != known


# ---- or one line

Break = Callable[[list[Path], Path], object]


def _two_multi_frame_files(files: list[Path], folder: Path) -> None:
    scan = dicom.find(folder).read()
    for file in files:
        file.unlink()
    uid = generate_uid()
    for name in ("a", "b"):
        edit(write_enhanced(scan, folder / name), SeriesInstanceUID=uid)


def _dicomdir_alone(files: list[Path], folder: Path) -> None:
    index = pydicom.dcmread(files[0])
    for file in files:
        file.unlink()
    index.file_meta.MediaStorageSOPClassUID = pydicom.uid.MediaStorageDirectoryStorage
    index.save_as(folder / "DICOMDIR")


def _wrong_length(files: list[Path], _: Path) -> None:
    """The first element of a file, of two bytes instead of four."""
    content = files[0].read_bytes()
    assert content[132:142] == b"\x02\0\0\0UL\x04\0" + content[140:142]
    files[0].write_bytes(content[:138] + b"\x02" + content[139:142] + content[144:])


def _every(files: list[Path], **values: object) -> None:
    for file in files:
        edit(file, **values)


BROKEN: dict[str, tuple[Break, str]] = {
    "empty_folder": (lambda files, _: [file.unlink() for file in files], "no file in it"),
    "other_files": (
        lambda files, _: [file.write_text("not an image") for file in files],
        "no DICOM image in it",
    ),
    "dicomdir_alone": (_dicomdir_alone, "no DICOM image in it"),
    "empty_files": (
        lambda files, _: [file.write_bytes(b"") for file in files],
        "10 files, 10 of them empty, and no DICOM image in it",
    ),
    "zero_bytes": (
        lambda files, _: files[4].write_bytes(b""),
        "9 slices, and 1 are missing between them",
    ),
    "cut_in_the_header": (
        lambda files, _: sorted(files)[3].write_bytes(files[3].read_bytes()[:300]),
        "file 4 of it, by name, is damaged",
    ),
    "cut_in_the_pixels": (
        lambda files, _: files[3].write_bytes(files[3].read_bytes()[:-100]),
        "a slice whose pixels are missing, cut off",
    ),
    "no_pixels": (lambda files, _: edit(files[3], PixelData=None), "a slice whose pixels are missing"),
    "one_slice": (lambda files, _: [file.unlink() for file in files[1:]], "one slice"),
    "a_slice_missing": (lambda files, _: files[4].unlink(), "9 slices, and 1 are missing between them"),
    "slices_missing": (
        lambda files, _: [files[k].unlink() for k in (2, 3, 7)],
        "7 slices, and 3 are missing between them",
    ),
    "uneven": (
        lambda files, _: edit(files[9], ImagePositionPatient=["0", "0", "61.3"]),
        "mm apart; wanted even distances",
    ),
    "two_echoes": (
        lambda files, _: edit(
            shutil.copy(files[3], files[3].with_name("again")), SOPInstanceUID=generate_uid()
        ),
        "several at one place",
    ),
    "directions": (
        lambda files, _: edit(files[3], ImageOrientationPatient=["0", "1", "0", "0", "0", "-1"]),
        "different directions, as a localizer",
    ),
    "sizes": (lambda files, _: edit(files[3], PixelSpacing=["2", "2"]), "different sizes"),
    "tilted": (
        lambda files, _: [
            edit(file, ImagePositionPatient=["0", str(k), str(3 * k)]) for k, file in enumerate(files)
        ],
        "sideways by up to 9 mm",
    ),
    "not_perpendicular": (
        lambda files, _: _every(files, ImageOrientationPatient=["1", "0", "0", "0.6", "0.8", "0"]),
        "without position, direction",
    ),
    "no_position": (lambda files, _: edit(files[3], ImagePositionPatient=None), "a slice without position"),
    "no_spacing": (
        lambda files, _: edit(files[3], PixelSpacing=["0", "0"]),
        "a slice without position, direction or spacing",
    ),
    "ct": (
        lambda files, _: _every(files, SOPClassUID=CTImageStorage, Modality="CT"),
        "series 5 is CT; wanted MR images",
    ),
    "inverted": (
        lambda files, _: _every(files, PhotometricInterpretation="MONOCHROME1"),
        "pixels of the kind MONOCHROME1; wanted grey values",
    ),
    "constant": (lambda files, _: _every(files, RescaleSlope="0", RescaleIntercept="7"), "every voxel is 7"),
    "rescaled_away": (
        lambda files, _: edit(files[9], RescaleIntercept="99999999999999999999"),
        "has a slice with values of up to 1e+20; wanted a Rescale Slope",
    ),
    "wrong_length": (_wrong_length, "is damaged or may not be read"),
    "two_multi_frame_files": (_two_multi_frame_files, "several at one place"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_series_ends_in_one_line_without_the_patient(
    kind: str, scan: sitk.Image, tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    scan.SetOrigin((0, 0, 0))
    scan.SetDirection((1, 0, 0, 0, 1, 0, 0, 0, 1))
    files = write_series(scan, tmp_path)
    change, message = BROKEN[kind]
    change(files, tmp_path)
    recwarn.clear()
    with pytest.raises(InputError) as refused:
        dicom.find(tmp_path, "5").read()
    assert re.fullmatch(f"{re.escape(str(tmp_path))}: .*{re.escape(message)}.*", str(refused.value))
    assert not any(secret in str(refused.value) for secret in SECRETS)
    assert list(recwarn) == []


def test_a_file_cut_anywhere_is_refused_or_has_all_that_was_needed(scan: sitk.Image, tmp_path: Path) -> None:
    """Property, for 60 lengths over the whole file: InputError, and nothing else."""
    files = write_series(scan, tmp_path)
    content = files[3].read_bytes()
    for length in np.linspace(1, len(content) - 1, 60).astype(int):
        files[3].write_bytes(content[:length])
        with pytest.raises(InputError):
            dicom.find(tmp_path).read()


def test_an_unknown_packing_is_refused(scan: sitk.Image, tmp_path: Path) -> None:
    for file in write_series(scan, tmp_path):
        header = pydicom.dcmread(file)
        header.PixelData = pydicom.encaps.encapsulate([b"\0" * 100])
        header["PixelData"].VR = "OB"
        header.file_meta.TransferSyntaxUID = pydicom.uid.MPEG2MPML
        header.save_as(file)
    with pytest.raises(InputError, match="packed in an unknown way"):
        dicom.find(tmp_path).read()


def test_an_enhanced_file_without_positions_or_with_repetitions_is_refused(
    scan: sitk.Image, tmp_path: Path
) -> None:
    path = write_enhanced(scan, tmp_path / "enhanced.dcm")
    header = pydicom.dcmread(path)
    header.PerFrameFunctionalGroupsSequence[
        4
    ].PlanePositionSequence = header.PerFrameFunctionalGroupsSequence[3].PlanePositionSequence
    header.save_as(path)
    with pytest.raises(InputError, match="several at one place"):
        dicom.find(path).read()
    del header.PerFrameFunctionalGroupsSequence[4].PlanePositionSequence
    header.save_as(path)
    with pytest.raises(InputError, match="without position"):
        dicom.find(path).read()


# ---- mix-ups


@pytest.mark.parametrize(
    ("values", "warning"),
    [
        ({"PatientID": "another"}, "another Patient ID than the baseline's"),
        ({"StudyDate": "20240130"}, "of an earlier day than the baseline"),
        ({"StudyDate": "20240201"}, ""),
        ({"StudyDate": ""}, ""),
    ],
)
def test_scans_that_do_not_belong_together_are_warned_about(
    values: dict[str, str], warning: str, scan: sitk.Image, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The baseline is of 31 January 2024."""
    write_series(scan, tmp_path / "baseline")
    write_series(scan, tmp_path / "followup", **values)
    dicom.warn_of_mix_up(dicom.find(tmp_path / "baseline"), dicom.find(tmp_path / "followup"))
    assert warning in caplog.text
    assert bool(caplog.text) == bool(warning)
    assert not any(secret in caplog.text for secret in SECRETS)


def test_one_series_as_baseline_and_follow_up_is_warned_about(
    scan: sitk.Image, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_series(scan, tmp_path)
    dicom.warn_of_mix_up(dicom.find(tmp_path), dicom.find(tmp_path))
    assert "the same series is baseline and follow-up" in caplog.text


def test_what_to_install_is_said(scan: sitk.Image, tmp_path: Path) -> None:
    write_series(scan, tmp_path)
    code = "import sys; sys.modules['pydicom'] = None; from app.cli.main import main; main()"
    command = [
        sys.executable,
        "-c",
        code,
        "segment",
        "-t1",
        tmp_path,
        "-t2",
        tmp_path,
        "-o",
        tmp_path / "mask.nii.gz",
    ]
    ended = subprocess.run(
        list(map(str, command)), cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 1
    assert ended.stderr == (
        "Error: DICOM: the package pydicom is not installed; wanted `pip install '.[dicom]'` in "
        "the folder of this program\n"
    )


@pytest.mark.parametrize(("acquired", "in_slices"), [("2D", True), ("3D", False), ("", False)])
def test_whether_slices_were_acquired_one_by_one(
    acquired: str, in_slices: bool, scan: sitk.Image, tmp_path: Path
) -> None:
    write_series(scan, tmp_path / "series", MRAcquisitionType=acquired)
    assert dicom.find(tmp_path / "series").in_slices is in_slices
