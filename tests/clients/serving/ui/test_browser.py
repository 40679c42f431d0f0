"""The page in a real headless Chromium: quiet, readable at 1280 and 390 px, by keyboard alone."""

from collections.abc import Iterator
from typing import Any

import pytest

from clients.serving.ui.pages import VIEWS
from tests.browser import chromium, show_page
from tests.clients.serving.ui.conftest import Site

pytest.importorskip("selenium.webdriver")
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

WIDTHS = (1280, 390)

_UNLABELLED = """
return [...document.querySelectorAll("input, select, textarea, button, a")]
  .filter((e) => e.type !== "hidden" && e.checkVisibility() && !e.matches("[aria-hidden=true]"))
  .filter((e) => !(e.labels && e.labels.length) && !e.textContent.trim()
    && !e.getAttribute("aria-label"))
  .map((e) => e.outerHTML);
"""
_WIDER = "return document.documentElement.scrollWidth"
_FOCUSED = """
const e = document.activeElement, s = getComputedStyle(e), r = e.getBoundingClientRect();
return [e.id || e.textContent.trim(), s.outlineStyle, parseFloat(s.outlineWidth), r.width > 0];
"""
_CONTRAST = """
const parse = (text) => text.match(/[\\d.]+/g).map(Number);
const light = (c) => c.slice(0, 3).map((v) => v / 255)
  .map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
  .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
const behind = (e) => {
  for (; e; e = e.parentElement) {
    const c = parse(getComputedStyle(e).backgroundColor);
    if (c.length < 4 || c[3] === 1) return c;
  }
  return [255, 255, 255];
};
const bad = [];
const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (walk.nextNode()) {
  const e = walk.currentNode.parentElement;
  if (!walk.currentNode.data.trim() || !e.checkVisibility()) continue;
  if (e.closest("script, .sr, .skip, .off, .default")) continue;
  const [a, b] = [light(parse(getComputedStyle(e).color)), light(behind(e))];
  const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  if (ratio < 4.5) bad.push(walk.currentNode.data.trim() + " " + ratio.toFixed(2));
}
return bad;
"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with chromium(tmp_path_factory.mktemp("profile")) as started:
        yield started


def show(browser: Any, site: Site, view: str, width: int = 1280, scheme: str = "light") -> None:
    show_page(browser, site.server.address + view, width, scheme)


def press(browser: Any, *keys: str) -> None:
    ActionChains(browser).send_keys(*keys).perform()


def heard(browser: Any, text: str) -> None:
    """Wait until a screen reader has been told `text`."""
    WebDriverWait(browser, 30).until(
        lambda now: text in now.find_element("id", "said").get_attribute("textContent")
    )


def sound(browser: Any, width: int, where: str) -> None:
    assert browser.execute_script(_WIDER) <= width, where
    assert browser.execute_script(_UNLABELLED) == [], where
    assert browser.execute_script(_CONTRAST) == [], where
    assert browser.get_log("browser") == [], where


@pytest.mark.parametrize("view", VIEWS)
def test_every_view_is_quiet_and_readable(browser: Any, site: Site, view: str) -> None:
    for width in WIDTHS:
        for scheme in ("light", "dark"):
            show(browser, site, view, width, scheme)
            sound(browser, width, f"{view} {width} {scheme}")


def test_a_profile_by_keyboard_alone(browser: Any, site: Site) -> None:
    for width in WIDTHS:
        show(browser, site, "profile", width)
        order = []
        for _ in range(11):
            press(browser, Keys.TAB)
            name, style, wide, seen = browser.execute_script(_FOCUSED)
            order.append(name)
            assert (style, seen) == ("solid", True), name
            assert wide >= 2, name
            if name == "user":
                break
        assert order == ["Skip to the content", *VIEWS.values(), "user"]
        press(browser, "u1", Keys.ENTER)
        heard(browser, "found.")
        assert browser.switch_to.active_element.get_attribute("id") == "user"
        assert "Similar users" in browser.find_element("id", "main").text
        sound(browser, width, f"profile {width}")
        assert browser.current_url == site.server.address + "profile"  # no id in the address


def test_an_error_is_heard_and_the_form_kept(browser: Any, site: Site) -> None:
    show(browser, site, "profile", 390)
    browser.find_element("id", "user").send_keys("stranger", Keys.ENTER)
    heard(browser, "Nobody of that id is known here")
    assert browser.find_element("id", "user").get_attribute("value") == "stranger"
    sound(browser, 390, "unknown user")
    browser.find_element("id", "user").clear()
    browser.find_element("id", "user").send_keys("u5", Keys.ENTER)
    heard(browser, "This user has opted out")
    sound(browser, 390, "opted out")


def test_a_history_is_made_up_and_explained_by_keyboard(browser: Any, site: Site) -> None:
    for width in WIDTHS:
        show(browser, site, "try", width)
        browser.find_element("id", "find").send_keys("coffee", Keys.ENTER)
        heard(browser, "titles found")
        assert browser.find_element("id", "who-history").is_selected()
        browser.find_element("id", "add-1").send_keys(Keys.ENTER)
        heard(browser, "10 recommendations")
        browser.find_element("id", "explain-2").send_keys(Keys.ENTER)
        heard(browser, "is explained")
        assert browser.switch_to.active_element.get_attribute("id") == "why"
        sound(browser, width, f"try {width}")


def test_audience_and_trends(browser: Any, site: Site) -> None:
    for width in WIDTHS:
        show(browser, site, "audience", width)
        browser.find_element("id", "interest").send_keys("tea")
        browser.find_element("id", "least").send_keys(Keys.ENTER)
        heard(browser, "users are in this audience")
        sound(browser, width, f"audience {width}")
        show(browser, site, "trends", width)
        browser.find_element("id", "go").send_keys(Keys.ENTER)
        heard(browser, "rising")
        sound(browser, width, f"trends {width}")


def test_it_works_without_javascript(browser: Any, site: Site) -> None:
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        show(browser, site, "profile")
        browser.find_element("id", "user").send_keys("u3", Keys.ENTER)
        WebDriverWait(browser, 30).until(lambda now: now.find_elements("id", "result"))
        assert browser.find_element("id", "user").get_attribute("value") == "u3"
    finally:
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


def test_it_says_when_the_program_has_ended(browser: Any, site: Site) -> None:
    show(browser, site, "profile")
    browser.execute_script("window.fetch = () => Promise.reject(new TypeError('gone'))")
    browser.find_element("id", "user").send_keys("u3", Keys.ENTER)
    heard(browser, "still running?")
    assert browser.find_element("id", "said").is_displayed()
