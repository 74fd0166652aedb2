import math

import numpy as np
import SimpleITK as sitk

from app import phantom
from app.images import grids
from app.phantom import Phantom


def test_the_same_seed_gives_the_same_patient(patient: Phantom) -> None:
    again = phantom.make_phantom(spacing_mm=3.0)
    for wanted, found in ((patient.baseline, again.baseline), (patient.followup, again.followup)):
        np.testing.assert_array_equal(grids.array(wanted), grids.array(found))


def test_new_lesions_have_the_stated_volumes() -> None:
    """An ellipsoid with half axes r, 1.2 r, r has 4/3 pi 1.2 r^3 mm3; 1-mm voxels: to a few per cent."""
    grid = sitk.Image(81, 81, 81, sitk.sitkUInt8)
    grid.SetOrigin((-40, -40, -40))
    mask = phantom._balls(grid, phantom.NEW_LESIONS)
    wanted = sum(4 / 3 * math.pi * 1.2 * radius**3 for _, radius in phantom.NEW_LESIONS)
    assert abs(mask.sum() / wanted - 1) < 0.05


def test_new_lesions_are_bright_at_follow_up_and_not_before(patient: Phantom) -> None:
    new = grids.array(patient.new_lesions) > 0
    brain = grids.array(patient.brain) > 0
    turn = sitk.Euler3DTransform((0, 0, 0), 0.06, -0.04, 0.05, (4, -3, 5))  # that of the baseline
    before = grids.array(grids.resample(patient.baseline, patient.followup, turn.GetInverse()))
    after = grids.array(patient.followup)
    assert (new & ~brain).sum() == 0
    assert after[new].mean() > 1.3 * np.median(after[brain])
    assert before[new].mean() < 1.15 * np.median(before[brain])


def test_the_two_scans_differ_in_grid() -> None:
    patient = phantom.make_phantom(spacing_mm=2.0)
    assert patient.baseline.GetSpacing() == (2.0, 2.0, 4.0)
    assert patient.followup.GetSpacing() == (2.0, 2.0, 2.0)
