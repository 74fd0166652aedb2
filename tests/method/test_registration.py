"""Alignment of made-up heads moved by known motions. benchmarks/alignment.py does so with real scans."""

import logging

import numpy as np
import pytest
import SimpleITK as sitk
from scipy import ndimage

from app.errors import InputError
from app.images import grids
from app.method import registration
from app.phantom import Phantom

PITCH_MM = 60.0  # points of the brain, in a cube about its middle


def _points() -> list[tuple[float, float, float]]:
    return [
        (x, y, z)
        for x in (-PITCH_MM, 0.0, PITCH_MM)
        for y in (-PITCH_MM, 0.0, PITCH_MM)
        for z in (-PITCH_MM, 0.0, PITCH_MM)
    ]


def _moved(scan: sitk.Image, motion: sitk.Transform, spacing_mm: tuple[float, float, float]) -> sitk.Image:
    """The scan of a head that moved by `motion`, on a tilted grid of its own, contrast and noise changed."""
    tilt = sitk.Euler3DTransform((0, 0, 0), 0.1, 0.05, -0.08)
    size = [
        round(side * old / new)
        for side, old, new in zip(scan.GetSize(), scan.GetSpacing(), spacing_mm, strict=True)
    ]
    grid = sitk.Image(size, sitk.sitkUInt8)
    grid.SetSpacing(spacing_mm)
    grid.SetOrigin([-(side - 1) * spacing / 2 for side, spacing in zip(size, spacing_mm, strict=True)])
    grid = grids.moved_grid(grid, sitk.CompositeTransform([motion, tilt]))
    values = grids.array(sitk.Resample(scan, grid, motion.GetInverse(), sitk.sitkBSpline, 0.0))
    values = np.maximum(values, 0) ** 0.8
    return grids.like(values + np.random.default_rng(1).normal(0, 1, values.shape).astype(np.float32), grid)


def _errors_mm(aligned: registration.Aligned, motion: sitk.Transform) -> list[float]:
    """How far each point of the baseline is put from where the motion takes it."""
    to_middle = aligned.to_baseline.GetInverse()
    found = [aligned.to_followup.TransformPoint(to_middle.TransformPoint(point)) for point in _points()]
    return [
        float(np.linalg.norm(np.subtract(motion.TransformPoint(point), there)))
        for point, there in zip(_points(), found, strict=True)
    ]


def _apart_mm(one: registration.Aligned, other: registration.Aligned) -> float:
    """The greatest distance between where two alignments put the points of the brain."""
    there = [
        [
            aligned.to_followup.TransformPoint(aligned.to_baseline.GetInverse().TransformPoint(point))
            for point in _points()
        ]
        for aligned in (one, other)
    ]
    return float(np.linalg.norm(np.subtract(*there), axis=1).max())


@pytest.fixture(scope="module")
def small_motion() -> sitk.Transform:
    return sitk.Euler3DTransform((0, 0, 0), 0.08, -0.05, 0.1, (6, -4, 8))


@pytest.fixture(scope="module")
def moved(patient: Phantom, small_motion: sitk.Transform) -> sitk.Image:
    return _moved(patient.followup, small_motion, (3.0, 3.0, 5.0))


@pytest.fixture(scope="module")
def forward(patient: Phantom, moved: sitk.Image) -> registration.Aligned:
    return registration.align(patient.followup, moved)


def test_a_known_motion_is_recovered(forward: registration.Aligned, small_motion: sitk.Transform) -> None:
    """A sixth of a voxel of 3 mm; at 1 mm on real scans the benchmark finds 0.05 to 0.25 mm."""
    assert max(_errors_mm(forward, small_motion)) < 0.5
    assert forward.similarity_after > forward.similarity_before
    # |rotation| of Euler angles (0.08, -0.05, 0.1): 7.79 degrees by scipy's
    # Rotation.from_matrix(...).magnitude()
    assert forward.angle_degrees == pytest.approx(7.79, abs=0.3)


