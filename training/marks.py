"""The marks of a probability map, each with one number to be cut at, and what they find of lesions that are
known.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from app.arrays import Array, Mask
from app.config import OperatingPoint
from app.method.detection import scores, without_known
from training.cases import SPACING_MM, VOXEL_MM3
from training.painting import Painted
from training.reading import MAYBE_NEW, UNREAD, Read, word_of

FOUND = 0.1  # of a lesion's voxels must be marked
MOSTLY = 0.5  # of a mark on known changes makes it neither right nor wrong
FALSE_A_PAIR = 0.5  # allowed
LOWEST_CUT = 0.5


@dataclass(frozen=True)
class Mark:
    """One component of the mask.

    It is reported if more than the minimum volume of it exceeds `certain`, so if its `score` does.
    """

    score: float
    voxels: int
    lesions: Mapping[int, int]  # {lesion touched: voxels in common}
    inside: Mapping[int, int]  # {lesion touched: voxels within its border}
    known: bool  # mostly on what is known to change
    read: str  # what a reader said of its place

    @property
    def false(self) -> bool:
        return not self.lesions and not self.known and self.read not in MAYBE_NEW


@dataclass(frozen=True)
class Marked:
    """The marks of one case, and the lesions that were there to be found."""

    case: str
    patient: str
    marks: list[Mark]
    volumes_mm3: npt.NDArray[np.int64]  # of lesion 1, 2, ..., as it shows
    borders_mm3: npt.NDArray[np.int64]  # within its border
    contrasts_z: npt.NDArray[np.float64]


def marks_of(
    probability: Array, pair: Painted, point: OperatingPoint, reading: Sequence[Read] = ()
) -> Marked:
    """Every mark of a pair with a score above `LOWEST_CUT`, whatever the cut of `point`."""
    any_cut = dataclasses.replace(point, certain=LOWEST_CUT)
    gained = without_known(probability, pair.channels, any_cut, SPACING_MM[0])
    components, _ = ndimage.label(gained > point.threshold)
    count = len(pair.contrasts_z) + 1
    marks = []
    for number, (box, score) in enumerate(
        zip(
            ndimage.find_objects(components),
            scores(gained, components, point.minimum_volume_mm3, VOXEL_MM3),
            strict=True,
        ),
        start=1,
    ):
        if score <= LOWEST_CUT:
            continue
        mark: Mask = components[box] == number
        lesions, within = pair.labels[box][mark], pair.inside[box][mark]
        touched = {int(lesion): int((lesions == lesion).sum()) for lesion in np.unique(lesions[lesions > 0])}
        inside = {lesion: int(((lesions == lesion) & within).sum()) for lesion in touched}
        z, y, x = (round(float(at.mean())) + side.start for at, side in zip(mark.nonzero(), box, strict=True))
        read = word_of(pair.name, (z, y, x), reading)
        known = bool(pair.known[box][mark].mean() > MOSTLY)
        marks.append(Mark(float(score), int(mark.sum()), touched, inside, known, read))
    volumes = np.bincount(pair.labels.ravel(), minlength=count)[1:]
    borders = np.bincount(pair.labels[pair.inside], minlength=count)[1:]
    return Marked(pair.name, pair.patient, marks, volumes, borders, np.array(pair.contrasts_z))


def false_marks(marked: Marked, cut: float) -> int:
    return sum(1 for mark in marked.marks if mark.score > cut and mark.false)


def as_unread(marked: Marked) -> Marked:
    """The same as if nobody had looked at the marks: what no mask has is false."""
    return dataclasses.replace(
        marked, marks=[dataclasses.replace(mark, read=UNREAD) for mark in marked.marks]
    )


def found(marked: Marked, cut: float) -> npt.NDArray[np.bool_]:
    """Which lesions are found at a cut."""
    overlap = np.zeros(len(marked.volumes_mm3) + 1)
    for mark in marked.marks:
        if mark.score > cut:
            for lesion, voxels in mark.lesions.items():
                overlap[lesion] += voxels
    return overlap[1:] > FOUND * marked.volumes_mm3


def shapes_of_found(marked: Marked, cut: float) -> npt.NDArray[np.float64]:
    """(found lesions, 2): Dice with the lesion's border, and volume of what is marked over its own.

    Marks that touch more than one lesion are left out: whose volume is whose is not known.
    """
    rows = []
    for lesion in (np.flatnonzero(found(marked, cut)) + 1).tolist():
        touching = [mark for mark in marked.marks if mark.score > cut and lesion in mark.lesions]
        if any(len(mark.lesions) > 1 for mark in touching):
            continue
        voxels, own = sum(mark.voxels for mark in touching), int(marked.borders_mm3[lesion - 1])
        overlap = sum(mark.inside[lesion] for mark in touching)
        rows.append((2 * overlap / (voxels + own), voxels / own))
    return np.array(rows).reshape(-1, 2)


def cut_for(cases: Sequence[Marked], false_a_pair: float = FALSE_A_PAIR) -> float:
    """The lowest cut at which there are at most so many false marks a pair; never below `LOWEST_CUT`."""
    false = sorted(
        (mark.score for marked in cases for mark in marked.marks if mark.false),
        reverse=True,
    )
    allowed = int(false_a_pair * len(cases))
    return false[allowed] if len(false) > allowed else LOWEST_CUT


def left_out_cuts(cases: Sequence[Marked], false_a_pair: float = FALSE_A_PAIR) -> dict[str, float]:
    """{patient: the cut that the other patients' cases choose}."""
    return {
        patient: cut_for([marked for marked in cases if marked.patient != patient], false_a_pair)
        for patient in {marked.patient for marked in cases}
    }
