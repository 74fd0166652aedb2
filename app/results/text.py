"""A result as text to paste into a report: technique, comparison, findings, limits; by a template that a site
can replace.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import StrictUndefined, Template, TemplateError
from jinja2.sandbox import SandboxedEnvironment

from .. import __version__
from ..errors import InputError
from ..pipeline import Result
from . import words

TEMPLATE = Path(__file__).resolve().parent / "page" / "text.txt"
Instances = tuple[list[str] | None, list[str] | None]  # DICOM's Instance Number of each slice, of both scans


@dataclass(frozen=True)
class Heading:
    """Whom and when a page is about, in a user's own words, and how the text is put: nothing is ever taken
    from headers.
    """

    label: str = ""
    baseline: str = ""  # date or session
    followup: str = ""
    template: Path = TEMPLATE  # of the text

    def check(self) -> None:
        """Raise InputError, before any work is done, for words that no file can hold, and for what is no
        template.
        """
        for word in (self.label, self.baseline, self.followup):
            try:
                word.encode()
            except UnicodeEncodeError as error:
                raise InputError(f"{word!a}: a label that is not in UTF-8; wanted one that is") from error
        _template(self.template)

    def any(self) -> bool:
        """Whether there is anything to say."""
        return bool(self.label or self.baseline or self.followup)

    def in_words(self) -> str:
        """'Trial 7, patient 12. Baseline: 2023-01-31. Follow-up: 2024-02-15.'"""
        parts = (("", self.label), ("Baseline: ", self.baseline), ("Follow-up: ", self.followup))
        return " ".join(f"{name}{value}." for name, value in parts if value)


NOBODY = Heading()


def text(result: Result, heading: Heading = NOBODY, instances: Instances = (None, None)) -> str:
    """The text. Raises InputError for a template that cannot be read or filled in."""
    try:
        return _template(heading.template).render(**said(result, heading, instances)).strip() + "\n"
    except (TemplateError, ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise _wrong(heading.template, error) from error


def _template(path: Path) -> Template:
    """Raises InputError."""
    environment = SandboxedEnvironment(  # a template from elsewhere may say things, not do them
        autoescape=False, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined
    )
    try:
        return environment.from_string(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, TemplateError) as error:
        raise _wrong(path, error) from error


def _wrong(path: Path, error: Exception) -> InputError:
    return InputError(f"{path}: cannot be filled in ({error}); wanted a Jinja template of text")


def said(result: Result, heading: Heading, instances: Instances) -> dict[str, Any]:
    """What a template can say."""
    return {
        "version": __version__,
        "result": result,
        "findings": result.findings,
        "heading": heading,
        "instances": instances,
        "words": words,
        "besides": words.besides(result.findings),
        "order": words.order(result.findings),
        "missed": words.missed(result),
        "load": words.load(result.findings),
    }
