"""DICOM series made by code, one slice a file or enhanced multi-frame, from an image: the way back that
app/dicom.py must find.
"""

from pathlib import Path
from typing import Any

import gdcm
import numpy as np
import pydicom
import SimpleITK as sitk
from pydicom import Dataset, FileMetaDataset
from pydicom.uid import EnhancedMRImageStorage, ExplicitVRLittleEndian, MRImageStorage, generate_uid

PATIENT = "Mustermann^Erika"
PATIENT_ID = "MM-1964-08-12"
SECRETS = ("Mustermann", "Erika", PATIENT_ID, "19640812")


def write_series(
    scan: sitk.Image,
    folder: Path,
    description: str = "t2_flair_sag",
    number: int = 5,
    slope: float = 1.0,
    **values: Any,
) -> list[Path]:
    """One file a slice, with names that say nothing, in shuffled order.

    `values` overwrite elements of every header.

    Voxels are rounded to multiples of `slope`. Returns the files in the order of the slices.
    """
    folder.mkdir(parents=True, exist_ok=True)
    stored = _stored(scan, slope)
    study, series, frame_of_reference = generate_uid(), generate_uid(), generate_uid()
    names = np.random.default_rng(number).permutation(len(stored))
    paths = []
    for k, pixels in enumerate(stored):
        header = _header(MRImageStorage, description, number, study, series, frame_of_reference)
        header.ImageType = ["ORIGINAL", "PRIMARY", "M", "ND", "NORM"]
        header.InstanceNumber = k + 1
        header.ScanningSequence, header.SequenceVariant, header.ScanOptions = "IR", "SK", ""
        header.MRAcquisitionType, header.EchoTime, header.EchoTrainLength, header.RepetitionTime = (
            "3D",
            "388",
            "251",
            "5000",
        )
        header.ImageOrientationPatient = _orientation(scan)
        header.ImagePositionPatient = _position(scan, k)
        header.PixelSpacing = [_ds(side) for side in (scan.GetSpacing()[1], scan.GetSpacing()[0])]
        header.SliceThickness = _ds(scan.GetSpacing()[2])
        header.RescaleIntercept, header.RescaleSlope, header.RescaleType = "0", _ds(slope), "US"
        _add_pixels(header, pixels)
        for keyword, value in values.items():
            setattr(header, keyword, value)
        paths.append(folder / f"IM{names[k]:04d}")
        header.save_as(paths[-1], enforce_file_format=True)
    return paths


def write_enhanced(
    scan: sitk.Image, path: Path, description: str = "t2_flair_sag", number: int = 5, slope: float = 1.0
) -> Path:
    """One file for all slices, from the last to the first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    stored = _stored(scan, slope)
    header = _header(
        EnhancedMRImageStorage, description, number, generate_uid(), generate_uid(), generate_uid()
    )
    header.ImageType = ["ORIGINAL", "PRIMARY", "FLUID_ATTENUATED", "NONE"]
    header.InstanceNumber = 1
    header.NumberOfFrames = len(stored)
    orientation, measures, transformation = Dataset(), Dataset(), Dataset()
    orientation.ImageOrientationPatient = _orientation(scan)
    measures.PixelSpacing = [_ds(side) for side in (scan.GetSpacing()[1], scan.GetSpacing()[0])]
    measures.SliceThickness = measures.SpacingBetweenSlices = _ds(scan.GetSpacing()[2])
    transformation.RescaleIntercept, transformation.RescaleSlope, transformation.RescaleType = (
        "0",
        _ds(slope),
        "US",
    )
    shared = Dataset()
    shared.PlaneOrientationSequence, shared.PixelMeasuresSequence = [orientation], [measures]
    shared.PixelValueTransformationSequence = [transformation]
    header.SharedFunctionalGroupsSequence = [shared]
    organization = generate_uid()
    header.DimensionOrganizationSequence = [Dataset()]
    header.DimensionOrganizationSequence[0].DimensionOrganizationUID = organization
    index = Dataset()
    index.DimensionOrganizationUID, index.DimensionIndexPointer, index.FunctionalGroupPointer = (
        organization,
        0x00200032,
        0x00209113,
    )
    header.DimensionIndexSequence = [index]
    frames = []
    for number_in_file, k in enumerate(reversed(range(len(stored))), start=1):
        position, content, frame = Dataset(), Dataset(), Dataset()
        position.ImagePositionPatient = _position(scan, k)
        content.DimensionIndexValues = [number_in_file]
        frame.PlanePositionSequence, frame.FrameContentSequence = [position], [content]
        frames.append(frame)
    header.PerFrameFunctionalGroupsSequence = frames
    _add_pixels(header, stored[::-1])
    header.save_as(path, enforce_file_format=True)
    return path


def edit(path: Path, **values: Any) -> None:
    """Overwrite elements of a file's header; None takes one away."""
    header = pydicom.dcmread(path)
    for keyword, value in values.items():
        if value is None:
            delattr(header, keyword)
        else:
            setattr(header, keyword, value)
            if keyword == "SOPInstanceUID":
                header.file_meta.MediaStorageSOPInstanceUID = value
    header.save_as(path)


