"""Which of two scans is the earlier one, as far as their names tell?"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ..errors import InputError

DATE = re.compile(r"(?<!\d)((?:19|20)\d\d)[-_.]?(0[1-9]|1[0-2])[-_.]?(0[1-9]|[12]\d|3[01])(?!\d)")
WORDS = (("pre", "post"), ("before", "after"), ("first", "second"), ("initial", "control"))
SEQUENCES = {"t1", "t1w", "t1c", "t1ce", "t2", "t2w", "t2star", "pd", "pdw", "dwi", "adc", "swi", "mprage"}
MASKS = {"mask", "brainmask", "seg", "dseg", "probseg", "label", "labels", "lesion", "lesions", "truth", "gt"}
MASKS |= {"consensus", "prob", "probability"}


@dataclass(frozen=True)
class Told:
    """An order, and what tells it."""

    baseline: Path
    followup: Path
    by: str  # 'their dates', 'their numbers', 'their words' or 'the alphabet'


def flairs(images: Iterable[Path]) -> list[Path]:
    """Those that may be FLAIR scans by their names; no masks.

    Those that say FLAIR, if any does, else those that name no other sequence.
    """
    scans = [path for path in images if MASKS.isdisjoint(_words(path))]
    named = [path for path in scans if "flair" in path.name.lower()]
    return named or [path for path in scans if SEQUENCES.isdisjoint(_words(path))]


def of_two(one: Path, other: Path) -> Told:
    """By the dates in their names, else numbers (M6 before M12), else words (pre, post), else the alphabet.

    Raises InputError if dates and numbers, or two numbers, say opposite things.
    """
    dates = [_dates(path) for path in (one, other)]
    numbers = [
        [int(number) for number in re.findall(r"\d+", DATE.sub("", path.name))] for path in (one, other)
    ]
    signs: dict[str, set[bool]] = {}
    if dates[0] != dates[1] and all(dates):
        signs["their dates"] = {dates[0] < dates[1]}
    if len(numbers[0]) == len(numbers[1]):
        signs["their numbers"] = {a < b for a, b in zip(*numbers, strict=True) if a != b}
    told = set().union(*signs.values())
    if len(told) > 1:
        raise InputError(
            f"{one.parent}: {one.name} and {other.name}: their dates or numbers contradict each other; "
            "wanted time01 and time02 in their names, or a table"
        )
    for by, earlier in signs.items():
        if earlier:
            return Told(one, other, by) if earlier == {True} else Told(other, one, by)
    for first, second in WORDS:
        if first in _words(one) and second in _words(other):
            return Told(one, other, "their words")
        if second in _words(one) and first in _words(other):
            return Told(other, one, "their words")
    return Told(min(one, other), max(one, other), "the alphabet")


def _dates(path: Path) -> list[str]:
    return ["".join(date) for date in DATE.findall(path.name)]


def _words(path: Path) -> set[str]:
    return set(re.split(r"[^a-z0-9]+", path.name.lower()))
