"""Files that no scan should be, and what the refusal says of each."""

import gzip
import struct
from pathlib import Path

import nibabel
import numpy as np
import SimpleITK as sitk


def save(path: Path, values: np.ndarray) -> Path:
    nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), path)
    return path


def _with_spacing(path: Path, spacing_mm: float) -> Path:
    content = bytearray(path.read_bytes())
    struct.pack_into("<f", content, 76 + 4 * 3, spacing_mm)  # pixdim[3]
    path.write_bytes(content)
    return path


NOISE = np.random.default_rng(0).uniform(1, 9, (12, 13, 14)).astype(np.float32)


def write_bad_file(kind: str, folder: Path) -> Path:
    """Write one unusable file."""
    path = folder / f"{kind}.nii.gz"
    match kind:
        case "missing":
            pass
        case "text":
            path.write_text("not an image")
        case "text_nii":
            path = folder / "text.nii"
            path.write_text("not an image")
        case "truncated":
            path.write_bytes(save(path, NOISE).read_bytes()[:-400])
        case "truncated_inside":
            path.write_bytes(gzip.compress(gzip.decompress(save(path, NOISE).read_bytes())[:-400]))
        case "empty":
            path.write_bytes(b"")
        case "two_d":
            save(path, NOISE[0])
        case "one_slice":
            save(path, NOISE[..., :1])
        case "four_d":
            save(path, np.stack([NOISE, NOISE], axis=-1))
        case "colour":
            sitk.WriteImage(sitk.GetImageFromArray(np.stack([NOISE] * 3, axis=-1), isVector=True), str(path))
        case "zero":
            save(path, NOISE * 0)
        case "constant":
            save(path, NOISE * 0 + 7)
        case "nan":
            save(path, np.where(NOISE > 5, np.nan, NOISE).astype(np.float32))
        case "infinite":
            save(path, np.where(NOISE > 5, np.inf, NOISE).astype(np.float32))
        case "spacing_zero":
            path = _with_spacing(save(folder / f"{kind}.nii", NOISE), 0.0)
        case "sheared":
            nibabel.save(
                nibabel.Nifti1Image(
                    NOISE, np.array([[1, 0.5, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])
                ),
                path,
            )
        case "suffix":
            path = folder / "scan.jpg"
            path.write_bytes(b"\xff\xd8")
    return path


BAD_FILES = {
    "missing": "no such file",
    "text": "truncated or damaged",
    "text_nii": "not a NIfTI file",
    "truncated": "truncated or damaged",
    "truncated_inside": "truncated",
    "empty": "truncated or damaged",
    "two_d": "wanted one 3-D scan",
    "one_slice": "wanted one 3-D scan",
    "four_d": "wanted one 3-D scan",
    "colour": "wanted one",
    "zero": "every voxel is 0",
    "constant": "every voxel is 7",
    "nan": "NaN or infinite",
    "infinite": "NaN or infinite",
    "spacing_zero": "wanted three positive numbers",
    "sheared": "not at right angles",
    "suffix": "not an image name",
}