def pack(source: Path, target: Path, syntax: pydicom.uid.UID) -> None:
    """Write a file with its pixels packed, by GDCM."""
    reader = gdcm.ImageReader()
    reader.SetFileName(str(source))
    assert reader.Read()
    change = gdcm.ImageChangeTransferSyntax()
    change.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.GetTSType(str(syntax))))
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer = gdcm.ImageWriter()
    writer.SetFileName(str(target))
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    assert writer.Write()


def _header(
    kind: str, description: str, number: int, study: str, series: str, frame_of_reference: str
) -> Dataset:
    header = Dataset()
    header.file_meta = FileMetaDataset()
    header.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    header.file_meta.MediaStorageSOPClassUID = header.SOPClassUID = kind
    header.file_meta.MediaStorageSOPInstanceUID = header.SOPInstanceUID = generate_uid()
    header.StudyInstanceUID, header.SeriesInstanceUID, header.FrameOfReferenceUID = (
        study,
        series,
        frame_of_reference,
    )
    header.PatientName, header.PatientID, header.PatientBirthDate, header.PatientSex = (
        PATIENT,
        PATIENT_ID,
        "19640812",
        "F",
    )
    header.StudyDate, header.StudyTime, header.StudyID, header.AccessionNumber = (
        "20240131",
        "101500",
        "1",
        "A17",
    )
    header.ReferringPhysicianName, header.PositionReferenceIndicator = "Hausarzt^Hans", ""
    header.Modality, header.Manufacturer, header.SeriesNumber, header.SeriesDescription = (
        "MR",
        "nobody",
        number,
        description,
    )
    header.PatientPosition, header.BodyPartExamined = "HFS", "HEAD"
    return header


def _add_pixels(header: Dataset, pixels: "np.ndarray[Any, np.dtype[np.uint16]]") -> None:
    header.Rows, header.Columns = pixels.shape[-2:]
    header.SamplesPerPixel, header.PhotometricInterpretation = 1, "MONOCHROME2"
    header.BitsAllocated, header.BitsStored, header.HighBit, header.PixelRepresentation = 16, 16, 15, 0
    header.PixelData = pixels.tobytes()


def _stored(scan: sitk.Image, slope: float) -> "np.ndarray[Any, np.dtype[np.uint16]]":
    return np.rint(sitk.GetArrayFromImage(scan) / slope).clip(0, 65535).astype(np.uint16)


def _orientation(scan: sitk.Image) -> list[str]:
    direction = np.reshape(scan.GetDirection(), (3, 3))
    return [_ds(value) for value in (*direction[:, 0], *direction[:, 1])]


def _position(scan: sitk.Image, k: int) -> list[str]:
    return [_ds(value) for value in scan.TransformIndexToPhysicalPoint((0, 0, k))]


def _ds(value: float) -> str:
    """A decimal string: at most 16 letters."""
    return f"{value:.10f}"[:16]
