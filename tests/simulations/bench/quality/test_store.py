import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shared.errors import ConfigError
from simulations.bench.quality.outcome import Outcome
from simulations.bench.quality.store import RowKey, Store, data_digest

KEY = RowKey(
    data="d" * 64,
    platform="toys",
    system="federated",
    settings={"rounds": 16, "rate": 0.5},
    epsilon=8.0,
    seed=1,
)


@pytest.fixture
def told() -> list[str]:
    return []


@pytest.fixture
def store(tmp_path: Path, told: list[str]) -> Store:
    return Store(folder=tmp_path / "rows", report=told.append)


def test_kept_and_found(store: Store, outcome: Outcome, told: list[str]) -> None:
    assert store.find(KEY) is None
    store.keep(KEY, outcome, {"seconds": 1.5, "epsilon": 7.99})
    row = store.find(KEY)
    assert row is not None
    assert np.array_equal(row.outcome.ranks, outcome.ranks)
    assert row.facts == {"seconds": 1.5, "epsilon": 7.99}
    assert sorted(path.name for path in store.folder.iterdir()) == [
        f"{KEY.digest}.json",
        f"{KEY.digest}.npz",
    ]
    beside = json.loads((store.folder / f"{KEY.digest}.json").read_text())
    assert beside["key"]["system"] == "federated"
    assert told == []


@pytest.mark.parametrize(
    "change",
    [
        {"data": "e" * 64},
        {"platform": "games"},
        {"system": "frozen"},
        {"settings": {"rounds": 17, "rate": 0.5}},
        {"epsilon": 3.0},
        {"epsilon": math.inf},
        {"epsilon": None},
        {"seed": 2},
        {"seed": None},
        {"which": "validation"},
        {"code": 1},
    ],
)
def test_whatever_determines_a_row_is_in_its_key(
    store: Store, outcome: Outcome, change: dict[str, Any]
) -> None:
    store.keep(KEY, outcome)
    assert store.find(replace(KEY, **change)) is None


def test_the_order_of_settings_does_not_matter() -> None:
    assert replace(KEY, settings={"rate": 0.5, "rounds": 16}).digest == KEY.digest
    # pinned: a change here throws away everybody's rows, so raise CODE_VERSION instead
    assert KEY.digest.startswith("17be007f007dc4c8")


@pytest.mark.parametrize("damage", ["cut npz", "other npz", "no npz", "no json", "facts", "list"])
def test_a_damaged_row_is_reported_and_can_be_replaced(
    store: Store, outcome: Outcome, told: list[str], damage: str
) -> None:
    store.keep(KEY, outcome, {"seconds": 1})
    npz, beside = store.folder / f"{KEY.digest}.npz", store.folder / f"{KEY.digest}.json"
    if damage == "cut npz":
        npz.write_bytes(npz.read_bytes()[:-40])
    elif damage == "other npz":
        replace(outcome, ranks=outcome.ranks[::-1].copy()).save(npz)
    elif damage == "no npz":
        npz.unlink()
    elif damage == "no json":
        beside.unlink()
    elif damage == "facts":
        beside.write_text(beside.read_text().replace('"seconds": 1', '"seconds": 2'))
    else:
        beside.write_text("[]")
    assert store.find(KEY) is None
    assert len(told) == 1
    assert "federated on toys is measured again" in told[0]
    store.keep(KEY, outcome, {"seconds": 1})
    assert store.find(KEY) is not None
    assert len(told) == 1


def test_a_row_under_another_name_is_not_believed(
    store: Store, outcome: Outcome, told: list[str]
) -> None:
    store.keep(KEY, outcome)
    other = replace(KEY, seed=2)
    for ending in ("json", "npz"):
        (store.folder / f"{KEY.digest}.{ending}").rename(store.folder / f"{other.digest}.{ending}")
    assert store.find(other) is None
    assert "its key does not match" in told[0]


@pytest.mark.parametrize("value", [math.nan, math.inf, Path("x"), {1, 2}])
def test_settings_that_are_not_json(store: Store, outcome: Outcome, value: object) -> None:
    with pytest.raises(ConfigError, match="settings of system federated"):
        store.keep(replace(KEY, settings={"odd": value}), outcome)


def test_data_digest(make_split: Any) -> None:
    cut, vectors = make_split(0), np.ones((30, 2), np.float32)
    same = data_digest(cut, vectors)
    assert data_digest(make_split(0), vectors.copy()) == same
    other = cut.test.copy()
    other[0] = (other[0] + 1) % 30
    assert data_digest(replace(cut, test=other), vectors) != same
    assert data_digest(cut, vectors + 1) != same
    renamed = replace(cut.train, users=tuple(f"x{n}" for n in range(len(cut))))
    assert data_digest(replace(cut, train=renamed), vectors) == same
