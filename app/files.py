"""Writing aside: a file, or a set of files, is whole or absent."""

import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import InputError

PREFIX = ".writing-"


@contextmanager
def aside(folder: Path) -> Iterator[Path]:
    """An empty folder inside `folder`, which is made if need be; removed when the block ends.

    Raises InputError for what the disk refuses.
    """
    place = folder / f"{PREFIX}{uuid.uuid4().hex}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        place.mkdir()
        yield place
    except OSError as error:
        raise InputError(
            f"{folder}: cannot be written ({error.strerror}); wanted a folder with write permission "
            "and room on its disk"
        ) from error
    finally:
        shutil.rmtree(place, ignore_errors=True)


@contextmanager
def writing(path: Path) -> Iterator[Path]:
    """A name to write to, with the suffix of `path`; renamed to `path` when the block ends well, removed when
    it does not.

    Raises InputError if the folder cannot be made or written to.
    """
    with aside(path.parent) as folder:
        unfinished = folder / path.name
        yield unfinished
        unfinished.replace(path)


def clear_leftovers(folder: Path) -> None:
    """Remove what a killed process left aside in a folder."""
    for left in folder.glob(f"{PREFIX}*"):
        shutil.rmtree(left, ignore_errors=True)
