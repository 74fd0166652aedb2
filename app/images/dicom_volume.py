"""The slices of a DICOM series as one volume: where they lie, in which order, and their pixels.

Names of patients, and of files, which often carry them, are never printed: messages begin with what names the
series.
"""

import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pydicom
import SimpleITK as sitk
from pydicom import Dataset
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.pixels.processing import apply_modality_lut
from pydicom.uid import (
    EnhancedMRImageStorage,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    LegacyConvertedEnhancedMRImageStorage,
)

from ..errors import InputError
from . import content, measured, placement

Vector = npt.NDArray[np.float64]

MULTI_FRAME = (EnhancedMRImageStorage, LegacyConvertedEnhancedMRImageStorage)
POSITION_TOLERANCE = 0.1  # of a voxel's side: what rounding in a header may do
DIRECTION_TOLERANCE = 1e-3  # of direction cosines

# Where a multi-frame file keeps what concerns us, for each frame or once for all.
_FRAME_GROUPS = (
    "PlanePositionSequence",
    "PlaneOrientationSequence",
    "PixelMeasuresSequence",
    "PixelValueTransformationSequence",
)
_USUAL = {"RescaleSlope": 1, "RescaleIntercept": 0}  # where a header leaves them empty
# What pydicom and its decoders raise for a damaged file. Their texts quote header values, names among them.
DAMAGE = (
    InvalidDicomError,
    BytesLengthException,
    EOFError,
    OSError,
    ValueError,
    KeyError,
    MemoryError,
    TypeError,
    AttributeError,
    IndexError,
    LookupError,
    OverflowError,
    RecursionError,
    NotImplementedError,
    RuntimeError,
    struct.error,
    zlib.error,
)


@dataclass(frozen=True)
class Slice:
    """One picture of a series."""

    file: Path
    frame: int  # counts from 0 in the file
    rows: int
    columns: int
    spacing_mm: Vector  # (2,) between rows, between columns
    along_row: Vector  # (3,) the direction in which the column index grows, LPS
    along_column: Vector  # (3,) the direction in which the row index grows, LPS
    position_mm: Vector  # (3,) centre of the first voxel, LPS


def slices(files: list[Path], headers: list[Dataset], wrong: str) -> list[Slice]:
    """In the order of the volume: along the normal that makes rows, columns and slices a right-handed system.

    Raises InputError, which begins with `wrong`, unless they make one: of one size and direction, evenly
    spaced on a straight line at right angles to them.
    """
    if any(header.get("PhotometricInterpretation") != "MONOCHROME2" for header in headers):
        kinds = {str(header.get("PhotometricInterpretation") or "nothing") for header in headers}
        raise InputError(
            f"{wrong} has pixels of the kind {_word(min(kinds - {'MONOCHROME2'}))}; wanted grey "
            "values (MONOCHROME2): export it again as the scanner made it"
        )
    try:
        found = [
            _slice(file, frame, frame_header)
            for file, header in zip(files, headers, strict=True)
            for frame, frame_header in enumerate(_frame_headers(header))
        ]
    except DAMAGE as error:
        raise InputError(
            f"{wrong} has a slice without position, direction or spacing; wanted a scan of the "
            "head: export it again as the scanner made it"
        ) from error
    return _in_order(found, wrong)


def read(ordered: list[Slice], wrong: str) -> sitk.Image:
    """The volume of slices in order, float32, Rescale Slope and Intercept applied to each, cleaned as
    `app.images.measured` does.

    Raises InputError, which begins with `wrong`, for pixels that cannot be read, and for what is no scan of a
    head.
    """
    first, last = ordered[0], ordered[-1]
    normal = np.cross(first.along_row, first.along_column)
    step_mm = float(normal @ (last.position_mm - first.position_mm)) / (len(ordered) - 1)
    spacing_mm = (*first.spacing_mm[::-1].tolist(), step_mm)
    sides = (first.columns, first.rows, len(ordered))
    placement.check_head_size(spacing_mm, sides, wrong)
    content.check_memory(sides, 8, wrong)  # pixels come as float64 once they are rescaled
    scan = sitk.GetImageFromArray(measured.clean(_values(ordered, wrong), wrong))
    scan.SetOrigin(first.position_mm.tolist())
    scan.SetSpacing(spacing_mm)
    scan.SetDirection(np.stack([first.along_row, first.along_column, normal], axis=1).ravel().tolist())
    return scan


