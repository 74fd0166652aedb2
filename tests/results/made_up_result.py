"""A result made by hand, for the tests of what is written and shown."""

from dataclasses import replace

import numpy as np
import SimpleITK as sitk

from app import assessment
from app.images import grids
from app.method import findings, verdict
from app.method.findings import Marks
from app.method.grade import Found, SelfGrade
from app.method.place import Place
from app.method.preprocessing import Pair
from app.method.quality import ScanQuality
from app.pipeline import Result
from tests.made_up_alignment import made_up_alignment


def make_result(*, has_new: bool = True, fast: bool = False) -> Result:
    """A ball of a brain in 64 x 60 x 56 voxels of 1 mm, turned against the follow-up.

    Lesion 1 is 6 x 6 x 6 voxels on the patient's left, lesion 2 is 4 x 4 x 4 on the right, both new; lesion 3
    is 3 x 3 x 3 and vanished; 4 is 2 x 2 x 2 and only possible. Without the new ones, those two are 1 and 2;
    `fast` has none vanished.
    """
    grid = sitk.Image(64, 60, 56, sitk.sitkUInt8)
    grid.SetOrigin((-31.5, -29.5, -27.5))
    z, y, x = np.indices((56, 60, 64))
    distance = np.sqrt((z - 27.5) ** 2 + (y - 29.5) ** 2 + (x - 31.5) ** 2)
    new, vanished, possible = (np.zeros(distance.shape, dtype=bool) for _ in range(3))
    if has_new:
        new[24:30, 30:36, 42:48] = True  # left: x runs from right to left
        new[30:34, 16:20, 20:24] = True
    vanished[34:37, 36:39, 28:31] = True
    possible[20:22, 30:32, 30:32] = True
    scan = ((distance < 26) * (1 + 0.1 * np.sin(x / 3))).astype(np.float32)
    probability = np.where(new, 0.8, 0.1).astype(np.float32)
    turn = sitk.Euler3DTransform(
        (0, 0, 0), 0.05, -0.04, 0.06, (2, -1, 1)
    )  # from middle space to the follow-up
    followup = grids.moved_grid(grid, turn)
    aligned = made_up_alignment(turn, angle_degrees=10.0, shift_mm=4.9)
    pair = Pair(scan + vanished, scan + new, distance < 26, grid)
    found = findings.find(
        Marks(
            new,
            probability,
            None if fast else vanished,
            None if fast else probability,
            {findings.SHOWN_BEFORE: possible},
        ),
        followup,
        surface_mm=0.6,
    )
    found = assessment.looked_at(found, found.numbers, pair, followup, followup, aligned)
    found = replace(
        found, new=[replace(lesion, place=Place("left", "periventricular")) for lesion in found.new]
    )
    quality = (
        ScanQuality("64x60x28 voxels of 1x1x2 mm", 2.0, 3.0, 1.2),
        ScanQuality("64x60x56 voxels of 1x1x1 mm", 1.0, 2.0, 1.1),
    )
    return Result(
        mask=grids.like(new, followup),
        probability=grids.like(probability, followup),
        changes=grids.like(found.classes, followup),
        findings=found,
        shown=found.numbers,
        verdict=verdict.judge(quality, aligned.residual, pair),
        grade=None if fast else SelfGrade((Found(30.0, 10, 5), Found(100.0, 10, 9)), seed=0),
        aligned=aligned,
        pair=pair,
        quality=quality,
        seconds={"predict": 1.0},
        warnings=("the two scans differ; look at both",),
    )


def without_lesions(result: Result) -> Result:
    """The same scans with nothing found in them."""
    none = np.zeros(result.shown.shape, dtype=bool)
    found = findings.find(Marks(none, none.astype(np.float32), none), result.mask, 0.6)
    return replace(
        result,
        mask=grids.like(none, result.mask),
        changes=grids.like(none, result.mask),
        findings=found,
        shown=found.numbers,
    )
