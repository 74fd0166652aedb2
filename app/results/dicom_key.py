"""The pictures of the first lesions as a DICOM secondary capture, so that any archive's viewer shows them."""

from pathlib import Path

from .. import __version__
from ..errors import dicom_not_installed
from ..files import writing
from ..images.dicom import Series
from ..images.dicom_seg import NAME, REMARK, complete_headers, in_one_line, number_beside
from ..pipeline import Result
from . import paper
from .text import Instances

try:
    import highdicom as hd
except ImportError as error:
    raise dicom_not_installed(error) from error


def write_key_image(result: Result, series: Series, path: Path, instances: Instances = (None, None)) -> None:
    """Write the first page of pictures in colour, beside the series that the lesions were found in.

    Patient and study are those of the series. Raises InputError if they break the rules of DICOM.
    """
    header = complete_headers(series)[0]
    with in_one_line(
        f"{series.folder}: series {series.number} has a patient or study entry that breaks "
        "DICOM's rules; wanted one that a picture can be filed beside"
    ):
        image = hd.sc.SCImage.from_ref_dataset(
            header,
            pixel_array=paper.pixels(next(paper.lesion_pages(result, instances))),
            photometric_interpretation=hd.PhotometricInterpretationValues.RGB,
            bits_allocated=8,
            coordinate_system=hd.CoordinateSystemNames.PATIENT,
            series_instance_uid=hd.UID(),
            series_number=number_beside(series, 2),
            sop_instance_uid=hd.UID(),
            instance_number=1,
            manufacturer=NAME,
            patient_orientation=("L", "P"),
        )
    image.PatientOrientation = []  # pictures across three axes have none in common
    image.BodyPartExamined = "BRAIN"
    image.SeriesDescription, image.BurnedInAnnotation = REMARK, "NO"
    image.ManufacturerModelName, image.SoftwareVersions = NAME, __version__
    with writing(path) as unfinished:
        image.save_as(unfinished)
