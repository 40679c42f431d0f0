import copy
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from simulations.bench.quality.page import render, write_page

_VOID = {"meta", "link", "br", "line", "circle", "path"}


class _Balanced(HTMLParser):
    """Fails on tags that are not closed in order; collects the text outside the style sheet."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text: list[str] = []
        self.ids: set[str] = set()
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.ids.add(found.get("id") or "")
        if tag == "a":
            self.links.append(found["href"] or "")
        if tag not in _VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """`<line/>` opens nothing."""

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.text.append(data)


def read_page(page: str) -> _Balanced:
    reader = _Balanced()
    reader.feed(page)
    assert reader.open == []
    return reader


def test_written_and_whole(tmp_path: Path, summary: dict[str, Any]) -> None:
    path = write_page(summary, tmp_path / "quality.html")
    page = path.read_text(encoding="utf-8")
    reader = read_page(page)
    assert {link.removeprefix("#") for link in reader.links} <= reader.ids
    text = " ".join(" ".join(reader.text).split())
    for system in summary["systems"]:
        for figures in (system["mean"], *system["platforms"].values()):
            assert f"{figures['ndcg@10']['value']:.4f}".removeprefix("0") in text
        if system["versus"]:
            assert f"{system['versus']['mean']['ratio']['low']:.3f}" in text
    assert "nan" not in re.sub(r"[a-z]*nan[a-z]+", "", text)


def test_nothing_is_fetched_or_run(summary: dict[str, Any]) -> None:
    page = render(summary)
    assert "default-src 'none'" in page
    assert "<script" not in page
    assert not re.findall(r"(?:src|href)=\"(?!#|data:,)", page)
    assert not re.findall(r"url\(|@import|https?://", page)


def test_quoted_figures_are_marked(summary: dict[str, Any]) -> None:
    page = render(summary)
    section = page[page.index('<section id="quoted"') : page.index('<section id="method"')]
    assert "not measured here" in section
    assert section.count('<span class="tag">quoted</span>') == 2
    assert ".0318" in section
    assert ".0318" not in page.replace(section, "")
    without = copy.deepcopy(summary)
    without["quoted"] = []
    assert "quoted" not in "".join(read_page(render(without)).text).lower()


def test_hostile_names_are_text(summary: dict[str, Any]) -> None:
    odd = copy.deepcopy(summary)
    evil = "<script>alert(1)</script>\"'&"
    odd["recipe"] = evil
    odd["quoted"][0]["name"] = evil
    for system in odd["systems"]:
        system["family"] = system["label"] = evil + system["label"]
        for part in (system["platforms"], system["versus"] and system["versus"]["platforms"]):
            if part:
                part[evil] = part.pop("books")
    odd["base"] = evil + odd["base"]
    odd["platforms"][evil] = odd["platforms"].pop("books")
    page = render(odd)
    assert "<script" not in page
    read_page(page)


@pytest.mark.parametrize(
    "case", ["no epsilon", "one epsilon", "only inf", "base only", "no groups"]
)
def test_fewer_systems(summary: dict[str, Any], case: str) -> None:
    few = copy.deepcopy(summary)
    keep = {"no epsilon": 4, "one epsilon": 5, "base only": 2}.get(case, 8)
    few["systems"] = few["systems"][:keep]
    if case == "base only":
        few["systems"] = few["systems"][1:]
    if case == "only inf":
        few["systems"] = [*few["systems"][:4], few["systems"][-1]]
    if case == "no groups":
        for system in few["systems"]:
            system["groups"] = {}
    page = render(few)
    read_page(page)
    assert ("No system of this benchmark was trained" in page) == (keep <= 4)
    assert ("No system ranks better than frozen." in page) == (case == "base only")
    assert ("Cold users" in page) == (case != "no groups")


def test_losing_is_said(summary: dict[str, Any]) -> None:
    lost = copy.deepcopy(summary)
    lost["systems"] = lost["systems"][:2]
    assert "No system ranks better than frozen." in render(lost)


def test_the_curve_tells_its_numbers_to_those_who_do_not_see_it(summary: dict[str, Any]) -> None:
    page = render(summary)
    ratios = {
        system["epsilon"]: system["versus"]["mean"]["ratio"]["value"]
        for system in summary["systems"]
        if system["epsilon"] is not None
    }
    described = re.search(r'aria-label="(Mean NDCG@10 over that of frozen by epsilon: .*?)"', page)
    assert described
    for at, ratio in ratios.items():
        assert f"{ratio:.3f} at {'∞' if at == 'inf' else f'{at:g}'}" in described[1]


def test_the_headline_is_not_won_without_privacy(summary: dict[str, Any]) -> None:
    systems = {system["epsilon"]: system for system in summary["systems"]}
    won = copy.deepcopy(summary)
    for system in won["systems"]:
        if system["epsilon"] == "inf":
            system["mean"]["ndcg@10"]["value"] = 0.9
        if system["epsilon"] == 8.0:
            system["mean"]["ndcg@10"]["value"] = 0.8
    text = " ".join("".join(read_page(render(won)).text).split())
    ratio = systems[8.0]["versus"]["mean"]["ratio"]["value"]
    assert f"federated ranks best: {ratio:.2f} times the NDCG@10 of frozen, at ε = 8." in text
    assert "the best of them, federated, reaches .9000" in text
    won["systems"] = [won["systems"][1], won["systems"][-1]]
    assert "No system ranks better than frozen without giving up privacy." in render(won)
