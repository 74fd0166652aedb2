"""Which files lie below a folder? Links are followed, on every version of Python, and lead into no loop."""

import logging
import os
from collections.abc import Iterator
from pathlib import Path

from .errors import InputError

logger = logging.getLogger(__name__)


def walk(
    folder: Path, problems: list[InputError] | None = None, without: Path | None = None
) -> Iterator[Path]:
    """Every file below a folder, sorted by name within each.

    Files and folders whose names begin with a dot are left out, and the folder `without`. A folder that
    cannot be read is added to `problems`; without a list of them it raises InputError.
    """
    real = os.path.realpath(folder)
    yield from _below(folder, (real,), None if without is None else os.path.realpath(without), problems)


def _below(
    folder: Path, above: tuple[str, ...], without: str | None, problems: list[InputError] | None
) -> Iterator[Path]:
    """`above`: the real paths from the first folder to this one."""
    try:
        entries = [(path, path.is_dir(), path.is_file()) for path in sorted(folder.iterdir())]
    except OSError as error:
        problem = InputError(
            f"{folder}: cannot be read ({error.strerror}); wanted a folder with read permission"
        )
        if problems is None:
            raise problem from error
        problems.append(problem)
        return
    for path, is_folder, is_file in entries:
        if path.name.startswith("."):
            continue
        if not is_folder:
            if is_file:
                yield path
            continue
        real = os.path.realpath(path)
        if real == without:
            continue
        if any(one == real or one.startswith(real.rstrip(os.sep) + os.sep) for one in above):
            logger.warning("%s: a link back to a folder that it lies in; not followed", path)
            continue
        yield from _below(path, (*above, real), without, problems)
