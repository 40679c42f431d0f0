"""Which fields of a line are tracked."""

import math
from typing import Any

import pytest

from server.rounds.round import new_entry
from server.tracking.point import Point, point_of


def line(**entries: dict[str, Any]) -> dict[str, Any]:
    return {
        "round": 3,
        "seconds": 1.25,
        "adapter_sha256": "ab" * 32,
        "request": "cd" * 32,
        "platforms": {name: new_entry() | entry for name, entry in entries.items()},
    }


def test_a_line_by_hand() -> None:
    shop = {"answered": True, "outcome": "accepted", "reason": None, "update_norm": 0.5}
    shop |= {"uplink_bytes": 10, "downlink_bytes": 20, "steps": 2, "epsilon": 0.75}
    films = {"outcome": "refused", "reason": "BudgetExhausted", "epsilon": 8.0}
    assert point_of(line(shop=shop, films=films)) == Point(
        round=3,
        numbers={
            "round/seconds": 1.25,
            "round/answered": 1.0,
            "epsilon/shop": 0.75,
            "update_norm/shop": 0.5,
            "uplink_bytes/shop": 10.0,
            "downlink_bytes/shop": 20.0,
            "answered/shop": 1.0,
            "epsilon/films": 8.0,
            "uplink_bytes/films": 0.0,
            "downlink_bytes/films": 0.0,
            "answered/films": 0.0,
        },
        adapter_sha256="ab" * 32,
        left_out={"films": "refused: BudgetExhausted"},
    )


@pytest.mark.parametrize("epsilon", ["inf", None, math.inf, math.nan])
def test_what_has_no_place_on_an_axis_is_no_value(epsilon: object) -> None:
    found = point_of(line(shop={"epsilon": epsilon}))
    assert "epsilon/shop" not in found.numbers
    assert all(math.isfinite(value) for value in found.numbers.values())


def test_what_somebody_adds_to_a_line_is_not_tracked() -> None:
    plain = line(shop={})
    more = line(shop={"loss": 0.1, "users": 7}) | {"validation": {"shop": {"ndcg@10": 0.3}}}
    assert point_of(more) == point_of(plain)
