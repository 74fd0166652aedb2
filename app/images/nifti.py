"""What does a NIfTI header say, how is its placement copied, and what does it say of an image of ours?

NIfTI-1 and NIfTI-2 in one file, packed or not.
"""

import gzip
import logging
import math
import struct
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import InputError
from . import placement
from .content import Header, beginning
from .placement import Affine, Sides


@dataclass(frozen=True)
class _Layout:
    """Offset and format of the fields that matter (nifti.nimh.nih.gov/nifti-1, nifti-2)."""

    length: int
    magic: bytes  # of voxels in the same file
    first_voxel: int  # the least offset
    fields: dict[str, tuple[int, str]]


_ONE = _Layout(
    348,
    b"n+1\0",
    352,
    {
        "magic": (344, "4s"),
        "dim": (40, "8h"),
        "datatype": (70, "h"),
        "bitpix": (72, "h"),
        "pixdim": (76, "8f"),
        "vox_offset": (108, "f"),
        "scaling": (112, "2f"),
        "units": (123, "B"),
        "codes": (252, "2h"),  # of qform and sform
        "intent": (68, "h"),
        "description": (148, "80s"),
        "forms": (256, "18f"),  # quaternion b, c, d; offset x, y, z; the sform's three rows
    },
)
_TWO = _Layout(
    540,
    b"n+2\0\r\n\x1a\n",
    544,
    {
        "magic": (4, "8s"),
        "dim": (16, "8q"),
        "datatype": (12, "h"),
        "bitpix": (14, "h"),
        "pixdim": (104, "8d"),
        "vox_offset": (168, "q"),
        "scaling": (176, "2d"),
        "units": (500, "i"),
        "codes": (344, "2i"),
        "intent": (504, "i"),
        "description": (240, "80s"),
        "forms": (352, "18d"),
    },
)
_PLACED_BY = ("codes", "forms", "units")  # and the first four of pixdim
_LONGEST = _TWO.first_voxel

_TYPES = {
    2: "u1",
    4: "i2",
    8: "i4",
    16: "f4",
    64: "f8",
    256: "i1",
    512: "u2",
    768: "u4",
    1024: "i8",
    1280: "u8",
}
_OTHER_TYPES = {
    32: "complex values",
    128: "3 values a voxel (colour)",
    1536: "values of 128 bits",
    1792: "complex values",
    2048: "complex values",
    2304: "4 values a voxel (colour)",
}
_UNIT_MM = {1: 1000.0, 3: 0.001}  # metre, micron; else mm
_MM = 2  # the code of that unit
_TO_LPS = np.array([[-1.0], [-1.0], [1.0]])  # to multiply the rows of an affine with
LAST_CODE = 5  # of what a qform or sform refers to: NIFTI_XFORM_TEMPLATE_OTHER
ROUNDING = 1e-5  # of a length in single precision, computed from three numbers

logger = logging.getLogger(__name__)


def read(path: Path, packed: bool) -> Header:
    """Raises InputError for a file that is no NIfTI image, or whose header contradicts itself, or does not
    describe one 3-D scan.
    """
    layout, order, fields = _fields(path, packed)
    if fields["magic"][0] != layout.magic:
        raise InputError(
            f"{path}: its voxels are in another file (.img); wanted both in one: pip install "
            "nibabel, then nib-convert SCAN.img SCAN.nii.gz"
        )
    sides = _sides(path, fields["dim"])
    stored = _stored(path, order, fields["datatype"][0], fields["bitpix"][0])
    first = fields["vox_offset"][0]
    if not (math.isfinite(first) and first == int(first) and first >= layout.first_voxel):
        raise InputError(
            f"{path}: a header that puts the voxels at byte {first:g}; wanted {layout.first_voxel} or more"
        )
    slope, intercept = fields["scaling"]
    if slope == 0 or not math.isfinite(slope):  # not used
        slope, intercept = 1.0, 0.0
    if not math.isfinite(intercept):
        raise InputError(f"{path}: a header that adds {intercept} to every value; wanted a number")
    affine = _affine(path, fields, sides)
    return Header(sides, stored, 0, packed, int(first), affine, slope, intercept)


