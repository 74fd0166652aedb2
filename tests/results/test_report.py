"""The page of one patient, from a result made by hand. tests/test_page.py opens it in a browser."""

import base64
import hashlib
import json
import math
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from scipy import ndimage

from app.images import grids
from app.method.verdict import Reason, Verdict
from app.pipeline import Result
from app.results import picture, report, words
from app.results.text import Heading
from tests.results.made_up_result import make_result, without_lesions


@pytest.fixture(scope="module")
def result() -> Result:
    return make_result()


class _Page(HTMLParser):
    """Counts tags and collects whatever a browser would load."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.loaded: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.loaded += [value or "" for name, value in attrs if name in ("src", "href")]


def test_the_page_counts_and_shows_each_lesion_and_loads_nothing(result: Result) -> None:
    text = report.page(result)
    page = _Page(text)
    assert "<h1>2 new lesions, 0.28 ml</h1>" in text  # 216 + 64 mm3
    assert "1 vanished (0.03 ml); 1 mark that may be a lesion, not counted" in text
    assert "not a medical device" in text
    assert text.count('<tr data-lesion="') == 4
    assert text.count('<div class="lesion" data-lesion="') == 4
    assert text.count('role="img" aria-label="axial, difference"') == 2 * 4  # without and with outlines
    assert page.loaded == []
    assert all(
        source.startswith("data:image/") for source in re.findall(r"url\(([^)]*)\)", text.split("<script")[0])
    )
    assert "default-src 'none'" in text


def test_what_is_said_cannot_become_markup(result: Result) -> None:
    evil = "</script><script>alert(1)</script>"
    odd = replace(result, warnings=(evil,), verdict=Verdict("with caution", (Reason("with caution", evil),)))
    text = report.page(odd, Heading(evil, evil, evil))
    assert text.count("&lt;/script&gt;&lt;script&gt;alert(1)") >= 6
    assert text.count("<script>") == 1  # page.js


def test_a_page_without_lesions_says_so(result: Result) -> None:
    text = report.page(without_lesions(result))
    assert "<h1>No new lesion found</h1>" in text
    assert "No vanished lesion was found." in text
    assert 'class="lesion"' not in text
    assert "Possible: not counted" not in text


def test_more_vanished_than_new_asks_for_the_order(result: Result) -> None:
    assert 'id="order"' not in report.page(result)
    page = report.page(make_result(has_new=False))
    assert "1 lesion at baseline is gone (" in page
    assert "and none are new (0.00 ml)" in page
    assert "are the scans in the right order?" in page


def test_as_many_vanished_of_more_volume_ask_for_the_order(result: Result) -> None:
    (gone,) = result.findings.of_kind("vanished")
    new = replace(result.findings.new[0], volume_mm3=gone.volume_mm3 + 1)
    assert words.order(replace(result.findings, new=[new])) is None
    asked = words.order(replace(result.findings, new=[replace(new, volume_mm3=gone.volume_mm3 - 1)]))
    assert asked is not None
    assert "are the scans in the right order?" in asked


def test_a_pair_that_cannot_be_compared_says_so_first(result: Result) -> None:
    reason = Reason("not comparable", "the scans show two patients")
    text = report.page(replace(result, verdict=Verdict("not comparable", (reason,))))
    assert "<h1>Not comparable: 1 possible lesion</h1>" in text
    assert '<li class="not-comparable">the scans show two patients</li>' in text


def test_a_blurrier_follow_up_is_told_of(result: Result) -> None:
    """On voxels of 1 mm."""
    assert "Detail:" not in report.page(result)
    blurrier = replace(result, pair=replace(result.pair, missing=np.array([1.54, 0.6, 0.0])))
    assert "as if blurred by 1.5 mm more than the baseline" in report.page(blurrier)


def test_what_could_have_been_missed_is_said_with_its_interval(result: Result) -> None:
    text = report.page(result)
    assert "5 of 10 of 30 mm³ (3.9 mm across) are found (95 % interval: 24 to 76 %)" in text
    assert "9 of 10 of 100 mm³ (5.8 mm across) are found (95 % interval: 60 to 98 %)" in text
    fast = report.page(make_result(fast=True))
    assert "Not tried (--fast)" in fast
    assert "Not looked for (--fast)." in fast


def test_patient_and_visits_are_named_only_if_asked_for(result: Result) -> None:
    assert 'class="label"' not in report.page(result)
    named = report.page(result, Heading("Trial 7, 012", "2023-01-31", "2024-02-15"))
    assert '<p class="label">Trial 7, 012. Baseline: 2023-01-31. Follow-up: 2024-02-15.</p>' in named


def test_slices_are_those_of_the_files_with_dicom_s_own_numbers(result: Result) -> None:
    """Slice k of 56 is stored as image 100 + k at baseline, as 200 + k at follow-up."""
    lesion = result.lesions[0]
    assert lesion.slices is not None
    before, after = lesion.slices
    numbers = tuple([str(first + k) for k in range(1, 57)] for first in (100, 200))
    assert f"{before} (image {100 + before}) / {after} (image {200 + after})" in report.page(
        result,
        instances=numbers,  # type: ignore[arg-type]
    )


def test_more_lesions_than_are_pictured_are_all_in_the_table(
    result: Result, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report, "SHOWN", 1)
    page = report.page(result)
    assert page.count('<tr data-lesion="') == 4
    assert page.count('<div class="lesion"') == 1
    assert "Pictures of the first 1 only" in page


def test_the_viewer_s_volumes_lie_where_the_follow_up_does(result: Result, tmp_path: Path) -> None:
    """Middle space is turned against the follow-up: the middle of each outline, in the viewer's file, lies
    where the table says.
    """
    page = report.page(result)
    packed = re.search(r'id="outlines-volume">([^<]+)<', page).group(1)  # type: ignore[union-attr]
    (tmp_path / "outlines.nii.gz").write_bytes(base64.b64decode(packed))
    volume = sitk.ReadImage(str(tmp_path / "outlines.nii.gz"))
    drawn = sitk.GetArrayFromImage(volume)
    facts = json.loads(re.search(r'id="facts">([^<]+)<', page).group(1))  # type: ignore[union-attr]
    pieces, _ = ndimage.label(drawn, np.ones((3, 3, 3)))
    middles = [
        grids.to_ras_mm(volume, tuple(middle))
        for middle in ndimage.center_of_mass(drawn > 0, pieces, range(1, 5))
    ]
    for lesion, shown in zip(result.findings.all(), facts["lesions"], strict=True):
        nearest = min(middles, key=lambda middle: math.dist(middle, lesion.centre_ras_mm))
        assert nearest == pytest.approx(lesion.centre_ras_mm, abs=0.7)
        assert shown["shown_at_ras_mm"] == pytest.approx(lesion.centre_ras_mm, abs=1.5)
    assert sorted(np.unique(drawn)) == [0, 1, 5, 6]  # new, vanished, possible


def test_an_outline_leaves_the_lesion_in_sight() -> None:
    """A cube of 3: its faces' 6 x 9 neighbours and its edges' 12 x 3."""
    classed = np.zeros((7, 7, 7), dtype=np.uint8)
    classed[2:5, 2:5, 2:5] = 5
    drawn = report.rings(classed)
    assert not drawn[classed > 0].any()
    assert np.count_nonzero(drawn == 5) == 54 + 36


def test_a_lesion_on_the_left_is_drawn_on_the_right_between_r_and_l(result: Result) -> None:
    """The first lesion lies in the patient's left half, the second in the right: radiological convention."""
    page = report.page(result)
    seen = page.split('aria-label="from above"')[1]
    width = int(re.search(r'viewBox="0 0 (\d+)', seen).group(1))  # type: ignore[union-attr]
    starts = re.findall(r'<path class="new" d="M(\d+) [^"]*"/><text[^>]*>(\d)<', seen)[:2]
    assert [(number, int(start) > width / 2) for start, number in starts] == [("1", True), ("2", False)]
    section = page.split('<div class="lesion" data-lesion="1">')[1]
    assert re.search(r"<b>(.)</b><b>(.)</b>", section).groups() == ("R", "L")  # type: ignore[union-attr]


