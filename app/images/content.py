"""The bytes of an image file: what its header says of the voxels, and the voxels, unpacked as far as it says
and no further.
"""

import math
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from .. import machine
from ..errors import InputError
from .placement import Affine, Sides

PIECE = 1 << 20  # bytes read, and unpacked, at a time
AFTERWARDS = 1 << 20  # bytes behind the voxels that are unpacked to reach the checksum
MOST_PACKED = 1032  # times as long as packed can deflate's bytes be (zlib.net/zlib_tech.html)
NEEDED = 4 + 4 + 1  # bytes a voxel beside the stored ones: float32 as array and as image, and a mask


@dataclass(frozen=True)
class Header:
    """What a file says of its voxels. x varies fastest."""

    sides: Sides
    stored: np.dtype[Any]  # of one voxel, byte order and all
    start: int  # where in the file the content begins
    packed: bool  # whether gzip or zlib packed it
    skipped: int  # bytes of the content before the first voxel
    affine: Affine  # to LPS, mm
    slope: float = 1.0  # a value is slope * stored + intercept
    intercept: float = 0.0

    @property
    def size(self) -> int:
        """Of all voxels as stored, in bytes."""
        return math.prod(self.sides) * self.stored.itemsize


def beginning(path: Path, length: int, packed: bool = False) -> bytes:
    """So many bytes, or all there are, from the beginning of a file.

    Raises InputError if they cannot be read.
    """
    found = bytearray()
    for piece in _unpacked(path, 0, packed):
        found += piece
        if len(found) >= length:
            break
    return bytes(found[:length])


def values(path: Path, header: Header) -> npt.NDArray[Any]:
    """The voxels (z, y, x) with the byte order of this machine: as stored, or float64 if the header scales
    them.

    Raises InputError if there is not enough memory for them, or if the file is cut off, or damaged.
    """
    _check_size(path, header)
    content = np.empty(header.size, np.uint8)
    missing, place = header.skipped, 0
    beyond = 0
    for piece in _unpacked(path, header.start, header.packed):
        ahead = min(missing, len(piece))
        taken = piece[ahead : ahead + header.size - place]
        content[place : place + len(taken)] = np.frombuffer(taken, np.uint8)
        missing, place, beyond = missing - ahead, place + len(taken), beyond + len(piece) - ahead - len(taken)
        if place == header.size and (not header.packed or beyond > AFTERWARDS):
            break
    if place < header.size:
        raise InputError(
            f"{path}: truncated, {place} of {header.size} bytes of voxels are there; wanted the whole file"
        )
    stored = content.view(header.stored).reshape(header.sides[::-1])
    native = stored.astype(header.stored.newbyteorder("="), copy=False)
    if (header.slope, header.intercept) == (1.0, 0.0):
        return native
    with np.errstate(over="ignore", invalid="ignore"):  # what overflows is counted with the infinite values
        return native.astype(np.float64) * header.slope + header.intercept


def _check_size(path: Path, header: Header) -> None:
    """Before anything is unpacked: whether the file can hold that much, and the memory, too."""
    there = path.stat().st_size - header.start
    wanted = header.skipped + header.size
    if there * (MOST_PACKED if header.packed else 1) < wanted:
        raise InputError(
            f"{path}: truncated, {there} bytes for {wanted} bytes of voxels; wanted the whole file"
        )
    check_memory(header.sides, header.stored.itemsize, str(path))


def check_memory(sides: Sides, itemsize: int, wrong: str) -> None:
    """Raises InputError, which begins with `wrong`, if there is no room for so many voxels of so many bytes,
    and what is made of them.
    """
    needed = math.prod(sides) * (itemsize + NEEDED)
    available = machine.available_memory()
    if needed > available:
        size = "x".join(map(str, sides))
        raise InputError(
            f"{wrong}: {size} voxels need {needed / 2**30:.1f} GiB of memory, "
            f"{available / 2**30:.1f} GiB are free; wanted a smaller scan"
        )


def _unpacked(path: Path, start: int, packed: bool) -> Iterator[bytes]:
    """The content of a file in pieces of at most `PIECE` bytes.

    Raises InputError if it cannot be read or unpacked.
    """
    try:
        with path.open("rb") as file:
            file.seek(start)
            yield from _inflated(file) if packed else iter(lambda: file.read(PIECE), b"")
    except (EOFError, zlib.error) as error:
        raise InputError(f"{path}: truncated or damaged ({error}); wanted a whole file") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); wanted a readable image") from error


def _inflated(file: BinaryIO) -> Iterator[bytes]:
    """What gzip (one member after the other) or zlib packed; other bytes behind it, as some programs add, do
    not matter.
    """
    packed = file.read(PIECE)
    while True:
        engine = zlib.decompressobj(wbits=47)  # the header says which of the two it is
        while not engine.eof:
            if not packed:
                raise EOFError("the end is missing")
            if piece := engine.decompress(packed, PIECE):
                yield piece
            packed = engine.unconsumed_tail or (b"" if engine.eof else file.read(PIECE))
        packed = engine.unused_data + file.read(PIECE)
        if not packed.startswith(b"\x1f\x8b"):
            return
