import os
import resource
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from app.errors import InputError
from app.images import grids, headers, storage
from app.images.nifti import LABEL, Meaning
from app.images.scan import Scan
from tests.images.bad_files import BAD_FILES, NOISE, save, write_bad_file


@pytest.mark.parametrize("suffix", headers.SUFFIXES)
def test_written_values_read_back(scan: sitk.Image, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"scan{suffix}"
    storage.write(scan, path)
    np.testing.assert_array_equal(grids.array(storage.read(path)), grids.array(scan))
    assert [file.name for file in tmp_path.iterdir()] == [path.name]  # nothing left aside


def test_nan_is_written_as_it_is(tmp_path: Path) -> None:
    values = np.where(NOISE > 5, np.nan, NOISE)
    storage.write(sitk.GetImageFromArray(values), tmp_path / "scan.nii")
    np.testing.assert_array_equal(np.asanyarray(nibabel.load(tmp_path / "scan.nii").dataobj).T, values)


def test_geometry_is_copied_bit_for_bit(scan: sitk.Image, tmp_path: Path) -> None:
    source, target = tmp_path / "scan.nii.gz", tmp_path / "mask.nii.gz"
    storage.write(scan, source)
    read = storage.read(source)
    storage.write(grids.like(grids.array(read) > 50, read), target, geometry_of=source)
    mask = storage.read_mask(target)
    assert mask.GetPixelID() == sitk.sitkUInt8
    for placed, again in ((mask, read), (sitk.ReadImage(str(target)), sitk.ReadImage(str(source)))):
        assert placed.GetSize() == again.GetSize()
        assert placed.GetSpacing() == again.GetSpacing()
        assert placed.GetOrigin() == again.GetOrigin()
        assert placed.GetDirection() == again.GetDirection()
    np.testing.assert_array_equal(nibabel.load(target).affine, nibabel.load(source).affine)


@pytest.mark.parametrize("source_unit", [None, "unknown", "mm", "meter"])
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_headers_say_meaning_and_unit(
    scan: sitk.Image, tmp_path: Path, source_unit: str | None, suffix: str
) -> None:
    """As another program, nibabel, reads them. A source without a unit is in mm; metres stay metres."""
    source, target = tmp_path / "scan.nii.gz", tmp_path / f"mask{suffix}"
    if source_unit is not None:
        affine = np.diag([0.003, 0.003, 0.003, 1.0] if source_unit == "meter" else [3.0, 3.0, 3.0, 1.0])
        image = nibabel.Nifti1Image(np.ones((20, 24, 10), np.int16), affine)
        image.header.set_xyzt_units(source_unit)
        nibabel.save(image, source)
    mask = sitk.Cast(scan > 50, sitk.sitkUInt8)
    storage.write(mask, target, source if source_unit else None, Meaning(LABEL, "x 1.0: 1 where it is"))
    header = nibabel.Nifti1Image.from_filename(target).header
    assert header.get_intent()[0] == "label"
    assert header["descrip"].item() == b"x 1.0: 1 where it is"
    assert header.get_xyzt_units()[0] == ("meter" if source_unit == "meter" else "mm")
    values = nibabel.Nifti1Image.from_filename(target).get_fdata().T
    np.testing.assert_array_equal(values, sitk.GetArrayViewFromImage(mask))


def test_geometry_is_copied_from_a_big_endian_file(tmp_path: Path) -> None:
    source, target = tmp_path / "scan.nii", tmp_path / "mask.nii.gz"
    affine = np.diag([0.9, 0.9, 3.0, 1.0])
    affine[:3, :3] = Rotation.from_euler("xyz", [5, -10, 3], degrees=True).as_matrix() @ affine[:3, :3]
    header = nibabel.Nifti1Header(endianness=">")
    nibabel.save(
        nibabel.Nifti1Image(np.arange(3840, dtype=">i2").reshape(15, 16, 16), affine, header), source
    )
    read = storage.read(source)
    storage.write(grids.like(grids.array(read) > 9, read), target, geometry_of=source)
    assert storage.read_mask(target).GetDirection() == read.GetDirection()
    np.testing.assert_array_equal(nibabel.load(target).affine, nibabel.load(source).affine)


def test_values_are_z_y_x() -> None:
    """Voxel (x=1, y=2, z=3) of a 4 x 5 x 6 image is array element [3, 2, 1]."""
    volume = sitk.Image(4, 5, 6, sitk.sitkFloat32)
    volume[1, 2, 3] = 7.0
    values = grids.array(volume)
    assert values.shape == (6, 5, 4)
    assert values[3, 2, 1] == 7


def test_ras_turns_left_and_posterior_round() -> None:
    """Index (z, y, x) = (1, 2, 3) at spacing 1, 1, 2 and origin (10, 20, 30) lies at LPS (13, 22, 32), RAS
    (-13, -22, 32).
    """
    volume = sitk.Image(8, 8, 8, sitk.sitkUInt8)
    volume.SetSpacing((1, 1, 2))
    volume.SetOrigin((10, 20, 30))
    assert grids.to_ras_mm(volume, (1, 2, 3)) == (-13, -22, 32)


def test_canonical_grid_covers_the_same_box() -> None:
    """10 voxels of 3 mm span 30 mm: 30 voxels of 1 mm, the first centre 1 mm before the old first one (-1.5 +
    0.5).
    """
    scan = sitk.Image(20, 20, 10, sitk.sitkUInt8)
    scan.SetSpacing((1, 1, 3))
    grid = grids.canonical_grid(scan, 1.0)
    assert grid.GetSize() == (20, 20, 30)
    assert grid.GetOrigin() == pytest.approx((0, 0, -1))


def test_canonical_grid_reorders_but_keeps_about_1_mm() -> None:
    """Axes stored as posterior, superior, left come back as left, posterior, superior, uninterpolated."""
    scan = sitk.GetImageFromArray(np.random.default_rng(0).random((4, 5, 6)).astype(np.float32))
    scan.SetSpacing((0.95, 1.05, 1.0))
    scan.SetDirection((0, 0, 1, 1, 0, 0, 0, 1, 0))  # columns: x runs to posterior, y to superior, z to left
    grid = grids.canonical_grid(scan, 1.0)
    assert grid.GetSpacing() == (1.0, 0.95, 1.05)
    assert grid.GetSize() == (4, 6, 5)
    assert grid.GetDirection() == (1, 0, 0, 0, 1, 0, 0, 0, 1)
    there = grids.array(grids.resample(scan, grid))
    np.testing.assert_array_equal(np.sort(there.ravel()), np.sort(grids.array(scan).ravel()))


def test_moved_grid_moves_each_voxel(scan: sitk.Image) -> None:
    rigid = sitk.Euler3DTransform((3, 4, 5), 0.1, 0.2, -0.3, (7, -8, 9))
    moved = grids.moved_grid(scan, rigid)
    wanted = [rigid.TransformPoint(corner) for corner in grids.corners(scan).tolist()]
    np.testing.assert_allclose(grids.corners(moved), wanted, atol=1e-9)


def test_moved_grid_keeps_stretches_and_leaves_shears_out(scan: sitk.Image) -> None:
    """A stretch along the grid's axes is exact at each voxel; a shear of 1 % leaves half of it at most, off
    the middle.
    """
    axes = np.reshape(scan.GetDirection(), (3, 3))
    stretch = sitk.AffineTransform((axes @ np.diag([1.02, 0.99, 1.01]) @ axes.T).ravel().tolist(), (3, -2, 1))
    wanted = [stretch.TransformPoint(corner) for corner in grids.corners(scan).tolist()]
    np.testing.assert_allclose(grids.corners(grids.moved_grid(scan, stretch)), wanted, atol=1e-9)
    shear = sitk.AffineTransform(
        (axes @ (np.eye(3) + np.diag([0.01, 0], 1)) @ axes.T).ravel().tolist(), (0, 0, 0)
    )
    wanted = np.array([shear.TransformPoint(corner) for corner in grids.corners(scan).tolist()])
    found = grids.corners(grids.moved_grid(scan, shear))
    extent_mm = np.linalg.norm(np.array(scan.GetSize()) * scan.GetSpacing())
    np.testing.assert_allclose(found.mean(axis=0), wanted.mean(axis=0), atol=1e-9)
    assert np.linalg.norm(found - wanted, axis=1).max() < 0.01 * extent_mm / 2


def test_a_few_stray_voxels_become_zero(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    values = np.random.default_rng(0).uniform(1, 9, (20, 50, 50)).astype(np.float32)
    values[5, 4, 3], values[6, 4, 3] = np.nan, 1e30
    for suffix in headers.SUFFIXES:
        path = tmp_path / f"nan{suffix}"
        sitk.WriteImage(sitk.GetImageFromArray(values), str(path))
        caplog.clear()
        read = storage.read(path)
        assert read[3, 4, 5] == read[3, 4, 6] == 0
        assert read[3, 4, 7] == values[7, 4, 3]
        assert "2 voxels are NaN or infinite, or spikes; taken as 0" in caplog.text


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_bytes_after_the_voxels_do_not_matter(scan: sitk.Image, tmp_path: Path, suffix: str) -> None:
    """Some programs pad their files; three bytes are no whole float32, and no gzip member either."""
    path = tmp_path / f"padded{suffix}"
    storage.write(scan, path)
    path.write_bytes(path.read_bytes() + b"pad")
    np.testing.assert_array_equal(grids.array(storage.read(path)), grids.array(scan))


@pytest.mark.parametrize(("kind", "message"), BAD_FILES.items())
def test_unusable_files_are_refused_in_one_line(kind: str, message: str, tmp_path: Path) -> None:
    path = write_bad_file(kind, tmp_path)
    with pytest.raises(InputError, match=message) as refusal:
        storage.read(path)
    assert str(path) in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_mask_on_another_grid_is_refused(scan: sitk.Image, tmp_path: Path) -> None:
    path = save(tmp_path / "mask.nii.gz", (NOISE > 5).astype(np.uint8))
    with pytest.raises(InputError, match="wanted the scan's grid, 20x24x10 voxels"):
        storage.read_mask(path, grid_of=scan)


@pytest.mark.parametrize("one", [1, 255, 7.0])
def test_a_mask_may_have_any_whole_number_for_1(one: float, tmp_path: Path) -> None:
    inside = NOISE > 5
    path = save(tmp_path / "mask.nii.gz", np.where(inside, one, 0).astype(np.float32))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(storage.read_mask(path)), inside.T)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (NOISE, "values from 1.* as in a scan or a probability map; wanted a mask"),
        (np.where(NOISE > 5, 0.001, 0), "values from 0 to 0.001, as in"),
        (np.where(NOISE > 5, 1, 0.001), "values from 0.001 to 1, as in"),
        (np.where(NOISE > 5, 0, -1), "values from -1 to 0, as in"),
        (np.where(NOISE > 5, np.nan, 1), "values from nan to nan, as in"),
        (np.ones(NOISE.shape), "100 % of the voxels are brain"),
        (np.zeros(NOISE.shape), "0 % of the voxels are brain"),
    ],
)
def test_what_is_no_brain_mask_is_refused(values: np.ndarray, message: str, tmp_path: Path) -> None:
    scan = storage.read(save(tmp_path / "scan.nii.gz", NOISE))
    path = save(tmp_path / "mask.nii.gz", values.astype(np.float32))
    with pytest.raises(InputError, match=message):
        storage.read_brain(path, scan)


