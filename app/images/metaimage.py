"""What does the header of a MetaImage file say (.mha; itk.org/Wiki/ITK/MetaIO/Documentation)?"""

import re
from pathlib import Path

import numpy as np

from ..errors import InputError
from . import placement
from .content import Header, beginning

_LONGEST = 1 << 16  # bytes of a header; a few hundred are usual
_TYPES = {
    "MET_CHAR": "i1",
    "MET_UCHAR": "u1",
    "MET_SHORT": "i2",
    "MET_USHORT": "u2",
    "MET_INT": "i4",
    "MET_UINT": "u4",
    "MET_LONG_LONG": "i8",
    "MET_ULONG_LONG": "u8",
    "MET_FLOAT": "f4",
    "MET_DOUBLE": "f8",
}
_UNITS_MM = {"um": 0.001, "mm": 1.0, "cm": 10.0}


def read(path: Path) -> Header:
    """Raises InputError for a file that is no MetaImage, has its voxels elsewhere or as text, or is not one
    3-D scan.
    """
    fields, start = _fields(path)
    if fields["elementdatafile"].upper() != "LOCAL":
        raise InputError(
            f"{path}: its voxels are in another file; wanted them in this one (ElementDataFile = LOCAL)"
        )
    if not _yes(fields.get("binarydata", "true")):
        raise InputError(f"{path}: voxels as text; wanted them as numbers (BinaryData = True)")
    channels = int(fields.get("elementnumberofchannels", "1"))
    if channels != 1:
        raise InputError(f"{path}: {channels} values a voxel (colour or vector); wanted one")
    slope, offset = (
        float(fields.get(f"elementtointensityfunction{name}", usual))
        for name, usual in (("slope", "1"), ("offset", "0"))
    )
    if (slope, offset) != (1.0, 0.0):
        raise InputError(f"{path}: voxels that its header scales; wanted them scaled already")
    if int(fields.get("headersize", "0")) not in (0, -1):
        raise InputError(f"{path}: voxels that do not follow the header at once; wanted a HeaderSize of 0")
    stored = _TYPES.get(fields["elementtype"].upper())
    if stored is None:
        raise InputError(f"{path}: voxels of type {fields['elementtype']!r}; wanted one number a voxel")
    big = _yes(fields.get("elementbyteordermsb", fields.get("binarydatabyteordermsb", "false")))

    dimensions = int(fields["ndims"])
    sides = [int(side) for side in fields["dimsize"].split()]
    if dimensions != len(sides) or min(sides) < 1:
        raise ValueError(f"DimSize {fields['dimsize']} in {dimensions} dimensions")
    if dimensions < 3 or max(sides[3:], default=1) > 1:
        raise InputError(f"{path}: a {'x'.join(map(str, sides))} image; wanted one 3-D scan")
    axes = _numbers(fields, ("transformmatrix", "orientation", "rotation"), np.eye(dimensions).ravel())
    spacing = _numbers(fields, ("elementspacing", "elementsize"), np.ones(dimensions))
    origin = _numbers(fields, ("offset", "position", "origin"), np.zeros(dimensions))
    # the rows of the file are the directions of the axes
    steps = axes.reshape(dimensions, dimensions)[:3, :3].T * spacing[:3]
    packed = _yes(fields.get("compresseddata", "false"))
    there = path.stat().st_size - start
    if packed and int(fields.get("compresseddatasize", there)) != there:
        raise InputError(
            f"{path}: {there} packed bytes, and a CompressedDataSize of {fields['compresseddatasize']};"
            " wanted the whole file"
        )
    affine = np.column_stack([steps, origin[:3]])
    shape = (sides[0], sides[1], sides[2])
    unit = _UNITS_MM.get(fields.get("distanceunits", "mm").lower(), 1.0)
    affine = affine * placement.unit_mm(affine, unit, shape, str(path))
    return Header(
        shape,
        np.dtype((">" if big else "<") + stored),
        start,
        packed,
        0,
        affine,
    )


def _fields(path: Path) -> tuple[dict[str, str], int]:
    """{name: text} of the header, and where it ends: after the line that says where the voxels are."""
    content = beginning(path, _LONGEST)
    end = re.search(rb"(?:^|\n)[ \t]*ElementDataFile[ \t]*=[^\n]*\n", content)
    if end is None:
        raise InputError(f"{path}: not a MetaImage file; wanted an image in the format that its name says")
    fields = {}
    for line in content[: end.end()].decode("utf-8", "replace").splitlines():
        name, _, text = line.partition("=")
        fields[name.strip().lower()] = text.strip()
    return fields, end.end()


def _numbers(fields: dict[str, str], names: tuple[str, ...], usual: np.ndarray) -> np.ndarray:
    """Those of the first name that is there; as many as usual."""
    for name in names:
        if name in fields:
            found = np.array([float(word) for word in fields[name].split()])
            if found.shape != usual.shape:
                raise ValueError(f"{len(found)} numbers for {name}")
            return found
    return usual


def _yes(text: str) -> bool:
    """Raises KeyError for another word."""
    return {"true": True, "1": True, "false": False, "0": False}[text.lower()]
