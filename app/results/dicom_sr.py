"""The lesions of a result as a DICOM structured report (TID 1500), beside the series they were found in."""

from pathlib import Path

from .. import __version__
from ..errors import dicom_not_installed
from ..files import writing
from ..images.dicom import Series
from ..images.dicom_seg import NAME, REMARK, complete_headers, in_one_line, number_beside
from ..method.change import KINDS
from ..method.lesions import Lesion
from ..pipeline import Result

try:
    import highdicom as hd
    from pydicom.sr.codedict import codes
except ImportError as error:
    raise dicom_not_installed(error) from error

SCHEME = "99MSNEWLESIONS"  # of codes that no standard has: what became of a lesion
BECAME = hd.sr.CodedConcept("change", SCHEME, "Change since baseline")


def write_report(result: Result, series: Series, path: Path) -> None:
    """Write a Comprehensive 3D SR: a group of measurements for each lesion but unchanged and possible ones.

    Patient and study are those of the series. Raises InputError if they break the rules of DICOM.
    """
    headers = complete_headers(series)
    device = hd.sr.DeviceObserverIdentifyingAttributes(uid=hd.UID(), name=NAME, model_name=NAME)
    observer = hd.sr.ObserverContext(codes.DCM.Device, device)
    listed = [lesion for lesion in result.findings.all() if lesion.kind not in ("unchanged", "possible")]
    with in_one_line(
        f"{series.folder}: series {series.number} has a patient or study entry that breaks "
        "DICOM's rules; wanted one that a structured report can refer to"
    ):
        report = hd.sr.MeasurementReport(
            observation_context=hd.sr.ObservationContext(observer_device_context=observer),
            procedure_reported=codes.LN.BrainMRI,
            imaging_measurements=[_total(result), *(_group(lesion, series) for lesion in listed)],
            title=codes.DCM.ImagingMeasurementReport,
        )
        document = hd.sr.Comprehensive3DSR(
            evidence=headers,
            content=report,
            series_instance_uid=hd.UID(),
            series_number=number_beside(series, 1),
            sop_instance_uid=hd.UID(),
            instance_number=1,
            manufacturer=NAME,
            is_complete=True,
            is_final=False,
            is_verified=False,
            series_description=REMARK,
        )
    document.Manufacturer, document.ManufacturerModelName = NAME, NAME
    document.SoftwareVersions, document.DeviceSerialNumber = __version__, __version__
    with writing(path) as unfinished:
        document.save_as(unfinished)


def _total(result: Result) -> hd.sr.MeasurementsAndQualitativeEvaluations:
    """The volume of all new lesions together, 0 where there is none."""
    volume_mm3 = round(1000 * result.volume_ml, 1)
    return hd.sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=hd.sr.TrackingIdentifier(uid=hd.UID(), identifier="all new lesions"),
        finding_type=codes.SCT.Lesion,
        finding_sites=[hd.sr.FindingSite(codes.SCT.Brain)],
        measurements=[hd.sr.Measurement(codes.SCT.Volume, volume_mm3, codes.UCUM.CubicMillimeter)],
    )


def _group(lesion: Lesion, series: Series) -> hd.sr.MeasurementsAndQualitativeEvaluations:
    """One lesion: what became of it, volume and diameter, and the slice nearest to its centre."""
    kind = str(lesion.kind)
    image = series.slices[(lesion.slices or (1, 1))[1] - 1]
    header = next(one for file, one in zip(series.files, series.headers, strict=True) if file == image.file)
    frames = [image.frame + 1] if len(series.files) == 1 else None
    source = hd.sr.SourceImageForMeasurementGroup(header.SOPClassUID, header.SOPInstanceUID, frames)
    became = hd.sr.CodedConcept(f"change{1 + KINDS.index(lesion.kind)}", SCHEME, kind.capitalize())
    return hd.sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=hd.sr.TrackingIdentifier(uid=hd.UID(), identifier=f"lesion {lesion.number}"),
        finding_type=codes.SCT.Lesion,
        finding_sites=[hd.sr.FindingSite(codes.SCT.Brain)],
        measurements=[
            hd.sr.Measurement(codes.SCT.Volume, round(lesion.volume_mm3, 1), codes.UCUM.CubicMillimeter),
            hd.sr.Measurement(codes.SCT.Diameter, round(lesion.diameter_mm, 1), codes.UCUM.Millimeter),
        ],
        qualitative_evaluations=[hd.sr.QualitativeEvaluation(BECAME, became)],
        source_images=[source],
    )
