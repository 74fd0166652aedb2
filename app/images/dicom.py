"""Which series of a DICOM folder is the FLAIR, and its slices as one scan.

Names of patients, and of files, which often carry them, are never printed: messages name the folder that the user gave, and series by number.
"""

import logging
import re
import struct
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk

from ..errors import InputError

try:
    import pydicom
    from pydicom import Dataset
    from pydicom.errors import InvalidDicomError
    from pydicom.pixels.processing import apply_modality_lut
    from pydicom.uid import (
        EnhancedMRImageStorage,
        ExplicitVRLittleEndian,
        ImplicitVRLittleEndian,
        LegacyConvertedEnhancedMRImageStorage,
        MediaStorageDirectoryStorage,
        MRImageStorage,
    )
except ImportError as error:
    raise InputError(
        f"DICOM: the package {error.name} is not installed; wanted `pip install '.[dicom]'` in the folder of this program"
    ) from error

Vector = npt.NDArray[np.float64]

FLAIR = re.compile(r"flair|dark.?fluid", re.IGNORECASE)  # Siemens says dark-fluid
NOT_FLAIR = re.compile(
    r"(?<![a-z0-9])t1|locali[sz]er|scout|survey", re.IGNORECASE
)  # there are T1-weighted FLAIRs too
NOT_SCAN = {
    "DERIVED",
    "LOCALIZER",
    "PROJECTION IMAGE",
}  # values of Image Type: computed from scans, or made to plan them
MULTI_FRAME = (EnhancedMRImageStorage, LegacyConvertedEnhancedMRImageStorage)
POSITION_TOLERANCE = 0.1  # of a voxel's side: what rounding in a header may do
DIRECTION_TOLERANCE = 1e-3  # of direction cosines

# What tells one series from another. The rest of a header may be a hundred times as long.
_TAGS = [
    *(
        "SOPClassUID",
        "SOPInstanceUID",
        "StudyInstanceUID",
        "SeriesInstanceUID",
        "SeriesNumber",
        "SeriesDescription",
        "ProtocolName",
        "Modality",
    ),
    *(
        "ImageType",
        "PatientID",
        "StudyDate",
        "Rows",
        "Columns",
        "NumberOfFrames",
        "PhotometricInterpretation",
        "PixelSpacing",
    ),
    *(
        "ImagePositionPatient",
        "ImageOrientationPatient",
        "SharedFunctionalGroupsSequence",
        "PerFrameFunctionalGroupsSequence",
    ),
]
# Where a multi-frame file keeps what concerns us, for each frame or once for all.
_FRAME_GROUPS = (
    "PlanePositionSequence",
    "PlaneOrientationSequence",
    "PixelMeasuresSequence",
    "PixelValueTransformationSequence",
)
_DAMAGE = (
    InvalidDicomError,
    EOFError,
    OSError,
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    IndexError,
    NotImplementedError,
    struct.error,
)

# pydicom quotes header values when it complains, patient names among them
logging.getLogger("pydicom").setLevel(logging.CRITICAL)
warnings.filterwarnings("ignore", module="pydicom")
pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE

logger = logging.getLogger(__name__)


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


