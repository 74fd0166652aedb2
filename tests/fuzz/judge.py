"""Is a file read right, or refused in one line? What other programs read is compared."""

import logging
import math
import re
import warnings
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import SimpleITK as sitk

from app.errors import InputError
from app.files import check_apart
from app.images import content, dicom, grids, headers, storage
from app.method import checkpoint
from app.patients import cases

SECRETS = ("Mustermann", "Erika", "MM-1964", "Hausarzt")


def judge(path: Path) -> str:
    """'read', 'refused', or what is wrong with either."""
    try:
        if path.is_dir():
            wrong = _dicom(path)
        elif path.suffix == ".csv":
            found, _ = cases.read_table(path)
            check_apart([], [scan for case in found for scan in (case.baseline, case.followup)])
            wrong = ""
        elif path.suffix == ".pt":
            wrong = _weights(path)
        else:
            wrong = _image(path)
    except InputError as error:
        text = str(error)
        if any(secret in text for secret in SECRETS):
            return f"a name is printed: {text}"
        if "\n" in re.sub(r"\n  series .*", "", text) or (not text.isprintable() and "\n" not in text):
            return f"more than a line: {text!r}"
        return "refused"
    except Exception as error:  # noqa: BLE001  what the fuzzer is for
        return f"{type(error).__name__}: {error}"
    return wrong or "read"


def _image(path: Path) -> str:
    header = headers.read(path)
    values = content.values(path, header)
    scan = storage.read(path)
    cleaned = grids.array(scan)
    if not np.isfinite(cleaned).all() or cleaned.min() < 0 or not np.isfinite(grids.corners(scan)).all():
        return "a scan that is not finite, or below 0"
    if headers.is_nifti(path):
        return _against_nibabel(path, header, values)
    return _against_itk(path, values, scan)


def _against_nibabel(path: Path, header: content.Header, values: np.ndarray) -> str:
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        logging.getLogger("nibabel").setLevel(logging.CRITICAL)
        try:
            image = nibabel.load(path)
            theirs = np.asarray(image.dataobj).reshape(image.shape[:3], order="F").T
            affine = image.affine
        except Exception:  # noqa: BLE001  nibabel does not read it
            return ""
        if not np.allclose(values.astype(np.float32), theirs.astype(np.float32), rtol=1e-4, equal_nan=True):
            return "other values than nibabel's"
        wanted = np.diag([-1.0, -1.0, 1.0]) @ affine[:3]
    scale = np.abs(wanted).max()
    if not any(
        np.allclose(header.affine, wanted * unit, atol=1e-4 * scale * unit) for unit in (1, 1e3, 1e-3)
    ):
        return f"another place than nibabel's: {header.affine.tolist()} for {wanted.tolist()}"
    return ""


def _against_itk(path: Path, values: np.ndarray, scan: sitk.Image) -> str:
    header = path.read_bytes().partition(b"ElementDataFile")[0]
    if b"CompressedData = True" in header and b"\nCompressedDataSize = " not in header:
        return ""  # ITK unpacks nothing, and says nothing
    try:
        theirs = sitk.ReadImage(str(path))
    except RuntimeError:
        return ""
    if theirs.GetDimension() == 4:
        theirs = theirs[..., 0]
    if theirs.GetSize() != scan.GetSize():
        return f"another size than ITK's, {theirs.GetSize()}"
    found = sitk.GetArrayFromImage(theirs).reshape(values.shape)
    if not np.array_equal(found, values, equal_nan=found.dtype.kind == "f"):
        return "other values than ITK's"
    apart = np.abs(grids.corners(theirs) - grids.corners(scan)).max()
    extent = float(np.linalg.norm(np.array(scan.GetSize()) * scan.GetSpacing()))
    if not apart < 0.02 * extent and math.isfinite(apart):  # half a degree, straightened
        return f"another place than ITK's, {apart:g} mm away"
    return ""


def _dicom(folder: Path) -> str:
    """Each slice against the file that it is said to come from, as pydicom alone reads it."""
    series = dicom.find(folder)
    found = grids.array(series.read())
    if not np.isfinite(found).all() or found.min() < 0:
        return "a scan that is not finite, or below 0"
    slices = []
    for one in series.slices:
        header = pydicom.dcmread(one.file)
        if "PerFrameFunctionalGroupsSequence" in header or "TransferSyntaxUID" not in header.file_meta:
            return ""
        slope, intercept = (header.get(name) for name in ("RescaleSlope", "RescaleIntercept"))
        slices.append(header.pixel_array * float(1 if slope in (None, "") else slope) + float(intercept or 0))
    theirs = np.stack(slices)
    if theirs.min() >= 0 and not np.allclose(found, theirs, rtol=1e-4):  # below 0 all is shifted
        return "other values than pydicom's"
    return ""


def _weights(path: Path) -> str:
    trained = checkpoint.load(path)
    finite = all(bool(value.isfinite().all()) for value in trained.network.state_dict().values())
    return "" if finite else "weights that are not finite"
