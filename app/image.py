"""Images on disk and in memory. This file alone knows axis orders and grids.

A scan is a `sitk.Image` in patient space (LPS, mm). Its values are an array `(z, y, x)`; SimpleITK counts the other way, `(x, y, z)`.
"""

import gzip
import logging
import math
import struct
import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk

from app.errors import InputError
from app.files import writing

Array = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]
Points = npt.NDArray[np.float64]  # (n, 3), mm, LPS

SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".mha")
STRAY_FRACTION = 1e-4  # of the voxels may be NaN or infinite (they become 0); more is a broken scan

logger = logging.getLogger(__name__)


def read(path: Path) -> sitk.Image:
    """Read a 3-D scan as float32.

    A few NaN or infinite voxels become 0, with a warning. Raises InputError for a missing, truncated, 2-D, 4-D, colour, constant, or mostly
    non-finite image, and for a spacing that is not positive.
    """
    stored, strays = _load(path)
    image = sitk.Cast(stored, sitk.sitkFloat32)
    values = sitk.GetArrayViewFromImage(image)
    if strays > STRAY_FRACTION * values.size:
        raise InputError(f"{path}: {strays} of {values.size} voxels are NaN or infinite; wanted a scan with finite values")
    if strays:
        logger.warning("%s: %d voxels are NaN or infinite; taken as 0", path, strays)
        image = like(np.where(np.isfinite(values), values, 0), image)
        values = sitk.GetArrayViewFromImage(image)
    if values.min() == values.max():
        raise InputError(f"{path}: every voxel is {values.flat[0]:g}; wanted a scan that shows something")
    return image


def read_mask(path: Path, grid_of: sitk.Image | None = None) -> sitk.Image:
    """Read a mask as uint8: 1 where the file is above 0. Raises InputError as `read` does, and if the grid is not that of `grid_of`."""
    mask = _load(path)[0] > 0
    if grid_of is not None and not same_grid(mask, grid_of):
        raise InputError(f"{path}: a mask of {describe_grid(mask)}; wanted the scan's grid, {describe_grid(grid_of)}")
    return mask


def read_labels(path: Path, cut_fractions: bool = False) -> sitk.Image:
    """Read a label image as uint16, 0 for background.

    Raises InputError as `read` does for an unusable file, for NaN and values outside 0 to 65535, and for fractions, as in a probability map, unless
    `cut_fractions` says to drop them (0.6 becomes 0).
    """
    image, strays = _load(path)
    values = sitk.GetArrayViewFromImage(image)
    if strays:
        raise InputError(f"{path}: {strays} voxels are NaN or infinite; wanted labels from 0 to 65535")
    low, high = values.min(), values.max()
    if low < 0 or high > np.iinfo(np.uint16).max:
        raise InputError(f"{path}: values from {low:g} to {high:g}; wanted labels from 0 to 65535")
    labels = sitk.Cast(image, sitk.sitkUInt16)
    if not cut_fractions and not np.array_equal(sitk.GetArrayViewFromImage(labels), values):
        raise InputError(f"{path}: values with fractions, as in a probability map; wanted whole labels, such as 0 and 1")
    return labels


def write(image: sitk.Image, path: Path, geometry_of: Path | None = None) -> None:
    """Write an image: aside first, then renamed, so that `path` is whole or absent.

    With `geometry_of`, the header fields that place a NIfTI file in space are copied from that file, so that both read back bit for bit the same;
    ITK alone rounds the direction. Raises InputError if the folder cannot be written or the suffix is not one of `SUFFIXES`.
    """
    compress = suffix_of(path) != ".nii"
    with writing(path) as unfinished:
        try:
            sitk.WriteImage(image, str(unfinished), useCompression=compress)
        except RuntimeError as error:  # SimpleITK knows no other
            raise InputError(f"{path}: cannot be written; wanted a folder with write permission and room on its disk") from error
        if geometry_of is not None and _is_nifti(path) and _is_nifti(geometry_of):
            _copy_nifti_geometry(geometry_of, unfinished)


def array(image: sitk.Image) -> Array:
    """The values as float32 `(z, y, x)`, a copy."""
    values: Array = sitk.GetArrayFromImage(image).astype(np.float32, copy=False)
    return values


def like(values: npt.NDArray[np.generic], reference: sitk.Image) -> sitk.Image:
    """Values `(z, y, x)` as an image on the grid of `reference`, geometry bit for bit. Booleans become uint8."""
    image = sitk.GetImageFromArray(values.astype(np.uint8) if values.dtype == np.bool_ else values)
    image.CopyInformation(reference)
    return image


def same_grid(a: sitk.Image, b: sitk.Image) -> bool:
    """Whether voxels with one index lie at one place: no corner differs by more than a hundredth of a voxel."""
    if a.GetSize() != b.GetSize():
        return False
    tolerance = 0.01 * min(a.GetSpacing())
    return bool(np.abs(corners(a) - corners(b)).max() < tolerance)


