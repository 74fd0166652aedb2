"""Which lesion is which, from visit to visit? Arrays `(z, y, x)` on one grid that all visits share.

**One lesion.** What is marked at a visit is cut into lesions that share a face. A lesion goes on under the
number of the earlier one that it shares most voxels with, at least a tenth of the smaller of the two. If
several earlier ones do, the others are *merged* into that number; if several later ones do, the one that
shares most keeps the number, and the others *split* from it under numbers of their own.

**There or not.** Every pair of visits says of every lesion that it is new, has vanished, is there at both
visits, or nothing. A lesion is there at those visits that contradict the pairs least. What is not marked can
be missed, so a mark counts twice as much as none. Of equal answers, the one that contradicts fewer pairs of
neighbouring visits is taken, then the one in which the lesion is there at fewer visits. A mark of a new
lesion where another pair marks it at the earlier visit is growth; likewise, one of a vanished lesion may be
shrinking. Every pair that is contradicted is listed.

**How large.** The mean of what the pairs measure, each as its own table has it. Networks that know new
lesions alone measure a lesion where it appears or vanishes, and not in between.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from ..arrays import Labels, Mask
from .change import grown_mm3

State = Literal[
    "absent", "present", "appears", "grows", "shrinks", "unchanged", "vanishes", "merged", "not split yet"
]
NOT_ITS_OWN: tuple[State, ...] = ("merged", "not split yet")  # part of another lesion
Says = Literal["new", "vanished", "both", "nothing", "silent"]

SHARED = 0.1  # of the smaller lesion; as much makes a lesion found in the official score
MOST_VISITS = 12  # 4096 answers to choose from
MARK, NO_MARK, CHANGED = 400, 200, 100  # what contradicting a pair costs, and taking new for grown
NEIGHBOURS = 1  # more, for a pair of neighbouring visits


@dataclass(frozen=True)
class Seen:
    """What the comparison of two visits says."""

    visits: tuple[int, int]  # from 0, in the order of time
    labels: Labels  # the numbers of its lesions
    kinds: tuple[str, ...]  # of lesion 1, 2, ...: those of `change`, or possible
    volumes_mm3: tuple[tuple[float, float], ...]  # of each at both visits
    at: tuple[Mask, Mask]  # where there is a lesion at each visit
    drawn: bool  # all lesions of both visits are known: what is not marked is no lesion
    surface_mm: float  # a lesion whose surface has moved by less is unchanged
    comparable: bool = True  # False: it says nothing

    @cached_property
    def voxels(self) -> npt.NDArray[np.intp]:
        """(lesions + 1,) of each lesion; the first is the rest."""
        return np.bincount(self.labels.ravel(), minlength=len(self.kinds) + 1)

    @cached_property
    def voxels_at(self) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
        """Likewise at both visits."""
        before, after = (np.bincount(self.labels[mask], minlength=len(self.kinds) + 1) for mask in self.at)
        return before, after


@dataclass(frozen=True)
class Track:
    """One lesion through all visits."""

    number: int  # 1 is the largest
    states: tuple[State, ...]  # at each visit
    volumes_mm3: tuple[float | None, ...]  # 0 where it is absent, None where it is not measured
    split_from: int | None = None
    merged_into: int | None = None

    def nearest_mm3(self, visit: int) -> float:
        """Volume at a visit; where it is not measured, that of the last time, or else of the next."""
        if self.volumes_mm3[visit] is not None:
            return self.volumes_mm3[visit] or 0.0
        others = [*reversed(self.volumes_mm3[:visit]), *self.volumes_mm3[visit + 1 :]]
        return next((volume for volume in others if volume), 0.0)

    def largest_mm3(self) -> float:
        return max((volume or 0.0 for volume in self.volumes_mm3), default=0.0)


@dataclass(frozen=True)
class Disagreement:
    """A pair that does not fit what all pairs together say of a lesion."""

    lesion: int
    visits: tuple[int, int]  # the pair
    pair_says: str
    together: str


@dataclass(frozen=True)
class Tracks:
    """All lesions of a patient."""

    tracks: list[Track]
    places: list[Labels]  # their numbers at each visit
    disagreements: list[Disagreement]
    surface_mm: float  # as Seen; of the pair that knows least well


@dataclass(frozen=True)
class _Identities:
    places: list[Labels]  # at each visit, from 1
    count: int
    first: dict[int, int]  # the visit at which a lesion has split off
    last: dict[int, int]  # the visit from which it is merged into another
    split_from: dict[int, int]
    merged_into: dict[int, int]


def follow(pairs: Sequence[Seen], visits: int) -> Tracks:
    """All lesions of `visits` visits, largest first. Raises ValueError for more visits than `MOST_VISITS`."""
    if visits > MOST_VISITS:
        raise ValueError(f"{visits} visits; wanted {MOST_VISITS} at most")
    shape = pairs[0].labels.shape
    masks = [np.zeros(shape, dtype=bool) for _ in range(visits)]
    for pair in pairs:
        for visit, mask in zip(pair.visits, pair.at, strict=True):
            masks[visit] |= mask
    known = _identities(masks)
    surface_mm = max(pair.surface_mm for pair in pairs)
    tracks, disagreements = [], []
    for number in range(1, known.count + 1):
        track, against = _track(number, known, pairs, visits, surface_mm)
        tracks.append(track)
        disagreements += against
    found = _largest_first(tracks, known.places, disagreements)
    return Tracks(*found, surface_mm)


def _identities(masks: Sequence[Mask]) -> _Identities:
    """Numbers of lesions from visit to visit, by what they share with where each was last seen."""
    latest = np.zeros(masks[0].shape, dtype=np.int32)
    known = _Identities([], 0, {}, {}, {}, {})
    count = 0
    for visit, mask in enumerate(masks):
        parts, found = ndimage.label(mask)
        heirs: dict[int, int] = {}  # {part: number}
        taken: dict[int, int] = {}  # {number: part}
        related = _related(parts, latest)
        for part, number in related:
            if part not in heirs and number not in taken:
                heirs[part], taken[number] = number, part
        for part, number in related:
            if part not in heirs:  # its earlier lesion goes on in another part
                count += 1
                heirs[part] = count
                known.split_from[count], known.first[count] = number, visit
            elif number not in taken and number not in known.merged_into:
                known.merged_into[number], known.last[number] = heirs[part], visit
        for part in range(1, found + 1):
            if part not in heirs:
                count += 1
                heirs[part] = count
        table = np.array([0, *(heirs[part] for part in range(1, found + 1))], dtype=np.int32)
        place: Labels = table[parts]
        known.places.append(place)
        gone = [*taken, *(number for number, last in known.last.items() if last == visit)]
        latest[np.isin(latest, gone)] = 0
        latest = np.where(place > 0, place, latest)
    return _Identities(known.places, count, known.first, known.last, known.split_from, known.merged_into)


def _related(parts: Labels, others: Labels) -> list[tuple[int, int]]:
    """(label, label of others) that share `SHARED` of the smaller, those that share most first."""
    inside = (parts > 0) & (others > 0)
    pairs, shared = np.unique(np.stack([parts[inside], others[inside]]), axis=1, return_counts=True)
    sizes = np.bincount(parts.ravel()), np.bincount(others.ravel())
    found = [
        (int(count), int(part), int(other))
        for (part, other), count in zip(pairs.T, shared, strict=True)
        if count >= SHARED * min(sizes[0][part], sizes[1][other])
    ]
    return [(part, other) for _, part, other in sorted(found, key=lambda one: (-one[0], one[1:]))]


def _track(
    number: int, known: _Identities, pairs: Sequence[Seen], visits: int, surface_mm: float
) -> tuple[Track, list[Disagreement]]:
    """One lesion: where it is, how large, and which pairs do not fit."""
    begin, end = known.first.get(number, 0), known.last.get(number, visits)
    marked = [place == number for place in known.places]
    region: Mask = np.any(marked, axis=0)
    seen = [bool(mask.any()) for mask in marked]
    spoken = [
        _Spoken(pair, *_says(pair, region, marked), (seen[pair.visits[0]], seen[pair.visits[1]]))
        for pair in pairs
    ]
    inside = [one for one in spoken if begin <= one.pair.visits[0] and one.pair.visits[1] < end]
    judged = {visit for one in inside for visit in one.pair.visits}
    certain = {visit for visit in range(begin, end) if seen[visit] and visit not in judged}
    there = _presence(inside, certain, begin, end)
    volumes: list[float | None] = [0.0 if begin <= visit < end else None for visit in range(visits)]
    for visit in range(begin, end):
        if there[visit]:
            measured = [
                volume
                for one in spoken
                for at, volume in zip(one.pair.visits, one.volumes_mm3, strict=True)
                if at == visit and volume and (one not in inside or one.cost(there) == 0)
            ]
            volumes[visit] = float(np.mean(measured)) if measured else None
    track = Track(
        number,
        _states(there, volumes, inside, begin, end, visits, surface_mm),
        tuple(volumes),
        known.split_from.get(number),
        known.merged_into.get(number),
    )
    return track, _against(number, inside, there, volumes, surface_mm)


@dataclass(frozen=True, eq=False)
class _Spoken:
    """What a pair says of one lesion."""

    pair: Seen
    says: Says
    volumes_mm3: tuple[float, float]  # at both visits
    seen: tuple[bool, bool]  # whether any pair marks it at these visits

    def cost(self, there: Sequence[bool]) -> int:
        """What it costs that the lesion is there at these visits."""
        before, after = (there[visit] for visit in self.pair.visits)
        more = NEIGHBOURS if self.pair.visits[1] == self.pair.visits[0] + 1 else 0
        if self.says == "silent":
            return 0
        if self.says == "nothing":
            fits = not (before or after) if self.pair.drawn else before == after
            return 0 if fits else NO_MARK + more
        fitting = {"new": (False, True), "vanished": (True, False), "both": (True, True)}[self.says]
        if (before, after) == fitting:
            return 0
        return CHANGED if before and after and all(self.seen) else MARK + more


def _says(pair: Seen, region: Mask, marked: Sequence[Mask]) -> tuple[Says, tuple[float, float]]:
    """What a pair says of the lesion in a region, `marked` at each visit, and what it measures, mm^3."""
    count = len(pair.kinds) + 1
    inside = np.bincount(pair.labels[region], minlength=count)
    least = np.maximum(SHARED * np.minimum(pair.voxels, np.count_nonzero(region)), 1)
    touched = [number for number in range(1, count) if inside[number] >= least[number]]
    if not pair.comparable:
        return "silent", (0.0, 0.0)
    certain = [number for number in touched if pair.kinds[number - 1] != "possible"]
    here = [
        np.bincount(pair.labels[marked[visit] & mask], minlength=count)
        for visit, mask in zip(pair.visits, pair.at, strict=True)
    ]
    before, after = (
        sum(
            pair.volumes_mm3[number - 1][side] * here[side][number] / max(pair.voxels_at[side][number], 1)
            for number in certain
        )
        for side in (0, 1)
    )
    says: Says = "both" if before and after else "new" if after else "vanished" if before else "nothing"
    if says == "nothing" and touched and not pair.drawn:  # what is only possible, or another lesion's
        says = "silent"
    return says, (float(before), float(after))


def _presence(spoken: Sequence[_Spoken], certain: set[int], begin: int, end: int) -> list[bool]:
    """Whether the lesion is there, at each visit up to `end`: the answer that costs least.

    It is at those that are `certain`.
    """
    answers = [
        [*([False] * begin), *(bool(one) for one in answer)] for answer in product((0, 1), repeat=end - begin)
    ]
    return min(
        (there for there in answers if all(there[visit] for visit in certain)),
        key=lambda there: (sum(one.cost(there) for one in spoken), sum(there)),
    )


def _states(
    there: Sequence[bool],
    volumes: Sequence[float | None],
    spoken: Sequence[_Spoken],
    begin: int,
    end: int,
    visits: int,
    surface_mm: float,
) -> tuple[State, ...]:
    states: list[State] = []
    for visit in range(visits):
        if visit < begin:
            states.append("not split yet")
        elif visit >= end:
            states.append("merged")
        elif not there[visit]:
            states.append("vanishes" if visit > begin and there[visit - 1] else "absent")
        elif visit == begin:
            states.append("present")
        elif not there[visit - 1]:
            states.append("appears")
        else:
            said = {one.says for one in spoken if one.pair.visits == (visit - 1, visit)}
            states.append(_became(volumes[:visit], volumes[visit], said, surface_mm))
    return tuple(states)


def _became(before: Sequence[float | None], now: float | None, said: set[Says], surface_mm: float) -> State:
    """What became of a lesion that is there at a visit and at the one before."""
    if "new" in said:
        return "grows"
    if "vanished" in said:
        return "shrinks"
    last = next((volume for volume in reversed(before) if volume), None)
    if now is None or last is None:
        return "present"
    if now > grown_mm3(last, surface_mm):
        return "grows"
    return "shrinks" if last > grown_mm3(now, surface_mm) else "unchanged"


def _against(
    number: int,
    spoken: Sequence[_Spoken],
    there: Sequence[bool],
    volumes: Sequence[float | None],
    surface_mm: float,
) -> list[Disagreement]:
    """The pairs that are contradicted, and those that measure another volume than the mean of all."""
    found = []
    for one in spoken:
        visits = one.pair.visits
        cost = one.cost(there)
        if cost > CHANGED:
            together = IN_FACT[there[visits[0]], there[visits[1]]]
            found.append(Disagreement(number, visits, WORDS[one.says], together))
        for visit, volume in zip(visits, one.volumes_mm3, strict=True):
            mean = volumes[visit]
            if cost == 0 and volume and mean and max(volume, mean) > grown_mm3(min(volume, mean), surface_mm):
                found.append(
                    Disagreement(number, visits, f"{volume:.0f} mm³ at visit {visit + 1}", f"{mean:.0f} mm³")
                )
    return found


WORDS: dict[Says, str] = {
    "new": "new",
    "vanished": "vanished",
    "both": "there at both visits",
    "nothing": "no change",
}
IN_FACT = {
    (False, False): "absent at both visits",
    (True, True): "there at both visits",
    (False, True): "new",
    (True, False): "vanished",
}


def _largest_first(
    tracks: Sequence[Track], places: Sequence[Labels], disagreements: Sequence[Disagreement]
) -> tuple[list[Track], list[Labels], list[Disagreement]]:
    """The same with new numbers. What is there at no visit, since other pairs contradict it, is last."""
    order = sorted(tracks, key=lambda track: (-track.largest_mm3(), track.number))
    numbers = {track.number: place for place, track in enumerate(order, start=1)}
    table = np.array([0, *(numbers[number] for number in range(1, len(tracks) + 1))], dtype=np.int32)

    def renamed(number: int | None) -> int | None:
        return None if number is None else numbers[number]

    return (
        [
            replace(
                track,
                number=numbers[track.number],
                split_from=renamed(track.split_from),
                merged_into=renamed(track.merged_into),
            )
            for track in order
        ],
        [table[place] for place in places],
        sorted(
            (replace(one, lesion=numbers[one.lesion]) for one in disagreements),
            key=lambda one: (one.lesion, one.visits),
        ),
    )
