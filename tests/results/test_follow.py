"""The page and tables of a patient's visits, from tracks made by hand."""

import csv
import io
import json
from typing import get_args

import jsonschema
import numpy as np
import SimpleITK as sitk

from app.method.tracks import Disagreement, State, Track, Tracks
from app.results import follow
from app.results.follow import Followed
from tests.conftest import REPOSITORY


def _followed(load: list[float | None] | None = None) -> Followed:
    """Lesion 1 appears and is not measured at the last visit, lesion 2 is merged into it, 3 vanishes."""
    grid = sitk.Image(60, 50, 40, sitk.sitkUInt8)
    places = [np.zeros((40, 50, 60), dtype=np.int32) for _ in range(3)]
    places[1][20:24, 20:24, 20:24] = 1
    places[0][20:22, 26:28, 20:22] = 2
    places[0][10:12, 10:12, 10:12] = 3
    tracks = [
        Track(1, ("absent", "appears", "present"), (0.0, 64.0, None)),
        Track(2, ("present", "unchanged", "merged"), (8.0, 9.0, None), merged_into=1),
        Track(3, ("present", "vanishes", "absent"), (8.0, 0.0, 0.0)),
    ]
    against = [Disagreement(1, (0, 2), "no change", "new")]
    scans = [np.ones((40, 50, 60), dtype=np.float32) for _ in range(3)]
    names = ["ses-<1>", "ses-2", "ses-3"]
    none: list[float | None] = [None] * 3
    return Followed(
        names,
        Tracks(tracks, places, against, surface_mm=0.6),
        scans,
        grid,
        load or none,
        {"ses-2": "../ses-2/report.html", "ses-3": "ses-3/report.html"},
        ["ses-3_since-ses-1"],
    )


def test_the_headline_counts_what_became_of_lesions() -> None:
    assert _followed().headline() == "3 lesions in 3 visits: 1 appeared, 1 vanished, 1 merged into another"


def test_the_table_has_a_row_for_each_lesion_and_visit() -> None:
    rows = list(csv.DictReader(io.StringIO(follow.as_csv(_followed()))))
    assert [(row["lesion"], row["visit"], row["state"], row["volume_mm3"]) for row in rows[:5]] == [
        ("1", "1", "absent", "0.000"),
        ("1", "2", "appears", "64.000"),
        ("1", "3", "present", ""),
        ("2", "1", "present", "8.000"),
        ("2", "2", "unchanged", "9.000"),
    ]
    assert rows[5]["merged_into"] == "1"


def test_sums_take_what_is_not_measured_as_it_was_last() -> None:
    """8 + 8 mm³, then 64 + 9; at the third visit lesion 1 counts as last measured, and 2 is part of it."""
    content = json.loads(follow.as_json(_followed()))
    assert content["followed_mm3"] == [16.0, 73.0, 64.0]
    assert content["not_measured"] == [0, 0, 1]
    assert content["load_mm3"] == [None] * 3
    assert content["disagreements"] == [
        {"lesion": 1, "visits": [1, 3], "pair_says": "no change", "together": "new"}
    ]


def test_the_json_is_as_its_schema_says_and_the_schema_knows_every_state() -> None:
    schema = json.loads((REPOSITORY / "app" / "results" / "schemas" / "follow.schema.json").read_text())
    jsonschema.validate(json.loads(follow.as_json(_followed())), schema)
    states = schema["properties"]["lesions"]["items"]["properties"]["states"]["items"]["enum"]
    assert states == list(get_args(State))


def test_the_page_says_all_of_it_and_loads_nothing() -> None:
    page = follow.page(_followed())
    assert "ses-&lt;1&gt;" in page
    assert "ses-<1>" not in page
    assert "default-src 'none'" in page
    assert "<script" not in page
    for words in ("merged into 1", "64 mm³", "no change", "ses-3_since-ses-1: this comparison was not done"):
        assert words in page
    assert page.count('<section class="lesion"') == 3
    assert "The total load is not known" in page
    assert "The total load is not known" not in follow.page(_followed([1000.0, 1100.0, 1200.0]))


def test_a_plot_breaks_its_line_where_nothing_is_measured() -> None:
    """Three visits, 0 to 100 mm³: the floor is at 190 pixels, the top at 14."""
    plot = follow._plot([("1", (0.0, 100.0, None)), ("2", (None, 50.0, 100.0))], ["a", "b", "c"])
    assert plot["lines"][0]["d"] == "M58.0 190.0L289.0 14.0"
    assert plot["lines"][1]["d"] == "M289.0 102.0L520.0 14.0"
    assert [label for _, label in plot["steps"]] == ["0", "20", "40", "60", "80", "100"]


def test_names_of_lines_stand_at_their_ends_and_not_on_each_other() -> None:
    lines = [("1", (0.0, 100.0)), ("2", (0.0, 99.0)), ("3", (50.0, 0.0)), ("4", (50.0, None))]
    assert follow._plot(lines, ["a", "b"])["names"] == [
        ("4", 58.0, 102.0),
        ("1", 520.0, 14.0),
        ("2", 520.0, 26.0),
    ]


def test_no_lesion_is_a_page_too() -> None:
    nothing = Followed(
        ["1", "2"],
        Tracks([], [np.zeros((4, 4, 4), dtype=np.int32)] * 2, [], surface_mm=0.6),
        [np.ones((4, 4, 4), dtype=np.float32)] * 2,
        sitk.Image(4, 4, 4, sitk.sitkUInt8),
        [None, None],
        {"visit_2": "visit_2/report.html"},
        [],
    )
    assert "No lesion was seen to change" in follow.page(nothing)
    assert nothing.headline() == "no lesion in 2 visits"
