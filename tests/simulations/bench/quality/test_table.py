import copy
import io
from typing import Any

import pytest
from rich.console import Console

from simulations.bench.quality.table import epsilon, print_quality


def _printed(summary: dict[str, Any], terminal: bool = False) -> str:
    file = io.StringIO()
    console = Console(
        file=file, width=80, force_terminal=terminal, color_system="standard" if terminal else None
    )
    print_quality(summary, console)
    return file.getvalue()


def _line(text: str, start: str) -> str:
    return next(line for line in text.splitlines() if line.startswith(start))


def test_figures_and_the_best(summary: dict[str, Any]) -> None:
    text = _printed(summary)
    best = max(summary["systems"], key=lambda system: system["mean"]["ndcg@10"]["value"])
    figure = f"{best['mean']['ndcg@10']['value']:.4f}".removeprefix("0")
    assert f"{figure}*" in text
    ratio = best["versus"]["mean"]["ratio"]
    assert f"{ratio['value']:.3f} {ratio['low']:.3f}-{ratio['high']:.3f}" in text
    assert _line(text, "frozen ").rstrip().endswith("base")
    assert [line.split()[1] for line in text.splitlines() if line.startswith("federated ")] == [
        *"138",
        "inf",
    ]
    for name in ("beauty", "books"):
        value = summary["systems"][0]["platforms"][name]["ndcg@10"]["value"]
        assert f"{value:.4f}".removeprefix("0") in _line(text, "popularity")


def test_piped_is_ascii_and_80_wide(summary: dict[str, Any]) -> None:
    text = _printed(summary)
    assert text.isascii()
    assert max(map(len, text.splitlines())) <= 80
    assert "--------" in text
    assert "─" in _printed(summary, terminal=True)


@pytest.mark.parametrize("platforms", [1, 4, 5, 9])
def test_many_platforms(summary: dict[str, Any], platforms: int) -> None:
    wide = copy.deepcopy(summary)
    names = [f"{number}-platform-of-a-long-name" for number in range(platforms)]
    for part in (wide, *wide["systems"]):
        one = part["platforms"]["beauty"]
        part["platforms"] = dict.fromkeys(names, one)
    text = _printed(wide)
    assert max(map(len, text.splitlines())) <= 80
    assert "…" not in text
    for number in range(platforms):
        assert f"{number}-plat." in text
    assert text.count("ratio, interval") == 1


def test_quoted_figures_are_marked_and_get_no_star(summary: dict[str, Any]) -> None:
    summary = copy.deepcopy(summary)
    summary["quoted"][0]["ndcg"] = 0.9
    text = _printed(summary)
    line = _line(text, "SASRec (quoted)")
    assert ".9000" in line
    assert "*" not in line
    assert "Quoted, not measured here: TIGER, 2023." in text
    summary["quoted"] = []
    assert "uoted" not in _printed(summary)


def test_epsilon_is_rounded_up() -> None:
    assert [epsilon(value) for value in (None, "inf", 8.0, 7.991)] == ["-", "inf", "8", "8"]
    assert epsilon(2.501) == "2.51"
