"""All lesions of a pair in three lists, numbered without gaps: on bars of 2 mm3 voxels."""

import numpy as np
import SimpleITK as sitk

from app.arrays import Mask
from app.method import findings
from app.method.findings import ONE_DRAWING, SHOWN_BEFORE, UNCERTAIN, Marks

GRID = sitk.Image(40, 12, 1, sitk.sitkUInt8)
GRID.SetSpacing((1.0, 1.0, 2.0))


def _bar(row: int, length: int) -> Mask:
    mask = np.zeros((1, 12, 40), dtype=bool)
    mask[0, row, :length] = True
    return mask


def test_each_lesion_has_its_list_its_number_and_its_volumes() -> None:
    new = _bar(0, 4) | _bar(2, 9)
    found = findings.find(
        Marks(
            new=new,
            probability=np.full(new.shape, 0.75, np.float32),
            vanished=_bar(4, 6),
            swapped=np.full(new.shape, 0.5, np.float32),
            possible={
                SHOWN_BEFORE: _bar(6, 3),
                UNCERTAIN: _bar(8, 5) | _bar(0, 2),
            },  # the last is in a new one
        ),
        GRID,
        surface_mm=0.6,
    )
    assert [(lesion.number, lesion.kind, lesion.volume_mm3) for lesion in found.all()] == [
        (1, "new", 18),
        (2, "new", 8),
        (3, "vanished", 12),
        (4, "possible", 10),
        (5, "possible", 6),
    ]
    assert [lesion.why for lesion in found.possible] == [UNCERTAIN, SHOWN_BEFORE]
    assert [(lesion.baseline_mm3, lesion.followup_mm3) for lesion in found.all()[:3]] == [
        (0, 18),
        (0, 8),
        (12, 0),
    ]
    assert [lesion.mean_probability for lesion in found.all()[:3]] == [0.75, 0.75, 0.5]
    assert found.load_mm3 is None
    assert found.classes[0, :9:2, 0].tolist() == [1, 1, 5, 0, 0]
    assert [int(found.numbers[0, row, 0]) for row in (0, 1, 2, 4, 6, 8)] == [2, 0, 1, 3, 5, 4]


def test_a_possible_mark_that_touches_a_lesion_is_part_of_it() -> None:
    mark = _bar(0, 9)
    found = findings.find(
        Marks(_bar(0, 4), np.zeros(mark.shape, np.float32), possible={UNCERTAIN: mark}), GRID, 0.6
    )
    assert [lesion.number for lesion in found.all()] == [1]
    assert not found.looked_for_vanished


def test_with_a_drawn_baseline_the_load_of_both_visits_is_known() -> None:
    old, gone = _bar(4, 20), _bar(6, 6)
    found = findings.find(
        Marks(_bar(0, 4), np.zeros(old.shape, np.float32), vanished=gone, baseline=old | gone), GRID, 0.6
    )
    assert [lesion.kind for lesion in found.all()] == ["new", "unchanged", "vanished"]
    assert found.load_mm3 == (52, 48)


def test_nothing_is_three_empty_lists() -> None:
    none = np.zeros((1, 12, 40), dtype=bool)
    found = findings.find(Marks(none, none.astype(np.float32), none), GRID, 0.6)
    assert found.all() == []
    assert not found.numbers.any()


def test_what_an_earlier_reason_leaves_of_a_mark_is_no_mark_of_its_own() -> None:
    whole, part = _bar(0, 9), _bar(0, 8)
    marks = Marks(
        np.zeros_like(whole),
        np.zeros(whole.shape, np.float32),
        possible={SHOWN_BEFORE: part, UNCERTAIN: whole},
    )
    assert [(one.why, one.volume_mm3) for one in findings.find(marks, GRID, 0.6).possible] == [
        (SHOWN_BEFORE, 16)
    ]


def test_what_touches_a_lesion_at_a_corner_is_its_rim() -> None:
    """Two pieces drawn at follow-up alone: one corner to corner with a new lesion, one apart."""
    rim = np.zeros((1, 12, 40), dtype=bool)
    rim[0, 1, 4:9] = True
    marks = Marks(
        new=_bar(0, 4),
        probability=np.zeros(rim.shape, np.float32),
        baseline=_bar(0, 0),
        followup=rim | _bar(6, 5),
        drawn=True,
    )
    found = findings.find(marks, GRID, 0.6)
    (one,) = found.possible
    assert (one.why, one.voxels) == (ONE_DRAWING, 5)
    assert found.numbers[0, 6, 0] == one.number


def test_what_is_drawn_at_one_visit_alone_is_listed_if_a_site_drew_the_other() -> None:
    """Of 2 and 4 mm3, at one visit each: the smaller is no lesion; by networks alone, neither is."""
    before, after = _bar(0, 1) | _bar(4, 9), _bar(2, 2) | _bar(4, 9)
    for drawn, wanted in ((True, [(ONE_DRAWING, 4)]), (False, [])):
        marks = Marks(
            new=_bar(0, 0),
            probability=np.zeros(before.shape, np.float32),
            baseline=before,
            followup=after,
            drawn=drawn,
        )
        found = findings.find(marks, GRID, 0.6)
        assert [(one.why, one.volume_mm3) for one in found.possible] == wanted
        assert [one.kind for one in found.changed] == ["unchanged"]