def corners(image: sitk.Image) -> npt.NDArray[np.float64]:
    """Centres of the eight corner voxels in patient space: (8, 3), mm."""
    last = [side - 1 for side in image.GetSize()]
    indices = [(i * last[0], j * last[1], k * last[2]) for i in (0, 1) for j in (0, 1) for k in (0, 1)]
    return np.array([image.TransformIndexToPhysicalPoint(index) for index in indices])


def resample(image: sitk.Image, grid: sitk.Image, to_image: sitk.Transform | None = None) -> sitk.Image:
    """Values of `image` at the voxels of `grid`, by linear interpolation; 0 outside. `to_image` maps points of the grid to the image, mm."""
    return sitk.Resample(image, grid, to_image or sitk.Transform(), sitk.sitkLinear, 0.0)


def canonical_grid(image: sitk.Image, spacing_mm: float) -> sitk.Image:
    """An empty grid over the same box: axes nearest to left, posterior, superior, so that arrays run (inferior, anterior, right) first to last.

    Spacings within a tenth of `spacing_mm` are kept, so that a scan of about that resolution is not interpolated; others become `spacing_mm`.
    """
    oriented = sitk.DICOMOrient(image, "LPS")
    if np.abs(np.array(oriented.GetSpacing()) / spacing_mm - 1).max() <= 0.1:
        return oriented
    return isotropic_grid(oriented, spacing_mm)


def isotropic_grid(image: sitk.Image, spacing_mm: float) -> sitk.Image:
    """An empty grid over the same box, axes kept: cubes of `spacing_mm`, at least two a side."""
    spacing = np.array(image.GetSpacing())
    extent = spacing * image.GetSize()
    size = np.maximum(np.ceil(extent / spacing_mm - 0.01), 2).astype(int)
    # the box keeps its centre: half of what the new voxels overhang on each side
    first = (extent - size * spacing_mm) / 2 + (spacing_mm - spacing) / 2
    grid = sitk.Image(size.tolist(), sitk.sitkUInt8)
    grid.SetSpacing([spacing_mm] * 3)
    grid.SetDirection(image.GetDirection())
    grid.SetOrigin(image.TransformContinuousIndexToPhysicalPoint((first / spacing).tolist()))
    return grid


def moved_grid(grid: sitk.Image, rigid: sitk.Transform) -> sitk.Image:
    """The grid seen through a rigid transform: voxel for voxel, each centre p lies at rigid(p)."""
    origin = np.array(rigid.TransformPoint(grid.GetOrigin()))
    axes = np.reshape(grid.GetDirection(), (3, 3))
    moved_axes = [np.array(rigid.TransformPoint((grid.GetOrigin() + axes[:, i]).tolist())) - origin for i in range(3)]
    moved = sitk.Image(grid)
    moved.SetOrigin(origin.tolist())
    moved.SetDirection(np.stack(moved_axes, axis=1).ravel().tolist())
    return moved


def voxel_mm3(image: sitk.Image) -> float:
    """Volume of one voxel in mm^3."""
    return float(np.prod(image.GetSpacing()))


def to_ras_mm(image: sitk.Image, index_zyx: tuple[float, float, float]) -> tuple[float, float, float]:
    """Where a (fractional) array index lies: right, anterior, superior, mm; the coordinates that NIfTI viewers show."""
    left, posterior, superior = image.TransformContinuousIndexToPhysicalPoint(tuple(reversed(index_zyx)))
    return -left, -posterior, superior


def points(index_zyx: npt.NDArray[np.int64], grid: sitk.Image) -> Points:
    """Where voxels (n, 3), z y x, lie in patient space."""
    placed: Points = index_zyx[:, ::-1] @ _to_mm(grid).T + grid.GetOrigin()
    return placed


def nearest_index(places: Points, grid: sitk.Image) -> npt.NDArray[np.int64]:
    """The voxels (n, 3), z y x, nearest to points in patient space."""
    index = np.rint(np.linalg.solve(_to_mm(grid), (places - grid.GetOrigin()).T).T).astype(np.int64)
    return np.clip(index, 0, np.array(grid.GetSize()) - 1)[:, ::-1]


def describe_grid(image: sitk.Image) -> str:
    """Size and spacing in words: '320x320x36 voxels of 0.72x0.72x4 mm'."""
    size = "x".join(str(side) for side in image.GetSize())
    spacing = "x".join(f"{side:.3g}" for side in image.GetSpacing())
    return f"{size} voxels of {spacing} mm"


def is_dicom(path: Path) -> bool:
    """Whether a path is for `app.dicom`: a folder, or a file with the mark of DICOM."""
    if not path.is_file() or path.name.lower().endswith(SUFFIXES):
        return path.is_dir()
    try:
        with path.open("rb") as file:
            return file.read(132)[128:] == b"DICM"
    except OSError:
        return False


def suffix_of(path: Path) -> str:
    """'.nii.gz', '.nii', '.nrrd' or '.mha'. Raises InputError for another."""
    for suffix in SUFFIXES:
        if path.name.lower().endswith(suffix):
            return suffix
    raise InputError(f"{path}: not an image name; wanted one that ends in {', '.join(SUFFIXES)}")