@dataclass(frozen=True)
class Meaning:
    """What the values of an image are, as its header says it."""

    intent: int  # LABEL or ESTIMATE
    words: str  # ASCII, 79 characters at most


LABEL, ESTIMATE = 1002, 1001  # NIFTI_INTENT_LABEL, NIFTI_INTENT_ESTIMATE (nifti1.h)


def complete(
    target: Path, packed: bool, meaning: Meaning | None = None, source: tuple[Path, bool] | None = None
) -> None:
    """Put into the header of a file that we wrote what ITK cannot.

    What the values mean, that lengths are in mm, and the fields that place the voxels in space, bit for bit
    those of a `source` (and whether it is packed) of one version. A source that names no unit is in mm. A
    target that is cut off, by a full disk, stays as it is: it does not read back.
    """
    placed_by = None if source is None else _fields(*source)[2]
    try:
        layout, order, _ = _fields(target, packed)
        content = bytearray(beginning(target, sys.maxsize, packed))
    except InputError:
        return

    def put(name: str, values: tuple[Any, ...]) -> None:
        offset, kind = layout.fields[name]
        form = kind if kind.endswith("s") else f"{len(values)}{kind[-1]}"
        struct.pack_into(f"{order}{form}", content, offset, *values)

    if placed_by is not None:
        put("pixdim", placed_by["pixdim"][:4])
        for name in _PLACED_BY:
            put(name, placed_by[name])
        (units,) = placed_by["units"]
        if units & 7 not in _UNIT_MM:
            put("units", (units & ~7 | _MM,))
    if meaning is not None:
        put("intent", (meaning.intent,))
        put("description", (meaning.words.encode("ascii"),))
    target.write_bytes(gzip.compress(content, compresslevel=6, mtime=0) if packed else bytes(content))


def _fields(path: Path, packed: bool) -> tuple[_Layout, str, dict[str, tuple[Any, ...]]]:
    """The layout of a header, its byte order, '<' or '>', and its fields."""
    header = beginning(path, _LONGEST, packed)
    for layout in (_ONE, _TWO):
        for order in ("<", ">"):
            if (
                len(header) >= layout.first_voxel
                and struct.unpack_from(f"{order}i", header)[0] == layout.length
            ):
                fields = {
                    name: struct.unpack_from(f"{order}{kind}", header, offset)
                    for name, (offset, kind) in layout.fields.items()
                }
                return layout, order, fields
    raise InputError(f"{path}: not a NIfTI file; wanted an image in the format that its name says")


def _sides(path: Path, dim: tuple[int, ...]) -> Sides:
    """Of a 3-D scan; further dimensions may be there, of one voxel each."""
    count, sides = dim[0], dim[1 : dim[0] + 1]
    if not 1 <= count <= 7 or min(sides) < 1:
        raise InputError(f"{path}: a header with dimensions {dim}; wanted a NIfTI image")
    shown = "x".join(map(str, sides))
    if count >= 5 and sides[4] > 1:
        raise InputError(f"{path}: {sides[4]} values a voxel (colour or vector); wanted one")
    if count < 3 or math.prod(sides[3:]) > 1:
        raise InputError(f"{path}: a {shown} image; wanted one 3-D scan")
    return sides[0], sides[1], sides[2]


def _stored(path: Path, order: str, datatype: int, bitpix: int) -> np.dtype[Any]:
    if datatype not in _TYPES:
        found = _OTHER_TYPES.get(datatype, f"voxels of the unknown type {datatype}")
        raise InputError(f"{path}: {found}; wanted one real number a voxel, of at most 64 bits")
    stored = np.dtype(f"{order}{_TYPES[datatype]}")
    if bitpix != 8 * stored.itemsize:
        raise InputError(
            f"{path}: a header that contradicts itself, voxels of type {stored.name} with {bitpix} "
            f"bits; wanted {8 * stored.itemsize} bits"
        )
    return stored


