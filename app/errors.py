"""What is said to a user: the one mistake, the warnings, and text that a table can hold."""

import logging
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

FORMULAS = ("=", "+", "-", "@", "\t", "\r")  # what a formula, or an older program's command, begins with


class InputError(Exception):
    """An input is unusable.

    The message is one line: which file, what was found, what was wanted; then, if there is a choice, a line
    for each.
    """


def refused_by_system(error: OSError) -> InputError:
    """What to say where the system does not let a file of the user be looked at, read or written."""
    return InputError(
        f"{error.filename}: {error.strerror}; wanted a file that may be read, or a folder that may be written"
    )


def not_installed(error: ImportError, extra: str) -> InputError:
    """What to say where a package of an extra is missing."""
    return InputError(
        f"the package {error.name} is not installed; wanted `pip install '.[{extra}]'` in the "
        "folder of this program"
    )


def dicom_not_installed(error: ImportError) -> InputError:
    """The same for DICOM's packages."""
    return InputError(f"DICOM: {not_installed(error, 'dicom')}")


@contextmanager
def warned(words: Mapping[str, str] | None = None) -> Iterator[list[str]]:
    """A list that fills with what this package warns about in this thread; the warnings are shown as ever,
    too.

    `words` are the roles of paths, which may name a patient: {path: "baseline"} (`in_roles`).
    """
    listener = _Listener(words or {})
    package = logging.getLogger(__package__)
    package.addHandler(listener)
    try:
        yield listener.heard
    finally:
        package.removeHandler(listener)


class _Listener(logging.Handler):
    def __init__(self, words: Mapping[str, str]) -> None:
        super().__init__(logging.WARNING)
        self.words = words
        self.thread = threading.get_ident()
        self.heard: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.thread != self.thread:
            return
        self.heard.append(in_roles(record.getMessage(), self.words))


def in_roles(text: str, roles: Mapping[str, str]) -> str:
    """A message with each scan's role for its path: 'baseline: odd' for 'P1/a.nii: odd'.

    A path is replaced where it begins the message, as ours do, and elsewhere if nothing else can be meant.
    What lies below it, such as a slice of a DICOM folder, is not named either.
    """
    for path, role in sorted(roles.items(), key=lambda pair: -len(pair[0])):
        below = r"(?:[/\\][^:;,()]*?)?(?=[:;,()]|\s|$)"
        text = re.sub(rf"^{re.escape(path)}{below}", role.replace("\\", r"\\"), text)
        if {"/", "\\", "."} & {*path}:
            text = re.sub(rf"(?<![\w./\\-]){re.escape(path)}{below}", role.replace("\\", r"\\"), text)
    return text


def is_formula(text: str) -> bool:
    """Whether a spreadsheet may take a cell for a formula."""
    return text.startswith(FORMULAS)


def as_text(text: str) -> str:
    """A cell that no program reads back, with an apostrophe before a formula: spreadsheets then show it."""
    return f"'{text}" if is_formula(text) else text
