"""Which motion makes two scans most alike? Coarse to fine, rigid first, with stretches if they pay."""

import itertools
import logging
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk
from scipy import optimize
from scipy.spatial.transform import Rotation

from ..arrays import Points
from ..errors import InputError
from ..images import grids
from . import residual
from .similarity import (
    AFFINE,
    AIR,
    RADIUS_MM,
    RIGID,
    Head,
    Similarity,
    displacement_mm,
    flattened,
    half_matrix,
    head_of,
    stretch,
)

TURNS_DEG = (-20.0, 0.0, 20.0)  # tried about each axis before the search
COARSE_MM, MEDIUM_MM = 4.0, 2.5  # blur of the first searches; the last has none, which halves its error
COARSE_SIDE_MM = 2.0  # voxel side of all searches but the last
FINE_SIDE_MM = 1.0  # voxel side of the last search: a whole head of 0.4 mm takes minutes and gigabytes
MINIMUM_COMMON_ML = 200.0  # of head in both scans; below it there is nothing to align by
# Of what the similarity exceeds 1 by, at other points than those it was fitted at. benchmarks/alignment.py:
# known rigid motions gain less, visits put into MNI one by one 3 to 19 % (MSLesSeg).
AFFINE_GAIN = 0.02
STRETCH_LIMIT = 0.05  # along any direction; scanners differ by up to 2 % (MSLesSeg)


logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Scans:
    """What the search looks at: both scans, fine and coarse, and where they show brain or head."""

    fine: list[sitk.Image]
    coarse: list[sitk.Image]  # without bias field; that is gone in what is shown, and smooth around it
    shown: list[sitk.Image]  # float in [0, 1], coarse: both brains if they are known, else both heads
    brains: list[Head] | None
    middle: Points  # (3,), halfway between the centres of what is shown
    between_centres: Points  # (3,)

    @staticmethod
    def of(
        baseline: sitk.Image, followup: sitk.Image, brains: tuple[sitk.Image, sitk.Image] | None
    ) -> "Scans":
        fine = [grids.averaged(scan, FINE_SIDE_MM) for scan in (baseline, followup)]
        coarse = [grids.averaged(scan, COARSE_SIDE_MM) for scan in fine]
        if brains is None:
            shown = [grids.like((head_of(scan).values > AIR).astype(np.float32), scan) for scan in coarse]
        else:
            shown = [grids.averaged(sitk.Cast(brain, sitk.sitkFloat32), COARSE_SIDE_MM) for brain in brains]
        places = [_places(part) for part in shown]
        centres = [part.mean(axis=0) for part in places]
        return Scans(
            fine,
            [flattened(scan, part) for scan, part in zip(coarse, shown, strict=True)],
            shown,
            None if brains is None else [head_of(part, scaled=False) for part in shown],
            (centres[0] + centres[1]) / 2,
            centres[1] - centres[0],
        )

    def blurred(self, smoothing_mm: float) -> list[Head]:
        """Both coarse scans."""
        return [head_of(scan, smoothing_mm) for scan in self.coarse]

    def in_brains(self, heads: list[Head], start: Points, spacing_mm: float, seed: int = 0) -> Similarity:
        """The similarity where both scans show brain; of the heads, three times as large, if no brains are
        known.
        """
        wider = spacing_mm if self.brains else 1.5 * spacing_mm
        return Similarity(heads, self.middle, start, wider, self.brains, seed)

    def similarity(self, motion: Points) -> float:
        """Of both heads, seen coarsely. Raises InputError if they have too little in common."""
        heads = Similarity(self.blurred(0), self.middle, motion, spacing_mm=5.0)
        if heads.common_ml(motion) < MINIMUM_COMMON_ML:
            raise InputError(
                f"baseline and follow-up: {heads.common_ml(motion):.0f} ml of head in both; wanted "
                "two scans that show"
                " the same part of one head"
            )
        return heads(motion)

    def ways(self, motion: Points) -> tuple[sitk.Transform, sitk.Transform]:
        """From middle space to each scan."""
        return _half(motion, self.middle, -1), _half(motion, self.middle, +1)

    def likeness(self, motion: Points) -> float:
        """Of the details of both brains or heads: 1 the same, 0 unrelated."""
        return residual.likeness(residual.blocks(self.coarse, self.shown, self.ways(motion)))

    def apart_mm(self, motion: Points) -> float:
        """Mean over both brains, or heads, of how far a motion carries them."""
        places = np.concatenate([part - part.mean(axis=0) for part in map(_places, self.shown)])
        return float(np.linalg.norm(displacement_mm(motion, places), axis=1).mean())


# The searches below find motions of 6 or 12 numbers, mm; similarity.py says which.