def test_a_bent_lesion_is_shown_inside_itself() -> None:
    labels = np.zeros((3, 9, 9), dtype=np.int32)
    labels[1, 1:8, 1] = labels[1, 1:8, 7] = labels[1, 7, 1:8] = 2  # a U, its centre empty
    assert report.centres(labels, 2)[0] is None
    at = report.centres(labels, 2)[1]
    assert at is not None
    assert labels[at] == 2


def test_the_vendored_viewer_is_the_one_whose_hash_is_kept() -> None:
    kept = (report.PAGE / "niivue.umd.js.sha256").read_text().split()[0]
    assert hashlib.sha256((report.PAGE / "niivue.umd.js").read_bytes()).hexdigest() == kept


def test_an_outline_by_hand() -> None:
    """One pixel, row 1 and column 2: its upper and lower edges from x = 2, its left and right edges from y =
    1.
    """
    mask = np.zeros((3, 4), dtype=bool)
    mask[1, 2] = True
    assert picture.outline_path(mask) == "M2 1h1M2 2h1M2 1v1M3 1v1"


def test_a_slice_as_read_on_screen() -> None:
    """A bright voxel superior, posterior and left of the centre: right of an axial slice's middle and below
    it, above it in a coronal one.
    """
    scan = np.zeros((9, 9, 9), dtype=np.float32)
    scan[6, 7, 5] = picture.BRIGHTEST
    nothing = np.zeros(scan.shape, dtype=bool)
    axial = picture.slice_rgb(scan, nothing, 0, (6, 4, 4), 4)  # rows y 0..7, columns x 0..7
    coronal = picture.slice_rgb(scan, nothing, 1, (4, 7, 4), 4)  # rows z 7..0
    assert np.argwhere(axial[..., 0]).tolist() == [[7, 5]]
    assert np.argwhere(coronal[..., 0]).tolist() == [[7 - 6, 5]]


def test_the_outline_is_the_mask_s_rim_and_the_rest_is_grey() -> None:
    scan = np.full((9, 9, 9), picture.BRIGHTEST / 2, dtype=np.float32)
    mask = np.zeros(scan.shape, dtype=bool)
    mask[4, 3:6, 3:6] = True
    rgb = picture.slice_rgb(scan, mask, 0, (4, 4, 4), 4)
    red = (rgb == picture.OUTLINE).all(axis=-1)
    assert red.sum() == 8  # 3 x 3 without its middle
    assert (rgb[~red] == 127).all()


def test_beyond_the_volume_is_black() -> None:
    rgb = picture.slice_rgb(
        np.ones((3, 3, 3), dtype=np.float32), np.zeros((3, 3, 3), dtype=bool), 0, (1, 1, 1), 5
    )
    assert rgb.shape == (10, 10, 3)
    assert (rgb > 0).any(axis=-1).sum() == 9
