"""The pages of real pairs and of the demo, by the command with all that it looks for, in a real browser."""

import csv
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from app import phantom
from app.cli.main import main
from app.images import storage
from tests.results.browser import WEBGL_IN_SOFTWARE, Page, open_browser

pytestmark = pytest.mark.slow

REAL = {
    "01": "open_ms_pairs/patient01/flair_time0{}_on_middle_space.nii.gz",
    "03": "open_ms_pairs/patient03/flair_time0{}_on_middle_space.nii.gz",
    "P14": "mslesseg/P14_T{}_FLAIR.nii.gz",
    "P2": "mslesseg/P2_T{}_FLAIR.nii.gz",
}
ORDER = "are the scans in the right order?"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    yield from open_browser(tmp_path_factory.mktemp("profile"), *WEBGL_IN_SOFTWARE)


def segment(baseline: Path, followup: Path, folder: Path, *more: str) -> tuple[Path, list[dict[str, str]]]:
    """The page of a pair and the rows of its table."""
    page, table = folder / "report.html", folder / "lesions.csv"
    outputs = ["-o", str(folder / "new.nii.gz"), "--report", str(page), "--lesions", str(table)]
    result = CliRunner().invoke(
        main, ["segment", "--threads", "1", "-t1", str(baseline), "-t2", str(followup), *outputs, *more]
    )
    assert result.exit_code == 0, result.output
    with table.open(encoding="utf-8", newline="") as file:
        return page, list(csv.DictReader(file))


def read(browser: Page, page: Path, rows: list[dict[str, str]]) -> str:
    """What the page says, once it is open, draws, complains of nothing and shows each lesion of the table."""
    browser.requested(), browser.complaints()
    browser.open(page)
    assert browser.ask("return document.body.dataset.viewer") == "ready"
    shown = browser.ask(
        "return [...document.querySelectorAll('tr[data-lesion]')].map(row => row.dataset.lesion)"
    )
    assert shown == [row["number"] for row in rows]
    if rows:
        browser.click("tr[data-lesion='1']")
        place = [float(rows[0][axis]) for axis in ("right_mm", "anterior_mm", "superior_mm")]
        assert browser.crosshair_ras_mm(1) == pytest.approx(
            place, abs=8.0
        )  # a bent lesion is shown inside itself
    assert [url for url in browser.requested() if not url.startswith(("data:", "blob:"))] == [page.as_uri()]
    assert browser.complaints() == []
    said: str = browser.ask("return document.body.innerText")
    assert "could be missed" in said or "could have been missed" in said or "painted" in said
    return said


@pytest.mark.parametrize(
    ("patient", "visits", "new", "asks"),
    [
        ("01", (1, 2), True, False),
        ("01", (2, 1), False, True),
        ("03", (1, 2), True, False),
        ("P14", (1, 2), True, False),
        ("P14", (2, 1), True, True),
        ("P14", (2, 3), False, None),
        ("P2", (1, 2), False, None),
    ],
)
def test_a_real_pair(
    patient: str,
    visits: tuple[int, int],
    new: bool,
    asks: bool,
    open_data: Path,
    browser: Page,
    tmp_path: Path,
) -> None:
    """Lesions are new where they are known to be, and a swapped order is asked about."""
    page, rows = segment(*(open_data / REAL[patient].format(visit) for visit in visits), tmp_path)
    said = read(browser, page, rows)
    count = sum(row["kind"] == "new" for row in rows)
    assert count >= 1 if new else count <= 1
    assert asks is None or (ORDER in said) == asks


def test_the_demo(browser: Page, tmp_path: Path) -> None:
    made = phantom.make_phantom()
    scans = tmp_path / "time01.nii.gz", tmp_path / "time02.nii.gz"
    for scan, path in zip((made.baseline, made.followup), scans, strict=True):
        storage.write(scan, path)
    page, rows = segment(*scans, tmp_path)
    assert sum(row["kind"] == "new" for row in rows) == 3
    assert ORDER not in read(browser, page, rows)


def test_what_a_site_has_drawn_at_baseline_is_old(open_data: Path, browser: Page, tmp_path: Path) -> None:
    """The expert's lesions of P14's first visit: they have a row each, and the load is known."""
    folder = open_data / "mslesseg"
    scans = folder / "P14_T1_FLAIR.nii.gz", folder / "P14_T2_FLAIR.nii.gz"
    page, rows = segment(*scans, tmp_path, "--baseline-lesions", str(folder / "P14_T1_MASK.nii.gz"))
    said = read(browser, page, rows)
    assert "ml at baseline" in said
    assert sum(row["kind"] == "new" for row in rows) >= 1
    assert any(row["kind"] in ("unchanged", "enlarged", "shrunken") for row in rows)
