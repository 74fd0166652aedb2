"""Where does a benchmark find its open scans, and how are they read?

`training/README.md` says how to get them.
"""

import argparse
import os
from pathlib import Path

import SimpleITK as sitk

from app.images import storage

# The raw scans of the longitudinal set, as "patient/visit"; 01 and 03 have both visits.
VISITS = ("01/study1", "01/study2", "03/study1", "03/study2", "04/study1", "09/study2", "20/study2")
STRIPPED = ("07", "19", "26")  # patients of the cross-sectional set, whose scans come without skull
STRIPPED_NAME = "FLAIR_N4_noneck_reduced_winsor_regtoFLAIR_brain_N4_regtoMNI.nii.gz"


def command_line(doc: str | None) -> argparse.ArgumentParser:
    """A benchmark's options, with the folder of the open data among them: `--data`, or else `MSNL_DATA`."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    folder = Path(os.environ.get("MSNL_DATA", "../shared/data"))
    parser.add_argument("--data", type=Path, default=folder, help="folder of the open data")
    return parser


def raw_scan(data: Path, visit: str) -> Path:
    """The file of a visit such as "01/study1", as it came from the scanner."""
    patient, study = visit.split("/")
    return data / "open_ms_data" / "longitudinal" / "raw" / f"patient{patient}" / f"{study}_FLAIR.nii.gz"


def brain_mask(data: Path, visit: str) -> Path:
    """The data set's brain mask of a visit, in the set's common space."""
    return _coregistered(data, visit) / "brainmask.nii.gz"


def to_common_space(data: Path, visit: str) -> Path:
    """The transform that resamples a visit into the common space: it takes points from there to the scan."""
    return _coregistered(data, visit) / f"{visit.split('/')[1]}_FLAIR_to_common_space.txt"


def stripped_scan(data: Path, patient: str) -> Path:
    """The file of one of STRIPPED."""
    return data / "open_ms_data" / "cross_sectional" / "MNI" / f"patient{patient}" / STRIPPED_NAME


def flair_3d(data: Path) -> Path:
    """The one 3-D FLAIR."""
    return data / "py_synthsr" / "FLAIR.nii.gz"


def pair_folder(data: Path, patient: str) -> Path:
    """Where `training.open_pairs` wrote a validation pair: scans, brain mask and truth on one grid."""
    return data / "open_ms_pairs" / patient


def read_visit(data: Path, visit: str) -> tuple[sitk.Image, sitk.Image]:
    """A raw scan, and the data set's brain mask on its grid."""
    scan = storage.read(raw_scan(data, visit))
    mask = storage.read_mask(brain_mask(data, visit))
    to_scan = sitk.ReadTransform(str(to_common_space(data, visit))).GetInverse()
    return scan, sitk.Resample(mask, scan, to_scan, sitk.sitkNearestNeighbor)


def _coregistered(data: Path, visit: str) -> Path:
    return data / "open_ms_data" / "longitudinal" / "coregistered" / f"patient{visit.split('/')[0]}"
