"""The report in a real browser, from file://, without a network: Chromium draws WebGL in software."""

import base64
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from app.pipeline import Result
from app.results import report
from tests.results.browser import WEBGL_IN_SOFTWARE, Page, open_browser
from tests.results.made_up_result import make_result, without_lesions


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    yield from open_browser(tmp_path_factory.mktemp("profile"), *WEBGL_IN_SOFTWARE)


@pytest.fixture(scope="module")
def result() -> Result:
    return make_result()


@pytest.fixture(scope="module")
def file(result: Result, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("report") / "report.html"
    path.write_text(report.page(result), encoding="utf-8", newline="")
    return path


@pytest.fixture
def page(browser: Page, file: Path) -> Page:
    """The report with its viewer ready, as it is just after opening."""
    if browser.ask("return location.href") != file.as_uri():
        browser.open(file)
    assert browser.ask("return document.body.dataset.viewer") == "ready"
    for selector in (
        "input[name=show][value=both]",
        "input[name=planes][value='3']",
        "#overlay:not(:checked)",
    ):
        browser.ask(f'document.querySelector("{selector}")?.click()')
    browser.ask("mark(1)")
    browser.complaints()
    return browser


def test_it_loads_without_a_complaint_or_a_request(browser: Page, file: Path) -> None:
    browser.requested(), browser.complaints()
    browser.open(file)
    assert browser.complaints() == []
    assert [url for url in browser.requested() if not url.startswith(("data:", "blob:"))] == [file.as_uri()]


def test_its_policy_stops_requests_and_scripts_that_are_not_its_own(page: Page) -> None:
    page.requested()
    refused = page.driver.execute_async_script(
        "const done = arguments[0]; fetch('http://127.0.0.1:9/').then(() => done('sent'), () => "
        "done('refused'))"
    )
    page.ask(
        "const script = document.createElement('script'); script.textContent = 'window.foreign = "
        "true'; document.head.append(script)"
    )
    assert refused == "refused"
    assert page.ask("return window.foreign === undefined")
    violations = [complaint for complaint in page.complaints() if "Content Security Policy" in complaint]
    assert any("127.0.0.1:9" in violation for violation in violations)
    assert any("inline" in violation for violation in violations)


def test_both_scans_are_drawn_and_the_left_lesion_on_the_right(page: Page, tmp_path: Path) -> None:
    """Axial slices through lesion 1, on the patient's left. Marked, it is red; unmarked, nothing is."""
    page.click("input[name=planes][value='0']")
    for time in ("baseline", "followup"):
        marked = page.picture(f"#{time}-canvas", tmp_path)
        red = marked[..., 0] - marked[..., 1] > 40
        grey = (np.ptp(marked, axis=-1) < 20) & (marked[..., 0] > 60)
        assert grey.mean() > 0.05
        assert red.sum() > 50
        assert np.argwhere(red)[:, 1].mean() > np.argwhere(grey)[:, 1].mean() + 10
    page.click("#overlay")
    unmarked = page.picture("#followup-canvas", tmp_path)
    assert (unmarked[..., 0] - unmarked[..., 1] > 40).sum() == 0
    assert page.ask("return getComputedStyle(document.querySelector('.picture path')).display") == "none"


def test_the_new_lesion_is_bright_at_follow_up_alone(page: Page, tmp_path: Path) -> None:
    page.click("#overlay")
    page.click("input[name=planes][value='0']")
    brightest = [
        np.percentile(page.picture(f"#{time}-canvas", tmp_path)[..., 0], 99.5)
        for time in ("baseline", "followup")
    ]
    assert brightest[1] > brightest[0] + 50


@pytest.mark.parametrize("number", [2, 1])
def test_a_click_on_a_row_moves_both_crosshairs_to_the_lesion(
    page: Page, result: Result, number: int
) -> None:
    page.click(f"tr[data-lesion='{number}']")
    for viewer in (0, 1):
        assert page.crosshair_ras_mm(viewer) == pytest.approx(
            result.lesions[number - 1].centre_ras_mm, abs=1.0
        )
    assert page.ask("return [...document.querySelectorAll('tr.chosen')].map(row => row.dataset.lesion)") == [
        str(number)
    ]
    told = [round(side) for side in page.crosshair_ras_mm(1)]
    assert (
        page.ask("return document.getElementById('position').textContent").replace("−", "-")
        == f"crosshair at {', '.join(map(str, told))} mm"
    )


def test_a_row_can_be_chosen_with_the_keyboard(page: Page, result: Result) -> None:
    page.driver.find_element("css selector", "tr[data-lesion='2']").send_keys("\n")
    assert page.crosshair_ras_mm(0) == pytest.approx(result.lesions[1].centre_ras_mm, abs=1.0)


def test_a_click_in_one_scan_moves_the_crosshair_in_the_other(page: Page) -> None:
    """The first tile of the three planes is coronal: superior up."""
    from selenium.webdriver import ActionChains

    before = page.crosshair_ras_mm(1)
    canvas = page.driver.find_element("css selector", "#baseline-canvas")
    ActionChains(page.driver).move_to_element_with_offset(
        canvas, -canvas.size["width"] // 4, -canvas.size["height"] // 4
    ).click().perform()
    page.wait_for(
        "return viewers[0].scene.crosshairPos.every((side, axis) => Math.abs(side - "
        "viewers[1].scene.crosshairPos[axis]) < 1e-3)"
    )
    assert np.abs(np.subtract(page.crosshair_ras_mm(1), before)).max() > 2


def test_flicker_shows_one_scan_after_the_other_in_one_place(page: Page) -> None:
    page.click("input[name=show][value=flicker]")
    page.wait_for("return panes.dataset.show === 'baseline'")
    page.wait_for("return panes.dataset.show === 'followup'")
    places = page.ask(
        "return [...document.querySelectorAll('.pane')].map(pane => "
        "[pane.getBoundingClientRect().x, pane.getBoundingClientRect().y])"
    )
    assert places[0] == places[1]
    page.click("input[name=show][value=baseline]")
    assert page.ask(
        "return [...document.querySelectorAll('.pane')].map(pane => getComputedStyle(pane).visibility)"
    ) == ["visible", "hidden"]
    page.click("input[name=show][value=both]")
    assert page.ask(
        "return [...document.querySelectorAll('.pane')].map(pane => getComputedStyle(pane).visibility)"
    ) == ["visible", "visible"]


def test_one_scan_alone_is_drawn_at_its_new_size(page: Page, tmp_path: Path) -> None:
    page.click("input[name=show][value=followup]")
    page.wait_for(
        "return viewers[1].canvas.width === Math.round(viewers[1].canvas.clientWidth * "
        "window.devicePixelRatio)"
    )
    shown = page.picture("#followup-canvas", tmp_path)
    assert (shown.max(axis=-1) > 60).mean() > 0.05


def test_the_crosshair_can_be_put_away(page: Page, tmp_path: Path) -> None:
    def blue() -> int:
        picture = page.picture("#followup-canvas", tmp_path)
        return int(np.count_nonzero(picture[..., 2] - picture[..., 0] > 60))

    with_it = blue()
    page.click("#crosshair")
    assert blue() < with_it / 10
    page.click("#crosshair")
    assert blue() == with_it


def test_the_window_is_that_of_the_pictures_and_of_the_viewer(page: Page, tmp_path: Path) -> None:
    """White at 2.5 instead of 1.8 times the brain's mode: all is darker by 1.8 / 2.5, in the viewer and in
    the pictures.
    """
    page.click("input[name=planes][value='0']")
    page.click("#crosshair")
    page.click("#overlay")
    parts = ("#baseline-canvas", ".plane .image-0 .picture")
    page.ask("setWhite(1.8)")
    usual = [np.median(grey[grey > 60]) for grey in (page.picture(part, tmp_path)[..., 0] for part in parts)]
    page.ask("setWhite(2.5)")
    assert page.ask("return document.getElementById('white-at').textContent") == "2.50"
    wide = [np.median(grey[grey > 60]) for grey in (page.picture(part, tmp_path)[..., 0] for part in parts)]
    page.ask("setWhite(1.8)")
    page.click("#crosshair")
    page.click("#overlay")
    assert np.array(wide) / usual == pytest.approx([1.8 / 2.5] * 2, rel=0.03)


@pytest.mark.parametrize("width", [480, 760, 1000])
def test_on_a_narrow_screen_nothing_is_cut_off(width: int, page: Page) -> None:
    narrow = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    page.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", narrow)
    widths = page.ask(
        "return [innerWidth, document.documentElement.scrollWidth, "
        "Math.max(...[...document.querySelectorAll('body *')].map(one => one.getBoundingClientRect().right))]"
    )
    page.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    assert widths[0] == width
    assert max(widths[1:]) <= width


def test_print_is_the_page_without_the_viewer(page: Page) -> None:
    page.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    shown = {
        part: page.ask(f"return getComputedStyle(document.querySelector('{part}')).display")
        for part in ("#viewer", ".print-only", "#pictures")
    }
    page.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
    assert shown == {"#viewer": "none", ".print-only": "block", "#pictures": "block"}
    printed = base64.b64decode(
        page.driver.execute_cdp_cmd("Page.printToPDF", {"paperWidth": 8.27, "paperHeight": 11.69})["data"]
    )
    assert printed.startswith(b"%PDF")
    assert page.complaints() == []


def test_without_webgl_the_page_says_so_and_the_slices_stay(file: Path, tmp_path: Path) -> None:
    for page in open_browser(tmp_path / "profile", "--disable-gpu", "--disable-3d-apis"):
        page.open(file)
        assert page.ask("return document.body.dataset.viewer") == "none"
        assert "no WebGL 2" in page.ask("return document.getElementById('no-viewer').innerText")
        assert page.ask("return getComputedStyle(panes).display") == "none"
        page.click("tr[data-lesion='2']")
        assert page.ask("return document.querySelector('.lesion.chosen').dataset.lesion") == "2"
        pictures = page.ask(
            "return [...document.querySelectorAll('.shade')].map(one => "
            "getComputedStyle(one).backgroundImage.slice(0, 15))"
        )
        assert set(pictures) == {'url("data:image'}
        assert page.complaints() == []


def test_no_lesion_opens_too(browser: Page, result: Result, tmp_path: Path) -> None:
    page = report.page(without_lesions(result))
    (tmp_path / "report.html").write_text(page, encoding="utf-8", newline="")
    browser.open(tmp_path / "report.html")
    assert browser.ask("return document.body.dataset.viewer") == "ready"
    assert browser.complaints() == []
