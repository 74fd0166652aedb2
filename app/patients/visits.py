"""Which visits of a patient are compared with each other, and what are those pairs called?"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Literal, get_args

Pairs = Literal["consecutive", "first-last", "all", "to-first"]
PAIRS: tuple[Pairs, ...] = get_args(Pairs)


@dataclass(frozen=True)
class Visit:
    """One visit of a patient."""

    number: int  # in the order of time, from 1
    label: str  # as the user's files or table have it


@dataclass(frozen=True)
class Case:
    """Two scans of one patient that are compared."""

    name: str  # names the output folder; unique in a cohort
    baseline: Path
    followup: Path
    # in a BIDS data set, how the names of the results begin: sub-01/ses-02/anat/sub-01_ses-02_desc-newLesions
    bids: str | None = None
    patient: str = ""  # who has the two visits
    visits: tuple[Visit, Visit] | None = None  # None: nothing is known but that they are two
    followed: bool = False  # there are more visits: its lesions are followed through all of them
    doubt: str = ""  # what to check, in a sentence without names: the order of its visits was guessed


@dataclass(frozen=True)
class Scanned:
    """A visit as it was found; `scan` is None where nobody can tell which of several is meant."""

    label: str
    scan: Path | None
    doubt: str = ""  # of the order: see Case


def chosen(count: int, pairs: Pairs) -> list[tuple[int, int]]:
    """The pairs of `count` visits in the order of time, from 0, that are compared: earlier and later."""
    every = list(combinations(range(count), 2))
    found = {
        "consecutive": [(earlier, later) for earlier, later in every if later == earlier + 1],
        "first-last": [(0, count - 1)] if every else [],
        "all": every,
        "to-first": [(earlier, later) for earlier, later in every if earlier == 0],
    }[pairs]
    return sorted(found, key=lambda pair: pair[::-1])


def cases(
    patient: str,
    visits: Sequence[Scanned],
    pairs: Pairs,
    wanted: Collection[str] | None = None,
    by_visit: bool = False,
) -> list[Case]:
    """The pairs of a patient's visits, which come in the order of time; of those `wanted` alone, by label.

    Two visits go by the patient's name, unless they are to go `by_visit`. Of more, a pair goes by its later
    visit, and by its earlier one, too, unless that is the visit before: so a pair has one name whatever else
    is compared.
    """
    kept = [place for place, visit in enumerate(visits) if wanted is None or visit.label in wanted]
    found = []
    for pair in chosen(len(kept), pairs):
        earlier, later = (kept[place] for place in pair)
        baseline, followup = visits[earlier], visits[later]
        if baseline.scan is None or followup.scan is None:
            continue
        since = "" if later == earlier + 1 else f"_since-{baseline.label}"
        found.append(
            Case(
                f"{patient}_{followup.label}{since}" if by_visit or len(visits) > 2 else patient,
                baseline.scan,
                followup.scan,
                patient=patient,
                followed=len(kept) > 2,
                doubt=followup.doubt,
                visits=(Visit(earlier + 1, baseline.label), Visit(later + 1, followup.label)),
            )
        )
    return found
