"""What does the header of an NRRD file say (teem.sourceforge.net/nrrd/format.html)?"""

import logging
import re
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import InputError
from . import placement
from .content import Header, beginning
from .placement import Affine

_LONGEST = 1 << 20  # bytes of a header; a few hundred are usual
_TYPES = {
    **dict.fromkeys(("signed char", "int8", "int8_t"), "i1"),
    **dict.fromkeys(("uchar", "unsigned char", "uint8", "uint8_t"), "u1"),
    **dict.fromkeys(("short", "short int", "signed short", "signed short int", "int16", "int16_t"), "i2"),
    **dict.fromkeys(("ushort", "unsigned short", "unsigned short int", "uint16", "uint16_t"), "u2"),
    **dict.fromkeys(("int", "signed int", "int32", "int32_t"), "i4"),
    **dict.fromkeys(("uint", "unsigned int", "uint32", "uint32_t"), "u4"),
    **dict.fromkeys(
        (
            "longlong",
            "long long",
            "long long int",
            "signed long long",
            "signed long long int",
            "int64",
            "int64_t",
        ),
        "i8",
    ),
    **dict.fromkeys(
        ("ulonglong", "unsigned long long", "unsigned long long int", "uint64", "uint64_t"), "u8"
    ),
    "float": "f4",
    "double": "f8",
}
_SPACES = {
    **dict.fromkeys(("right-anterior-superior", "ras"), (-1.0, -1.0, 1.0)),
    **dict.fromkeys(("left-anterior-superior", "las"), (1.0, -1.0, 1.0)),
    **dict.fromkeys(("left-posterior-superior", "lps"), (1.0, 1.0, 1.0)),
}  # what turns a place into LPS
_UNITS_MM = {"mm": 1.0, "cm": 10.0, "m": 1000.0, "um": 0.001, "µm": 0.001, "micron": 0.001, "microns": 0.001}

logger = logging.getLogger(__name__)


def read(path: Path) -> Header:
    """Raises InputError for a file that is no NRRD, has its voxels elsewhere or packed in a rare way, or is
    not one 3-D scan.
    """
    fields, start = _fields(path)
    if "data file" in fields or "datafile" in fields:
        raise InputError(
            f"{path}: its voxels are in another file; wanted them in this one (unu save -f nrrd)"
        )
    encoding = fields["encoding"].lower()
    if encoding not in ("raw", "gzip", "gz"):
        raise InputError(
            f"{path}: voxels packed as {encoding!r}; wanted raw or gzip (unu save -f nrrd -e gzip)"
        )
    if any(int(fields.get(name, "0")) for name in ("line skip", "lineskip", "byte skip", "byteskip")):
        raise InputError(f"{path}: voxels that do not follow the header at once; wanted no line or byte skip")
    stored = _TYPES.get(fields["type"].lower())
    if stored is None:
        raise InputError(f"{path}: voxels of type {fields['type']!r}; wanted one number a voxel")
    order = {"little": "<", "big": ">"}[fields.get("endian", "little").lower()]

    sides = [int(side) for side in fields["sizes"].split()]
    if len(sides) != int(fields["dimension"]) or min(sides) < 1:
        raise ValueError(f"sizes {fields['sizes']} in {fields['dimension']} dimensions")
    kept = _space_axes(path, fields, sides)
    shape = (sides[kept[0]], sides[kept[1]], sides[kept[2]])
    affine = _affine(path, fields, kept)
    affine = affine * placement.unit_mm(affine, _unit(fields), shape, str(path))
    return Header(shape, np.dtype(order + stored), start, encoding != "raw", 0, affine)


def _fields(path: Path) -> tuple[dict[str, str], int]:
    """{name: text} of the header, and where it ends."""
    content = beginning(path, _LONGEST)
    if not re.match(rb"NRRD000\d\r?\n", content):
        raise InputError(f"{path}: not an NRRD file; wanted an image in the format that its name says")
    end = re.search(rb"\r?\n\r?\n", content)
    if end is None:
        raise InputError(f"{path}: a header without an end; wanted a whole file, with the voxels in it")
    fields = {}
    for line in content[: end.start()].decode("utf-8", "replace").splitlines()[1:]:
        name, colon, text = line.partition(":")
        if colon and not line.startswith("#") and not text.startswith("="):  # a key of the user's own
            fields[name.strip().lower()] = text.strip()
    return fields, end.end()


def _space_axes(path: Path, fields: dict[str, str], sides: list[int]) -> list[int]:
    """The three axes that lie in space. Another may be there, such as a list, of one."""
    shown = "x".join(map(str, sides))
    directions = _vectors(fields.get("space directions", ""))
    kinds = fields.get("kinds", "").lower().split()
    if directions:
        kept = [axis for axis, vector in enumerate(directions) if vector is not None]
    elif len(kinds) == len(sides):
        kept = [axis for axis, kind in enumerate(kinds) if kind in ("domain", "space", "???", "none")]
    else:
        kept = list(range(min(len(sides), 3)))
    others = [side for axis, side in enumerate(sides) if axis not in kept]
    if max(others, default=1) > 1 and len(kept) == 3:
        raise InputError(
            f"{path}: {shown} values, {max(others)} values a voxel (colour, vector or list); wanted one"
        )
    if len(kept) != 3 or max(kept) >= len(sides):
        raise InputError(f"{path}: a {shown} image; wanted one 3-D scan")
    return kept


def _affine(path: Path, fields: dict[str, str], kept: list[int]) -> Affine:
    """(3, 4) to LPS, in the header's unit."""
    directions = _vectors(fields.get("space directions", ""))
    if not directions:
        spacings = fields.get("spacings", "").split()
        if len(spacings) <= max(kept):
            raise InputError(f"{path}: a header without spacing; wanted space directions, or spacings")
        logger.warning(
            "%s: its header does not say how the head lies (no space directions); taken as stored "
            "from right to left, front to back,"
            " bottom to top: left and right may be swapped",
            path,
        )
        return np.column_stack([np.diag([float(spacings[axis]) for axis in kept]), np.zeros(3)])
    steps = np.column_stack([vector for vector in directions if vector is not None])
    origin = (_vectors(fields.get("space origin", "")) or [np.zeros(3)])[0]
    if steps.shape != (3, 3) or origin is None or origin.shape != (3,):
        raise ValueError("space directions of other than three numbers")
    space = fields.get("space", "").lower()
    if space not in _SPACES:
        logger.warning(
            "%s: a space called %r in its header; taken as left-posterior-superior: left and right "
            "may be swapped",
            path,
            space,
        )
    return np.array(_SPACES.get(space, (1.0, 1.0, 1.0)))[:, None] * np.column_stack([steps, origin])


def _vectors(text: str) -> list[npt.NDArray[np.float64] | None]:
    """'(1,0,0) none (0,1,0)' as vectors, None for none."""
    found: list[Any] = []
    for word in re.findall(r"none|\([^)]*\)", text.lower()):
        found.append(None if word == "none" else np.array([float(part) for part in word[1:-1].split(",")]))
    return found


def _unit(fields: dict[str, str]) -> float:
    """Of lengths, in mm; mm where none is given, or one that we do not know."""
    names = re.findall(r'"([^"]*)"', fields.get("space units", "") or fields.get("units", ""))
    return _UNITS_MM.get(names[0].strip().lower(), 1.0) if names else 1.0