def _to_mm(grid: sitk.Image) -> npt.NDArray[np.float64]:
    """(3, 3): a step of one voxel along x, y, z to one in patient space."""
    step: npt.NDArray[np.float64] = np.reshape(grid.GetDirection(), (3, 3)) * grid.GetSpacing()
    return step


def _load(path: Path) -> tuple[sitk.Image, int]:
    """Read a 3-D image of one channel with its stored pixel type, and say how many of its stored values are NaN or infinite. Raises InputError."""
    if not path.is_file():
        raise InputError(f"{path}: no such file; wanted an image ({', '.join(SUFFIXES)})")
    nifti_strays = _check_nifti(path) if _is_nifti(path) else None
    try:
        image = sitk.ReadImage(str(path))
    except RuntimeError as error:
        if "orthonormal" in str(error):
            raise InputError(f"{path}: its axes are not at right angles; wanted a scan without shear") from error
        raise InputError(f"{path}: cannot be read as an image; wanted a whole {', '.join(SUFFIXES)} file") from error
    if image.GetNumberOfComponentsPerPixel() != 1:
        raise InputError(f"{path}: {image.GetNumberOfComponentsPerPixel()} values a voxel (colour or vector); wanted one")
    size = image.GetSize()
    if image.GetDimension() != 3 or min(size) < 2:
        raise InputError(f"{path}: a {'x'.join(map(str, size))} image; wanted one 3-D scan")
    if "complex" in image.GetPixelIDTypeAsString():
        raise InputError(f"{path}: complex values; wanted real ones")
    return image, _strays(sitk.GetArrayViewFromImage(image)) if nifti_strays is None else nifti_strays


def _strays(values: npt.NDArray[np.generic]) -> int:
    """How many are NaN or infinite."""
    return int(values.size - np.count_nonzero(np.isfinite(values)))


# NIfTI-1 (nifti.nimh.nih.gov/nifti-1): offsets in the 348-byte header of the fields that ITK does not check or does not keep.
_DIM, _DATATYPE, _BITPIX, _PIXDIM, _VOX_OFFSET, _UNITS = 40, 70, 72, 76, 108, 123
_PLACEMENT = ((_PIXDIM, "4f"), (252, "2h"), (256, "18f"))  # pixdim[0:4]; qform_code, sform_code; quaternion, offsets, srow_x, y, z
_FLOATS = {16: "f4", 64: "f8"}


def _is_nifti(path: Path) -> bool:
    return suffix_of(path) in (".nii.gz", ".nii")


def _check_nifti(path: Path) -> int:
    """What ITK says nothing of: how many stored values are NaN or infinite (it reads them as 0).

    Raises InputError for what else it lets through: a truncated file, and a spacing that is not positive.
    """
    content, order = _nifti_bytes(path)
    sides = struct.unpack_from(f"{order}8h", content, _DIM)
    spacing = struct.unpack_from(f"{order}4f", content, _PIXDIM)[1:]
    if not 1 <= sides[0] <= 7:
        raise InputError(f"{path}: a header with {sides[0]} dimensions; wanted a NIfTI image")
    if not all(math.isfinite(side) and side > 0 for side in spacing[: sides[0]]):
        raise InputError(f"{path}: spacing {spacing} mm; wanted three positive numbers")
    first = int(struct.unpack_from(f"{order}f", content, _VOX_OFFSET)[0])
    count = math.prod(max(side, 1) for side in sides[1 : sides[0] + 1])
    wanted = first + count * struct.unpack_from(f"{order}h", content, _BITPIX)[0] // 8
    if len(content) < wanted:
        raise InputError(f"{path}: truncated, {len(content)} of {wanted} bytes are there; wanted the whole file")
    kind = _FLOATS.get(struct.unpack_from(f"{order}h", content, _DATATYPE)[0])
    return 0 if kind is None else _strays(np.frombuffer(content, dtype=f"{order}{kind}", count=count, offset=first))


def _nifti_bytes(path: Path) -> tuple[bytes, str]:
    """The unpacked file and its byte order, '<' or '>'. Raises InputError if it cannot be unpacked or is no NIfTI-1 file."""
    try:
        content = path.read_bytes()
        if suffix_of(path) == ".nii.gz":
            content = gzip.decompress(content)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InputError(f"{path}: truncated or damaged ({error}); wanted a whole .nii.gz file") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); wanted a readable image") from error
    for order in ("<", ">"):
        if len(content) >= 348 and struct.unpack_from(f"{order}i", content)[0] == 348:
            return content, order
    raise InputError(f"{path}: not a NIfTI-1 file; wanted an image in the format its name says")


def _copy_nifti_geometry(source: Path, target: Path) -> None:
    """Copy the header fields that place the voxels in space, whatever either file's byte order."""
    (header, order), (unplaced, target_order) = _nifti_bytes(source), _nifti_bytes(target)
    content = bytearray(unplaced)
    for offset, fields in _PLACEMENT:
        struct.pack_into(f"{target_order}{fields}", content, offset, *struct.unpack_from(f"{order}{fields}", header, offset))
    content[_UNITS] = header[_UNITS]
    target.write_bytes(gzip.compress(content, compresslevel=6, mtime=0) if suffix_of(target) == ".nii.gz" else bytes(content))