@dataclass(frozen=True)
class Series:
    """The files that share a Series Instance UID, and their headers without the pixels."""

    folder: Path
    files: list[Path] = field(repr=False)
    headers: list[Dataset] = field(repr=False)
    copies: list[Path] = field(repr=False)  # files that hold an image of `files` once more

    @property
    def uid(self) -> str:
        return str(self.headers[0].SeriesInstanceUID)

    @property
    def number(self) -> str:
        """As scanners show it; '?' if there is none."""
        return _text(self.headers[0], "SeriesNumber") or "?"

    @property
    def description(self) -> str:
        """In the operator's words."""
        return _text(self.headers[0], "SeriesDescription") or _text(self.headers[0], "ProtocolName")

    @property
    def patient(self) -> str:
        """Patient ID: to compare, not to print."""
        return _text(self.headers[0], "PatientID")

    @property
    def study_date(self) -> str:
        """'20240131', or nothing."""
        return _text(self.headers[0], "StudyDate")

    def __str__(self) -> str:
        """'series 5: t2_flair_sag, MR, 256x256x176'."""
        header = self.headers[0]
        count = sum(int(one.get("NumberOfFrames") or 1) for one in self.headers)
        size = f"{header.Columns}x{header.Rows}x{count}" if "Rows" in header else "no images"
        return f"series {self.number}: {self.description or 'no description'}, {_text(header, 'Modality') or 'no modality'}, {size}"

    @property
    def is_mr(self) -> bool:
        """Whether it is of a kind of MR image that can be read."""
        return self.headers[0].SOPClassUID in (MRImageStorage, *MULTI_FRAME)

    @property
    def is_scan(self) -> bool:
        """Whether it is of MR, and neither computed from other images nor made to plan them."""
        return self.is_mr and not NOT_SCAN.intersection(self.headers[0].get("ImageType") or ())

    @property
    def is_flair(self) -> bool:
        """Whether it is a scan that calls itself a FLAIR: no localizer, not T1-weighted."""
        return (
            self.is_scan and bool(FLAIR.search(self.description)) and not NOT_FLAIR.search(self.description)
        )

    @cached_property
    def slices(self) -> list[Slice]:
        """In the order of the volume: along the normal that makes rows, columns and slices a right-handed system.

        Raises InputError unless they make one: of one size and direction, evenly spaced on a straight line at right angles to them.
        """
        return _in_order(self._slices(), f"{self.folder}: series {self.number}")

    def _slices(self) -> list[Slice]:
        wrong = f"{self.folder}: series {self.number}"
        if not self.is_mr:
            raise InputError(
                f"{wrong} is {_text(self.headers[0], 'Modality') or 'of no modality'}; wanted MR images"
            )
        if len(self.files) > 1 and any(header.SOPClassUID in MULTI_FRAME for header in self.headers):
            raise InputError(
                f"{wrong} is in {len(self.files)} multi-frame files; wanted one, or one slice a file"
            )
        if any(header.get("PhotometricInterpretation") != "MONOCHROME2" for header in self.headers):
            raise InputError(
                f"{wrong} is {_text(self.headers[0], 'PhotometricInterpretation') or 'of an unknown kind'}; wanted grey values"
            )
        try:
            return [
                _slice(file, frame, frame_header)
                for file, header in zip(self.files, self.headers, strict=True)
                for frame, frame_header in enumerate(_frame_headers(header))
            ]
        except _DAMAGE as error:
            raise InputError(
                f"{wrong}: a slice without position, direction or spacing; wanted a scan of the head"
            ) from error

    def read(self) -> sitk.Image:
        """The scan, float32, Rescale Slope and Intercept applied to each slice. Raises InputError for pixels that cannot be read."""
        wrong = f"{self.folder}: series {self.number}"
        slices = self.slices
        if self.copies:
            logger.warning("%s: %d of its images are there twice; taken once", wrong, len(self.copies))
        if not self.description:
            logger.warning("%s has no description; taken as a FLAIR", wrong)
        values = np.empty((len(slices), slices[0].rows, slices[0].columns), np.float32)
        index = {(one.file, one.frame): k for k, one in enumerate(slices)}
        for file in self.files:
            try:
                header = pydicom.dcmread(file, force=True)
                if "TransferSyntaxUID" not in header.file_meta:  # a file of before 1993
                    header.file_meta.TransferSyntaxUID = (
                        ImplicitVRLittleEndian if header.original_encoding[0] else ExplicitVRLittleEndian
                    )
                stored = header.pixel_array.reshape(-1, *values.shape[1:])
                for frame, frame_header in enumerate(_frame_headers(header)):
                    values[index[file, frame]] = apply_modality_lut(stored[frame], frame_header)
            except (*_DAMAGE, RuntimeError) as error:
                raise InputError(
                    f"{wrong}: the pixels of a slice are missing, cut off or packed in an unknown way; wanted whole files"
                ) from error
        if values.min() == values.max():
            raise InputError(
                f"{wrong}: every voxel is {values.flat[0]:g}; wanted a scan that shows something"
            )
        first, last = slices[0], slices[-1]
        normal = np.cross(first.along_row, first.along_column)
        scan = sitk.GetImageFromArray(values)
        scan.SetOrigin(first.position_mm.tolist())
        scan.SetSpacing(
            [
                *first.spacing_mm[::-1].tolist(),
                float(normal @ (last.position_mm - first.position_mm)) / (len(slices) - 1),
            ]
        )
        scan.SetDirection(np.stack([first.along_row, first.along_column, normal], axis=1).ravel().tolist())
        return scan

    def full_headers(self) -> list[Dataset]:
        """All there is about each file but its pixels; single slices in the order of the volume."""
        return [
            pydicom.dcmread(file, stop_before_pixels=True, force=True)
            for file in dict.fromkeys(one.file for one in self.slices)
        ]


def find(path: Path, number: str | None = None) -> Series:
    """The FLAIR in a folder (and the folders in it), or in one multi-frame file.

    It is the one series that calls itself FLAIR and makes a volume, or that of a `number` (or Series Instance UID). Raises InputError, which lists
    the series, if none or several are.
    """
    found = _all_series(path)
    listed = "".join(f"\n  {series}" for series in found)
    if number is not None:
        named = [series for series in found if number in (series.number, series.uid)]
        if len(named) > 1:
            raise InputError(
                f"{path}: {len(named)} series with the number {number}; wanted a folder of one visit, or the Series Instance UID"
            )
        if not named:
            raise InputError(f"{path}: no series with the number {number}; wanted one that is there{listed}")
        return named[0]
    flairs = [series for series in found if series.is_flair]
    if not flairs and len(found) == 1 and found[0].is_scan and not found[0].description:
        flairs = found
    if len(flairs) > 1:
        flairs = [series for series in flairs if _makes_a_volume(series)] or flairs
    if len(flairs) != 1:
        raise InputError(
            f"{path}: {len(flairs) or 'no'} series could be the FLAIR; wanted one, or the number of the one meant{listed}"
        )
    return flairs[0]


