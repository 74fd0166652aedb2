"""Which series of a DICOM folder is the FLAIR?

Names of patients, and of files, which often carry them, are never printed: messages name the folder that the
user gave, and series by number.
"""

import logging
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import SimpleITK as sitk

from ..errors import InputError, dicom_not_installed
from ..folders import walk

try:
    import pydicom
    from pydicom import Dataset
    from pydicom.uid import MediaStorageDirectoryStorage, MRImageStorage

    from . import dicom_volume
    from .dicom_volume import DAMAGE, MULTI_FRAME, Slice
except ImportError as error:
    raise dicom_not_installed(error) from error

FLAIR = re.compile(r"flair|dark.?fl|da[^a-z]?fl(?![a-z])", re.IGNORECASE)  # Siemens says dark-fluid, or da-fl
T1, T2 = (re.compile(rf"(?<![a-z0-9])t{number}", re.IGNORECASE) for number in (1, 2))
LOCALIZER = re.compile(r"locali[sz]er|scout|survey", re.IGNORECASE)
# What names another contrast, so that a series that is alone is not taken for a FLAIR
OTHER = re.compile(
    r"mp-?rage|spgr|bravo|adc|dwi|dti|diff|trace|swi|t2\*|(?<![a-z])(?:pd|tof|asl|bold)(?![a-z])|angio|phase",
    re.IGNORECASE,
)
# values of Image Type: computed from scans, or made to plan them
NOT_SCAN = {"DERIVED", "LOCALIZER", "PROJECTION IMAGE"}
NAME_IT = "--baseline-series {0} or --followup-series {0}"

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
        "MRAcquisitionType",
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
# pydicom quotes header values when it complains, patient names among them
logging.getLogger("pydicom").setLevel(logging.CRITICAL)
warnings.filterwarnings("ignore", module="pydicom")
pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Series:
    """The files that share a Series Instance UID, and their headers without the pixels."""

    folder: Path
    files: list[Path] = field(repr=False)
    headers: list[Dataset] = field(repr=False)
    copies: list[Path] = field(repr=False)  # files that hold an image of `files` once more
    empty: int = 0  # files in the folder without a byte, which belonged to who knows what
    named: bool = False  # whether the user named it, by number or UID

    @property
    def uid(self) -> str:
        return str(self.headers[0].SeriesInstanceUID)

    @property
    def study(self) -> str:
        return _text(self.headers[0], "StudyInstanceUID")

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

    @property
    def in_slices(self) -> bool:
        """Whether the header says that slices were acquired one by one (2-D)."""
        return _text(self.headers[0], "MRAcquisitionType") == "2D"

    def __str__(self) -> str:
        """'series 5: t2_flair_sag, MR, 256x256x176'."""
        header = self.headers[0]
        count = sum(int(one.get("NumberOfFrames") or 1) for one in self.headers)
        size = f"{header.Columns}x{header.Rows}x{count}" if "Rows" in header else "no images"
        return (
            f"series {self.number}: {self.description or 'no description'}, "
            f"{_text(header, 'Modality') or 'no modality'}, {size}"
        )

    @property
    def is_mr(self) -> bool:
        """Whether it is of a kind of MR image that can be read."""
        return self.headers[0].SOPClassUID in (MRImageStorage, *MULTI_FRAME)

    @property
    def why_not(self) -> str:
        """Why it is not the FLAIR, as far as its header says; nothing if it may be."""
        if not self.is_mr:
            return "no MR images"
        if LOCALIZER.search(self.description):
            return "a localizer"
        if computed := NOT_SCAN.intersection(self.headers[0].get("ImageType") or ()):
            return f"computed, or made to plan others (Image Type {min(computed)})"
        if T1.search(self.description) and not T2.search(self.description):
            return "T1-weighted"
        if not FLAIR.search(self.description):
            return "its description does not say FLAIR" if self.description else "it has no description"
        return ""

    @property
    def _may_be_flair(self) -> bool:
        """Whether it can be taken for one if nothing else is there."""
        name = self.description
        other = OTHER.search(name) or LOCALIZER.search(name) or (T1.search(name) and not T2.search(name))
        return (
            self.is_mr
            and (bool(FLAIR.search(name)) or not other)
            and self.why_not not in ("a localizer", "T1-weighted")
        )

    @cached_property
    def slices(self) -> list[Slice]:
        """In the order of the volume. Raises InputError unless they make one (`app.images.dicom_volume`)."""
        if not self.is_mr:
            modality = _text(self.headers[0], "Modality") or "of no modality"
            raise InputError(
                f"{self._wrong} is {modality}; wanted MR images: name another series by its number"
            )
        return dicom_volume.slices(self.files, self.headers, self._wrong)

    def read(self) -> sitk.Image:
        """The scan, float32. Warns of what makes it uncertain.

        Raises InputError for pixels that cannot be read.
        """
        scan = dicom_volume.read(self.slices, self._wrong)
        if self.copies:
            logger.warning("%s: %d of its images are there twice; taken once", self._wrong, len(self.copies))
        if self.why_not and not self.named:
            logger.warning("%s: %s; taken as a FLAIR, as the only series there", self._wrong, self.why_not)
        if self.empty:
            logger.warning(
                "%s: %d files beside it are empty; if they were slices of it, copy the folder again",
                self._wrong,
                self.empty,
            )
        return scan

    @property
    def _wrong(self) -> str:
        """How messages about it begin."""
        return f"{self.folder}: series {self.number}"

    def instance_numbers(self) -> list[str]:
        """How viewers number the slices, in the order of the volume: Instance Number, or the frame in a
        multi-frame file.
        """
        if len(self.files) == 1:
            return [str(one.frame + 1) for one in self.slices]
        return [_text(header, "InstanceNumber") or "?" for header in self.full_headers()]

    def full_headers(self) -> list[Dataset]:
        """All there is about each file but its pixels; single slices in the order of the volume."""
        return [
            pydicom.dcmread(file, stop_before_pixels=True, force=True)
            for file in dict.fromkeys(one.file for one in self.slices)
        ]


