"""The one mistake a user can make: an input that cannot be used."""


class InputError(Exception):
    """An input is unusable.

    The message is one line: which file, what was found, what was wanted; then, if there is a choice, a line
    for each.
    """


def dicom_not_installed(error: ImportError) -> InputError:
    """What to say where one of DICOM's packages, which are an extra, is missing."""
    return InputError(
        f"DICOM: the package {error.name} is not installed; wanted `pip install '.[dicom]'` in the "
        "folder of this program"
    )
