"""A scan on disk: an image file, or one series of a DICOM folder."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import SimpleITK as sitk

from ..errors import InputError
from . import headers, storage

if TYPE_CHECKING:  # DICOM's packages are optional
    from .dicom import Series


@dataclass(frozen=True)
class Scan:
    """Where a scan is stored."""

    path: Path  # the image file, or the folder of the series
    series: "Series | None" = None  # None: an image file

    @staticmethod
    def find(path: Path, number: str | None = None) -> "Scan":
        """The image at a path; in a DICOM folder the series of a `number`, or else the one that is the FLAIR.

        Raises InputError if there is no such series, and if a number is given with an image.
        """
        if headers.is_dicom(path):
            from . import dicom

            return Scan(path, dicom.find(path, number))
        if number is not None:
            raise InputError(f"{path}: not DICOM, but a series is named; wanted a DICOM folder")
        return Scan(path)

    def read(self) -> sitk.Image:
        """The scan as float32. Raises InputError as `storage.read` does."""
        return storage.read(self.path) if self.series is None else self.series.read()

    @property
    def files(self) -> list[Path]:
        """All that it is stored in."""
        return [self.path] if self.series is None else list(self.series.files)

    def sha256(self) -> str:
        """SHA-256 of the file, or of the sorted hashes of the series' files, whatever their names.

        Raises InputError if one is missing.
        """
        if self.series is None:
            return file_sha256(self.path)
        members = sorted(file_sha256(file) for file in self.series.files)
        return hashlib.sha256("".join(members).encode()).hexdigest()


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, hexadecimal. Raises InputError if it cannot be read, or might never end."""
    if path.exists() and not path.is_file():
        raise InputError(f"{path}: a folder, pipe or device; wanted a file")
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file; wanted a scan") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); wanted a scan") from error
