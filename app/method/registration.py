"""Where do both scans of a patient meet?

Halfway, by the motion between them that is measured for every pair.
"""

import logging
from dataclasses import dataclass
from typing import Literal

import numpy as np
import SimpleITK as sitk

from ..images import grids
from . import orientation, residual, search
from .residual import Residual
from .search import Scans
from .similarity import RADIUS_MM, RIGID, stretch

Register = Literal["auto", "always", "never"]

# Mean over the brain; half a voxel of the network's grid. Open pairs on one grid: right headers are measured
# at 0.1 mm (01) and 0.4 mm (03), wrong ones at 0.9 mm and more (MSLesSeg); benchmarks/alignment.py shows
# them.
TOLERANCE_MM = 0.5

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Aligned:
    """How two scans meet in middle space, halfway between them, so that both are interpolated alike."""

    # From middle space to each scan, mm, as sitk.Resample takes them; identities for scans used as they are.
    to_baseline: sitk.Transform
    to_followup: sitk.Transform
    similarity_before: float  # normalised mutual information of the heads: 1 unrelated, about 1.3 identical
    similarity_after: float
    angle_degrees: float  # between the two heads, as measured, like the three below
    shift_mm: float  # of the middle of the head
    stretch_percent: float  # greatest, along any direction; 0: the motion is rigid
    apart_mm: float  # mean over the brain, between what belongs together, where the headers put it
    one_grid: bool  # the headers put both scans on one grid
    moved: bool  # the scans were aligned; if not, they are used as they are
    residual: Residual  # what is left

    def followup_to_baseline(self) -> sitk.Transform:
        """Points of the follow-up to those of the baseline, mm."""
        return sitk.CompositeTransform([self.to_baseline, self.to_followup.GetInverse()])

    def in_words(self) -> str:
        """'Same head. 3.1 mm apart on one grid (turned by 2.7°, scale 2.2 %): aligned; 0.9 mm are left.'"""
        verdict = self.residual.verdict
        where = "on one grid" if self.one_grid else "by their headers"
        what = "aligned" if self.moved else "used as they are"
        return (
            f"{verdict[0].upper()}{verdict[1:]}. {self.apart_mm:.1f} mm apart {where} (turned by "
            f"{self.angle_degrees:.1f}°, scale {self.stretch_percent:.1f} %): {what}; "
            f"{self.residual.mean_mm:.1f} mm are left."
        )


def align(
    baseline: sitk.Image,
    followup: sitk.Image,
    brains: tuple[sitk.Image, sitk.Image] | None = None,
    register: Register = "auto",
) -> Aligned:
    """Measure the motion between two scans by normalised mutual information, and undo it.

    `auto` uses scans that share a grid as they are if they lie less than `TOLERANCE_MM` apart; `never` uses
    all as their headers place them. The similarity is computed at points of middle space, so that no scan is
    the fixed one: swapping the scans swaps the transforms. With the masks of both `brains`, the last search
    looks at them alone: jaw and neck move against the brain, and two scanners distort them unlike (open pair
    03: 0.4 mm from the data set's own alignment instead of 0.9). The motion is rigid unless a stretch makes
    the scans clearly more alike. Raises InputError if the scans have too little head in common, or if one of
    them is mirrored.
    """
    scans = Scans.of(baseline, followup, brains)
    one_grid = grids.same_grid(baseline, followup)
    motion = search.rough(scans, near_headers=one_grid or register == "never")
    orientation.check(scans, motion)
    untouched = register == "never" or (
        register == "auto" and one_grid and scans.apart_mm(motion) <= TOLERANCE_MM
    )
    if not untouched:
        motion = search.exact(scans, motion)
    ways = (sitk.Transform(), sitk.Transform()) if untouched else scans.ways(motion)
    there = np.zeros(RIGID)
    before = scans.similarity(there)
    aligned = Aligned(
        to_baseline=ways[0],
        to_followup=ways[1],
        similarity_before=before,
        similarity_after=before if untouched else scans.similarity(motion),
        angle_degrees=float(np.degrees(np.linalg.norm(motion[:3]) / RADIUS_MM)),
        shift_mm=float(np.linalg.norm(motion[3:6])),
        stretch_percent=100 * stretch(motion),
        apart_mm=scans.apart_mm(motion),
        one_grid=one_grid,
        moved=not untouched,
        residual=residual.measure(scans.coarse, scans.shown, ways),
    )
    _say(aligned)
    return aligned


def _say(aligned: Aligned) -> None:
    """Log what a user should know."""
    if aligned.one_grid and aligned.moved:
        logger.info("the heads were %.1f mm apart on one grid: aligned", aligned.apart_mm)
    if not aligned.moved and aligned.apart_mm > TOLERANCE_MM:
        logger.warning(
            "the heads lie %.1f mm apart and are used as they are: change that with --register auto",
            aligned.apart_mm,
        )
    if aligned.residual.verdict != "same head":
        logger.warning(
            "baseline and follow-up: %s (likeness %.2f, of one head at least %.2f): check that they "
            "show one patient, "
            "and look at the picture that `prepare` writes",
            aligned.residual.verdict,
            aligned.residual.likeness,
            residual.SAME_HEAD,
        )
