"""What is left after an alignment, against displacements that were made."""

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from app.arrays import Array, Mask
from app.images import grids
from app.method import residual
from app.method.residual import Blocks, Residual

AS_STORED = (sitk.Transform(), sitk.Transform())
EMPTY = Blocks(
    *np.zeros((2, 1, 1, 1), np.float32), np.zeros((1, 1, 1), bool), sitk.Image(1, 1, 1, sitk.sitkUInt8)
)


def _textured_head() -> tuple[sitk.Image, sitk.Image]:
    """A ball of 130 mm full of details of some 6 mm, in voxels of 3 mm; and the ball, its brain."""
    rng = np.random.default_rng(0)
    z, y, x = np.indices((50, 50, 50)) * 3.0 - 73.5
    ball = (np.sqrt(z**2 + y**2 + x**2) < 65).astype(np.float32)
    values = ndimage.gaussian_filter(rng.normal(size=ball.shape), 1.5)
    scan = sitk.GetImageFromArray((100 + 400 * values).astype(np.float32) * ball)
    scan.SetSpacing([3.0] * 3)
    scan.SetOrigin([-73.5] * 3)
    return scan, grids.like(ball, scan)


def _shifted(scan: sitk.Image, by_mm: tuple[float, float, float]) -> sitk.Image:
    """What the scan shows at p lies at p + by_mm."""
    back = sitk.TranslationTransform(3, [-step for step in by_mm])
    return sitk.Resample(scan, scan, back, sitk.sitkBSpline, 0.0)


def _deep(brain: Mask) -> Mask:
    return np.asarray(ndimage.binary_erosion(brain, iterations=5))


def test_a_known_shift_is_measured() -> None:
    """By (1, -0.5, 2) mm along x, y, z; arrays run z, y, x. Within a fifth."""
    scan, brain = _textured_head()
    pair = residual.blocks([scan, _shifted(scan, (1.0, -0.5, 2.0))], [brain, brain], AS_STORED)
    found = residual.displacement_mm(pair, pair.brain)[:, _deep(pair.brain)].mean(axis=1)
    np.testing.assert_allclose(found, (2.0, -0.5, 1.0), atol=0.4)


def test_swapped_scans_give_the_opposite() -> None:
    scan, brain = _textured_head()
    pair = residual.blocks([scan, _shifted(scan, (1.0, -0.5, 2.0))], [brain, brain], AS_STORED)
    back = Blocks(pair.followup, pair.baseline, pair.brain, pair.grid)
    np.testing.assert_allclose(
        residual.displacement_mm(back, back.brain), -residual.displacement_mm(pair, pair.brain), atol=1e-3
    )


def test_the_same_scan_brighter_and_shaded_is_not_displaced() -> None:
    scan, brain = _textured_head()
    shade = np.exp(0.3 * np.linspace(-1, 1, 50)).astype(np.float32)
    other = grids.like(2.5 * grids.array(scan) * shade, scan)
    left = residual.measure([scan, other], [brain, brain], AS_STORED)
    assert left.mean_mm < 0.1
    assert left.likeness > 0.95
    assert left.verdict == "same head"
    assert not left.incomparable(scan).any()


def test_a_torn_half_is_not_comparable() -> None:
    """The left half is as it was, the right half lies 4.5 mm higher: beyond LIMIT_MM there alone."""
    scan, brain = _textured_head()
    values, raised = grids.array(scan), grids.array(_shifted(scan, (0.0, 0.0, 4.5)))
    left_half = np.arange(50) >= 25  # x runs to the left
    torn = grids.like(np.where(left_half, values, raised), scan)
    left = residual.measure([scan, torn], [brain, brain], AS_STORED)
    flagged = left.incomparable(scan) & _deep(grids.array(brain) > 0)
    deep = _deep(grids.array(brain) > 0)
    assert flagged[..., :18].sum() > 0.8 * deep[..., :18].sum()
    assert flagged[..., 32:].sum() == 0


def test_new_lesions_side_by_side_are_no_displacement_where_they_are_known() -> None:
    """Five bright balls of 9 to 15 mm, as large as the details: taken for a shift, unless they are left out.
    What truly lies 4.5 mm higher is told all the same.
    """
    scan, brain = _textured_head()
    z, y, x = np.indices((50, 50, 50)) * 3.0 - 73.5
    lesions = np.zeros((50, 50, 50), dtype=bool)
    for centre, radius in (
        ((0, 0, 0), 7),
        ((16, 2, 5), 6),
        ((-14, 8, 2), 6),
        ((4, 16, -9), 5),
        ((9, -14, 6), 5),
    ):
        lesions |= (z - centre[0]) ** 2 + (y - centre[1]) ** 2 + (x - centre[2]) ** 2 < radius**2
    bright = float(grids.array(scan).max()) * 1.5
    known = grids.like(lesions.astype(np.float32), scan)

    def in_lesions(lower_mm: float) -> tuple[Array, Array]:
        """Displacement there, with the lesions and apart from them."""
        other = scan if lower_mm == 0 else _shifted(scan, (0.0, 0.0, lower_mm))
        after = grids.like(np.where(lesions, bright, grids.array(other)), scan)
        left = residual.measure([scan, after], [brain, brain], AS_STORED)
        there = grids.array(grids.resample(known, left.map_mm)) > 0.5
        return grids.array(left.map_mm)[there], grids.array(left.apart_from(known).map_mm)[there]

    with_them, apart = in_lesions(0.0)
    assert with_them.max() > 1.5
    assert apart.max() < 1.0
    _, apart = in_lesions(4.5)
    assert apart.min() > residual.LIMIT_MM


def test_unrelated_details_are_not_one_head() -> None:
    scan, brain = _textured_head()
    other = grids.like(np.ascontiguousarray(grids.array(scan)[::-1, ::-1]), scan)
    left = residual.measure([scan, other], [brain, brain], AS_STORED)
    assert abs(left.likeness) < 0.2
    assert left.verdict == "not the same head"


def test_verdicts() -> None:
    nothing = sitk.Image([2] * 3, sitk.sitkFloat32)
    verdicts = [Residual(nothing, 0.0, likeness, EMPTY).verdict for likeness in (0.9, 0.7, 0.3)]
    assert verdicts == ["same head", "doubtful", "not the same head"]


def test_no_brain_in_both() -> None:
    scan, brain = _textured_head()
    left = residual.measure([scan, scan], [brain, brain * 0], AS_STORED)
    assert (left.mean_mm, left.likeness) == (0.0, 0.0)
