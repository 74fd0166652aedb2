"""What was warned about while a block ran?"""

import logging
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager


@contextmanager
def warned(words: Mapping[str, str] | None = None) -> Iterator[list[str]]:
    """A list that fills with what this package warns about in this thread; the warnings are shown as ever,
    too.

    `words` replaces what must not be kept, such as a path, which may name a patient: {path: "baseline"}.
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
        text = record.getMessage()
        for word, other in self.words.items():
            text = text.replace(word, other)
        self.heard.append(text)
