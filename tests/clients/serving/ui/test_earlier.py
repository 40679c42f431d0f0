"""What was served before is kept, without anybody's history; what moved is counted."""

from pathlib import Path

import numpy as np

from clients.serving.ui.earlier import note
from clients.serving.ui.moved import moved
from tests.clients.serving.conftest import USERS, Shop, deliver


def test_the_frozen_model_first_and_then_the_round_before(shop: Shop, tmp_path: Path) -> None:
    folder = tmp_path / "ui"
    first = shop.engine.loaded.stock.base
    items = np.array(first.items)
    before = note(folder, first)
    assert (before.round, before.name) == (0, "the frozen model")
    np.testing.assert_array_equal(before.items, first.vectors)
    assert note(folder, first).round == 0  # the same one again is no other one
    for round_, seed in ((4, 2), (5, 3)):
        deliver(shop.platform, round_, seed=seed)
        assert shop.engine.reload().changed
        before = note(folder, shop.engine.loaded.stock.base)
        assert before.round == round_ - 1
        assert before.name == f"round {round_ - 1}"
        if round_ == 4:
            np.testing.assert_array_equal(before.items, items)
    kept = sorted(path.name for path in folder.rglob("*") if path.is_file())
    assert kept == ["about.json", "about.json", "items.npy", "items.npy"]
    assert note(folder, shop.engine.loaded.stock.base).round == 4


def test_what_is_damaged_or_of_another_catalogue_is_not_compared(
    shop: Shop, tmp_path: Path
) -> None:
    folder = tmp_path / "ui"
    note(folder, shop.engine.loaded.stock.base)
    for path in folder.glob("*/about.json"):
        path.write_text("{")
    deliver(shop.platform, 4, seed=2)
    shop.engine.reload()
    assert note(folder, shop.engine.loaded.stock.base).round == 0


def test_what_moved_is_counted_in_lists(shop: Shop, tmp_path: Path) -> None:
    loaded = shop.engine.loaded
    before = note(tmp_path / "ui", loaded.snapshot)
    found = moved(loaded, before, frozenset(), np.random.default_rng(0))
    assert found.users == USERS
    assert 0 < found.different <= 10
    assert 0 <= found.same < 1
    assert all(one.change > 0 for one in found.up)
    assert all(one.change < 0 for one in found.down)
    assert [one.change for one in found.up] == sorted((o.change for o in found.up), reverse=True)
    same = moved(
        loaded, type(before)(3, loaded.snapshot.items), frozenset(), np.random.default_rng(0)
    )
    assert (same.different, same.same, same.up, same.down, same.interests) == (0, 1, (), (), ())
    fewer = frozenset(loaded.snapshot.sequences.users[:4])
    assert moved(loaded, before, fewer, np.random.default_rng(0)).users == USERS - 4
