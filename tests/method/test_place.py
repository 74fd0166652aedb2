"""Words for places in a made-up head whose anatomy is known (app/phantom.py draws it about 0, mm to the left,
back and up).
"""

import numpy as np
import pytest
import SimpleITK as sitk

from app import phantom
from app.images import grids
from app.method import place, preprocessing
from app.method.place import Anatomy
from app.method.preprocessing import Pair

# (left, posterior, superior) of the middle of three voxels side by side, and what to say
PLACES = {
    "at the left ventricle's outer wall, 22 mm from the middle": ((23.0, 26.0, 6.0), "left, periventricular"),
    "at the right one's": ((-23.0, 26.0, 6.0), "right, periventricular"),
    "2 mm under the right surface of the cerebrum, 64 mm wide": ((-62.0, 0.0, 5.0), "right, near the cortex"),
    "in the left cerebellum": ((20.0, 42.0, -42.0), "left, infratentorial"),
    "in the brainstem": ((0.0, 14.0, -40.0), "midline, infratentorial"),
    "14 mm and more from fluid": ((30.0, -2.0, 22.0), "left, deep white matter"),
}


ASIDE_MM = np.array([(-2.0, 0.0, 0.0), (0.0, 0.0, 0.0), (2.0, 0.0, 0.0)])


@pytest.fixture(scope="module")
def pair() -> Pair:
    """The later scan twice, in 2-mm voxels."""
    patient = phantom.make_phantom(spacing_mm=2.0)
    return preprocessing.scale(patient.followup, patient.followup, grids.array(patient.brain) > 0)


@pytest.fixture(scope="module")
def anatomy(pair: Pair) -> Anatomy:
    return Anatomy(pair, pair.grid)


@pytest.mark.parametrize(("point", "words"), PLACES.values(), ids=PLACES)
def test_a_known_place_in_words(anatomy: Anatomy, point: tuple[float, ...], words: str) -> None:
    assert anatomy.place(point + ASIDE_MM).in_words() == words


def test_a_turned_head_gives_the_same_words(pair: Pair) -> None:
    """Turned by 17, 11 and 14 degrees and moved: what is left in the head stays left."""
    motion = sitk.Euler3DTransform((0, 0, 0), 0.3, -0.2, 0.25, (20, -30, 10))
    turned = Anatomy(pair, grids.moved_grid(pair.grid, motion))
    said = [
        turned.place(np.array([motion.TransformPoint(one) for one in (point + ASIDE_MM).tolist()])).in_words()
        for point, _ in PLACES.values()
    ]
    assert said == [words for _, words in PLACES.values()]


def test_a_mirrored_head_swaps_the_sides(pair: Pair) -> None:
    """The phantom's grid lies about 0, so that reversing its last axis is the mirror image."""
    mirrored = Anatomy(
        Pair(pair.baseline[..., ::-1], pair.followup[..., ::-1], pair.brain[..., ::-1], pair.grid), pair.grid
    )
    for (left, posterior, superior), words in PLACES.values():
        swapped = {"left": "right", "right": "left", "midline": "midline"}[words.split(",")[0]]
        assert mirrored.place(np.array((-left, posterior, superior)) + ASIDE_MM).side == swapped


def test_only_what_the_mirror_plane_passes_through_is_midline(anatomy: Anatomy) -> None:
    """The plane is the phantom's own, at 0: three voxels of ten beyond it are enough, one is not."""
    rows = {
        beyond: np.array([(2.0 * k - 1, 14.0, -40.0) for k in range(1 - beyond, 11 - beyond)])
        for beyond in (1, 3)
    }
    assert {beyond: anatomy.place(row).side for beyond, row in rows.items()} == {1: "left", 3: "midline"}


def test_without_ventricles_nothing_is_said_of_what_lies_beside_them(pair: Pair) -> None:
    grey = np.ones_like(pair.followup)
    anatomy = Anatomy(Pair(grey, grey, pair.brain, pair.grid), pair.grid)
    assert anatomy.place(np.array([(23.0, 26.0, 6.0)])).region == "undetermined"
    assert (
        anatomy.place(np.array([(20.0, 42.0, -42.0)])).region == "infratentorial"
    )  # the shape of the brain is enough


def test_the_frame_of_an_ellipsoid() -> None:
    """Half axes 60, 80, 50 mm about (5, -7, 11): the spread along each is the half axis / sqrt(5)."""
    line = np.arange(-84.0, 85.0, 2.0)
    points = np.stack(np.meshgrid(line, line, line, indexing="ij"), axis=-1).reshape(-1, 3)
    inside = points[((points / (60, 80, 50)) ** 2).sum(axis=1) < 1] + (5, -7, 11)
    frame = place.find_frame(inside)
    np.testing.assert_allclose(frame.centre_mm, (5, -7, 11), atol=1.5)
    np.testing.assert_allclose(frame.spread_mm, np.array((60, 80, 50)) / np.sqrt(5), rtol=0.02)
    np.testing.assert_allclose(frame.axes, np.eye(3), atol=0.05)