def test_each_scan_is_moved_by_half(forward: registration.Aligned) -> None:
    """The middle lies halfway: going to one scan undoes going to the other, turn and shift."""
    for point in _points():
        to_baseline = np.subtract(forward.to_baseline.TransformPoint(point), point)
        to_followup = np.subtract(forward.to_followup.TransformPoint(point), point)
        # half a turn by 4 degrees: the two displacements are opposite but for the turn's second order, 1 -
        # cos 4 degrees of 110 mm
        np.testing.assert_allclose(
            to_baseline, -to_followup, atol=2 * 110 * (1 - np.cos(np.radians(4))) + 0.1
        )


def test_swapped_scans_give_the_inverse(
    patient: Phantom, moved: sitk.Image, forward: registration.Aligned
) -> None:
    """Within 0.1 mm at points 60 mm from the middle, which bounds the angle to 0.1 degree."""
    backward = registration.align(moved, patient.followup)
    for point in _points():
        there = forward.to_followup.TransformPoint(forward.to_baseline.GetInverse().TransformPoint(point))
        back = backward.to_followup.TransformPoint(backward.to_baseline.GetInverse().TransformPoint(there))
        assert np.linalg.norm(np.subtract(back, point)) < 0.1


@pytest.mark.parametrize(  # RPS and LSA are mirrored: their directions have determinant -1
    "axes", ["RPS", *(pytest.param(axes, marks=pytest.mark.slow) for axes in ("RAS", "PIR", "LSA"))]
)
def test_how_the_voxels_are_stored_does_not_matter(
    patient: Phantom, moved: sitk.Image, forward: registration.Aligned, axes: str
) -> None:
    """The same voxels at the same places, in another order: the same motion to 0.1 mm (coarse grids start at
    another corner).
    """
    stored = sitk.DICOMOrient(moved, axes)
    assert stored.GetDirection() != moved.GetDirection()
    assert _apart_mm(registration.align(patient.followup, stored), forward) < 0.1


def test_negative_values_do_not_matter(
    patient: Phantom, moved: sitk.Image, forward: registration.Aligned
) -> None:
    """Standardised intensities: mean 0, spread 1."""
    assert (
        _apart_mm(
            registration.align(patient.followup, sitk.Cast(sitk.Normalize(moved), sitk.sitkFloat32)), forward
        )
        < 0.05
    )


@pytest.mark.parametrize(
    "spacing_mm",
    [(1.0, 4.0, 4.0), *(pytest.param(s, marks=pytest.mark.slow) for s in ((3.0, 3.0, 6.0), (2.5, 2.5, 0.5)))],
    ids=str,
)
def test_thick_and_thin_slices(
    patient: Phantom, small_motion: sitk.Transform, spacing_mm: tuple[float, float, float]
) -> None:
    """6 mm, sagittal 4 mm and 0.5 mm: a sixth of the head's own voxel of 3 mm."""
    moved = _moved(patient.followup, small_motion, spacing_mm)
    assert max(_errors_mm(registration.align(patient.followup, moved), small_motion)) < 0.5


@pytest.mark.slow
def test_a_huge_scan(patient: Phantom, small_motion: sitk.Transform) -> None:
    """440 x 550 x 400 voxels of 0.4 x 0.4 x 0.5 mm."""
    moved = _moved(patient.followup, small_motion, (0.4, 0.4, 0.5))
    assert max(_errors_mm(registration.align(patient.followup, moved), small_motion)) < 0.5


def test_a_stripped_scan_and_a_whole_head(patient: Phantom, small_motion: sitk.Transform) -> None:
    """Without masks of the brains: what one scan shows and the other does not tells nothing."""
    stripped = sitk.Mask(patient.followup, patient.brain)
    aligned = registration.align(patient.followup, _moved(stripped, small_motion, (3.0, 3.0, 4.0)))
    assert max(_errors_mm(aligned, small_motion)) < 0.7


@pytest.mark.slow
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_20_degrees_and_40_mm_are_found(patient: Phantom, axis: int) -> None:
    angles, shift = [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]
    angles[axis], shift[axis - 1] = np.radians(20), 40
    motion = sitk.Euler3DTransform((0, 0, 0), *angles, shift)
    aligned = registration.align(patient.followup, _moved(patient.followup, motion, (3.0, 3.0, 4.0)))
    assert max(_errors_mm(aligned, motion)) < 0.6


