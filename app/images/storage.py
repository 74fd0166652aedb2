"""Images on disk: what is read is a 3-D scan or a mask, what is written is whole or absent."""

import logging
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from ..errors import InputError
from ..files import writing
from .grids import describe_grid, like, same_grid
from .headers import SUFFIXES, check_nifti, copy_nifti_geometry, count_strays, is_nifti, suffix_of

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
        raise InputError(
            f"{path}: {strays} of {values.size} voxels are NaN or infinite; wanted a scan with finite values"
        )
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
        raise InputError(
            f"{path}: a mask of {describe_grid(mask)}; wanted the scan's grid, {describe_grid(grid_of)}"
        )
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
        raise InputError(
            f"{path}: values with fractions, as in a probability map; wanted whole labels, such as 0 and 1"
        )
    return labels


def read_probability(path: Path) -> sitk.Image:
    """Read a probability map as float32, 0 to 1; it may be 0 throughout.

    Raises InputError as `read` does for an unusable file, and for NaN and values outside 0 to 1.
    """
    image, strays = _load(path)
    values = sitk.GetArrayViewFromImage(image)
    if strays:
        raise InputError(f"{path}: {strays} voxels are NaN or infinite; wanted probabilities from 0 to 1")
    low, high = values.min(), values.max()
    if low < 0 or high > 1:
        raise InputError(f"{path}: values from {low:g} to {high:g}; wanted probabilities from 0 to 1")
    return sitk.Cast(image, sitk.sitkFloat32)


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
            raise InputError(
                f"{path}: cannot be written; wanted a folder with write permission and room on its disk"
            ) from error
        if geometry_of is not None and is_nifti(path) and is_nifti(geometry_of):
            copy_nifti_geometry(geometry_of, unfinished)


def _load(path: Path) -> tuple[sitk.Image, int]:
    """Read a 3-D image of one channel with its stored pixel type, and say how many of its stored values are NaN or infinite. Raises InputError."""
    if not path.is_file():
        raise InputError(f"{path}: no such file; wanted an image ({', '.join(SUFFIXES)})")
    nifti_strays = check_nifti(path) if is_nifti(path) else None
    try:
        image = sitk.ReadImage(str(path))
    except RuntimeError as error:
        if "orthonormal" in str(error):
            raise InputError(
                f"{path}: its axes are not at right angles; wanted a scan without shear"
            ) from error
        raise InputError(
            f"{path}: cannot be read as an image; wanted a whole {', '.join(SUFFIXES)} file"
        ) from error
    if image.GetNumberOfComponentsPerPixel() != 1:
        raise InputError(
            f"{path}: {image.GetNumberOfComponentsPerPixel()} values a voxel (colour or vector); wanted one"
        )
    size = image.GetSize()
    if image.GetDimension() != 3 or min(size) < 2:
        raise InputError(f"{path}: a {'x'.join(map(str, size))} image; wanted one 3-D scan")
    if "complex" in image.GetPixelIDTypeAsString():
        raise InputError(f"{path}: complex values; wanted real ones")
    return image, count_strays(sitk.GetArrayViewFromImage(image)) if nifti_strays is None else nifti_strays
