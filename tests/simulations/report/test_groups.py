"""The section of a run's report that says for whom training was good."""

import json
from typing import Any

import pytest

from simulations.report.page import render
from simulations.report.record import read_run
from simulations.report.words import fair


def group(kind: str, name: str, low: float, high: float) -> dict[str, Any]:
    middle = (low + high) / 2
    return {
        "kind": kind,
        "name": name,
        "note": "",
        "users": 33,
        "ndcg": {"value": 0.1 + middle, "low": 0.05, "high": 0.2},
        "before": {"value": 0.1, "low": 0.05, "high": 0.2},
        "change": {"value": middle, "low": low, "high": high},
        "lift": 0.25,
        "lift_before": None,
    }


def with_groups(folder: Any, groups: Any) -> Any:
    path = folder / "summary.json"
    summary = json.loads(path.read_text(encoding="utf-8"))
    for values in summary["platforms"].values():
        values["fairness"] = {"groups": groups, "before": {"gini": 0.5}, "now": {"gini": 0.25}}
    path.write_text(json.dumps(summary), encoding="utf-8")
    return read_run(folder)


def test_groups_are_counted_and_shown(make_run: Any) -> None:
    run = with_groups(
        make_run(names=["a", "b"]),
        [
            group("everybody", "everybody", 0.01, 0.02),
            group("activity", "few events", 0.001, 0.01),
            group("popularity", "tail", -0.02, -0.01),
            group("category", "<b>tea</b>", -0.01, 0.01),
        ],
    )
    assert fair(run) == (
        "Of six groups of users on all platforms, 2 are served clearly better than without "
        "training, 2 clearly worse, and for 2 there is no clear change."
    )
    page = render(run)
    assert page.count("hidden item: tail") == 2
    assert "Gini index of what is shown 0.50 → 0.25" in page
    assert "<b>tea</b>" not in page
    assert 'href="#groups"' in page


def test_a_run_without_groups_has_no_section(make_run: Any) -> None:
    page = render(read_run(make_run()))
    assert 'id="groups"' not in page
    assert 'href="#groups"' not in page


@pytest.mark.parametrize("damage", [None, [], {"groups": None}])
def test_an_older_run_is_read(make_run: Any, damage: Any) -> None:
    folder = make_run(names=["a"])
    path = folder / "summary.json"
    summary = json.loads(path.read_text(encoding="utf-8"))
    summary["platforms"]["a"]["fairness"] = damage
    path.write_text(json.dumps(summary), encoding="utf-8")
    assert read_run(folder).platforms[0].groups == ()
