"""The page in a real headless Chromium: quiet, self-contained, readable at 1280 and 390 px."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from simulations.report import write_report
from tests.browser import chromium, show_page

_LONG = "the-extraordinarily-long-named-platform-of-the-north-western-shi"
_CASES: dict[str, dict[str, Any]] = {
    "demo": {
        "unsafe_seed": True,
        "rejected": {(4, "tonearm"): "norm above the limit", (7, "dailyplanet"): "no answer"},
    },
    "not-private": {"epsilon": "inf"},
    "twelve": {"names": [*(f"platform-number-{i}" for i in range(11)), _LONG], "rounds": 40},
    "single": {"names": ["solo"], "rounds": 1},
    "worse-without-validation": {"names": ["a", "b", _LONG], "validation": False, "sign": -1},
}

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
  if (e.closest("script, title, .sr, .skip")) continue;
  const style = getComputedStyle(e);
  const ink = parse(e instanceof SVGElement ? style.fill : style.color);
  const [a, b] = [light(ink), light(behind(e))];
  const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  if (ratio < 4.5) bad.push(walk.currentNode.data.trim() + " " + ratio.toFixed(2));
}
return bad;
"""

_CUT_OFF = """
return [...document.querySelectorAll(".plot text")].filter((text) => {
  const [inner, outer] = [text, text.closest(".card")].map((e) => e.getBoundingClientRect());
  return inner.width && (inner.right > outer.right - 2 || inner.left < outer.left + 2);
}).map((text) => text.textContent);
"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with chromium(tmp_path_factory.mktemp("profile"), performance="ALL") as started:
        yield started


def _open(browser: Any, page: Path, width: int = 1280, scheme: str = "light") -> None:
    show_page(browser, page.as_uri(), width, scheme)


def _requests(browser: Any) -> set[str]:
    found = set()
    for entry in browser.get_log("performance"):
        message = json.loads(entry["message"])["message"]
        if message["method"] == "Network.requestWillBeSent":
            found.add(message["params"]["request"]["url"])
    return {url for url in found if not url.startswith("data:")}


@pytest.mark.parametrize("case", _CASES)
def test_quiet_and_readable_everywhere(case: str, make_run: Any, browser: Any) -> None:
    page = write_report(make_run(**_CASES[case]))
    for width in (1280, 390):
        for scheme in ("light", "dark"):
            _open(browser, page, width, scheme)
            where = f"{case}, {width} px, {scheme}"
            assert browser.execute_script("return document.documentElement.scrollWidth") <= width, (
                where
            )
            assert browser.execute_script(_CONTRAST) == [], where
            assert browser.execute_script(_CUT_OFF) == [], where
            assert _requests(browser) == {page.as_uri()}, where
            assert browser.get_log("browser") == [], where
    scheme_paper = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert scheme_paper == "rgb(20, 23, 27)"


def test_the_checks_can_fail(tmp_path: Path, browser: Any) -> None:
    page = tmp_path / "bad.html"
    page.write_text(
        "<!doctype html><meta name=viewport content='width=device-width'><body>"
        "<p style='width: 900px; color: #bbb'>pale</p><img src='missing.png'>"
        "<script>console.error('broken')</script>",
        encoding="utf-8",
    )
    _open(browser, page, 390)
    assert browser.execute_script("return document.documentElement.scrollWidth") > 390
    assert browser.execute_script(_CONTRAST) == ["pale 1.92"]
    assert _requests(browser) == {page.as_uri(), (tmp_path / "missing.png").as_uri()}
    assert any("broken" in entry["message"] for entry in browser.get_log("browser"))


def test_pointer_and_keyboard_show_the_values_of_a_round(make_run: Any, browser: Any) -> None:
    run = make_run(rejected={(4, "homewares"): "norm above the limit"})
    _open(browser, write_report(run))
    browser.execute_script("document.querySelector('.plot').focus()")
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.keys import Keys

    keys = ActionChains(browser).send_keys(Keys.HOME)
    keys.send_keys(*[Keys.ARROW_RIGHT] * 4).perform()
    tip = browser.execute_script(
        "const t = document.getElementById('tip'); return [t.hidden, t.innerText]"
    )
    assert tip[0] is False
    assert "round 4" in tip[1]
    assert "norm above the limit" in tip[1]
    lines = (run / "rounds.jsonl").read_text(encoding="utf-8").splitlines()
    exact = json.loads(lines[4])["validation"]["homewares"]["federated"]["ndcg@10"]
    assert f"{exact:.4f}" in tip[1]
    ActionChains(browser).send_keys(Keys.ESCAPE).perform()
    assert browser.execute_script("return document.getElementById('tip').hidden") is True
    assert browser.get_log("browser") == []


def test_works_without_javascript(make_run: Any, browser: Any) -> None:
    page = write_report(make_run())
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        _open(browser, page)
        titles = "return document.querySelectorAll('.field title').length"
        assert browser.execute_script(titles) > 4 * 2 * 10
        assert (
            browser.execute_script("return document.getElementById('tip').checkVisibility()")
            is False
        )
        assert len(browser.find_elements("css selector", "details table tbody tr")) == 4 * 11 + 11
    finally:
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


def test_hostile_names_and_reasons_run_nothing(make_run: Any, browser: Any) -> None:
    owned = "document.title='owned'"
    evil = f'<img src=x onerror="{owned}"></script><script>{owned}</script>'
    page = write_report(
        make_run(names=[evil, "b"], recipe=evil, rejected={(2, "b"): evil}, version=evil)
    )
    _open(browser, page)
    assert browser.title == f"fedinterest · {evil} · report"
    assert browser.execute_script("return document.images.length + document.scripts.length") == 1
    assert browser.find_element("css selector", ".charts h3").text == evil
    browser.execute_script("document.querySelector('.plot').focus()")
    assert browser.get_log("browser") == []
    assert _requests(browser) == {page.as_uri()}
