"""The one mistake a user can make: an input that cannot be used."""


class InputError(Exception):
    """An input is unusable.

    The message is one line: which file, what was found, what was wanted; then, if there is a choice, a line
    for each.
    """


def not_installed(error: ImportError, extra: str) -> InputError:
    """What to say where a package of an extra is missing."""
    return InputError(
        f"the package {error.name} is not installed; wanted `pip install '.[{extra}]'` in the "
        "folder of this program"
    )


def dicom_not_installed(error: ImportError) -> InputError:
    """The same for DICOM's packages."""
    return InputError(f"DICOM: {not_installed(error, 'dicom')}")
