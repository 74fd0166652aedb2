"""Writing aside: a file, or a set of files, is whole or absent, and never takes the place of an input."""

import atexit
import json
import os
import shutil
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import TextIO

from .errors import InputError

if sys.platform != "win32":
    import fcntl

PREFIX = ".writing-"
LOCK, PLACING = ".lock", ".placing"
BEING_MADE = ".new"  # ends the name of a folder aside that is not locked yet
ABANDONED_S = 24 * 3600  # age of what was left aside, where the system has no locks
BEING_MADE_S = 60  # between a folder aside and its lock

_here: set[Path] = set()  # the folders aside of this process


@contextmanager
def aside(folder: Path) -> Iterator[Path]:
    """A folder of one's own inside `folder`, which is made if need be; removed when the block ends.

    If a signal stops the removal, it is done when the process ends. Raises InputError for what the disk
    refuses.
    """
    place = folder / f"{PREFIX}{uuid.uuid4().hex}"
    being_made = place.with_name(f"{place.name}{BEING_MADE}")
    _here.update((being_made, place))
    try:
        with made(folder):
            try:
                being_made.mkdir(mode=0o700)
                with (being_made / LOCK).open("w") as lock:
                    _try_lock(lock.fileno())  # who finds it free may remove the folder: so it is locked first
                    being_made.rename(place)
                    yield place
            finally:
                shutil.rmtree(being_made, ignore_errors=True)
                shutil.rmtree(place, ignore_errors=True)
                _here.difference_update((being_made, place))
    except OSError as error:
        raise InputError(f"{shown(folder)}: {_refused(error)}") from error


@contextmanager
def temporary() -> Iterator[Path]:
    """A folder of one's own for files that nobody keeps.

    Raises InputError if no temporary folder can be written to.
    """
    try:
        folder = Path(tempfile.gettempdir())
    except FileNotFoundError as error:
        raise InputError(
            "no temporary folder can be written to; wanted one with room: set TMPDIR to its path"
        ) from error
    _clear_once(folder)
    with aside(folder) as place:
        yield place


@contextmanager
def writing(path: Path, reads_back: Callable[[Path], bool] | None = None) -> Iterator[Path]:
    """A name to write to, with the suffix of `path`.

    It is renamed to `path` when the block ends well, and removed when it does not. `reads_back` says whether
    the file holds what was written: for writers that do not notice a full disk. Raises InputError if it does
    not, and if the folder cannot be made or written to.
    """
    with aside(path.parent) as folder:
        unfinished = folder / path.name
        yield unfinished
        with unfinished.open("rb") as file:
            os.fsync(file.fileno())
        if reads_back is not None and not reads_back(unfinished):
            raise InputError(
                f"{shown(path)}: does not read back as it was written; "
                "wanted room on its disk, and no limit on the size of files"
            )
        unfinished.replace(path)


def write_bytes(content: bytes, path: Path) -> None:
    """Write a file, read it back, and only then give it its name. Raises InputError as `writing` does."""
    with writing(path, lambda unfinished: unfinished.read_bytes() == content) as unfinished:
        unfinished.write_bytes(content)


@contextmanager
def writing_set(paths: Mapping[str, Path], folder: Path | None = None) -> Iterator[dict[str, Path]]:
    """Names to write to, for files that belong together.

    All are renamed when the block ends well, in this order, or none is. They are written aside in `folder`,
    by default each beside its place. If the process is killed while it renames, the next call of
    `clear_leftovers` takes back what it had renamed. Raises InputError as `writing` does.
    """
    parents = dict.fromkeys(folder or path.parent for path in paths.values())
    with ExitStack() as stack:
        places = {parent: stack.enter_context(_clear_aside(parent)) for parent in parents}
        unfinished = {name: places[folder or path.parent] / path.name for name, path in paths.items()}
        yield unfinished
        targets = {str(unfinished[name]): str(path.absolute()) for name, path in paths.items()}
        for place in places.values():
            (place / PLACING).write_text(json.dumps(targets))
        try:
            for name, path in paths.items():
                stack.enter_context(made(path.parent))
                unfinished[name].replace(path)
        except BaseException:
            _take_back(targets)
            raise
        for place in places.values():
            (place / PLACING).unlink()


@cache
def _clear_once(folder: Path) -> None:
    """When a process first uses a folder: a page alone asks for hundreds of temporary ones in it."""
    clear_leftovers(folder)


@contextmanager
def _clear_aside(folder: Path) -> Iterator[Path]:
    clear_leftovers(folder)
    with aside(folder) as place:
        yield place


