"""Files as a damaged disk, another program or an attacker might leave them: good ones changed, by seed."""

import gzip
import shutil
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import SimpleITK as sitk

from app.config import Config, NetworkConfig
from app.method import checkpoint
from app.method.model import UNet3D
from tests.images.dicom_files import write_enhanced, write_series

Mutate = Callable[[bytes, np.random.Generator], bytes]
NUMBERS = (
    *(0, 1, -1, 2, 3, 7, 99, 127, 255, 256, 348, 352, 540, 1024, 32767, 65535),
    *(2**31 - 1, -(2**31), 2**40, 10**15),
)
FLOATS = (0.0, -1.0, 1e-30, 0.5, 1e3, 1e9, 1e30, float("nan"), float("inf"), -float("inf"))
_WORDS = """
0 -1 1 2 99 1000000 99999999999999999999 1e30 nan inf -0.5 LIST LOCAL /etc/passwd ../x none (1,0,0) (0,0,0)
(1,0 True False raw gzip hex short double MET_DOUBLE ² %s =cmd
"""
WORDS = (*_WORDS.split(), "", "\0")
TABLE = (
    "patient,baseline,followup\n01,01/time01.nii.gz,01/time02.nii.gz\n02,02/time01.nii.gz,02/time02.nii.gz\n"
)
_ELEMENTS = """
Rows Columns BitsAllocated BitsStored HighBit PixelRepresentation SamplesPerPixel NumberOfFrames
PhotometricInterpretation PixelSpacing ImagePositionPatient ImageOrientationPatient RescaleSlope
RescaleIntercept SOPClassUID SOPInstanceUID SeriesInstanceUID SeriesNumber SeriesDescription ImageType
SpecificCharacterSet Modality StudyDate PixelData SharedFunctionalGroupsSequence
PerFrameFunctionalGroupsSequence
"""
ELEMENTS = _ELEMENTS.split()


@dataclass(frozen=True)
class Masters:
    """The good files that others are made of, in a folder."""

    folder: Path

    @staticmethod
    def write(folder: Path) -> "Masters":
        folder.mkdir(parents=True, exist_ok=True)
        rng = np.random.default_rng(0)
        values = rng.uniform(1, 900, (14, 13, 12)).astype(np.float32)
        affine = np.diag([1.0, 1.1, 1.2, 1.0])
        affine[:3, 3] = -7, 8, 9
        for name, kind, dtype in (
            ("one.nii", nibabel.Nifti1Image, np.int16),
            ("float.nii", nibabel.Nifti1Image, np.float32),
            ("two.nii", nibabel.Nifti2Image, np.uint16),
        ):
            image = kind(values.T.astype(dtype), affine)
            image.set_qform(affine, 1)
            nibabel.save(image, folder / name)
        scan = sitk.GetImageFromArray(values)
        for name, packed in (
            ("raw.nrrd", False),
            ("packed.nrrd", True),
            ("raw.mha", False),
            ("packed.mha", True),
        ):
            sitk.WriteImage(scan, str(folder / name), useCompression=packed)
        write_series(scan[..., :12], folder / "series")
        write_enhanced(scan[..., :12], folder / "enhanced" / "IM1")
        config = Config(network=NetworkConfig(features=8, levels=1))
        checkpoint.save(folder / "lesions1.pt", UNet3D(config.network), config, {})
        (folder / "table.csv").write_text(TABLE)
        return Masters(folder)

    def make(self, seed: int, folder: Path) -> Path:
        """A changed file, or folder of DICOM, in an empty folder. The same seed gives the same bytes."""
        rng = np.random.default_rng(seed)
        kind = KINDS[seed % len(KINDS)]
        if kind in ("series", "enhanced"):
            return _dicom(self.folder / kind, folder / kind, rng)
        content = (self.folder / kind).read_bytes()
        name = kind
        if kind.endswith(".nii"):
            content = _some(
                content, rng, (_header_field, _header_field, _flip, _cut, _insert, _keep), header=352
            )
            if rng.random() < 0.5:
                name, content = f"{kind}.gz", gzip.compress(content, 1)
                content = _some(content, rng, (_keep, _keep, _flip, _cut, _append), header=len(content))
        elif kind.endswith((".nrrd", ".mha")):
            content = _some(
                content, rng, (_word, _word, _word, _flip, _cut, _insert, _append, _line), header=400
            )
        elif kind.endswith(".csv"):
            content = _some(content, rng, (_word, _flip, _cut, _insert, _append, _line), header=len(content))
        else:
            content = _some(content, rng, (_flip, _cut, _insert, _word), header=len(content))
        path = folder / name
        path.write_bytes(content)
        if kind.endswith(".pt"):  # with the right hash: who publishes weights can publish hashes
            (folder / checkpoint.SUMS).write_text(f"{checkpoint.sha256(path)}  {name}\n")
        return path