def find(path: Path, number: str | None = None) -> Series:
    """The FLAIR in a folder (and the folders in it), or in one multi-frame file.

    It is that of a `number` (or Series Instance UID); or the one series that calls itself FLAIR and makes a
    volume; or the only series there, if it does not call itself something else. Raises InputError, which
    lists the series, if none or several are.
    """
    found = _all_series(path)
    if number is not None:
        return _named(found, number, path)
    flairs = [series for series in found if not series.why_not]
    if not flairs and len(found) == 1 and found[0]._may_be_flair:
        return found[0]
    if len(flairs) > 1:
        flairs = [series for series in flairs if _makes_a_volume(series)] or flairs
    if len(flairs) != 1:
        raise InputError(
            f"{path}: {len(flairs) or 'no'} series could be the FLAIR; wanted one: type "
            f"{NAME_IT.format('NUMBER')}{_listed(found)}"
        )
    return flairs[0]


def _named(found: list[Series], number: str, path: Path) -> Series:
    """The series of a number or UID. Raises InputError unless there is one."""
    named = [series for series in found if number in (series.number, series.uid)]
    if not named:
        raise InputError(
            f"{path}: no series with the number {number}; wanted one that is there: type "
            f"{NAME_IT.format('NUMBER')}{_listed(found)}"
        )
    if len(named) > 1:
        raise InputError(
            f"{path}: {len(named)} series with the number {number}; wanted one: give the folder of "
            "one visit, or type"
            f" {NAME_IT.format('UID')}{_listed(named)}"
        )
    return replace(named[0], named=True)


def _listed(found: list[Series]) -> str:
    """A line for each series: what it is, why it is not the FLAIR; and its visit and UID where numbers do not
    tell them apart.
    """
    visits = sorted({(series.study_date, series.study) for series in found})
    numbers = [series.number for series in found]
    lines = []
    for series in found:
        line = f"\n  {series}"
        if series.why_not:
            line += f" ({series.why_not})"
        if len(visits) > 1:
            visit = 1 + visits.index((series.study_date, series.study))
            line += f", visit {visit} of {len(visits)} by date"
        if numbers.count(series.number) > 1:
            line += f", UID {series.uid}"
        lines.append(line)
    return "".join(lines)


def _all_series(path: Path) -> list[Series]:
    """Every series at a path, by number. Raises InputError for damaged files, and if there is none."""
    series: dict[str, Series] = {}
    known: set[str] = set()
    strangers = empty = 0
    for place, file in enumerate(_files(path), start=1):
        header = _header(file, f"{path}: file {place} of it, by name,")
        if header is None:
            strangers += 1
            empty += file.stat().st_size == 0
            continue
        one = series.setdefault(str(header.SeriesInstanceUID), Series(path, [], [], []))
        if str(header.SOPInstanceUID) in known:
            one.copies.append(file)
        else:
            known.add(str(header.SOPInstanceUID))
            one.files.append(file)
            one.headers.append(header)
    if not series:
        found = f"{strangers} files, {empty} of them empty, and no DICOM image" if strangers else "no file"
        raise InputError(
            f"{path}: {found} in it; wanted a folder with the files of a series, or a multi-frame file"
        )
    if strangers:
        logger.info("%s: %d files are no DICOM; left aside", path, strangers)
    return sorted(
        (replace(one, empty=empty) for one in series.values()),
        key=lambda one: (not one.number.isdigit(), one.number.zfill(12), one.study_date, one.uid),
    )


def _files(path: Path) -> Iterator[Path]:
    if path.is_file():
        yield path
        return
    yield from walk(path)


def _header(file: Path, wrong: str) -> Dataset | None:
    """What tells the file's series; None for another kind of file, or an index of files (DICOMDIR).

    Raises InputError, which begins with `wrong`, for a damaged one.
    """
    try:
        with file.open("rb") as opened:
            start = opened.read(132)
        # files of before 1993 start with their first element, of group 2 or 8
        if start[128:] != b"DICM" and start[:2] not in (b"\x02\x00", b"\x08\x00"):
            return None
        header = pydicom.dcmread(file, stop_before_pixels=True, force=True, specific_tags=_TAGS)
        for keyword in _TAGS:
            header.get(keyword)  # pydicom reads a value when it is asked for: a damaged one is told here
        if header.file_meta.get("MediaStorageSOPClassUID") == MediaStorageDirectoryStorage:
            return None
        if not all(header.get(keyword) for keyword in ("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID")):
            raise EOFError
    except DAMAGE as error:
        raise InputError(
            f"{wrong} is damaged or may not be read; wanted whole files: copy them again"
        ) from error
    return header


def _text(header: Dataset, keyword: str) -> str:
    """A value as one line that is safe to print."""
    return "".join(letter for letter in str(header.get(keyword) or "") if letter.isprintable()).strip()


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
