"""What do two scans show? Three lists of lesions: new, otherwise changed or unchanged, and possible."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk
from scipy import ndimage

from ..arrays import Array, Labels, Mask
from ..config import OperatingPoint
from ..images import grids
from . import change
from .change import KINDS, Changes
from .detection import larger
from .lesions import Lesion, describe_labels
from .place import Anatomy

SMALLEST_MM3 = OperatingPoint.minimum_volume_mm3  # of a lesion drawn at one visit alone

# Why a mark is only a possible lesion, in words that follow "possible: ".
SHOWN_BEFORE = "the baseline shows it, too"
IN_FLUID = "the baseline shows fluid there, which may flow"
UNCERTAIN = "too little of it is certain"
MISFIT = "the scans do not fit together there"
ONE_SIDED = "one scan alone shows brain there"  # such as what stripping has left beside it
NOT_COMPARABLE = "the scans are not comparable"
ONE_DRAWING = "drawn at one visit alone, and no change is seen"


@dataclass(frozen=True)
class Marks:
    """What the network and others have marked; each (z, y, x) on the follow-up's grid."""

    new: Mask
    probability: Array  # of a new lesion
    vanished: Mask | None = None  # None: not looked for
    swapped: Array | None = None  # probability of a vanished lesion
    possible: Mapping[str, Mask] = field(default_factory=dict)  # {why they are not new: marks}
    baseline: Mask | None = None  # all lesions of a visit; None: not known
    followup: Mask | None = None
    drawn: bool = False  # whether a site has drawn those at baseline


@dataclass(frozen=True)
class Findings:
    """Every lesion by number: new ones, largest first, then the changed, then the possible."""

    new: list[Lesion]
    changed: list[Lesion]  # all other kinds: enlarged, unchanged, shrunken, vanished
    possible: list[Lesion]
    numbers: Labels  # (z, y, x) on the follow-up's grid; 0: none
    classes: npt.NDArray[
        np.uint8
    ]  # likewise: 0, or 1 + the place in change.KINDS; possible ones are not in it
    load_mm3: tuple[float, float] | None  # of all lesions at baseline and at follow-up; None: not known
    looked_for_vanished: bool
    at: tuple[Mask, Mask]  # likewise: where the new and the changed lesions are at baseline, and at follow-up
    surface_mm: float  # a lesion whose surface has moved by less is unchanged

    def all(self) -> list[Lesion]:
        """In the order of their numbers."""
        return [*self.new, *self.changed, *self.possible]

    def of_kind(self, kind: str) -> list[Lesion]:
        """Those of one kind."""
        return [lesion for lesion in self.all() if lesion.kind == kind]


def find(marks: Marks, grid: sitk.Image, surface_mm: float, anatomy: Anatomy | None = None) -> Findings:
    """Number and describe all lesions. `grid` places the voxels in the patient, as does that of `anatomy`.

    `surface_mm` is that of `change.classify`.
    """
    vanished = np.zeros_like(marks.new) if marks.vanished is None else marks.vanished
    voxel_mm3 = grids.voxel_mm3(grid)
    changes = change.classify(marks.new, vanished, marks.baseline, marks.followup, voxel_mm3, surface_mm)
    order = _order(changes)
    numbers = np.zeros(len(order) + 1, dtype=np.int32)
    numbers[order] = np.arange(1, len(order) + 1)
    labels = numbers[changes.labels]
    possible = dict(marks.possible)
    if marks.drawn:  # what the network draws at one visit and sees no change of is a matter of its drawing
        apart = _apart(changes.doubtful, changes.labels > 0)
        possible[ONE_DRAWING] = larger(apart, SMALLEST_MM3, voxel_mm3)
    reasons = _add_possible(labels, possible)

    probability = marks.probability
    if marks.swapped is not None:
        probability = np.where(vanished, marks.swapped, probability)
    described = describe_labels(labels, probability, grid, anatomy)
    known = marks.baseline is not None
    listed = [
        replace(
            lesion,
            kind=changes.kinds[place - 1],
            baseline_mm3=changes.baseline_mm3[place - 1],
            followup_mm3=changes.followup_mm3[place - 1],
        )
        for lesion, place in zip(described, order, strict=False)
    ]
    return Findings(
        new=[lesion for lesion in listed if lesion.kind == "new"],
        changed=[lesion for lesion in listed if lesion.kind != "new"],
        possible=[
            replace(lesion, kind="possible", why=why)
            for lesion, why in zip(described[len(order) :], reasons, strict=True)
        ],
        numbers=labels,
        classes=changes.classes(),
        load_mm3=(sum(changes.baseline_mm3), sum(changes.followup_mm3)) if known else None,
        looked_for_vanished=marks.vanished is not None,
        at=changes.at,
        surface_mm=surface_mm,
    )


def _apart(marks: Mask, lesions: Mask) -> Mask:
    """The components of `marks` that do not even touch a lesion at a corner: the others are its rim."""
    components, _ = ndimage.label(marks)
    rims = np.unique(components[ndimage.binary_dilation(lesions, np.ones((3, 3, 3)))])
    return marks & ~np.isin(components, rims)


def _order(changes: Changes) -> list[int]:
    """The lesions of `changes`: by kind, within a kind largest first, equal ones in array order."""
    voxels = np.bincount(changes.labels.ravel(), minlength=len(changes.kinds) + 1)
    return sorted(
        range(1, len(changes.kinds) + 1),
        key=lambda number: (KINDS.index(changes.kinds[number - 1]), -voxels[number], number),
    )


def _add_possible(labels: Labels, possible: Mapping[str, Mask]) -> list[str]:
    """Number marks that share no voxel with a lesion of `labels` or a mark of an earlier reason, in place,
    largest first; return why each is possible.
    """
    last, reasons, components = int(labels.max()), list[str](), np.zeros(labels.shape, dtype=np.int32)
    for why, mask in possible.items():
        found, count = ndimage.label(mask)
        touching = np.unique(found[(labels > 0) | (components > 0)])
        kept = np.setdiff1d(np.arange(1, count + 1), touching)
        renumbered = np.zeros(count + 1, dtype=np.int32)
        renumbered[kept] = len(reasons) + 1 + np.arange(len(kept))
        components += renumbered[found]
        reasons += [why] * len(kept)
    voxels = np.bincount(components.ravel(), minlength=len(reasons) + 1)[1:]
    order = np.argsort(-voxels, kind="stable")
    numbers = np.zeros(len(reasons) + 1, dtype=np.int32)
    numbers[1 + order] = last + 1 + np.arange(len(reasons))
    labels[components > 0] = numbers[components[components > 0]]
    return [reasons[number] for number in order]
