"""The one mistake a user can make: an input that cannot be used."""


class InputError(Exception):
    """An input is unusable.

    The message is one line: which file, what was found, what was wanted; then, if there is a choice, a line
    for each.
    """