@pytest.mark.slow
def test_the_brains_alone_are_looked_at_last(patient: Phantom, small_motion: sitk.Transform) -> None:
    """Everything but the brain is shifted by 9 mm: whole heads are pulled apart by it, brains are not."""
    brain = grids.array(patient.brain) > 0
    values = grids.array(patient.followup)
    torn = grids.like(np.where(brain, values, np.roll(values, 3, axis=2)), patient.followup)
    moved = _moved(torn, small_motion, (3.0, 3.0, 3.0))
    moved_brain = sitk.Resample(patient.brain, moved, small_motion.GetInverse(), sitk.sitkNearestNeighbor)
    guided = registration.align(patient.followup, moved, (patient.brain, moved_brain))
    assert max(_errors_mm(guided, small_motion)) < 0.7
    assert max(_errors_mm(registration.align(patient.followup, moved), small_motion)) > max(
        _errors_mm(guided, small_motion)
    )


@pytest.fixture(scope="module")
def moved_on_one_grid(
    patient: Phantom, small_motion: sitk.Transform
) -> tuple[sitk.Image, tuple[sitk.Image, sitk.Image]]:
    """A moved head resampled onto the grid of the other, with noise; and both brains."""
    scan = patient.followup
    moved = grids.array(sitk.Resample(scan, scan, small_motion.GetInverse(), sitk.sitkBSpline, 0.0))
    moved += np.random.default_rng(2).normal(0, 2, moved.shape).astype(np.float32)
    brain = sitk.Resample(patient.brain, scan, small_motion.GetInverse(), sitk.sitkNearestNeighbor)
    return grids.like(moved, scan), (patient.brain, brain)


def test_a_right_header_is_not_made_worse(patient: Phantom) -> None:
    """Noise of 3 % of the brain's signal, another contrast, a little bias: used bit for bit, not moved by an
    estimate.
    """
    values = grids.array(patient.followup)
    noise = np.random.default_rng(0).normal(0, 3, values.shape)
    bias = np.exp(0.2 * np.linspace(-1, 1, values.shape[2]))
    noisy = grids.like((100 * (values / 100) ** 0.8 * bias + noise).astype(np.float32), patient.followup)
    aligned = registration.align(patient.followup, noisy)
    assert (aligned.one_grid, aligned.moved) == (True, False)
    assert aligned.apart_mm < 0.3  # a tenth of a voxel of 3 mm
    assert aligned.to_baseline.TransformPoint((1.0, 2.0, 3.0)) == (1.0, 2.0, 3.0)
    assert aligned.to_followup.TransformPoint((1.0, 2.0, 3.0)) == (1.0, 2.0, 3.0)
    assert aligned.similarity_after == aligned.similarity_before
    assert aligned.residual.verdict == "same head"


