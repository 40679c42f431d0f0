"""The results table: plain when piped, at most 80 columns, loud when nothing is private."""

import io
import math
from typing import Any

import pytest
from rich.console import Console

from shared.errors import RunError
from simulations.table import print_results

_SYSTEMS = {
    "popularity": (0.0098, 0.0169),
    "frozen": (0.0400, 0.0759),
    "knn": (0.0481, 0.0827),
    "frozen+knn": (0.0622, 0.1070),
    "federated": (0.0460, 0.0721),
    "federated+knn": (0.0654, 0.1060),
}


def _summary(*names: str, epsilon: float | str = 7.9312) -> dict[str, Any]:
    systems = {key: {"ndcg@10": n, "hit@10": h} for key, (n, h) in _SYSTEMS.items()}
    platform = {"users": 10, "items": 5, "events": 90, "epsilon": epsilon, "systems": systems}
    return {
        "platforms": dict.fromkeys(names, platform),
        "mean": systems,
        "private": epsilon != "inf",
    }


def _printed(summary: dict[str, Any], **options: Any) -> str:
    file = io.TextIOWrapper(io.BytesIO(), encoding=options.pop("encoding", "utf-8"))
    print_results(summary, Console(file=file, **options))
    file.seek(0)
    return file.read()


def _row(printed: str, start: str) -> list[str]:
    return next(line for line in printed.splitlines() if line.startswith(start)).split()


def test_rows_columns_best_gain_and_epsilon() -> None:
    printed = _printed(_summary("beauty"), width=80)
    ndcg = "beauty .0098 .0400 .0481 .0622 .0460 .0654* +15.0% 7.94"
    assert _row(printed, "beauty") == ndcg.split()
    hit = "HR@10 .0169 .0759 .0827 .1070* .0721 .1060 -5.0%"
    assert _row(printed, "  HR@10") == hit.split()
    assert _row(printed, "mean")[-1] == "7.94"
    assert "NOT PRIVATE" not in printed


def test_piped_output_is_plain_ascii_words_in_80_columns() -> None:
    names = ["toys", "a-platform-with-a-name-that-will-not-fit-anywhere-at-all-it-seems"]
    printed = _printed(_summary(*names), encoding="ascii")
    assert "\x1b" not in printed
    assert printed.isascii()
    assert max(len(line) for line in printed.splitlines()) <= 80
    assert "…" not in printed
    for number in (".0098", ".0654*", "+15.0%", "7.94"):
        assert printed.count(number) == 3, number


def test_on_a_terminal_the_best_is_bold() -> None:
    printed = _printed(_summary("toys"), force_terminal=True, width=100, color_system="standard")
    assert "\x1b[1m.0654*" in printed


def test_without_privacy_the_first_thing_is_a_banner() -> None:
    printed = _printed(_summary("toys", epsilon="inf"), width=80)
    assert "NOT PRIVATE" in printed.splitlines()[1]
    assert _row(printed, "toys")[-1] == "inf"
    assert _row(printed, "mean")[-1] == "inf"
    loud = _printed(_summary("toys", epsilon="inf"), force_terminal=True, color_system="standard")
    assert "41m" in loud  # red background


def test_an_infinite_platform_is_enough_for_the_banner() -> None:
    summary = _summary("toys", "books")
    summary["platforms"]["books"] = {**summary["platforms"]["books"], "epsilon": math.inf}
    assert "NOT PRIVATE" in _printed(summary)


def test_missing_systems_and_zero_baselines() -> None:
    summary = _summary("toys")
    del summary["platforms"]["toys"]["systems"]["knn"]
    summary["platforms"]["toys"]["systems"]["frozen"] = {"ndcg@10": 0.0, "hit@10": 0.0}
    row = _row(_printed(summary), "toys")
    assert "n/a" in row


def test_markup_in_names_is_not_obeyed() -> None:
    assert "[red]toys" in _printed(_summary("[red]toys"), width=120)


def test_no_summary() -> None:
    with pytest.raises(RunError):
        print_results({"nonsense": 1})