def test_an_unwritable_folder_is_refused(scan: sitk.Image, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        storage.write(scan, tmp_path / "file" / "mask.nii.gz")


@pytest.mark.parametrize("name", ["pipe.nii.gz", "zeros.nii.gz"])
def test_what_never_ends_is_not_read(name: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.nii.gz")
    (tmp_path / "zeros.nii.gz").symlink_to("/dev/zero")
    for read in (Scan.read, Scan.sha256):
        with pytest.raises(InputError, match=rf"{name}: (a folder, pipe or device|no such file); wanted"):
            read(Scan.find(tmp_path / name))


@pytest.mark.parametrize("limit", [200, 2000])  # bytes: within the header, within the voxels
@pytest.mark.parametrize("suffix", headers.SUFFIXES)
def test_an_image_cut_by_a_limit_leaves_nothing(
    limit: int, suffix: str, scan: sitk.Image, tmp_path: Path
) -> None:
    """As a full disk cuts it: ITK does not notice."""
    source, target = tmp_path / "scan.nii.gz", tmp_path / f"mask{suffix}"
    storage.write(scan, source)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        with pytest.raises(InputError, match=rf"^{target}: (does not read back|cannot be written)"):
            storage.write(scan, target, source, Meaning(LABEL, "a mask"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(tmp_path.iterdir()) == [source]


@given(shift=st.floats(0.02, 50), axis=st.integers(0, 2))
def test_a_shifted_grid_is_another_grid(shift: float, axis: int) -> None:
    volume = sitk.Image(4, 5, 6, sitk.sitkUInt8)
    moved = sitk.Image(volume)
    origin = [0.0, 0.0, 0.0]
    origin[axis] = shift
    moved.SetOrigin(origin)
    assert grids.same_grid(volume, volume)
    assert not grids.same_grid(volume, moved)