def test_a_wrong_header_is_found(
    patient: Phantom,
    small_motion: sitk.Transform,
    moved_on_one_grid: tuple[sitk.Image, tuple[sitk.Image, sitk.Image]],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """On one grid, but not aligned: measured, said, undone."""
    moved, brains = moved_on_one_grid
    with caplog.at_level(logging.INFO):
        aligned = registration.align(patient.followup, moved, brains)
    wanted_mm = np.mean([np.linalg.norm(np.subtract(small_motion.TransformPoint(p), p)) for p in _points()])
    assert (aligned.one_grid, aligned.moved, aligned.stretch_percent) == (True, True, 0.0)
    # the corners of a cube of 60 mm lie farther out than most of a brain
    assert 0.6 * wanted_mm < aligned.apart_mm < wanted_mm
    assert f"{aligned.apart_mm:.1f} mm apart on one grid: aligned" in caplog.text
    assert max(_errors_mm(aligned, small_motion)) < 0.5
    assert aligned.similarity_after > aligned.similarity_before


def test_a_change_of_scale_is_found(patient: Phantom) -> None:
    """2 % along one axis, -1 % along another, 1 % of shear: a scanner's.

    Both halves share the determinant.
    """
    scanner = sitk.AffineTransform([1.02, 0.01, 0, 0, 0.99, 0, 0, 0, 1.0], [3, -2, 1], [0, 0, 0])
    aligned = registration.align(patient.followup, _moved(patient.followup, scanner, (3.0, 3.0, 3.0)))
    assert (
        max(_errors_mm(aligned, scanner)) < 0.5
    )  # a sixth of a voxel; a rigid motion is off by 1.2 mm there
    # the singular values of the matrix above: 1.0211, 0.989 (by numpy.linalg.svd)
    assert aligned.stretch_percent == pytest.approx(2.1, abs=0.4)
    to_baseline, to_followup = (
        np.linalg.det(np.reshape(sitk.AffineTransform(way).GetMatrix(), (3, 3)))
        for way in (aligned.to_baseline, aligned.to_followup)
    )
    assert to_baseline * to_followup == pytest.approx(1)
    assert to_followup == pytest.approx(np.sqrt(1.02 * 0.99), abs=0.004)


def test_a_skull_that_one_scan_lacks_does_not_pull_at_the_brain(patient: Phantom) -> None:
    """The change of scale of the test above, the follow-up without skull, both brains known: a tenth of a
    voxel.
    """
    scanner = sitk.AffineTransform([1.02, 0.01, 0, 0, 0.99, 0, 0, 0, 1.0], [3, -2, 1], [0, 0, 0])
    moved = _moved(patient.followup, scanner, (3.0, 3.0, 3.0))
    brain = grids.labels_on(patient.brain, moved, scanner.GetInverse())
    aligned = registration.align(patient.followup, sitk.Mask(moved, brain), (patient.brain, brain))
    assert max(_errors_mm(aligned, scanner)) < 0.3


def test_a_change_of_scale_beyond_what_scanners_do_is_not_made(
    patient: Phantom, caplog: pytest.LogCaptureFixture
) -> None:
    grown = sitk.AffineTransform([1.08, 0, 0, 0, 1.08, 0, 0, 0, 1.08], [0, 0, 0], [0, 0, 0])
    aligned = registration.align(patient.followup, _moved(patient.followup, grown, (3.0, 3.0, 3.0)))
    assert aligned.stretch_percent == 0
    assert "seem to differ in scale by 8 %" in caplog.text


def test_never_uses_headers_and_says_how_wrong_they_are(
    patient: Phantom,
    moved_on_one_grid: tuple[sitk.Image, tuple[sitk.Image, sitk.Image]],
    caplog: pytest.LogCaptureFixture,
) -> None:
    moved, brains = moved_on_one_grid
    aligned = registration.align(patient.followup, moved, brains, "never")
    assert not aligned.moved
    assert aligned.to_followup.TransformPoint((1.0, 2.0, 3.0)) == (1.0, 2.0, 3.0)
    assert aligned.apart_mm > 5
    assert f"{aligned.apart_mm:.1f} mm apart and are used as they are" in caplog.text


def test_always_aligns_what_is_aligned(patient: Phantom) -> None:
    aligned = registration.align(patient.followup, patient.followup, register="always")
    assert (aligned.one_grid, aligned.moved) == (True, True)
    assert aligned.apart_mm < 0.05


@pytest.mark.slow
def test_two_heads_are_told_apart(patient: Phantom, caplog: pytest.LogCaptureFixture) -> None:
    """The outline of one head, filled with details of its own."""
    values = grids.array(patient.followup)
    details = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=values.shape), 1.5)
    other = np.where(values > 20, 100 + 400 * details, values).astype(np.float32)
    aligned = registration.align(patient.followup, grids.like(other, patient.followup))
    assert aligned.residual.verdict == "not the same head"
    assert "not the same head" in caplog.text


def test_scans_without_common_head_are_refused(patient: Phantom) -> None:
    crumb = sitk.GetImageFromArray(np.random.default_rng(0).random((5, 6, 7)).astype(np.float32))
    with pytest.raises(InputError, match="baseline and follow-up: no head in common"):
        registration.align(patient.followup, crumb)


@pytest.mark.parametrize("size", [(2, 2, 2), (3, 40, 5)])
def test_tiny_scans(size: tuple[int, int, int]) -> None:
    """There is not enough to measure by."""
    scans = [
        sitk.GetImageFromArray(np.random.default_rng(seed).random(size[::-1]).astype(np.float32))
        for seed in (0, 1)
    ]
    for origin in ((0, 0, 0), (0.5, 0, 0)):
        scans[1].SetOrigin(origin)
        with pytest.raises(InputError, match="baseline and follow-up: no head in common"):
            registration.align(*scans)