def rough(scans: Scans, near_headers: bool) -> Points:
    """The motion, with stretches, as coarse voxels tell it; near none if the headers may be right and the
    heads agree.
    """
    if near_headers:
        motion = quick(scans, np.zeros(RIGID))
        if scans.likeness(motion) >= residual.SAME_HEAD:
            return motion
    motion = quick(scans, anywhere(scans))
    if scans.likeness(motion) >= residual.SAME_HEAD:
        return motion
    # voxel sizes may be wrong in a header by more than the narrow search finds
    wide = _climb(
        Similarity(scans.blurred(COARSE_MM), scans.middle, motion, spacing_mm=8.0),
        motion,
        first_mm=6.0,
        last_mm=0.5,
    )
    wide = _climb(
        scans.in_brains(scans.blurred(MEDIUM_MM), wide, spacing_mm=5.0), wide, first_mm=2.0, last_mm=0.1
    )
    return max(wide, motion, key=scans.likeness)


def anywhere(scans: Scans) -> Points:
    """The rigid motion of greatest similarity: a grid of turns about two guesses of the shift."""
    coarse = scans.blurred(COARSE_MM)
    turns = np.radians(list(itertools.product(TURNS_DEG, repeat=3))) * RADIUS_MM
    found = []
    for shift in (scans.between_centres, np.zeros(3)):
        similarity = Similarity(coarse, scans.middle, np.concatenate([np.zeros(3), shift]), spacing_mm=10.0)
        if similarity.common_ml(similarity.start) < MINIMUM_COMMON_ML:
            continue
        best = max((np.concatenate([turn, shift]) for turn in turns), key=similarity)
        found.append(_climb(similarity, best, first_mm=8.0, last_mm=0.5))
    if not found:
        raise InputError(
            "baseline and follow-up: no head in common; wanted two scans that show the same part of one head"
        )
    return max(found, key=lambda motion: Similarity(coarse, scans.middle, motion, spacing_mm=8.0)(motion))


def quick(scans: Scans, start: Points) -> Points:
    """The motion near a rigid `start` as coarse voxels tell it: first rigid and of the heads, then of the
    brains.
    """
    heads = Similarity(scans.blurred(MEDIUM_MM), scans.middle, start, spacing_mm=8.0)
    rigid = _climb(heads, start, first_mm=2.0, last_mm=0.2)
    brains = scans.in_brains(scans.blurred(0), rigid, spacing_mm=5.0)
    return _climb(brains, np.concatenate([rigid, np.zeros(AFFINE - RIGID)]), first_mm=1.0, last_mm=0.05)


def exact(scans: Scans, start: Points) -> Points:
    """The motion near `start` as fine voxels tell it; with stretches if they make the scans clearly more
    alike.
    """
    heads = [head_of(flattened(scan, part)) for scan, part in zip(scans.fine, scans.shown, strict=True)]
    similarity = scans.in_brains(heads, start, spacing_mm=4.0)
    rigid = _climb(similarity, start[:RIGID], first_mm=1.0, last_mm=0.02)
    stretched = _climb(similarity, start, first_mm=0.5, last_mm=0.02)
    judged = scans.in_brains(heads, start, spacing_mm=4.0, seed=1)
    if judged(stretched) - 1 < (1 + AFFINE_GAIN) * (judged(rigid) - 1):
        return rigid
    if stretch(stretched) > STRETCH_LIMIT:
        logger.warning(
            "baseline and follow-up seem to differ in scale by %.0f %%: check that they show one "
            "patient, and the"
            " voxel sizes in their headers; they are aligned without a change of scale",
            100 * stretch(stretched),
        )
        return rigid
    return stretched


def _climb(similarity: Callable[[Points], float], start: Points, first_mm: float, last_mm: float) -> Points:
    """COBYQA (Ragonneau, Zhang 2024) from `start`: a parabola followed inside a trust region that shrinks
    from first to last mm.

    It asks for the similarity a fifth as often as Powell's line searches, and asks alike when the scans are
    swapped.
    """
    options = {"initial_tr_radius": first_mm, "final_tr_radius": last_mm}
    result = optimize.minimize(lambda motion: -similarity(motion), start, method="COBYQA", options=options)
    motion: Points = result.x
    return motion


def _places(shown: sitk.Image) -> Points:
    """Some of the voxels (n, 3), mm, of a coarse brain or head; the middle of the grid if it is empty."""
    voxels = np.argwhere(sitk.GetArrayViewFromImage(shown) > 0.5)[::8]
    if len(voxels) == 0:
        voxels = np.array([[side // 2 for side in shown.GetSize()[::-1]]])
    return grids.points(voxels, shown)


def _half(motion: Points, middle: Points, side: int) -> sitk.Transform:
    """Half of a motion, forwards (side 1) or backwards (-1), about the middle of the head."""
    shift = (side * motion[3:6] / 2).tolist()
    if len(motion) == AFFINE:
        return sitk.AffineTransform(half_matrix(motion, side).ravel().tolist(), shift, middle.tolist())
    quaternion = Rotation.from_rotvec(side * motion[:3] / RADIUS_MM / 2).as_quat()
    return sitk.VersorRigid3DTransform(quaternion.tolist(), shift, middle.tolist())
