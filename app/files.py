"""Writing aside: a file is whole or absent."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from app.errors import InputError


@contextmanager
def writing(path: Path) -> Iterator[Path]:
    """A name to write to, with the suffix of `path`; renamed to `path` when the block ends well, removed when it does not.

    Raises InputError if the folder cannot be made or written to.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix=".writing-", dir=path.parent) as aside:
            unfinished = Path(aside) / path.name
            yield unfinished
            unfinished.replace(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror}); wanted a folder with write permission and room on its disk") from error
