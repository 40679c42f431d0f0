"""Figures by group from a snapshot: the lists are the engine's own, opted-out users are not in."""

from pathlib import Path

import numpy as np
import pytest

from clients.serving import answers as a
from clients.serving import scores
from clients.serving.fairness import NOT_FOUND, HeldOut, fairness, lists
from clients.serving.snapshot.snapshot import Snapshot
from shared.errors import RunError
from tests.clients.serving.conftest import USERS, Shop


def hold_out(shop: Shop, seed: int = 5) -> HeldOut:
    """Two more events for each user, as the preparation leaves them."""
    rng = np.random.default_rng(seed)
    kept = [
        rng.choice(np.setdiff1d(np.arange(60), shop.platform.sequences[user]), 2, replace=False)
        for user in range(USERS)
    ]
    parts = np.array(kept, np.int32)
    np.savez(shop.platform.folder / "heldout.npz", validation=parts[:, 0], test=parts[:, 1])
    held = HeldOut.read(shop.platform.folder)
    assert held is not None
    return held


def snapshot_of(shop: Shop) -> Snapshot:
    return shop.engine.loaded.snapshot


def test_lists_are_what_the_engine_recommends(shop: Shop) -> None:
    snapshot = snapshot_of(shop)
    histories = [shop.platform.sequences[user] for user in range(USERS)]
    found = lists(snapshot, snapshot.items, histories, np.ones(60, bool))
    for user in range(USERS):
        told = shop.engine.recommend(a.Who(user_id=f"u{user}"), k=10)
        assert [f"i{row}" for row in found.top[user]] == [one.item.item_id for one in told.items]
    assert (found.ranks == NOT_FOUND).all()


def test_ranks_are_those_of_a_plain_count(shop: Shop) -> None:
    snapshot, held = snapshot_of(shop), hold_out(shop)
    histories = [np.append(held.train[n], held.validation[n]) for n in range(USERS)]
    allowed = np.ones(60, bool)
    allowed[7] = False
    targets = held.test.astype(np.int64)
    targets[0] = 7  # may not be shown: a miss
    found = lists(snapshot, snapshot.items, histories, allowed, targets=targets)
    assert found.ranks[0] == NOT_FOUND
    for user in range(1, USERS):
        if targets[user] == 7:
            continue
        total = scores.score(snapshot, histories[user][-6:], np.arange(60)).total
        rivals = [
            row
            for row in range(60)
            if allowed[row] and row not in histories[user] and row != targets[user]
        ]
        plain = sum(total[row] >= total[targets[user]] for row in rivals)
        assert abs(int(found.ranks[user]) - plain) <= 1  # sums in another order
    assert not (found.top == 7).any()


def test_who_opted_out_is_not_judged_and_small_groups_do_not_show(shop: Shop) -> None:
    held, rng = hold_out(shop), np.random.default_rng
    allowed = np.ones(60, bool)
    every = fairness(snapshot_of(shop), held, allowed, rng(0))
    assert every.groups[0].users == USERS
    assert min(one.users for one in every.groups) >= 20
    out = frozenset(held.train.users[:5])
    assert fairness(snapshot_of(shop), held, allowed, rng(0), without=out).groups[0].users == 35
    few = frozenset(held.train.users[: USERS - 19])
    assert fairness(snapshot_of(shop), held, allowed, rng(0), without=few).groups == ()
    assert fairness(snapshot_of(shop), held, allowed, rng(0), most=30).users == 30
    assert every.groups == fairness(snapshot_of(shop), held, allowed, rng(0)).groups


def test_damaged_or_missing_held_out_events(shop: Shop, tmp_path: Path) -> None:
    assert HeldOut.read(shop.platform.folder) is None
    short = np.zeros(3, np.int32)
    np.savez(shop.platform.folder / "heldout.npz", validation=short, test=short)
    with pytest.raises(RunError, match="held-out"):
        HeldOut.read(shop.platform.folder)
    (shop.platform.folder / "heldout.npz").write_bytes(b"no archive")
    with pytest.raises(RunError, match="held-out"):
        HeldOut.read(shop.platform.folder)
