"""Lesions from visit to visit, on a line of voxels of 10 mm³: everything can be counted by hand."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from app.method import change, tracks
from app.method.tracks import Seen, Tracks
from app.patients.visits import chosen

VOXEL_MM3 = 10.0
SIDE = 30
SURFACE_MM = 0.6
Spans = list[tuple[int, int]]  # first voxel and one beyond the last, of each lesion


def _mask(spans: Spans) -> np.ndarray:
    mask = np.zeros((1, 1, SIDE), dtype=bool)
    for start, stop in spans:
        mask[0, 0, start:stop] = True
    return mask


def _drawn(visits: tuple[int, int], before: Spans, after: Spans) -> Seen:
    """What a network that draws all lesions of both visits says."""
    masks = _mask(before), _mask(after)
    labels, count = ndimage.label(masks[0] | masks[1])
    kinds, volumes = [], []
    for number in range(1, count + 1):
        was, now = (float(np.count_nonzero(mask[labels == number])) * VOXEL_MM3 for mask in masks)
        volumes.append((was, now))
        kinds.append("new" if not was else "vanished" if not now else "unchanged")
    return Seen(
        visits,
        labels.astype(np.int32),
        tuple(kinds),
        tuple(volumes),
        masks,
        drawn=True,
        surface_mm=SURFACE_MM,
    )


def _marked(visits: tuple[int, int], new: Spans = [], gone: Spans = [], maybe: Spans = []) -> Seen:  # noqa: B006
    """What a network that knows changes alone says."""
    spans = [("new", span) for span in new] + [("vanished", span) for span in gone]
    spans += [("possible", span) for span in maybe]
    labels = np.zeros((1, 1, SIDE), dtype=np.int32)
    for number, (_, (start, stop)) in enumerate(spans, start=1):
        labels[0, 0, start:stop] = number
    sizes = [(kind, (stop - start) * VOXEL_MM3) for kind, (start, stop) in spans]
    volumes = [(size if kind == "vanished" else 0.0, size if kind == "new" else 0.0) for kind, size in sizes]
    at = _mask(gone), _mask(new)
    return Seen(
        visits,
        labels,
        tuple(kind for kind, _ in spans),
        tuple(volumes),
        at,
        drawn=False,
        surface_mm=SURFACE_MM,
    )


def _all_drawn(*visits: Spans) -> Tracks:
    pairs = [_drawn(pair, visits[pair[0]], visits[pair[1]]) for pair in chosen(len(visits), "all")]
    return tracks.follow(pairs, len(visits))


def test_a_lesion_appears_grows_and_vanishes() -> None:
    found = _all_drawn([], [(5, 8)], [(4, 12)], [])
    (one,) = found.tracks
    assert one.states == ("absent", "appears", "grows", "vanishes")
    assert one.volumes_mm3 == (0.0, 30.0, 80.0, 0.0)
    assert found.disagreements == []
    assert [place.max() for place in found.places] == [0, 1, 1, 0]


def test_shrinking_and_staying_the_same_by_the_rule_of_a_pair() -> None:
    (one,) = _all_drawn([(2, 12)], [(2, 11)], [(2, 5)]).tracks
    assert change.grown_mm3(90, SURFACE_MM) > 100
    assert change.grown_mm3(30, SURFACE_MM) < 90
    assert one.states == ("present", "unchanged", "shrinks")


def test_two_that_merge_go_on_as_the_one_that_shares_most() -> None:
    found = _all_drawn([(2, 5), (8, 13)], [(2, 13)], [(2, 13)])
    larger, smaller = found.tracks
    assert larger.states == ("present", "grows", "unchanged")
    assert larger.volumes_mm3 == (50.0, 110.0, 110.0)
    assert (smaller.states, smaller.merged_into) == (("present", "merged", "merged"), 1)
    assert smaller.volumes_mm3 == (30.0, None, None)
    assert found.disagreements == []


def test_one_that_splits_goes_on_as_the_larger_part() -> None:
    found = _all_drawn([(2, 13)], [(2, 5), (8, 13)], [(2, 5)])
    whole, part = found.tracks
    assert whole.states == ("present", "shrinks", "vanishes")
    assert whole.volumes_mm3 == (110.0, 50.0, 0.0)
    assert (part.states, part.split_from) == (("not split yet", "present", "unchanged"), 1)
    assert part.volumes_mm3 == (None, 30.0, 30.0)


def test_without_drawn_lesions_the_volume_is_that_where_it_appears() -> None:
    pairs = [_marked((0, 1), new=[(3, 8)]), _marked((1, 2))]
    found = tracks.follow(pairs, 3)
    (one,) = found.tracks
    assert one.states == ("absent", "appears", "present")
    assert one.volumes_mm3 == (0.0, 50.0, None)
    assert found.disagreements == []


def test_a_comparison_with_the_first_visit_measures_the_third() -> None:
    pairs = [_marked((0, 1), new=[(3, 8)]), _marked((0, 2), new=[(2, 13)])]
    (one,) = tracks.follow(pairs, 3).tracks
    assert one.states == ("absent", "appears", "grows")
    assert one.volumes_mm3 == (0.0, 50.0, 110.0)


def test_a_pair_that_misses_what_two_others_mark_is_listed() -> None:
    """New from 1 to 2, not from 1 to 3, and nothing from 2 to 3: there at 2 and at 3."""
    pairs = [_marked((0, 1), new=[(3, 8)]), _marked((0, 2)), _marked((1, 2))]
    found = tracks.follow(pairs, 3)
    assert found.tracks[0].states == ("absent", "appears", "present")
    (one,) = found.disagreements
    assert (one.lesion, one.visits, one.pair_says, one.together) == (1, (0, 2), "no change", "new")


def test_new_where_it_is_there_already_is_growth() -> None:
    pairs = [_marked((0, 1), new=[(3, 8)]), _marked((1, 2), new=[(7, 11)])]
    found = tracks.follow(pairs, 3)
    assert found.tracks[0].states == ("absent", "appears", "grows")
    assert found.tracks[0].volumes_mm3 == (0.0, 50.0, None)
    assert found.disagreements == []


def test_one_mark_that_three_pairs_contradict_is_no_lesion() -> None:
    pairs = [_marked(pair) for pair in chosen(4, "all") if pair != (0, 3)] + [_marked((0, 3), new=[(3, 8)])]
    found = tracks.follow(pairs, 4)
    assert found.tracks[0].states == ("absent",) * 4
    assert [(one.visits, one.pair_says) for one in found.disagreements] == [((0, 3), "new")]


def test_possible_marks_and_pairs_that_cannot_be_compared_contradict_nothing() -> None:
    silent = replace(_marked((1, 2)), comparable=False)
    pairs = [_marked((0, 1), new=[(3, 8)]), silent, _marked((0, 2), maybe=[(3, 8)])]
    assert tracks.follow(pairs, 3).disagreements == []


def test_volumes_of_one_visit_that_differ_are_listed() -> None:
    pairs = [_marked((0, 2), new=[(2, 14)]), _marked((1, 2), new=[(3, 6)])]
    found = tracks.follow(pairs, 3)
    (one,) = found.tracks
    assert one.volumes_mm3 == (0.0, 0.0, 75.0)
    (listed,) = found.disagreements  # 120 mm³ is within that of 75 mm³, 30 mm³ is not
    assert change.grown_mm3(30, SURFACE_MM) < 75
    assert change.grown_mm3(75, SURFACE_MM) > 120
    assert (listed.visits, listed.pair_says, listed.together) == ((1, 2), "30 mm³ at visit 3", "75 mm³")


def test_neighbours_that_share_too_little_are_two_lesions() -> None:
    """One voxel of twenty, where a tenth of the smaller, two, is wanted."""
    found = _all_drawn([(0, 11)], [(10, 21)])
    assert len(found.tracks) == 2


@given(
    st.lists(st.lists(st.tuples(st.integers(0, 24), st.integers(1, 5)), max_size=3), min_size=2, max_size=4)
)
def test_drawn_visits_never_disagree_and_no_volume_is_lost(sizes: list[list[tuple[int, int]]]) -> None:
    """All pairs of the same drawings: they contradict each other nowhere, and every voxel has one number."""
    visits = [[(start, start + size) for start, size in spans] for spans in sizes]
    found = _all_drawn(*visits)
    for visit, spans in enumerate(visits):
        np.testing.assert_array_equal(found.places[visit] > 0, _mask(spans))
        shown = {track.number for track in found.tracks if track.states[visit] not in ("absent", "vanishes")}
        assert set(np.unique(found.places[visit])) - {0} <= shown
    for track in found.tracks:
        assert len(track.states) == len(track.volumes_mm3) == len(visits)


def test_too_many_visits() -> None:
    with pytest.raises(ValueError, match="13 visits; wanted 12 at most"):
        tracks.follow([_marked((0, 1))], 13)
