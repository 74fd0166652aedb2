"""What became of every lesion of either visit? Plain arrays `(z, y, x)` on one grid, the follow-up's.

Five kinds. A lesion is *new* where the network's map of new lesions has one, and *vanished* where its map of
the swapped order has one. What is drawn at both visits is *enlarged*, *shrunken* or *unchanged*, by how far
its surface has moved.
"""

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from ..arrays import Labels, Mask
from .detection import mostly_in

Kind = Literal["new", "enlarged", "unchanged", "shrunken", "vanished"]
KINDS: tuple[Kind, ...] = get_args(Kind)  # in the order of their values in the mask of changes, from 1

# Two drawings of one lesion differ by about half a voxel all around. A lesion has changed if a ball of its
# volume would have to move its surface by more than this: for voxels of 1 mm, 91 % of a lesion of 5 mm, 40 %
# of one of 10 mm. Of 43 lesions of two real pairs of 1 mm without change (P2; P14, visits 2 and 3) two differ
# by more than 0.5 mm, none by more than 0.54 mm.
SURFACE_VOXELS = 0.6

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Changes:
    """Every lesion of either visit; voxels that share a face belong together, as in the official score."""

    labels: Labels  # a lesion's number, from 1; 0 elsewhere
    kinds: tuple[Kind, ...]  # of lesion 1, 2, ...
    baseline_mm3: tuple[float, ...]  # volume at each visit, 0 where it shows none
    followup_mm3: tuple[float, ...]
    at: tuple[Mask, Mask]  # where lesions are at baseline, and at follow-up
    doubtful: Mask  # drawn at one visit alone, which neither of the network's maps of changes confirms

    def classes(self) -> npt.NDArray[np.uint8]:
        """The kind of each voxel: 0, or 1 + its place in `KINDS`."""
        table = np.array([0, *(1 + KINDS.index(kind) for kind in self.kinds)], dtype=np.uint8)
        classes: npt.NDArray[np.uint8] = table[self.labels]
        return classes


def without_old(new: Mask, drawn: Mask) -> Mask:
    """The marks that are new to a site that has `drawn` the baseline's lesions.

    What lies in those is old, and so is a whole mark with half of it in them.
    """
    old = mostly_in(new, drawn)
    logger.info("marks left out because the drawn baseline has them: %d", ndimage.label(old)[1])
    kept: Mask = new & ~old & ~drawn
    return kept


def classify(
    new: Mask,
    vanished: Mask,
    baseline: Mask | None,
    followup: Mask | None,
    voxel_mm3: float,
    surface_mm: float,
) -> Changes:
    """Sort the lesions of both visits into the five kinds. New ones come first, as their components do.

    `baseline` and `followup` are all lesions of each visit, None where nobody has drawn them: with neither,
    new and vanished lesions are all that can be told; with the baseline alone, the follow-up is what is left
    of it. `surface_mm` is how far a surface may move without a change (`margin_mm`).
    """
    nothing = np.zeros_like(new)
    before = nothing if baseline is None else baseline
    after = before if followup is None else followup
    before = (before | vanished) & ~new
    after = after & ~vanished & ~new

    labels, count = ndimage.label(new)
    others, more = ndimage.label(before | after)
    volumes = [
        (np.bincount(others[visit], minlength=more + 1)[1:] * voxel_mm3).tolist() for visit in (before, after)
    ]
    marked = (np.bincount(others[vanished], minlength=more + 1)[1:] * voxel_mm3).tolist()
    kinds = [_kind(was, now, gone, surface_mm) for was, now, gone in zip(*volumes, marked, strict=True)]
    kept = [number for number, kind in enumerate(kinds) if kind is not None]
    renumbered = np.zeros(more + 1, dtype=np.int32)
    renumbered[np.array(kept, dtype=int) + 1] = count + 1 + np.arange(len(kept))
    new_mm3 = (np.bincount(labels.ravel(), minlength=count + 1)[1:] * voxel_mm3).tolist()
    kept_there = renumbered[others] > 0
    return Changes(
        labels=np.where(others > 0, renumbered[others], labels),
        kinds=("new",) * count + tuple(kind for kind in kinds if kind is not None),
        baseline_mm3=(0.0,) * count + tuple(volumes[0][number] for number in kept),
        followup_mm3=(*new_mm3, *(volumes[1][number] for number in kept)),
        at=(before & kept_there, (after & kept_there) | new),
        doubtful=(others > 0) & (renumbered[others] == 0),
    )


def margin_mm(slices_mm: Iterable[float]) -> float:
    """How far a lesion's surface may seem to move between scans with slices as thick as these.

    The border lies anywhere within a slice. Lesions are drawn at 1 mm, so thinner slices count as that.
    """
    return SURFACE_VOXELS * max(1.0, *slices_mm)


def grown_mm3(volume_mm3: float, surface_mm: float) -> float:
    """The volume of a ball of `volume_mm3` whose surface has moved outwards by so much."""
    radius_mm = (3 * volume_mm3 / (4 * np.pi)) ** (1 / 3)
    return float(4 / 3 * np.pi * (radius_mm + surface_mm) ** 3)


def _kind(baseline_mm3: float, followup_mm3: float, gone_mm3: float, surface_mm: float) -> Kind | None:
    """A lesion has vanished if half of it is marked so, or any of it and nothing is drawn at follow-up.

    None: drawn at one visit alone, without a mark in the maps of changes.
    """
    if gone_mm3 > 0 and (followup_mm3 == 0 or 2 * gone_mm3 >= baseline_mm3):
        return "vanished"
    if baseline_mm3 == 0 or followup_mm3 == 0:
        return None
    if followup_mm3 > grown_mm3(baseline_mm3, surface_mm):
        return "enlarged"
    return "shrunken" if baseline_mm3 > grown_mm3(followup_mm3, surface_mm) else "unchanged"
