"""How a command of the training ends: a mistake of the user is one line and exit code 1."""

import sys
from collections.abc import Callable

from app.errors import InputError


def run(main: Callable[[], None]) -> None:
    try:
        main()
    except InputError as error:
        sys.exit(f"Error: {error}")
