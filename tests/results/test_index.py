"""The page of a cohort: its rows, and what a click does to them in a real browser."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from app.results import index, picture, report
from app.results.index import Row
from tests.results.browser import Page, open_browser
from tests.results.made_up_result import make_result, without_lesions
from tests.results.test_record import DONE

NONE = replace(
    DONE,
    comparison={"verdict": "comparable", "reasons": []},
    lesions={**DONE.lesions, "new": 0, "possible": 0},
    volume_ml=0,
)
MANY = replace(NONE, lesions={**DONE.lesions, "new": 10, "vanished": 3}, volume_ml=2.5)
ROWS = [
    Row("p<1>", DONE, "", "p1/report.html", "p1/thumbnails.png"),
    Row("p2", NONE, "", "p2/report.html", "p2/thumbnails.png"),
    Row("p10", MANY, "", "p10/report.html", "p10/thumbnails.png"),
    Row("p3", None, "follow-up: truncated & damaged", None, None),
]


def test_the_page_says_who_has_what_and_why_one_failed() -> None:
    page = index.page(ROWS, 4)
    assert "<h1>4 patients, 2 with new lesions, 1 failed</h1>" in page
    assert '<a href="p1/report.html">p&lt;1&gt;</a>' in page
    assert "follow-up: truncated &amp; damaged" in page
    assert page.count("<img ") == 2  # of those with new lesions


@pytest.mark.parametrize(
    ("patients", "words"), [(2, "4 pairs of 2 patients"), (1, "4 pairs of 1 patient"), (4, "4 patients")]
)
def test_pairs_of_one_patient_are_no_patients(patients: int, words: str) -> None:
    page = index.page(ROWS, patients)
    assert f"<h1>{words}, 2 with new lesions, 1 failed</h1>" in page
    assert f"<title>New lesions of {words.split(' of ')[-1]}</title>" in page


def test_thumbnails_are_the_first_new_lesions_or_black() -> None:
    result = make_result()
    side = round(report.CROP_MM) * picture.FINER
    strip = report.thumbnails(result)
    assert strip.shape == (side, 2 * side)
    assert (
        strip[side // 2 - 2 : side // 2 + 2, side // 2 - 2 : side // 2 + 2] == 255
    ).all()  # the lesion itself
    assert not report.thumbnails(without_lesions(result)).any()


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    folder = tmp_path_factory.mktemp("cohort")
    for name in ("p1", "p10"):
        (folder / name).mkdir()
        (folder / name / "thumbnails.png").write_bytes(picture.png(np.full((80, 80), 200, dtype=np.uint8)))
    (folder / "index.html").write_text(index.page(ROWS, 4), encoding="utf-8")
    for browser in open_browser(tmp_path_factory.mktemp("profile")):
        browser.driver.get(Path(folder / "index.html").as_uri())
        yield browser


def _shown(page: Page) -> list[str]:
    names: list[str] = page.ask(
        "return [...document.querySelectorAll('tbody tr')].filter(row => !row.hidden)"
        ".map(row => row.cells[0].textContent.trim())"
    )
    return names


def test_headings_sort_both_ways_and_failures_come_last(page: Page) -> None:
    page.click("th:nth-child(3)")
    assert _shown(page) == ["p2", "p<1>", "p10", "p3"]
    page.click("th:nth-child(3)")
    assert _shown(page) == ["p10", "p<1>", "p2", "p3"]
    page.click("th:nth-child(1)")
    assert _shown(page) == ["p<1>", "p2", "p3", "p10"]


def test_a_choice_and_a_word_filter(page: Page) -> None:
    def choose(which: str, word: str = "") -> list[str]:
        page.ask(
            f"document.getElementById('which').value = '{which}';"
            f"document.getElementById('search').value = '{word}'; filter()"
        )
        return sorted(_shown(page))

    assert choose("new") == ["p10", "p<1>"]
    assert choose("caution") == ["p<1>"]
    assert choose("failed") == ["p3"]
    assert choose("", "truncated") == ["p3"]
    assert choose("new", "p10") == ["p10"]
    assert len(choose("")) == 4


def test_thumbnails_load_from_a_disk_without_a_complaint(page: Page) -> None:
    page.wait_for("return [...document.images].every(image => image.complete && image.naturalWidth === 80)")
    assert page.complaints() == []