def _values(ordered: list[Slice], wrong: str) -> npt.NDArray[np.float64]:
    """(z, y, x) of slices in order, from each file once."""
    values = np.empty((len(ordered), ordered[0].rows, ordered[0].columns), np.float64)
    index = {(one.file, one.frame): k for k, one in enumerate(ordered)}
    for file in dict.fromkeys(one.file for one in ordered):
        try:
            header = pydicom.dcmread(file, force=True)
            if "TransferSyntaxUID" not in header.file_meta:  # a file of before 1993
                header.file_meta.TransferSyntaxUID = (
                    ImplicitVRLittleEndian if header.original_encoding[0] else ExplicitVRLittleEndian
                )
            stored = header.pixel_array.reshape(-1, *values.shape[1:])
            for frame, frame_header in enumerate(_frame_headers(header)):
                for keyword, usual in _USUAL.items():
                    if frame_header.get(keyword) in (None, ""):
                        setattr(frame_header, keyword, usual)
                pixels = apply_modality_lut(stored[frame], frame_header)
                if not np.abs(pixels).max() <= measured.LARGEST:
                    raise InputError(
                        f"{wrong} has a slice with values of up to {np.abs(pixels).max():g};"
                        " wanted a Rescale Slope and Intercept that make a scan"
                    )
                values[index[file, frame]] = pixels
        except DAMAGE as error:
            raise InputError(
                f"{wrong} has a slice whose pixels are missing, cut off or packed in an unknown way;"
                " wanted whole files, uncompressed or packed without loss: copy or export them again"
            ) from error
    return values


def _word(text: str) -> str:
    """One that is safe to print."""
    return "".join(letter for letter in text[:40] if letter.isprintable())


def _frame_headers(header: Dataset) -> list[Dataset]:
    """What is said of each frame of a file, as the header of a single slice says it: own values, and those
    that all frames share.
    """
    if header.SOPClassUID not in MULTI_FRAME:
        return [header]
    frames = []
    for own in header.PerFrameFunctionalGroupsSequence:
        frame = Dataset()
        frame.Rows, frame.Columns = header.Rows, header.Columns
        for group in _FRAME_GROUPS:
            for holder in (own, header.SharedFunctionalGroupsSequence[0]):
                if group in holder:
                    frame.update(holder[group][0])
                    break
        frames.append(frame)
    if len(frames) != header.NumberOfFrames:
        raise ValueError("frames without a header")
    return frames


def _slice(file: Path, frame: int, header: Dataset) -> Slice:
    """What a header says of one slice. Raises one of `DAMAGE` if something is missing."""
    orientation = np.array(header.ImageOrientationPatient, np.float64).reshape(2, 3)
    along_row, along_column = orientation / np.linalg.norm(orientation, axis=1, keepdims=True)
    spacing_mm, position_mm = (
        np.array(header.PixelSpacing, np.float64).reshape(2),
        np.array(header.ImagePositionPatient, np.float64).reshape(3),
    )
    if not (
        abs(along_row @ along_column) < DIRECTION_TOLERANCE
        and spacing_mm.min() > 0
        and np.isfinite([*spacing_mm, *position_mm]).all()
    ):
        raise ValueError("no grid")
    along_column -= along_row * (
        along_row @ along_column
    )  # at right angles, whatever the rounding in the header
    along_column /= np.linalg.norm(along_column)
    return Slice(
        file, frame, int(header.Rows), int(header.Columns), spacing_mm, along_row, along_column, position_mm
    )


def _in_order(slices: list[Slice], wrong: str) -> list[Slice]:
    """The slices along their normal.

    Raises InputError, which begins with `wrong`, unless they make a volume.
    """
    first = slices[0]
    if len({(one.rows, one.columns, *one.spacing_mm.tolist()) for one in slices}) > 1:
        raise InputError(f"{wrong} has slices of different sizes; wanted one volume")
    if any(
        np.abs([one.along_row - first.along_row, one.along_column - first.along_column]).max()
        > DIRECTION_TOLERANCE
        for one in slices
    ):
        raise InputError(f"{wrong} has slices of different directions, as a localizer has; wanted one volume")
    if len(slices) < 2:
        raise InputError(f"{wrong} has one slice; wanted the folder with all of them")

    normal = np.cross(first.along_row, first.along_column)
    ordered = sorted(slices, key=lambda one: float(normal @ one.position_mm))
    positions_mm = np.array([one.position_mm for one in ordered])
    gaps_mm = np.diff(positions_mm @ normal)
    if gaps_mm.min() < 0.01:
        raise InputError(
            f"{wrong} has {len(slices)} slices, several at one place (echoes, repetitions, or a "
            "file sent twice); wanted one volume"
        )
    steps = gaps_mm / np.median(gaps_mm)
    missing = int(np.rint(steps).sum()) - len(gaps_mm)
    if missing > 0 and np.abs(steps - np.rint(steps)).max() < POSITION_TOLERANCE:
        raise InputError(
            f"{wrong} has {len(slices)} slices, and {missing} are missing between them; wanted all: "
            "copy the series again"
        )
    straight = np.linspace(positions_mm[0], positions_mm[-1], len(ordered))
    if np.abs((positions_mm - straight) @ normal).max() > POSITION_TOLERANCE * np.median(gaps_mm):
        raise InputError(
            f"{wrong} has slices {gaps_mm.min():.3g} to {gaps_mm.max():.3g} mm apart; wanted even distances"
        )
    sideways_mm = np.linalg.norm(
        (positions_mm - positions_mm[0]) - np.outer((positions_mm - positions_mm[0]) @ normal, normal), axis=1
    )
    if sideways_mm.max() > POSITION_TOLERANCE * min(first.spacing_mm):
        raise InputError(
            f"{wrong} has slices shifted sideways by up to {sideways_mm.max():.3g} mm (a tilted "
            "gantry); wanted a box"
        )
    return ordered
