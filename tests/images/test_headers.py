"""Headers, as nibabel and ITK read them; or one line before a voxel is read."""

import gzip
import logging
import os
import struct
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from scipy.spatial.transform import Rotation

from app import machine
from app.errors import InputError
from app.images import grids, headers, storage
from tests.images.bad_files import NOISE

OBLIQUE = np.eye(4)
OBLIQUE[:3, :3] = Rotation.from_euler("xyz", [5, -10, 3], degrees=True).as_matrix() * [0.9, 1.1, 3.0]
OBLIQUE[:3, 3] = -20, 30, 12.5
SHIFTED = OBLIQUE.copy()
SHIFTED[:3, 3] += 28
FIELDS = {  # of NIfTI-1: offset and format
    "dim": (40, "8h"),
    "datatype": (70, "h"),
    "bitpix": (72, "h"),
    "pixdim": (76, "8f"),
    "vox_offset": (108, "f"),
    "scaling": (112, "2f"),
    "units": (123, "B"),
    "codes": (252, "2h"),
    "magic": (344, "4s"),
}


def write_nifti(
    path: Path,
    values: np.ndarray = NOISE,
    qform: np.ndarray | None = None,
    sform: np.ndarray | None = OBLIQUE,
    **fields: tuple[Any, ...],
) -> Path:
    """A .nii file; `fields` overwrite what nibabel wrote."""
    image = nibabel.Nifti1Image(values, None)
    image.header.set_zooms([*np.linalg.norm(OBLIQUE[:3, :3], axis=0), 1, 1][: values.ndim])
    image.set_sform(sform, 0 if sform is None else 2)
    image.set_qform(qform, 0 if qform is None else 1)
    nibabel.save(image, path)
    content = bytearray(path.read_bytes())
    for name, numbers in fields.items():
        offset, kind = FIELDS[name]
        struct.pack_into(f"<{kind}", content, offset, *numbers)
    path.write_bytes(content)
    return path


def _lies(scan: sitk.Image, affine: np.ndarray, within_mm: float = 1e-4) -> bool:
    """Whether all corners lie where an affine to RAS puts them."""
    last = np.array(scan.GetSize()) - 1
    index = np.array([[*(last * [i, j, k]), 1] for i in (0, 1) for j in (0, 1) for k in (0, 1)])
    wanted = (affine @ index.T).T[:, :3] * [-1, -1, 1]
    return bool(np.abs(grids.corners(scan) - wanted).max() < within_mm)


# ---- NIfTI: placement