def _affine(path: Path, fields: dict[str, tuple[Any, ...]], sides: Sides) -> Affine:
    """(3, 4) to LPS, mm.

    The sform's where its code is positive, as viewers and other tools take it; else the qform's.
    """
    pixdim = np.array(fields["pixdim"], np.float64)
    spacing = np.abs(pixdim[1:4])
    if not (np.isfinite(spacing).all() and spacing.min() > 0):
        raise InputError(
            f"{path}: spacing {'x'.join(f'{side:g}' for side in pixdim[1:4])} mm; wanted three "
            "positive numbers"
        )
    if pixdim[1:4].min() < 0:
        logger.warning("%s: a negative spacing in its header; taken as positive", path)
    qform_code, sform_code = fields["codes"]
    if not (0 <= qform_code <= LAST_CODE and 0 <= sform_code <= LAST_CODE):
        raise InputError(
            f"{path}: a damaged header, qform code {qform_code} and sform code {sform_code};"
            f" wanted 0 to {LAST_CODE}"
        )
    forms = np.array(fields["forms"], np.float64)
    by_qform = _from_qform(forms[:6], -1.0 if pixdim[0] < 0 else 1.0, spacing) if qform_code > 0 else None
    if sform_code > 0:
        affine = _TO_LPS * forms[6:].reshape(3, 4)
        placement.check_spacing(affine, f"{path}: sform")
        affine[:, :3] *= _nearby(spacing, np.linalg.norm(affine[:, :3], axis=0))
    elif by_qform is not None:
        affine = by_qform
    elif qform_code > 0:
        raise InputError(f"{path}: a qform that is no rotation; wanted a valid one, or a qform code of 0")
    else:
        affine = _analyze(spacing, sides)
        logger.warning(
            "%s: its header does not say how the head lies (qform and sform code 0); taken as "
            "stored from right to left, back to front,"
            " bottom to top: left and right may be swapped",
            path,
        )
    unit_mm = placement.unit_mm(affine, _UNIT_MM.get(fields["units"][0] & 7, 1.0), sides, str(path))
    if sform_code > 0 and by_qform is not None:
        apart_mm = placement.apart_mm(affine, by_qform, sides) * unit_mm
        if apart_mm > placement.NOTICED_MM:
            logger.warning(
                "%s: its sform and qform lie up to %.1f mm apart; the sform is taken, as viewers do",
                path,
                apart_mm,
            )
    return affine * unit_mm


def _nearby(wanted: npt.NDArray[np.float64], found: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """What makes the lengths of an sform's columns, in single precision, the spacing that the header gives
    beside it.
    """
    ratio: npt.NDArray[np.float64] = wanted / found
    ratio[np.abs(ratio - 1) >= ROUNDING] = 1
    return ratio


def _from_qform(
    numbers: npt.NDArray[np.float64], handedness: float, spacing: npt.NDArray[np.float64]
) -> Affine | None:
    """Quaternion and offset (nifti1.h, method 2) to LPS; None if they are no rotation."""
    b, c, d = numbers[:3]
    length = b * b + c * c + d * d
    if not (np.isfinite(numbers).all() and length < 1 + 1e-3):
        return None
    a = math.sqrt(max(0.0, 1 - length))
    b, c, d = (b, c, d) if length <= 1 else np.array([b, c, d]) / math.sqrt(length)
    rotation = np.array(
        [
            [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
            [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
            [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c],
        ]
    )
    return _TO_LPS * np.column_stack([rotation * spacing * [1, 1, handedness], numbers[3:]])


def _analyze(spacing: npt.NDArray[np.float64], sides: Sides) -> Affine:
    """x to the left, y to the front, z up, about the middle, as programs of the Analyze format took it."""
    steps = np.diag([-1.0, 1.0, 1.0]) * spacing
    affine: Affine = _TO_LPS * np.column_stack([steps, -steps @ (np.array(sides) - 1) / 2])
    return affine
