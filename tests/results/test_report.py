"""The page of one patient, from a result made by hand. tests/test_page.py opens it in a browser."""

import base64
import hashlib
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from app.images import grids
from app.pipeline import Result
from app.results import picture, report
from tests.results.made_up_result import make_result


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
    assert "2 new lesions, 0.28 ml" in text  # 216 + 64 mm3
    assert "not a medical device" in text
    assert page.tags.count("tr") == 1 + 2 + 1 + 3  # both tables with their heads
    assert page.tags.count("img") == 2 * 7  # the whole slice, and three planes at two times
    assert all(source.startswith("data:image/png;base64,") for source in page.loaded)
    assert "default-src 'none'" in text


def test_what_is_said_cannot_become_markup(result: Result) -> None:
    text = report.page(replace(result, warnings=("</script><script>alert(1)</script>",)))
    assert "&lt;/script&gt;&lt;script&gt;alert(1)" in text
    assert text.count("<script>") == 1  # page.js


def test_a_page_without_lesions_says_so(result: Result) -> None:
    nothing = replace(result, mask=result.mask * 0, probability=result.probability * 0, lesions=[])
    text = report.page(nothing)
    assert "0 new lesions, 0.00 ml" in text
    assert "No new lesion was found." in text
    assert _Page(text).tags.count("img") == 0


def test_more_lesions_than_are_pictured_are_all_in_the_table(
    result: Result, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report, "SHOWN", 1)
    page = report.page(result)
    assert page.count('<tr data-lesion="') == 2
    assert page.count('<div class="lesion"') == 1
    assert "Pictures of the 1 largest lesions only" in page


def test_the_viewer_s_volumes_lie_where_the_follow_up_does(result: Result, tmp_path: Path) -> None:
    """Middle space is turned against the follow-up: the middle of each lesion, in the viewer's file, lies where the table says."""
    page = report.page(result)
    packed = re.search(r'id="lesions-volume">([^<]+)<', page).group(1)  # type: ignore[union-attr]
    (tmp_path / "lesions.nii.gz").write_bytes(base64.b64decode(packed))
    volume = sitk.ReadImage(str(tmp_path / "lesions.nii.gz"))
    labels = sitk.GetArrayFromImage(volume)
    for lesion in result.lesions:
        middle = np.argwhere(labels == lesion.number).mean(axis=0)
        assert grids.to_ras_mm(volume, tuple(middle)) == pytest.approx(lesion.centre_ras_mm, abs=0.7)
        shown = json.loads(re.search(r'id="facts">([^<]+)<', page).group(1))["lesions"][lesion.number - 1]  # type: ignore[union-attr]
        assert shown["shown_at_ras_mm"] == pytest.approx(lesion.centre_ras_mm, abs=1.5)


def test_a_lesion_on_the_left_is_drawn_on_the_right_between_r_and_l(result: Result) -> None:
    """The larger lesion lies in the patient's left half, the smaller in the right one: radiological convention."""
    page = report.page(result)
    for number, on_the_right in ((1, True), (2, False)):
        section = page.split(f'<div class="lesion" data-lesion="{number}">')[1]
        width, path = re.search(r'viewBox="0 0 (\d+) .*?class="this" d="M(\d+) ', section).groups()  # type: ignore[union-attr]
        assert (int(path) > int(width) / 2) == on_the_right
        assert re.search(r"<b>(.)</b><b>(.)</b>", section).groups() == ("R", "L")  # type: ignore[union-attr]


def test_the_vendored_viewer_is_the_one_whose_hash_is_kept() -> None:
    kept = (report.PAGE / "niivue.umd.js.sha256").read_text().split()[0]
    assert hashlib.sha256((report.PAGE / "niivue.umd.js").read_bytes()).hexdigest() == kept


def test_an_outline_by_hand() -> None:
    """One pixel, row 1 and column 2: its upper and lower edges from x = 2, its left and right edges from y = 1."""
    mask = np.zeros((3, 4), dtype=bool)
    mask[1, 2] = True
    assert picture.outline_path(mask) == "M2 1h1M2 2h1M2 1v1M3 1v1"


def test_a_slice_as_read_on_screen() -> None:
    """A bright voxel superior, posterior and left of the centre: right of an axial slice's middle and below it, above it in a coronal one."""
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
