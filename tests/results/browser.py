"""A real browser, and what a person could do with a page in it."""

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import SimpleITK as sitk

CHROMIUM, CHROMEDRIVER = shutil.which("chromium"), shutil.which("chromedriver")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--no-first-run",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--window-size=1400,1400",
)
WEBGL_IN_SOFTWARE = (
    "--use-gl=angle",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--ignore-gpu-blocklist",
)
PATIENCE_S = 120  # a busy machine without a graphics card takes long to draw


class Page:
    """One open page and what a person could do with it."""

    def __init__(self, profile: Path, flags: tuple[str, ...]) -> None:
        from selenium import webdriver

        options = webdriver.ChromeOptions()
        options.binary_location = str(CHROMIUM)
        for flag in (*FLAGS, *flags, f"--user-data-dir={profile}"):
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        self.driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(str(CHROMEDRIVER)))
        self.driver.set_script_timeout(PATIENCE_S)

    def open(self, path: Path) -> None:
        self.driver.get(path.as_uri())
        self.wait_for("return document.body.dataset.viewer !== undefined")

    def ask(self, script: str) -> Any:
        return self.driver.execute_script(script)

    def wait_for(self, script: str) -> None:
        from selenium.webdriver.support.ui import WebDriverWait

        WebDriverWait(self.driver, PATIENCE_S).until(lambda driver: driver.execute_script(script))

    def click(self, selector: str) -> None:
        self.driver.find_element("css selector", selector).click()

    def complaints(self) -> list[str]:
        """What the browser wrote to its console, but for its notes on the speed of drawing."""
        return [
            entry["message"]
            for entry in self.driver.get_log("browser")
            if "GPU stall" not in entry["message"]
        ]

    def requested(self) -> list[str]:
        """Addresses that the report asked for since this was last asked; the browser's own start page is not
        the report's.
        """
        events = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        sent = [event["params"] for event in events if event["method"] == "Network.requestWillBeSent"]
        return [request["request"]["url"] for request in sent if request["documentURL"].startswith("file:")]

    def picture(self, selector: str, folder: Path) -> npt.NDArray[np.float64]:
        """An element as it is shown: (rows, columns, 3)."""
        element = self.driver.find_element("css selector", selector)
        self.driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", element)
        (folder / "element.png").write_bytes(element.screenshot_as_png)
        return sitk.GetArrayFromImage(sitk.ReadImage(str(folder / "element.png")))[..., :3].astype(float)

    def crosshair_ras_mm(self, viewer: int) -> list[float]:
        place: list[float] = self.ask(
            f"return Array.from(viewers[{viewer}].frac2mm(viewers[{viewer}].scene.crosshairPos, 0, "
            "true)).slice(0, 3)"
        )
        return place


def open_browser(profile: Path, *flags: str) -> Iterator[Page]:
    """A browser, or a skipped test where there is none; CI installs one and must not skip."""
    try:
        import selenium  # noqa: F401
    except ImportError:
        missing = "selenium is missing: pip install --group dev"
    else:
        missing = "" if CHROMIUM and CHROMEDRIVER else "no browser: apt-get install chromium chromium-driver"
    if missing:
        if os.environ.get("CI"):
            pytest.fail(missing)
        pytest.skip(missing)
    page = Page(profile, flags)
    yield page
    page.driver.quit()