KINDS = (
    *("one.nii", "float.nii", "two.nii", "raw.nrrd", "packed.nrrd", "raw.mha", "packed.mha"),
    *("series", "enhanced", "table.csv", "lesions1.pt"),
)


def _some(
    content: bytes, rng: np.random.Generator, ways: tuple[Callable[..., bytes], ...], header: int
) -> bytes:
    """One to three changes, most of them in the header."""
    for _ in range(rng.integers(1, 4)):
        content = ways[rng.integers(len(ways))](content, rng, min(header, len(content)))
    return content


def _place(content: bytes, rng: np.random.Generator, header: int) -> int:
    end = header if rng.random() < 0.8 else len(content)
    return int(rng.integers(max(end, 1)))


def _keep(content: bytes, _rng: np.random.Generator, _header: int) -> bytes:
    return content


def _flip(content: bytes, rng: np.random.Generator, header: int) -> bytes:
    changed = bytearray(content or b"\0")
    changed[_place(content, rng, header)] ^= 1 << int(rng.integers(8))
    return bytes(changed)


def _cut(content: bytes, rng: np.random.Generator, header: int) -> bytes:
    return content[: _place(content, rng, header)]


def _insert(content: bytes, rng: np.random.Generator, header: int) -> bytes:
    at = _place(content, rng, header)
    return content[:at] + rng.bytes(int(rng.integers(1, 40))) + content[at:]


def _append(content: bytes, rng: np.random.Generator, _header: int) -> bytes:
    return content + (content if rng.random() < 0.3 else rng.bytes(int(rng.integers(1, 400))))


def _header_field(content: bytes, rng: np.random.Generator, header: int) -> bytes:
    """A special number where some field may begin."""
    kind = str(rng.choice(["b", "h", "i", "q", "f", "d"]))
    at = 2 * int(rng.integers(header // 2 + 1))
    if kind in "fd":
        number = FLOATS[rng.integers(len(FLOATS))]
    else:
        bits = 8 * struct.calcsize(kind)
        number = (NUMBERS[rng.integers(len(NUMBERS))] + 2 ** (bits - 1)) % 2**bits - 2 ** (bits - 1)
    with np.errstate(over="ignore"):
        written = (
            np.array([number])
            .astype({"f": "<f4", "d": "<f8"}.get(kind, f"<i{struct.calcsize(kind)}"))
            .tobytes()
        )
    return content[:at] + written + content[at + len(written) :]


def _word(content: bytes, rng: np.random.Generator, header: int) -> bytes:
    """Another word in a text."""
    text = content[:header]
    blanks = [at for at, byte in enumerate(text) if byte in b" \n,=:("]
    if len(blanks) < 2:
        return content
    at = int(rng.integers(len(blanks) - 1))
    word = WORDS[rng.integers(len(WORDS))].encode()
    return content[: blanks[at] + 1] + word + content[blanks[at + 1] :]


def _line(content: bytes, rng: np.random.Generator, header: int) -> bytes:
    """A line of a text twice, or not at all."""
    lines = content[:header].split(b"\n")
    at = int(rng.integers(len(lines)))
    lines[at : at + 1] = [] if rng.random() < 0.5 else [lines[at]] * 2
    return b"\n".join(lines) + content[header:]


def _dicom(master: Path, folder: Path, rng: np.random.Generator) -> Path:
    """A series with one file changed, or all in the same way; bytes, or elements."""
    shutil.copytree(master, folder)
    files = sorted(folder.iterdir())
    chosen = files if rng.random() < 0.3 else [files[rng.integers(len(files))]]
    if rng.random() < 0.5:
        seed = int(rng.integers(2**31))
        for file in chosen:
            content = file.read_bytes()
            ways = (_flip, _flip, _cut, _insert, _append)
            file.write_bytes(_some(content, np.random.default_rng(seed), ways, header=len(content) * 2 // 3))
        return folder
    element = ELEMENTS[rng.integers(len(ELEMENTS))]
    value = (None, *WORDS, *NUMBERS)[rng.integers(1 + len(WORDS) + len(NUMBERS))]
    for file in chosen:
        header = pydicom.dcmread(file)
        try:
            if value is None:
                delattr(header, element)
            else:
                setattr(header, element, value)
            header.save_as(file)
        except (AttributeError, LookupError, ValueError, TypeError, OverflowError, OSError, struct.error):
            continue  # pydicom does not write it
    return folder
