"""The page in a real headless Chromium: quiet, self-contained, no wider than the window."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from simulations.bench.quality.page import write_page

webdriver = pytest.importorskip("selenium.webdriver")
from selenium.webdriver.chrome.service import Service  # noqa: E402

_CUT_OFF = """
return [...document.querySelectorAll(".plot text, .dots text, h1, .tiles dd")].filter((text) => {
  const box = text.getBoundingClientRect();
  const outer = (text.closest(".card") || document.body).getBoundingClientRect();
  return box.width && (box.right > outer.right || box.left < outer.left);
}).map((text) => text.textContent);
"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if chromium is None or driver is None:
        pytest.skip("chromium and chromedriver are not installed")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in (
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        f"--user-data-dir={tmp_path_factory.mktemp('profile')}",
    ):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    service = Service(driver)
    started = webdriver.Chrome(options=options, service=service)
    try:
        yield started
    finally:
        started.quit()
        service.stop()


def test_quiet_and_no_wider_than_the_window(
    summary: dict[str, Any], browser: Any, tmp_path: Path
) -> None:
    page = write_page(summary, tmp_path / "quality.html")
    for width in (1280, 390):
        browser.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500},
        )
        browser.get_log("browser")
        browser.get_log("performance")
        browser.get(page.as_uri())
        assert browser.execute_script("return document.documentElement.scrollWidth") <= width
        assert browser.execute_script(_CUT_OFF) == []
        messages = [json.loads(entry["message"]) for entry in browser.get_log("performance")]
        urls = {
            message["message"]["params"]["request"]["url"]
            for message in messages
            if message["message"]["method"] == "Network.requestWillBeSent"
        }
        assert {url for url in urls if not url.startswith("data:")} == {page.as_uri()}
        assert browser.get_log("browser") == []
        # the style sheet's hash is the one its policy allows
        family = browser.execute_script("return getComputedStyle(document.body).fontFamily")
        assert "system-ui" in family
