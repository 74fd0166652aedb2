"""A result made by hand, for the tests of what is written and shown."""

from dataclasses import replace

import numpy as np
import SimpleITK as sitk

from app.images import grids
from app.method import lesions
from app.method.place import Place
from app.method.preprocessing import Pair
from app.method.quality import ScanQuality
from app.pipeline import Result
from tests.made_up_alignment import made_up_alignment


def make_result() -> Result:
    """A ball of a brain in 64 x 60 x 56 voxels of 1 mm, turned against the follow-up.

    Lesion 1 is 6 x 6 x 6 voxels on the patient's left, lesion 2 is 4 x 4 x 4 on the right.
    """
    grid = sitk.Image(64, 60, 56, sitk.sitkUInt8)
    grid.SetOrigin((-31.5, -29.5, -27.5))
    z, y, x = np.indices((56, 60, 64))
    distance = np.sqrt((z - 27.5) ** 2 + (y - 29.5) ** 2 + (x - 31.5) ** 2)
    mask = np.zeros(distance.shape, dtype=bool)
    mask[24:30, 30:36, 42:48] = True  # left: x runs from right to left
    mask[30:34, 16:20, 20:24] = True
    scan = ((distance < 26) * (1 + 0.1 * np.sin(x / 3))).astype(np.float32)
    probability = np.where(mask, 0.8, 0.1).astype(np.float32)
    turn = sitk.Euler3DTransform(
        (0, 0, 0), 0.05, -0.04, 0.06, (2, -1, 1)
    )  # from middle space to the follow-up
    followup = grids.moved_grid(grid, turn)
    found = [
        replace(lesion, place=Place("left", "periventricular"))
        for lesion in lesions.describe(mask, probability, followup)
    ]
    return Result(
        mask=grids.like(mask, followup),
        probability=grids.like(probability, followup),
        lesions=found,
        aligned=made_up_alignment(turn, angle_degrees=10.0, shift_mm=4.9),
        pair=Pair(scan, scan + mask, distance < 26, grid),
        quality=(
            ScanQuality("64x60x28 voxels of 1x1x2 mm", 2.0, 3.0, 1.2),
            ScanQuality("64x60x56 voxels of 1x1x1 mm", 1.0, 2.0, 1.1),
        ),
        seconds={"predict": 1.0},
        warnings=("the two scans differ; look at both",),
    )