@pytest.mark.parametrize("codes", ["qform", "sform", "both"])
def test_placement_is_that_of_nibabel(codes: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write_nifti(
        tmp_path / "scan.nii",
        qform=None if codes == "sform" else OBLIQUE,
        sform=None if codes == "qform" else OBLIQUE,
    )
    read = storage.read(path)
    assert _lies(read, OBLIQUE)
    assert _lies(read, nibabel.load(path).affine)
    np.testing.assert_array_equal(grids.array(read), NOISE.T)
    assert caplog.text == ""


def test_a_left_handed_qform_is_read(tmp_path: Path) -> None:
    mirrored = OBLIQUE @ np.diag([1, 1, -1, 1])
    assert _lies(storage.read(write_nifti(tmp_path / "scan.nii", qform=mirrored, sform=None)), mirrored)


def test_the_sform_is_taken_where_the_qform_differs(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """As viewers, SPM and nibabel do; ITK takes the qform."""
    path = write_nifti(tmp_path / "scan.nii", qform=OBLIQUE, sform=SHIFTED)
    assert _lies(storage.read(path), SHIFTED)
    assert "sform and qform lie up to 48.5 mm apart; the sform is taken" in caplog.text  # 28 sqrt(3)


def test_less_than_a_tenth_of_a_mm_apart_is_not_worth_a_word(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    near = OBLIQUE.copy()
    near[0, 3] += 0.05
    storage.read(write_nifti(tmp_path / "scan.nii", qform=OBLIQUE, sform=near))
    assert caplog.text == ""


def test_a_mask_is_compared_by_its_sform(tmp_path: Path) -> None:
    scan = storage.read(write_nifti(tmp_path / "scan.nii", qform=OBLIQUE, sform=SHIFTED))
    inside = (NOISE > 5).astype(np.uint8)
    mask = write_nifti(tmp_path / "mask.nii", inside, qform=None, sform=SHIFTED)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(storage.read_mask(mask, scan)), inside.T)
    with pytest.raises(InputError, match="wanted the scan's grid"):
        storage.read_mask(write_nifti(tmp_path / "other.nii", inside, qform=OBLIQUE, sform=None), scan)


@pytest.mark.parametrize(
    ("shear", "warns", "refused"), [(1e-4, False, False), (8e-3, True, False), (0.05, False, True)]
)
def test_a_slightly_oblique_sform_is_straightened(
    shear: float, warns: bool, refused: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A shear of 8e-3 turns two axes by half of it, 0.23 degrees: corners 70 mm away by 0.14 mm from the
    middle.
    """
    values = np.tile(NOISE, (5, 5, 5))
    sheared = OBLIQUE.copy()
    sheared[:3, :3] = OBLIQUE[:3, :3] @ np.array([[1, shear, 0], [0, 1, 0], [0, 0, 1]])
    path = write_nifti(tmp_path / "scan.nii", values, sform=sheared)
    if refused:
        with pytest.raises(
            InputError, match=r"not at right angles, by 1.* degrees; wanted a scan without shear"
        ):
            storage.read(path)
        return
    read = storage.read(path)
    axes = np.reshape(read.GetDirection(), (3, 3))
    np.testing.assert_allclose(axes.T @ axes, np.eye(3), atol=1e-12)
    assert _lies(read, sheared, within_mm=0.3)
    assert ("not quite at right angles; corners are moved" in caplog.text) == warns
    mask = grids.like(grids.array(read) > 5, read)
    storage.write(mask, tmp_path / "mask.nii.gz", geometry_of=path)
    np.testing.assert_array_equal(nibabel.load(tmp_path / "mask.nii.gz").affine, nibabel.load(path).affine)


def test_an_sform_of_three_decimals_is_read(tmp_path: Path) -> None:
    rounded = OBLIQUE.round(3)
    assert _lies(storage.read(write_nifti(tmp_path / "scan.nii", sform=rounded)), rounded, within_mm=0.02)


def test_without_codes_the_head_is_placed_as_nibabel_places_it_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write_nifti(tmp_path / "scan.nii", sform=None)
    assert _lies(storage.read(path), nibabel.load(path).affine)
    assert "does not say how the head lies" in caplog.text


def test_a_negative_spacing_is_taken_as_positive_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write_nifti(tmp_path / "scan.nii", qform=OBLIQUE, sform=None, pixdim=(1, -0.9, 1.1, 3, 0, 0, 0, 0))
    assert _lies(storage.read(path), OBLIQUE)
    assert "negative spacing" in caplog.text


@pytest.mark.parametrize(("unit", "factor"), [(1, 1000.0), (3, 0.001)])
def test_a_unit_is_believed_if_a_head_fits(
    unit: int, factor: float, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The spacing in metres or microns, or in mm under their name."""
    scaled = OBLIQUE.copy()
    scaled[:3] /= factor
    pixdim = (1, *np.linalg.norm(scaled[:3, :3], axis=0), 0, 0, 0, 0)
    assert _lies(
        storage.read(write_nifti(tmp_path / "a.nii", sform=scaled, units=(unit,), pixdim=pixdim)),
        OBLIQUE,
        1e-3,
    )
    assert caplog.text == ""
    assert _lies(storage.read(write_nifti(tmp_path / "b.nii", units=(unit,))), OBLIQUE)
    assert f"units of {factor:g} mm" in caplog.text


@pytest.mark.parametrize("factor", [0.1, 100.0])
def test_a_box_that_is_no_head_s_is_refused(factor: float, tmp_path: Path) -> None:
    scaled = OBLIQUE @ np.diag([factor, factor, factor, 1])
    with pytest.raises(InputError, match=r"a box of .* mm; wanted 10 to 1000 mm a side"):
        storage.read(write_nifti(tmp_path / "scan.nii", sform=scaled))
    for suffix in (".nrrd", ".mha"):
        scan = sitk.GetImageFromArray(NOISE)
        scan.SetSpacing([factor] * 3)
        sitk.WriteImage(scan, str(tmp_path / f"scan{suffix}"))
        with pytest.raises(InputError, match=r"a box of .* mm; wanted 10 to 1000 mm a side"):
            storage.read(tmp_path / f"scan{suffix}")


def test_an_axis_of_almost_no_length_is_refused(tmp_path: Path) -> None:
    flat = OBLIQUE @ np.diag([1, 1e-20, 1, 1])
    with pytest.raises(InputError, match=r"sform: voxels of .* wanted three positive numbers"):
        storage.read(write_nifti(tmp_path / "scan.nii", sform=flat))


# ---- NIfTI: values


@pytest.mark.parametrize("dtype", ["u1", "i1", ">i2", "<u2", "i4", ">u4", "i8", "u8", ">f4", "f8"])
def test_every_type_is_read_as_nibabel_reads_it(dtype: str, tmp_path: Path) -> None:
    values = (NOISE * 10).astype(dtype)
    header = nibabel.Nifti1Header(endianness=">" if dtype.startswith(">") else "<")
    nibabel.save(nibabel.Nifti1Image(values, OBLIQUE, header, dtype=values.dtype), tmp_path / "scan.nii.gz")
    np.testing.assert_array_equal(
        grids.array(storage.read(tmp_path / "scan.nii.gz")), values.T.astype(np.float32)
    )


@pytest.mark.parametrize("scaling", [(0, 5), (np.nan, 5), (0.25, 3), (1, 0), (2, 0), (1e-3, 0)])
def test_values_are_scaled_as_nibabel_scales_them(scaling: tuple[float, float], tmp_path: Path) -> None:
    path = write_nifti(tmp_path / "scan.nii", (NOISE * 10).astype(np.int16), scaling=scaling)
    wanted = nibabel.load(path).get_fdata().T
    np.testing.assert_allclose(grids.array(storage.read(path)), wanted, rtol=1e-6)


def test_scaling_that_overflows_is_refused(tmp_path: Path) -> None:
    path = write_nifti(tmp_path / "scan.nii", (NOISE * 1e30).astype(np.float32), scaling=(3e30, 0))
    with pytest.raises(InputError, match="every voxel is NaN or infinite"):
        storage.read(path)


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("trailing", [0, 1, 3])
def test_nifti_2_and_further_dimensions_of_one_are_read(version: int, trailing: int, tmp_path: Path) -> None:
    kind = {1: nibabel.Nifti1Image, 2: nibabel.Nifti2Image}[version]
    nibabel.save(kind(NOISE.reshape(*NOISE.shape, *[1] * trailing), OBLIQUE), tmp_path / "scan.nii.gz")
    read = storage.read(tmp_path / "scan.nii.gz")
    np.testing.assert_array_equal(grids.array(read), NOISE.T)
    assert _lies(read, OBLIQUE)
    storage.write(
        grids.like(NOISE.T > 5, read), tmp_path / "mask.nii.gz", geometry_of=tmp_path / "scan.nii.gz"
    )
    np.testing.assert_allclose(nibabel.load(tmp_path / "mask.nii.gz").affine, OBLIQUE, atol=1e-5)


def test_a_header_extension_is_passed_over(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(NOISE, OBLIQUE)
    image.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", b"made by a program" * 9))
    nibabel.save(image, tmp_path / "scan.nii.gz")
    np.testing.assert_array_equal(grids.array(storage.read(tmp_path / "scan.nii.gz")), NOISE.T)


def test_a_file_of_several_gzip_members_is_read(tmp_path: Path) -> None:
    """As pigz and bgzip write them."""
    content = write_nifti(tmp_path / "scan.nii").read_bytes()
    members = [gzip.compress(content[at : at + 1000]) for at in range(0, len(content), 1000)]
    (tmp_path / "scan.nii.gz").write_bytes(b"".join(members))
    np.testing.assert_array_equal(grids.array(storage.read(tmp_path / "scan.nii.gz")), NOISE.T)


CONTRADICTIONS: dict[str, tuple[dict[str, tuple[Any, ...]], str]] = {
    "offset_small": ({"vox_offset": (100,)}, "voxels at byte 100; wanted 352 or more"),
    "offset_zero": ({"vox_offset": (0,)}, "voxels at byte 0; wanted 352 or more"),
    "offset_nan": ({"vox_offset": (np.nan,)}, "voxels at byte nan"),
    "offset_negative": ({"vox_offset": (-352,)}, "voxels at byte -352"),
    "offset_half": ({"vox_offset": (352.5,)}, "voxels at byte 352.5"),
    "offset_far": ({"vox_offset": (1e9,)}, "truncated"),
    "bits": ({"bitpix": (16,)}, "contradicts itself, voxels of type float32 with 16 bits"),
    "type": ({"datatype": (64,)}, "contradicts itself"),
    "type_of_nobody": ({"datatype": (77,)}, "voxels of the unknown type 77"),
    "complex": ({"datatype": (32,), "bitpix": (64,)}, "complex values"),
    "pair": ({"magic": (b"ni1\0",)}, r"in another file \(.img\)"),
    "dimensions": ({"dim": (9, 12, 13, 14, 1, 1, 1, 1)}, "a header with dimensions"),
    "side_negative": ({"dim": (3, 12, -13, 14, 1, 1, 1, 1)}, "a header with dimensions"),
    "vector": ({"dim": (5, 4, 13, 14, 1, 3, 1, 1)}, "3 values a voxel"),
    "more_voxels": ({"dim": (3, 12, 13, 15, 1, 1, 1, 1)}, "truncated"),
    "enormous": ({"dim": (3, 32767, 32767, 32767, 1, 1, 1, 1)}, "truncated"),
    "codes": ({"codes": (0, 300)}, "a damaged header, qform code 0 and sform code 300; wanted 0 to 5"),
    "spacing_nan": ({"pixdim": (1, np.nan, 1, 1, 0, 0, 0, 0)}, "spacing nanx1x1 mm"),
    "intercept_nan": ({"scaling": (1, np.nan)}, "adds nan to every value"),
}


@pytest.mark.parametrize("kind", CONTRADICTIONS)
def test_a_header_that_contradicts_itself_is_refused(kind: str, tmp_path: Path) -> None:
    fields, message = CONTRADICTIONS[kind]
    path = write_nifti(tmp_path / "scan.nii", **fields)
    packed = tmp_path / "packed.nii.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    for one in (path, packed):
        with pytest.raises(InputError, match=message) as refused:
            storage.read(one)
        assert "\n" not in str(refused.value)


def test_a_damaged_checksum_is_refused(tmp_path: Path) -> None:
    content = bytearray(gzip.compress(write_nifti(tmp_path / "scan.nii").read_bytes()))
    content[-8] ^= 1
    (tmp_path / "scan.nii.gz").write_bytes(content)
    with pytest.raises(InputError, match="incorrect data check"):
        storage.read(tmp_path / "scan.nii.gz")


def test_no_more_is_unpacked_than_there_is_memory_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """300 x 300 x 300 zeros of 8 bytes pack to 0.2 MB; and a header may claim what its file cannot hold."""
    path = write_nifti(tmp_path / "scan.nii", np.zeros((300, 300, 300)))
    packed = tmp_path / "scan.nii.gz"
    packed.write_bytes(gzip.compress(path.read_bytes(), 9))
    monkeypatch.setattr(machine, "available_memory", lambda: 2**28)
    for one in (path, packed):
        with pytest.raises(InputError, match=r"300x300x300 voxels need 0.4 GiB of memory, 0.2 GiB are free"):
            storage.read(one)


# ---- NRRD and MetaImage


def write_itk(path: Path, scan: sitk.Image, compress: bool) -> Path:
    sitk.WriteImage(scan, str(path), useCompression=compress)
    return path


@pytest.mark.parametrize("compress", [True, False])
@pytest.mark.parametrize("suffix", [".nrrd", ".mha"])
@pytest.mark.parametrize(
    "kind", [sitk.sitkInt8, sitk.sitkUInt16, sitk.sitkInt64, sitk.sitkFloat32, sitk.sitkFloat64]
)
def test_what_itk_writes_is_read_as_itk_reads_it(
    kind: int, suffix: str, compress: bool, scan: sitk.Image, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write_itk(tmp_path / f"scan{suffix}", sitk.Cast(scan, kind), compress)
    read, wanted = storage.read(path), sitk.ReadImage(str(path))
    np.testing.assert_array_equal(grids.array(read), grids.array(wanted))
    assert np.abs(grids.corners(read) - grids.corners(wanted)).max() < 1e-6
    assert caplog.text == ""


def edited(path: Path, old: bytes, new: bytes) -> Path:
    content = path.read_bytes()
    assert content.count(old) == 1
    path.write_bytes(content.replace(old, new))
    return path


@pytest.mark.parametrize("space", ["right-anterior-superior", "left-anterior-superior", "LPS"])
def test_every_space_of_nrrd_is_read_as_itk_reads_it(space: str, scan: sitk.Image, tmp_path: Path) -> None:
    path = write_itk(tmp_path / "scan.nrrd", scan, compress=False)
    edited(path, b"space: left-posterior-superior", f"space: {space}".encode())
    assert np.abs(grids.corners(storage.read(path)) - grids.corners(sitk.ReadImage(str(path)))).max() < 1e-6


def test_an_nrrd_list_of_one_is_read(scan: sitk.Image, tmp_path: Path) -> None:
    path = write_itk(tmp_path / "scan.nrrd", scan, compress=False)
    edited(path, b"dimension: 3", b"dimension: 4")
    edited(path, b"sizes: 20 24 10", b"sizes: 1 20 24 10")
    edited(path, b"kinds: domain", b"kinds: list domain")
    edited(path, b"space directions: (", b"space directions: none (")
    read = storage.read(path)
    np.testing.assert_array_equal(grids.array(read), grids.array(scan))
    assert np.abs(grids.corners(read) - grids.corners(scan)).max() < 1e-6


def test_an_nrrd_list_of_two_is_refused(scan: sitk.Image, tmp_path: Path) -> None:
    path = tmp_path / "scan.nrrd"
    pair = sitk.Compose(scan, scan)
    write_itk(path, pair, compress=True)
    with pytest.raises(InputError, match="2 values a voxel"):
        storage.read(path)


def test_bytes_of_the_other_order_are_read(scan: sitk.Image, tmp_path: Path) -> None:
    values = sitk.GetArrayFromImage(scan)
    for suffix, old, new in (
        (".nrrd", b"endian: little", b"endian: big"),
        (".mha", b"BinaryDataByteOrderMSB = False", b"BinaryDataByteOrderMSB = True"),
    ):
        path = edited(write_itk(tmp_path / f"scan{suffix}", scan, compress=False), old, new)
        path.write_bytes(path.read_bytes()[: -values.nbytes] + values.astype(">f4").tobytes())
        np.testing.assert_array_equal(grids.array(storage.read(path)), values)


REFUSED: dict[str, tuple[str, bytes, bytes, str]] = {
    "nrrd_elsewhere": (
        ".nrrd",
        b"encoding: raw",
        b"encoding: raw\ndata file: /etc/passwd",
        "in another file",
    ),
    "nrrd_list": (".nrrd", b"encoding: raw", b"encoding: raw\ndatafile: LIST", "in another file"),
    "nrrd_text": (".nrrd", b"encoding: raw", b"encoding: text", "packed as 'text'"),
    "nrrd_skip": (".nrrd", b"encoding: raw", b"encoding: raw\nbyte skip: -1", "wanted no line or byte skip"),
    "nrrd_type": (".nrrd", b"type: float", b"type: block", "voxels of type 'block'"),
    "nrrd_sizes": (".nrrd", b"sizes: 20 24 10", b"sizes: 20 24", "damaged header"),
    "nrrd_size": (".nrrd", b"sizes: 20 24 10", b"sizes: 20 24 -10", "damaged header"),
    "nrrd_word": (".nrrd", b"sizes: 20 24 10", b"sizes: 20 24 ten", "damaged header"),
    "nrrd_vast": (".nrrd", b"sizes: 20 24 10", b"sizes: 20 24 99999999999999", "truncated"),
    "nrrd_flat": (".nrrd", b"space directions: (", b"space directions: (0,0,0) (", "wanted"),
    "nrrd_magic": (".nrrd", b"NRRD0004", b"NRRD00x4", "not an NRRD file"),
    "mha_elsewhere": (
        ".mha",
        b"ElementDataFile = LOCAL",
        b"ElementDataFile = /etc/passwd",
        "in another file",
    ),
    "mha_list": (".mha", b"ElementDataFile = LOCAL", b"ElementDataFile = LIST", "in another file"),
    "mha_dimensions": (".mha", b"NDims = 3", b"NDims = 99", "damaged header"),
    "mha_negative": (".mha", b"DimSize = 20 24 10", b"DimSize = 20 -24 10", "damaged header"),
    "mha_vast": (".mha", b"DimSize = 20 24 10", b"DimSize = 20 24 99999999999999", "truncated"),
    "mha_text": (".mha", b"BinaryData = True", b"BinaryData = False", "voxels as text"),
    "mha_flag": (".mha", b"BinaryData = True", b"BinaryData = True False", "damaged header"),
    "mha_type": (".mha", b"MET_FLOAT", b"MET_STRING", "voxels of type 'MET_STRING'"),
    "mha_channels": (
        ".mha",
        b"ElementType =",
        b"ElementNumberOfChannels = 3\nElementType =",
        "3 values a voxel",
    ),
    "mha_matrix": (".mha", b"TransformMatrix = ", b"TransformMatrix = 1 ", "damaged header"),
    "mha_magic": (".mha", b"ElementDataFile", b"ElementDataFail", "not a MetaImage file"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_itk_would_follow_or_die_of_is_refused(kind: str, scan: sitk.Image, tmp_path: Path) -> None:
    suffix, old, new, message = REFUSED[kind]
    path = edited(write_itk(tmp_path / f"scan{suffix}", scan, compress=False), old, new)
    for read in (storage.read, storage.read_mask, storage.read_labels):
        with pytest.raises(InputError, match=message) as refused:
            read(path)
        assert str(refused.value).startswith(f"{path}: ")
        assert "\n" not in str(refused.value)


def test_packed_bytes_of_another_number_than_the_header_s_are_refused(
    scan: sitk.Image, tmp_path: Path
) -> None:
    """ITK unpacks what it can of them, and says nothing."""
    path = write_itk(tmp_path / "scan.mha", scan, compress=True)
    path.write_bytes(path.read_bytes() + b"more")
    with pytest.raises(InputError, match="packed bytes, and a CompressedDataSize of"):
        storage.read(path)


def test_headers_without_placement_are_warned_about(
    scan: sitk.Image, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "scan.nrrd"
    path.write_bytes(
        b"NRRD0004\ntype: float\ndimension: 3\nsizes: 20 24 10\nendian: little\nencoding: "
        b"raw\nspacings: 1.1 1.1 3\n\n" + sitk.GetArrayFromImage(scan).tobytes()
    )
    with caplog.at_level(logging.WARNING):
        assert storage.read(path).GetSpacing() == (1.1, 1.1, 3.0)
    assert "does not say how the head lies" in caplog.text


# ---- names


def test_a_path_that_is_not_utf_8_is_refused(scan: sitk.Image, tmp_path: Path) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/M\xfcller.nii.gz"))
    for use in (storage.read, lambda path: storage.write(scan, path)):
        with pytest.raises(
            InputError, match="a path that is not in UTF-8; wanted one that is: rename it"
        ) as refused:
            use(path)
        str(refused.value).encode()


@pytest.mark.parametrize("name", ["a.img", "a.hdr", "a.mgz"])
def test_other_formats_are_refused_with_a_way_to_convert_them(name: str) -> None:
    with pytest.raises(InputError, match=f"nib-convert {name} SCAN.nii.gz"):
        headers.suffix_of(Path(name))
