"""Images on disk: what is read is a 3-D scan or a mask, what is written is whole or absent."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk

from ..errors import InputError
from ..files import shown, writing
from . import content, headers, measured, placement
from .content import Header
from .grids import describe_grid, same_grid
from .headers import SUFFIXES, is_nifti, suffix_of
from .nifti import Meaning

WHOLE = 0.95  # share of a grid that no brain fills


def read(path: Path) -> sitk.Image:
    """Read a 3-D scan as float32 of 0 or more, 0 where nothing was measured (`app.images.measured`).

    Raises InputError for a missing, truncated, damaged, 2-D, 4-D, colour, constant or mostly non-finite
    image, for a mask, and for a box that no head fits in. Warns of a header that can be read in more than one
    way.
    """
    header = _header(path)
    values = content.values(path, header)
    image = _placed(measured.clean(values, str(path)), header, path)
    placement.check_head_size(image.GetSpacing(), image.GetSize(), str(path))
    return image


def read_mask(path: Path, grid_of: sitk.Image | None = None) -> sitk.Image:
    """Read a mask as uint8, 0 or 1; the file may have another whole number for 1.

    Raises InputError as `read` does for an unusable file, for more values than 0 and one other, and if the
    grid is not that of `grid_of`.
    """
    header = _header(path)
    values = content.values(path, header)
    mask = _placed((values > 0).astype(np.uint8), header, path)
    if grid_of is not None and not same_grid(mask, grid_of):
        raise InputError(
            f"{path}: a mask of {describe_grid(mask)}; wanted the scan's grid, {describe_grid(grid_of)}"
        )
    high = values.max()
    whole = np.isfinite(high) and high >= 0 and high == np.rint(high)
    if not (whole and ((values == 0) | (values == high)).all()):
        raise InputError(
            f"{path}: values from {values.min():g} to {high:g}, as in a scan or a probability map; "
            "wanted a mask of 0 and 1"
        )
    return mask


def read_brain(path: Path, grid_of: sitk.Image) -> sitk.Image:
    """Read the mask of a brain.

    Raises InputError as `read_mask` does, and if nothing or nearly everything is brain.
    """
    mask = read_mask(path, grid_of)
    share = float(sitk.GetArrayViewFromImage(mask).mean())
    if not 0 < share < WHOLE:
        raise InputError(
            f"{path}: {100 * share:.0f} % of the voxels are brain; wanted a mask that is 1 in the brain alone"
        )
    return mask


def read_labels(path: Path, cut_fractions: bool = False) -> sitk.Image:
    """Read a label image as uint16, 0 for background.

    Raises InputError as `read` does for an unusable file, for NaN and values outside 0 to 65535, and for
    fractions, as in a probability map, unless `cut_fractions` says to drop them (0.6 becomes 0).
    """
    header = _header(path)
    values = _values_within(path, header, np.iinfo(np.uint16).max, "labels from 0 to 65535")
    labels = values.astype(np.uint16)
    if not cut_fractions and not np.array_equal(labels, values):
        raise InputError(
            f"{path}: values with fractions, as in a probability map; wanted whole labels, such as 0 and 1"
        )
    return _placed(labels, header, path)


def read_probability(path: Path) -> sitk.Image:
    """Read a probability map as float32, 0 to 1; it may be 0 throughout.

    Raises InputError as `read` does for an unusable file, and for NaN and values outside 0 to 1.
    """
    header = _header(path)
    values = _values_within(path, header, 1, "probabilities from 0 to 1")
    return _placed(values.astype(np.float32), header, path)


def write(
    image: sitk.Image, path: Path, geometry_of: Path | None = None, meaning: Meaning | None = None
) -> None:
    """Write an image: aside first, then renamed, so that `path` is whole or absent.

    With `geometry_of`, the header fields that place a NIfTI file in space are copied from that file, so that
    both read back bit for bit the same; ITK alone rounds the direction and drops the sform. `meaning` goes
    into the header of a NIfTI file. Raises InputError if the folder cannot be written or the suffix is not
    one of `SUFFIXES`.
    """
    compress = suffix_of(path) != ".nii"
    with writing(path, lambda unfinished: _holds(unfinished, image)) as unfinished:
        try:
            sitk.WriteImage(image, str(unfinished), useCompression=compress)
        except RuntimeError as error:  # SimpleITK knows no other
            raise InputError(
                f"{shown(path)}: cannot be written; wanted a folder with write permission "
                "and room on its disk"
            ) from error
        source = geometry_of if geometry_of is not None and is_nifti(geometry_of) else None
        if is_nifti(path) and (source or meaning):
            headers.complete(unfinished, meaning, source)


def _holds(path: Path, image: sitk.Image) -> bool:
    """Whether a file has the voxels of an image. ITK would refuse axes that are not quite at right angles."""
    try:
        again = content.values(path, headers.read(path))
    except InputError:
        return False
    values = sitk.GetArrayViewFromImage(image)
    return np.array_equal(again, values, equal_nan=values.dtype.kind == "f")


def _header(path: Path) -> Header:
    """Of a file that is there, and holds a volume. Raises InputError."""
    if not path.is_file():
        headers.suffix_of(path)
        raise InputError(f"{path}: no such file; wanted an image ({', '.join(SUFFIXES)})")
    header = headers.read(path)
    if min(header.sides) < 2:
        raise InputError(f"{path}: a {'x'.join(map(str, header.sides))} image; wanted one 3-D scan")
    return header


def _values_within(path: Path, header: Header, highest: float, wanted: str) -> npt.NDArray[Any]:
    """The voxels (z, y, x). Raises InputError for NaN, and for values outside 0 to `highest`."""
    values = content.values(path, header)
    strays = values.size - np.count_nonzero(np.isfinite(values))
    if strays:
        raise InputError(f"{path}: {strays} voxels are NaN or infinite; wanted {wanted}")
    low, high = values.min(), values.max()
    if low < 0 or high > highest:
        raise InputError(f"{path}: values from {low:g} to {high:g}; wanted {wanted}")
    return values


def _placed(values: npt.NDArray[Any], header: Header, path: Path) -> sitk.Image:
    """Values `(z, y, x)` in the place that a header gives them."""
    box = placement.box(header.affine, header.sides, str(path))
    image = sitk.GetImageFromArray(values)
    image.SetSpacing(box.spacing_mm.tolist())
    image.SetOrigin(box.origin_mm.tolist())
    image.SetDirection(box.direction.ravel().tolist())
    return image
