"""Which format is a file of, and what does its header say?"""

import struct
from pathlib import Path

import numpy as np

from ..errors import InputError
from . import metaimage, nifti, nrrd
from .content import Header
from .nifti import Meaning

SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".mha")
CONVERT = (".img", ".img.gz", ".hdr", ".mgz", ".mgh", ".mnc", ".par", ".rec")  # that nibabel reads


def suffix_of(path: Path) -> str:
    """'.nii.gz', '.nii', '.nrrd' or '.mha'.

    Raises InputError for another, and for a path that not every program can open.
    """
    try:
        str(path).encode("utf-8")
    except UnicodeEncodeError as error:
        shown = str(path).encode("utf-8", "backslashreplace").decode()
        raise InputError(f"{shown}: a path that is not in UTF-8; wanted one that is: rename it") from error
    for suffix in SUFFIXES:
        if path.name.lower().endswith(suffix):
            return suffix
    if path.name.lower().endswith(CONVERT):
        raise InputError(
            f"{path}: an image in another format; wanted {', '.join(SUFFIXES)}: pip install "
            f"nibabel, then nib-convert {path.name} SCAN.nii.gz"
        )
    raise InputError(f"{path}: not an image name; wanted one that ends in {', '.join(SUFFIXES)}")


def is_nifti(path: Path) -> bool:
    return suffix_of(path) in (".nii.gz", ".nii")


def read(path: Path) -> Header:
    """Checks all that a header says of the voxels, before a voxel is read. Raises InputError.

    Warns of what can be read in more than one way.
    """
    suffix = suffix_of(path)
    try:
        with np.errstate(over="ignore", invalid="ignore"):  # what overflows is refused as infinite
            if suffix == ".nrrd":
                return nrrd.read(path)
            if suffix == ".mha":
                return metaimage.read(path)
            return nifti.read(path, packed=suffix == ".nii.gz")
    except (KeyError, ValueError, OverflowError, struct.error) as error:
        raise InputError(
            f"{path}: a damaged header ({str(error)[:80]!r}); wanted an image in the format that "
            "its name says"
        ) from error


def complete(target: Path, meaning: Meaning | None, source: Path | None) -> None:
    """Say in a NIfTI file that we wrote what it means, and copy its place, bit for bit, from that of a
    `source`.
    """
    placed_by = None if source is None else (source, suffix_of(source) == ".nii.gz")
    nifti.complete(target, suffix_of(target) == ".nii.gz", meaning, placed_by)


def is_dicom(path: Path) -> bool:
    """Whether a path is for `app.images.dicom`: a folder, or a file with the mark of DICOM."""
    if not path.is_file() or path.name.lower().endswith(SUFFIXES):
        return path.is_dir()
    try:
        with path.open("rb") as file:
            return file.read(132)[128:] == b"DICM"
    except OSError:
        return False
