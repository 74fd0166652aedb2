"""Lesions painted into an even ball of white matter."""

from dataclasses import replace

import numpy as np
import pytest

from app.arrays import Array, Mask
from app.intensity import SPREADS_PER_UNIT
from app.method import painting
from app.method.painting import Look

SHARP = Look(contrast=2.0, blur_mm=0.0, slice_mm=1.0, slice_axis=0)
SIZES = (30.0, 100.0) * 4
WHITE_LEVEL = 1 + painting.WHITE_SPREADS / SPREADS_PER_UNIT


@pytest.fixture(scope="module")
def head() -> tuple[Array, Mask]:
    """White matter in a ball of 44 mm radius, 1 mm voxels."""
    z, y, x = np.mgrid[-48:48, -48:48, -48:48]
    brain = z**2 + y**2 + x**2 < 44**2
    return np.where(brain, WHITE_LEVEL, 0).astype(np.float32), brain


def test_each_lesion_has_its_volume_and_contrast(head: tuple[Array, Mask]) -> None:
    scan, brain = head
    white = painting.white_matter(scan, scan, brain, 1.0)
    painted = painting.paint(scan, white, np.zeros_like(brain), SIZES, SHARP, 1.0, np.random.default_rng(0))
    assert painted.sizes_mm3 == SIZES
    assert np.bincount(painted.labels.ravel())[1:].tolist() == list(SIZES)
    rise = painted.scan - scan
    assert rise[painted.labels > 0] == pytest.approx(2.0 / SPREADS_PER_UNIT)
    assert np.abs(rise[painted.labels == 0]).max() < 1e-6


def test_they_keep_away_from_the_edge_from_marks_and_from_each_other(head: tuple[Array, Mask]) -> None:
    scan, brain = head
    marked = np.zeros_like(brain)
    marked[40:56, 40:56, 40:56] = True
    white = painting.white_matter(scan, scan, brain, 1.0)
    painted = painting.paint(scan, white, marked, SIZES, SHARP, 1.0, np.random.default_rng(1))
    middles = np.array(
        [
            np.argwhere(painted.labels == number).mean(axis=0)
            for number in range(1, len(painted.sizes_mm3) + 1)
        ]
    )
    assert len(middles) >= 4
    apart = np.linalg.norm(middles[:, None] - middles[None], axis=-1)[~np.eye(len(middles), dtype=bool)]
    assert apart.min() > painting.APART_MM - 3  # an uneven ball's centre is not quite its middle
    beyond = np.clip(np.abs(middles - 47.5) - 7.5, 0, None)  # to the marked cube
    assert np.linalg.norm(beyond, axis=1).min() > painting.AWAY_MM - 3
    assert np.linalg.norm(middles - 48, axis=1).max() < 44 - painting.FROM_EDGE_MM + 3


def test_one_seed_gives_one_picture(head: tuple[Array, Mask]) -> None:
    scan, brain = head
    white = painting.white_matter(scan, scan, brain, 1.0)
    first, again, other = (
        painting.paint(scan, white, ~brain, SIZES, SHARP, 1.0, np.random.default_rng(seed))
        for seed in (3, 3, 4)
    )
    assert np.array_equal(first.scan, again.scan)
    assert not np.array_equal(first.labels, other.labels)


def test_thick_slices_spread_a_lesion_across_them_and_keep_its_signal(head: tuple[Array, Mask]) -> None:
    scan, brain = head
    white = painting.white_matter(scan, scan, brain, 1.0)
    thick = replace(SHARP, slice_mm=5.0)
    sharp, blurred = (
        painting.paint(scan, white, ~brain, (30.0,), look, 1.0, np.random.default_rng(5))
        for look in (SHARP, thick)
    )
    assert np.array_equal(sharp.labels, blurred.labels)
    rises = [painted.scan - scan for painted in (sharp, blurred)]
    assert rises[1].max() < rises[0].max()
    assert rises[1].sum() == pytest.approx(rises[0].sum(), rel=1e-4)
    assert np.ptp(np.argwhere(rises[1] > 1e-4)[:, 0]) == np.ptp(np.argwhere(rises[0] > 1e-4)[:, 0]) + 4


def test_without_white_matter_nothing_is_painted(head: tuple[Array, Mask]) -> None:
    scan, brain = head
    painted = painting.paint(scan, ~brain & brain, ~brain, SIZES, SHARP, 1.0, np.random.default_rng(0))
    assert painted.sizes_mm3 == ()
    assert np.array_equal(painted.scan, scan)


def test_lesions_and_cortex_are_no_white_matter(head: tuple[Array, Mask]) -> None:
    scan, brain = head
    with_lesion = scan.copy()
    with_lesion[60:70, 40:50, 40:50] = 2.0
    white = painting.white_matter(scan, with_lesion, brain, 1.0)
    assert not white[60:70, 40:50, 40:50].any()
    assert white[48, 48, 48]
    assert not white[brain & (np.indices(brain.shape)[0] > 88)].any()
