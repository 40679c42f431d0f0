"""The page of the curves: whole, quiet, honest; and in a real headless Chromium."""

import copy
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from simulations.bench.curves.page import render, write_page
from simulations.bench.curves.table import print_curves, rows_of
from tests.browser import chromium, show_page
from tests.simulations.bench.quality.test_browser import CUT_OFF
from tests.simulations.bench.quality.test_page import read_page


def test_written_and_whole(tmp_path: Path, curves: dict[str, Any]) -> None:
    page = write_page(curves, tmp_path / "curves.html").read_text(encoding="utf-8")
    reader = read_page(page)
    assert {link.removeprefix("#") for link in reader.links} <= reader.ids
    text = " ".join(" ".join(reader.text).split())
    for along in ("rounds", "users"):
        for point in curves[along]:
            for part in ("systems", "versus"):
                for figures in point.get(part, {}).values():
                    for figure in (figures["mean"], *figures["platforms"].values()):
                        assert f"{figure['value']:.3f}" in text
                        assert f"{figure['low']:.3f} to {figure['high']:.3f}" in text
    assert "after r of 16" in text
    assert "12.5 %" in text  # a thin blank, split above


def test_nothing_is_fetched_or_run(curves: dict[str, Any]) -> None:
    page = render(curves)
    assert "default-src 'none'" in page
    assert "<script" not in page
    assert not re.findall(r"(?:src|href)=\"(?!#|data:,)", page)
    assert not re.findall(r"url\(|@import|https?://", page)


def test_hostile_names_are_text(curves: dict[str, Any]) -> None:
    evil = "<script>alert(1)</script>\"'&"
    odd = json.loads(json.dumps(curves).replace('"shop"', json.dumps(evil)))
    odd["recipe"] = evil
    page = render(odd)
    assert "<script" not in page
    read_page(page)


@pytest.mark.parametrize("case", ["rounds", "users", "one point", "nothing found", "not private"])
def test_less(curves: dict[str, Any], case: str) -> None:
    few = copy.deepcopy(curves)
    if case in ("rounds", "users"):
        few["users" if case == "rounds" else "rounds"] = None
    if case == "one point":
        few["rounds"], few["users"] = few["rounds"][-1:], few["users"][-1:]
    if case == "nothing found":
        for point in (*few["rounds"], *few["users"]):
            for part in (point["systems"], point.get("versus", {})):
                for figures in part.values():
                    for figure in (figures["mean"], *figures["platforms"].values()):
                        figure |= {"value": None, "low": None, "high": None}
    if case == "not private":
        few["epsilon"] = "inf"
        for point in few["rounds"]:
            point["spent"] = None
    page = render(few)
    read_page(page)
    assert ('id="users"' in page) == (case != "rounds")
    assert ('id="rounds"' in page) == (case != "users")
    assert ("spent so far" in page) == (case not in ("users", "not private"))
    assert ("Trained without privacy" in page) == (case == "not private")
    assert ("nothing to compare" in page) == (case == "nothing found")
    print_curves(few)


def test_the_headline_claims_no_more_than_is_sure(curves: dict[str, Any]) -> None:
    found = copy.deepcopy(curves)
    few, many = (found["users"][n]["versus"]["federated"]["mean"] for n in (0, -1))
    few |= {"value": 1.2, "low": 1.1, "high": 1.3}
    many |= {"value": 1.0}
    claim = "1.200 times: the fewer users, the more it gives."
    assert claim in render(found)
    many |= {"value": 1.15}
    assert claim not in render(found)
    assert "with 12.5\u202f%, 1.200 times." in render(found)


def test_training_that_did_not_help_is_said(curves: dict[str, Any]) -> None:
    found = copy.deepcopy(curves)
    found["rounds"][-1]["systems"]["federated"]["mean"]["value"] = 0.99
    assert "Training did not help" in render(found)


def test_rows_of_the_table(curves: dict[str, Any]) -> None:
    columns = [("federated", "systems", "federated")]
    rows = rows_of(curves["users"], columns, wide=False)
    assert [row[0] for row in rows] == ["12.5 %", "50 %", "100 %"]
    last = curves["rounds"][-1]["systems"]["federated"]["mean"]
    assert rows_of(curves["rounds"], columns, wide=True)[-1] == [
        "16",
        f"{last['value']:.3f} {last['low']:.3f}-{last['high']:.3f}",
    ]


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with chromium(tmp_path_factory.mktemp("profile")) as started:
        yield started


def test_no_wider_than_the_window(curves: dict[str, Any], browser: Any, tmp_path: Path) -> None:
    page = write_page(curves, tmp_path / "curves.html")
    for width in (1280, 390):
        show_page(browser, page.as_uri(), width)
        assert browser.execute_script("return document.documentElement.scrollWidth") <= width
        assert browser.execute_script(CUT_OFF) == []
        assert browser.get_log("browser") == []
        # tables open by the keyboard, and scroll inside their card
        browser.execute_script("document.querySelectorAll('details').forEach(d => d.open = true)")
        assert browser.execute_script("return document.documentElement.scrollWidth") <= width
