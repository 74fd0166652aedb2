"""Is one of two scans mirrored, or are its axes mislabelled?

The details of a head fit another scan of it one way only.
"""

import itertools
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk

from ..arrays import Points
from ..errors import InputError
from . import residual, search
from .search import Scans
from .similarity import RIGID, Similarity, head_of

Axes = npt.NDArray[np.int64]  # (3, 3): columns say where left, back and top of a scan point, LPS; 1, -1 or 0

MIRRORED: Axes = np.diag([-1, 1, 1])
TRIED = 2  # of the other 46 ways to read the axes: those that look best from afar
DIRECTIONS = (("left", "right"), ("back", "front"), ("top", "bottom"))


def check(scans: Scans, motion: Points) -> None:
    """Raise InputError if two scans that fit badly at their best `motion` fit well with other axes.

    Scans that fit are not looked at again: no mirrored head fits so well (benchmarks/alignment.py). Which of
    the two is the wrong one, the scans do not tell.
    """
    as_stored = scans.likeness(motion)
    if as_stored >= residual.SAME_HEAD:
        return
    for axes in (MIRRORED, *_likely(scans)):
        other = _read_as(scans, axes)
        likeness = other.likeness(search.quick(other, search.anywhere(other)))
        if likeness >= residual.SAME_HEAD:
            raise InputError(
                f"baseline and follow-up: one head only if {in_words(axes)} (likeness "
                f"{likeness:.2f}, as stored"
                f" {as_stored:.2f}); wanted two scans with right axes in their headers"
            )


def in_words(axes: Axes) -> str:
    """What must be wrong if a scan fits with these axes."""
    if (axes == MIRRORED).all():
        return "one of them is mirrored left to right"
    pointed = []
    for column in axes.T:
        axis = int(np.abs(column).argmax())
        pointed.append(DIRECTIONS[axis][int(column[axis] < 0)])
    return f"the follow-up's left, back and top are read as {', '.join(pointed)}"


def _likely(scans: Scans) -> list[Axes]:
    """The other ways to read the axes that make the scans most alike from afar."""
    start = np.concatenate([np.zeros(RIGID - 3), scans.between_centres])
    baseline, followup = scans.blurred(search.COARSE_MM)
    centre = scans.middle + scans.between_centres / 2

    def similarity(axes: Axes) -> float:
        # a head seen with other axes: the point looked at is turned back before it is looked up
        head = replace(
            followup,
            to_index=followup.to_index @ axes.T,
            origin_mm=centre + axes @ (followup.origin_mm - centre),
        )
        return Similarity([baseline, head], scans.middle, start, spacing_mm=12.0)(start)

    return sorted(_every(), key=similarity)[-TRIED:]


def _every() -> list[Axes]:
    """All 48 but the right one and the mirrored one."""
    signed = [
        np.diag(signs) @ np.eye(3, dtype=np.int64)[list(order)]
        for order in itertools.permutations(range(3))
        for signs in itertools.product((1, -1), repeat=3)
    ]
    return [
        axes for axes in signed if not (np.abs(axes) == np.eye(3)).all() or (axes.diagonal()[1:] < 0).any()
    ]


def _read_as(scans: Scans, axes: Axes) -> Scans:
    """The follow-up turned or mirrored about its middle."""
    centre = scans.middle + scans.between_centres / 2

    def turned(scan: sitk.Image) -> sitk.Image:
        copy = sitk.Image(scan)
        copy.SetOrigin((centre + axes @ (np.array(scan.GetOrigin()) - centre)).tolist())
        copy.SetDirection((axes @ np.reshape(scan.GetDirection(), (3, 3))).ravel().tolist())
        return copy

    shown = [scans.shown[0], turned(scans.shown[1])]
    return replace(
        scans,
        fine=[scans.fine[0], turned(scans.fine[1])],
        coarse=[scans.coarse[0], turned(scans.coarse[1])],
        shown=shown,
        brains=None if scans.brains is None else [head_of(part, scaled=False) for part in shown],
    )
