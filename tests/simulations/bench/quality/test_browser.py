"""The page in a real headless Chromium: quiet, self-contained, no wider than the window."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from simulations.bench.quality.page import write_page
from tests.browser import chromium, show_page

CUT_OFF = """
return [...document.querySelectorAll(".plot text, .dots text, h1, .tiles dd")].filter((text) => {
  const box = text.getBoundingClientRect();
  const outer = (text.closest(".card") || document.body).getBoundingClientRect();
  return box.width && (box.right > outer.right || box.left < outer.left);
}).map((text) => text.textContent);
"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with chromium(tmp_path_factory.mktemp("profile"), performance="ALL") as started:
        yield started


def test_quiet_and_no_wider_than_the_window(
    summary: dict[str, Any], browser: Any, tmp_path: Path
) -> None:
    page = write_page(summary, tmp_path / "quality.html")
    for width in (1280, 390):
        show_page(browser, page.as_uri(), width)
        assert browser.execute_script("return document.documentElement.scrollWidth") <= width
        assert browser.execute_script(CUT_OFF) == []
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
