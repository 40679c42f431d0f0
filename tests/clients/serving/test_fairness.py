"""Figures by group from a snapshot: the lists are the engine's own, opted-out users are not in."""

from pathlib import Path

import numpy as np
import pytest

from clients.serving import answers as a
from clients.serving import everyones, scores
from clients.serving.everyones import NOT_FOUND, lists, most_users, sample
from clients.serving.fairness import HeldOut, fairness
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
    return shop.engine.loaded.stock.base


def test_lists_are_what_the_engine_recommends(shop: Shop) -> None:
    snapshot = snapshot_of(shop)
    histories = [shop.platform.sequences[user] for user in range(USERS)]
    found = lists(snapshot, snapshot.items, histories, np.ones(60, bool))[True]
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
    found = lists(snapshot, snapshot.items, histories, allowed, targets=targets)[True]
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


@pytest.mark.parametrize(("items_at_once", "at_once"), [(7, 256), (20_000, 11), (13, 3)])
def test_blocks_change_nothing(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, items_at_once: int, at_once: int
) -> None:
    snapshot, held = snapshot_of(shop), hold_out(shop)
    histories = [np.append(held.train[n], held.validation[n]) for n in range(USERS)]
    targets, allowed = held.test.astype(np.int64), np.ones(60, bool)
    allowed[[3, 9, 12]] = False

    def found() -> dict[bool, tuple[list[int], list[list[int]]]]:
        made = lists(
            snapshot, snapshot.items, histories, allowed, targets=targets, heads=(True, False)
        )
        return {head: (one.ranks.tolist(), one.top.tolist()) for head, one in made.items()}

    whole = found()
    assert whole[True] != whole[False]
    monkeypatch.setattr(everyones, "_ITEMS_AT_ONCE", items_at_once)
    monkeypatch.setattr(everyones, "_AT_ONCE", at_once)
    assert found() == whole


def test_without_the_head_a_score_is_the_cosine(shop: Shop) -> None:
    snapshot = snapshot_of(shop)
    histories = [shop.platform.sequences[user] for user in range(USERS)]
    found = lists(snapshot, snapshot.vectors, histories, np.ones(60, bool), heads=(False,))[False]
    vectors = np.asarray(snapshot.vectors, np.float64)
    for user, history in enumerate(histories):
        weights = snapshot.meta.decay ** np.arange(len(history[-6:]))[::-1]
        cosines = vectors @ (weights @ vectors[history[-6:]])
        cosines[history] = -np.inf
        assert found.top[user].tolist() == np.argsort(-cosines)[:10].tolist()


def test_few_items_leave_places_empty(shop: Shop) -> None:
    snapshot, allowed = snapshot_of(shop), np.zeros(60, bool)
    allowed[[50, 51, 52]] = True
    found = lists(snapshot, snapshot.items, [np.array([51])], allowed)[True]
    assert set(found.top[0, :2]) == {50, 52}
    assert (found.top[0, 2:] == -1).all()


def test_as_many_are_drawn_as_a_page_can_wait_for() -> None:
    assert [most_users(items) for items in (0, 10, 50_000, 100_000, 10**6, 10**7)] == [
        *(2000, 2000, 2000),
        *(1000, 100, 100),
    ]
    users = tuple(f"u{n}" for n in range(5000))
    rows, of = sample(users, 60, np.random.default_rng(0), without=frozenset({"u1", "u2"}))
    assert (len(rows), len(set(rows.tolist())), of) == (2000, 2000, 4998)
    assert not {1, 2} & set(rows.tolist())
    assert (np.diff(rows) > 0).all()
    again, _ = sample(users, 60, np.random.default_rng(0), without=frozenset({"u1", "u2"}))
    np.testing.assert_array_equal(rows, again)
    assert len(sample(users, 60, np.random.default_rng(0), most=9)[0]) == 9


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
    some = fairness(snapshot_of(shop), held, allowed, rng(0), most=30)
    assert (some.users, some.of) == (30, USERS)
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
