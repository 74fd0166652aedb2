"""What became of each lesion: worked out on paper, on bars and cubes of 1 mm voxels."""

import numpy as np
import pytest

from app.arrays import Mask
from app.method import change


def _cube(first: int, side: int) -> Mask:
    """A cube in a row of cubes, in a box of 12 x 12 x 60 voxels."""
    mask = np.zeros((12, 12, 60), dtype=bool)
    mask[1 : 1 + side, 1 : 1 + side, first : first + side] = True
    return mask


NOTHING = np.zeros((12, 12, 60), dtype=bool)


def test_without_drawings_only_new_and_vanished_are_told() -> None:
    changes = change.classify(_cube(2, 3), _cube(20, 4), None, None, voxel_mm3=1.0, surface_mm=0.6)
    assert changes.kinds == ("new", "vanished")
    assert changes.baseline_mm3 == (0, 64)
    assert changes.followup_mm3 == (27, 0)
    assert not changes.doubtful.any()
    assert np.bincount(changes.classes().ravel())[1:].tolist() == [27, 0, 0, 0, 64]


@pytest.mark.parametrize(
    ("before", "after", "kind"),
    [
        (
            5,
            6,
            "enlarged",
        ),  # 125 mm3: a ball of 3.10 mm radius, with 0.6 mm more 212 mm3; 216 is more
        (5, 5, "unchanged"),
        (5, 7, "enlarged"),  # 343
        (7, 5, "shrunken"),
    ],
)
def test_a_lesion_has_changed_when_its_surface_moves_by_more_than_the_margin(
    before: int, after: int, kind: str
) -> None:
    changes = change.classify(
        NOTHING, NOTHING, _cube(2, before), _cube(2, after), voxel_mm3=1.0, surface_mm=0.6
    )

    assert changes.kinds == (kind,)
    assert (changes.baseline_mm3, changes.followup_mm3) == ((before**3,), (after**3,))


def test_the_margin_is_the_one_that_is_stated() -> None:
    """91 % of a ball of 5 mm, 40 % of one of 10 mm: (3.1 / 2.5)^3 and (5.6 / 5)^3."""
    for diameter_mm, times in ((5.0, 1.906624), (10.0, 1.404928)):
        volume_mm3 = np.pi / 6 * diameter_mm**3
        assert change.grown_mm3(volume_mm3, change.margin_mm([1.0, 0.5])) == pytest.approx(times * volume_mm3)


def test_thick_slices_hide_how_far_a_surface_has_moved() -> None:
    """27 -> 64 mm3: radii of 1.86 and 2.48 mm, 0.62 mm apart."""
    for slices_mm, kind in (((1.0, 1.0), "enlarged"), ((0.6, 0.6), "enlarged"), ((1.0, 3.0), "unchanged")):
        surface_mm = change.margin_mm(slices_mm)
        changes = change.classify(NOTHING, NOTHING, _cube(2, 3), _cube(2, 4), 1.0, surface_mm)
        assert changes.kinds == (kind,)


def test_a_new_lesion_beside_an_old_one_stays_new_and_leaves_the_old_one_unchanged() -> None:
    old, new = _cube(2, 4), np.zeros_like(NOTHING)
    new[1:4, 1:4, 6:9] = True  # shares a face with it
    changes = change.classify(new, NOTHING, old, old | new, voxel_mm3=1.0, surface_mm=0.6)
    assert changes.kinds == ("new", "unchanged")
    assert (changes.baseline_mm3, changes.followup_mm3) == ((0, 64), (27, 64))


def test_of_a_drawn_baseline_alone_the_vanished_part_is_gone() -> None:
    drawn, gone = _cube(2, 6), _cube(2, 6)
    gone[:, :, 4:] = False  # 2 of 6 slices: 72 of 216 mm3 are gone; 144 with 0.6 mm more have 239
    whole = _cube(20, 3)
    changes = change.classify(NOTHING, gone | whole, drawn | whole, None, voxel_mm3=1.0, surface_mm=0.6)
    assert changes.kinds == ("unchanged", "vanished")
    assert changes.followup_mm3 == (144, 0)


@pytest.mark.parametrize(("planes", "kind"), [(2, "shrunken"), (3, "vanished")])
def test_a_lesion_half_of_which_is_marked_has_vanished_whatever_is_left_of_it(planes: int, kind: str) -> None:
    """Of its six planes so many are marked as vanished; one is drawn at follow-up."""
    drawn, gone, left = _cube(2, 6), _cube(2, 6), _cube(2, 6)
    gone[:, :, 2 + planes :] = False
    left[:, :, : 2 + 5] = False
    changes = change.classify(NOTHING, gone, drawn, left, voxel_mm3=1.0, surface_mm=0.6)
    assert (changes.kinds, changes.baseline_mm3, changes.followup_mm3) == ((kind,), (216,), (36,))


def test_what_no_map_of_changes_confirms_is_doubtful() -> None:
    changes = change.classify(NOTHING, NOTHING, _cube(2, 3), _cube(20, 4), voxel_mm3=2.0, surface_mm=0.6)
    assert changes.kinds == ()
    assert changes.doubtful.sum() == 27 + 64
    assert not changes.labels.any()


def test_swapped_visits_swap_the_kinds() -> None:
    before, after = _cube(2, 3) | _cube(12, 6) | _cube(30, 4), _cube(2, 5) | _cube(12, 4) | _cube(30, 4)
    new, gone = _cube(40, 3), _cube(50, 3)
    forth = change.classify(new, gone, before | gone, after | new, 1.0, 0.6)
    back = change.classify(gone, new, after | new, before | gone, 1.0, 0.6)
    opposite = {"new": "vanished", "enlarged": "shrunken", "unchanged": "unchanged"}
    opposite |= {there: here for here, there in opposite.items()}
    assert sorted(forth.kinds) == sorted(opposite[kind] for kind in back.kinds)
    assert set(forth.kinds) == set(change.KINDS)
    assert sum(forth.baseline_mm3) == sum(back.followup_mm3)


def test_what_a_site_has_drawn_at_baseline_is_old() -> None:
    half, less, apart = _cube(2, 4), _cube(20, 4), _cube(40, 3)
    drawn = NOTHING.copy()
    drawn[1:5, 1:5, 2:4] = True  # half of the first
    drawn[1:5, 1:5, 20] = True  # a quarter of the second
    kept = change.without_old(half | less | apart, drawn)
    assert kept.sum() == 48 + 27
    assert not (kept & drawn).any()
    assert not change.without_old(NOTHING, drawn).any()
