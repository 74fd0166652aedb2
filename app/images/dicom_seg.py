"""A mask as a DICOM Segmentation that refers to the series it was found in."""

import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from .. import __version__
from ..errors import InputError, dicom_not_installed
from ..files import write_bytes
from .dicom import Series

try:
    import highdicom as hd
    from pydicom import Dataset
    from pydicom.sr.codedict import codes
except ImportError as error:
    raise dicom_not_installed(error) from error

# highdicom quotes names of patients when it complains of them, and says that it writes all slices when all
# are empty
logging.getLogger("highdicom").setLevel(logging.CRITICAL)
warnings.filterwarnings("ignore", module="highdicom")

NAME = "ms-new-lesions"
REMARK = "New MS lesions; research only, not for diagnosis"  # at most 64 letters
# What the standard wants to be there, if only empty; anonymised files have lost it.
EXPECTED = (
    "PatientID",
    "PatientName",
    "PatientBirthDate",
    "PatientSex",
    "AccessionNumber",
    "StudyID",
    "StudyDate",
    "StudyTime",
)


def complete_headers(series: Series) -> list[Dataset]:
    """The headers of a series' files, with what the standard wants to be there."""
    headers = series.full_headers()
    for header in headers:
        for keyword in EXPECTED:
            header.setdefault(keyword, "")
    return headers


def number_beside(series: Series, place: int) -> int:
    """The number of a series that is made of another: the first, second, ... of those (`place` from 0)."""
    return max(100 * int(series.number) + place, 1) if series.number.isdigit() else 1 + place


@contextmanager
def in_one_line(message: str) -> Iterator[None]:
    """Raise InputError with this message for what highdicom refuses: its own texts may quote the patient."""
    try:
        yield
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        raise InputError(message) from error


def check(series: Series) -> None:
    """Raise InputError if no segmentation can refer to a series: to be known before any work is done."""
    first = series.slices[0]
    _segmentation(np.zeros((len(series.slices), first.rows, first.columns), np.uint8), series)


def write_segmentation(mask: sitk.Image, series: Series, path: Path) -> None:
    """Write a mask on the grid of a series: one segment, a bit a voxel, slices without lesion left out; if
    all are without, all are written.

    Patient and study are those of the series, names included: that is what files the segmentation beside it.
    """
    segmentation = _segmentation(sitk.GetArrayFromImage(mask), series)
    content = io.BytesIO()
    segmentation.save_as(content)
    write_bytes(content.getvalue(), path)


def _segmentation(
    mask: "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]", series: Series
) -> hd.seg.Segmentation:
    """The segmentation of a mask (z, y, x).

    Raises InputError if patient or study of the series break the rules of DICOM.
    """
    headers = complete_headers(series)
    if len(headers) == 1:  # one multi-frame file: highdicom wants its order of frames
        mask = mask[np.argsort([one.frame for one in series.slices])]
    software = hd.AlgorithmIdentificationSequence(NAME, codes.cid7162.ArtificialIntelligence, __version__)
    segment = hd.seg.SegmentDescription(
        segment_number=1,
        segment_label="New lesions",
        segmented_property_category=codes.cid7150.MorphologicallyAbnormalStructure,
        segmented_property_type=codes.cid7151.Lesion,
        algorithm_type=hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=software,
        anatomic_regions=[codes.SCT.Brain],
        display_color=hd.color.CIELabColor.from_string("red"),
    )
    with in_one_line(
        f"{series.folder}: series {series.number} has no frame of reference, or a patient or "
        "study entry that breaks DICOM's rules; "
        "wanted one that a segmentation can refer to, or an image (.nii.gz) as output"
    ):
        return hd.seg.Segmentation(
            source_images=headers,
            pixel_array=mask,
            segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
            segment_descriptions=[segment],
            series_instance_uid=hd.UID(),
            series_number=number_beside(series, 0),
            sop_instance_uid=hd.UID(),
            instance_number=1,
            manufacturer=NAME,
            manufacturer_model_name=NAME,
            software_versions=__version__,
            device_serial_number=__version__,
            content_label="NEW_LESIONS",
            content_description=REMARK,
            series_description=REMARK,
        )