def clear_leftovers(folder: Path) -> None:
    """Remove what killed processes of this user left aside in a folder; what a living one writes stays."""
    for left in folder.glob(f"{PREFIX}*"):
        if _is_abandoned(left):
            _discard(left)


def _discard(left: Path) -> None:
    """Remove a folder aside, and what had got its name of a set that is not whole."""
    with suppress(OSError, ValueError):
        _take_back(json.loads((left / PLACING).read_text()))
    shutil.rmtree(left, ignore_errors=True)


@atexit.register
def clear_up() -> None:
    """Remove what this process has aside, as it ends."""
    for left in _here:
        _discard(left)


def _take_back(targets: Mapping[str, str]) -> None:
    """Remove each file {unfinished name: name} that has got its name."""
    for unfinished, path in targets.items():
        if not Path(unfinished).exists():
            Path(path).unlink(missing_ok=True)


def check_apart(outputs: Iterable[Path], inputs: Iterable[Path]) -> None:
    """Raise InputError if an output is an input, or two outputs are one file, whatever their paths."""
    given = {identity for path in inputs for identity in _identities(path)}
    named: set[str] = set()
    for path in outputs:
        if not given.isdisjoint(_identities(path)):
            raise InputError(f"{path}: an input, and named as an output; wanted another name for the output")
        resolved = os.path.realpath(path)
        if resolved in named:
            raise InputError(f"{path}: named for two outputs; wanted a name for each")
        named.add(resolved)


def check_free(paths: Iterable[Path], ours: bool) -> None:
    """Raise InputError if a file is there already, unless a folder's record says that it is one of `ours`."""
    for path in () if ours else paths:
        if os.path.lexists(path):
            raise InputError(
                f"{path}: is there already, and nothing says that this program made it; "
                "wanted a folder without it"
            )


@contextmanager
def locked(file: Path, holder: str) -> Iterator[None]:
    """Keep others out of the folder of `file` as long as the block runs; the file says who does: `holder`.

    The lock goes with the process, however that ends. Raises InputError if another has it.
    """
    with ExitStack() as stack:
        try:
            stack.enter_context(made(file.parent))
            lock = stack.enter_context(_lock(file))
            lock.truncate(0)
            lock.write(holder)
            lock.flush()
        except OSError as error:
            raise InputError(f"{file.parent}: {_refused(error)}") from error
        stack.callback(file.unlink, missing_ok=True)
        yield


def _lock(file: Path) -> TextIO:
    """The file, open and locked. Raises InputError if another has locked it."""
    while True:
        lock = file.open("a+", encoding="utf-8")
        if not _try_lock(lock.fileno()):
            lock.seek(0)
            holder = lock.read().strip() or "another run"
            lock.close()
            raise InputError(f"{file.parent}: in use by {holder}; wanted one run at a time")
        with suppress(FileNotFoundError):
            if os.path.samestat(file.stat(), os.fstat(lock.fileno())):
                return lock
        lock.close()  # its last holder removed it as we opened it


@contextmanager
def made(folder: Path) -> Iterator[None]:
    """The folder is there; if the block fails, what had to be made for it goes again, where it is empty."""
    missing = [place for place in (folder, *folder.parents) if not place.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield
    except BaseException:
        for place in missing:
            with suppress(OSError):
                place.rmdir()
        raise


def _try_lock(descriptor: int) -> bool:
    """Whether an open file is now ours alone; True, too, where the system has no locks."""
    if sys.platform == "win32":
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # some network drives have none
        return True
    return True


def _is_abandoned(left: Path) -> bool:
    """Whether no process holds the lock of a folder aside."""
    try:
        status = left.stat()
    except FileNotFoundError:
        return False
    age_s = time.time() - status.st_mtime
    if sys.platform != "win32" and status.st_uid != os.geteuid():
        return False
    if left.name.endswith(BEING_MADE):
        return age_s > BEING_MADE_S
    try:
        with (left / LOCK).open("r+") as lock:
            if sys.platform == "win32":
                return age_s > ABANDONED_S
            fcntl.flock(lock.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except FileNotFoundError:  # its process removes it just now, or was killed as it did
        return True
    except OSError:
        return age_s > ABANDONED_S
    return True


def _identities(path: Path) -> set[object]:
    """The resolved path and, of a file that is there, its place on the disk."""
    known: set[object] = {os.path.realpath(path)}
    with suppress(OSError):
        status = path.stat()
        known.add((status.st_dev, status.st_ino))
    return known


def shown(path: Path) -> Path:
    """A path as a user knows it: without the folders aside."""
    return Path(*(part for part in path.parts if not part.startswith(PREFIX)))


def _refused(error: OSError) -> str:
    return f"cannot be written ({error.strerror}); wanted a folder with write permission and room on its disk"