def _all_series(path: Path) -> list[Series]:
    """Every series at a path, by number. Raises InputError for damaged files, and if there is none."""
    series: dict[str, Series] = {}
    known: set[str] = set()
    strangers = 0
    for place, file in enumerate(_files(path), start=1):
        header = _header(file, f"{path}: file {place} of it, by name,")
        if header is None:
            strangers += 1
            continue
        one = series.setdefault(str(header.SeriesInstanceUID), Series(path, [], [], []))
        if str(header.SOPInstanceUID) in known:
            one.copies.append(file)
        else:
            known.add(str(header.SOPInstanceUID))
            one.files.append(file)
            one.headers.append(header)
    if not series:
        raise InputError(
            f"{path}: no DICOM image in it; wanted a folder with the files of a series, or a multi-frame file"
        )
    if strangers:
        logger.info("%s: %d files are no DICOM; left aside", path, strangers)
    return sorted(series.values(), key=lambda one: (not one.number.isdigit(), one.number.zfill(12), one.uid))


def _files(path: Path) -> Iterator[Path]:
    if path.is_file():
        yield path
        return
    for file in sorted(path.rglob("*")):
        if file.is_file() and not any(part.startswith(".") for part in file.relative_to(path).parts):
            yield file


def _header(file: Path, wrong: str) -> Dataset | None:
    """What tells the file's series; None for another kind of file, or an index of files (DICOMDIR).

    Raises InputError, which begins with `wrong`, for a damaged one.
    """
    try:
        with file.open("rb") as opened:
            start = opened.read(132)
        if not start:
            raise InputError(f"{wrong} is empty; wanted whole files: copy them again")
        # files of before 1993 start with their first element, of group 2 or 8
        if start[128:] != b"DICM" and start[:2] not in (b"\x02\x00", b"\x08\x00"):
            return None
        header = pydicom.dcmread(file, stop_before_pixels=True, force=True, specific_tags=_TAGS)
        if header.file_meta.get("MediaStorageSOPClassUID") == MediaStorageDirectoryStorage:
            return None
        if not all(header.get(keyword) for keyword in ("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID")):
            raise EOFError
    except _DAMAGE as error:
        raise InputError(
            f"{wrong} is damaged or may not be read; wanted whole files: copy them again"
        ) from error
    return header


def _text(header: Dataset, keyword: str) -> str:
    """A value as one line that is safe to print."""
    return "".join(letter for letter in str(header.get(keyword) or "") if letter.isprintable()).strip()


def _frame_headers(header: Dataset) -> list[Dataset]:
    """What is said of each frame of a file, as the header of a single slice says it: own values, and those that all frames share."""
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
    """What a header says of one slice. Raises one of `_DAMAGE` if something is missing."""
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
    """The slices along their normal. Raises InputError, which begins with `wrong`, unless they make a volume."""
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
            f"{wrong} has {len(slices)} slices, several at one place (echoes, repetitions, or a file sent twice); wanted one volume"
        )
    steps = gaps_mm / np.median(gaps_mm)
    missing = int(np.rint(steps).sum()) - len(gaps_mm)
    if missing > 0 and np.abs(steps - np.rint(steps)).max() < POSITION_TOLERANCE:
        raise InputError(
            f"{wrong} has {len(slices)} slices, and {missing} are missing between them; wanted all: copy the series again"
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
            f"{wrong} has slices shifted sideways by up to {sideways_mm.max():.3g} mm (a tilted gantry); wanted a box"
        )
    return ordered


def _makes_a_volume(series: Series) -> bool:
    try:
        return bool(series.slices)
    except InputError:
        return False


def warn_of_mix_up(baseline: Series, followup: Series) -> None:
    """Warn if the headers say that the two are one series, or of two patients, or swapped."""
    if baseline.uid == followup.uid:
        logger.warning("%s: the same series is baseline and follow-up; nothing can be new", followup.folder)
    if baseline.patient != followup.patient:
        logger.warning(
            "%s: another Patient ID than the baseline's; wanted two scans of one patient", followup.folder
        )
    if followup.study_date and followup.study_date < baseline.study_date:
        logger.warning(
            "%s: of an earlier day than the baseline; wanted the later scan as follow-up", followup.folder
        )
