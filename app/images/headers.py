"""What does an image's header say that ITK does not check or does not keep?"""

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..errors import InputError

SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".mha")


# NIfTI-1 (nifti.nimh.nih.gov/nifti-1): offsets in the 348-byte header of the fields that ITK does not check or does not keep.
_DIM, _DATATYPE, _BITPIX, _PIXDIM, _VOX_OFFSET, _UNITS = 40, 70, 72, 76, 108, 123
_PLACEMENT = (
    (_PIXDIM, "4f"),
    (252, "2h"),
    (256, "18f"),
)  # pixdim[0:4]; qform_code, sform_code; quaternion, offsets, srow_x, y, z
_FLOATS = {16: "f4", 64: "f8"}


def suffix_of(path: Path) -> str:
    """'.nii.gz', '.nii', '.nrrd' or '.mha'. Raises InputError for another."""
    for suffix in SUFFIXES:
        if path.name.lower().endswith(suffix):
            return suffix
    raise InputError(f"{path}: not an image name; wanted one that ends in {', '.join(SUFFIXES)}")


def is_nifti(path: Path) -> bool:
    return suffix_of(path) in (".nii.gz", ".nii")


def check_nifti(path: Path) -> int:
    """What ITK says nothing of: how many stored values are NaN or infinite (it reads them as 0).

    Raises InputError for what else it lets through: a truncated file, and a spacing that is not positive.
    """
    content, order = nifti_bytes(path)
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
        raise InputError(
            f"{path}: truncated, {len(content)} of {wanted} bytes are there; wanted the whole file"
        )
    kind = _FLOATS.get(struct.unpack_from(f"{order}h", content, _DATATYPE)[0])
    return (
        0
        if kind is None
        else count_strays(np.frombuffer(content, dtype=f"{order}{kind}", count=count, offset=first))
    )


def count_strays(values: npt.NDArray[np.generic]) -> int:
    """How many are NaN or infinite."""
    return int(values.size - np.count_nonzero(np.isfinite(values)))


def nifti_bytes(path: Path) -> tuple[bytes, str]:
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


def copy_nifti_geometry(source: Path, target: Path) -> None:
    """Copy the header fields that place the voxels in space, whatever either file's byte order."""
    (header, order), (unplaced, target_order) = nifti_bytes(source), nifti_bytes(target)
    content = bytearray(unplaced)
    for offset, fields in _PLACEMENT:
        struct.pack_into(
            f"{target_order}{fields}",
            content,
            offset,
            *struct.unpack_from(f"{order}{fields}", header, offset),
        )
    content[_UNITS] = header[_UNITS]
    target.write_bytes(
        gzip.compress(content, compresslevel=6, mtime=0) if suffix_of(target) == ".nii.gz" else bytes(content)
    )


def is_dicom(path: Path) -> bool:
    """Whether a path is for `app.images.dicom`: a folder, or a file with the mark of DICOM."""
    if not path.is_file() or path.name.lower().endswith(SUFFIXES):
        return path.is_dir()
    try:
        with path.open("rb") as file:
            return file.read(132)[128:] == b"DICM"
    except OSError:
        return False
