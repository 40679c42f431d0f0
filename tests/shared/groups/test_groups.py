"""Groups are never small, figures are those of a plain loop, known popularity figures by hand."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from shared.groups.figures import (
    NOTHING,
    Lists,
    People,
    figures,
    lift,
    mean_popularity,
    ndcg,
    spread,
    to_json,
)
from shared.groups.partition import Partition, by_activity, by_category, by_popularity
from shared.metrics import NOT_FOUND, ndcg_at


@given(
    sizes=st.lists(st.integers(0, 40), min_size=1, max_size=8),
    ordered=st.booleans(),
    fewest=st.integers(1, 30),
)
def test_no_group_is_small_and_nobody_is_lost(sizes: list[int], ordered: bool, fewest: int) -> None:
    members = np.repeat(np.arange(len(sizes)), sizes)
    names = tuple(f"g{n}" for n in range(len(sizes)))
    part = Partition(kind="x", names=names, notes=names, members=members, ordered=ordered)
    found = part.merged(fewest)
    counts = np.bincount(found.members[found.members >= 0], minlength=len(found.names))
    assert all(count >= fewest for count in counts)
    assert counts.sum() == (sum(sizes) if sum(sizes) >= fewest else 0)
    if ordered and len(found.names):  # groups of neighbours stay in order
        assert (np.diff(found.members) >= 0).all()
    for name, count, size in zip(
        names, np.bincount(members, minlength=len(sizes)), sizes, strict=True
    ):
        if name in found.names:
            assert counts[found.names.index(name)] == count == size


def test_a_small_group_joins_its_neighbour_or_the_others() -> None:
    members = np.repeat([0, 1, 2], [30, 5, 25])
    part = Partition(
        kind="x", names=("a", "b", "c"), notes=("1", "", "3"), members=members, ordered=True
    )
    assert part.merged().names == ("a", "b or c")
    assert part.merged().notes == ("1", "3")
    free = Partition(
        kind="x", names=("a", "b", "c"), notes=("",) * 3, members=members, ordered=False
    )
    assert free.merged().names == ("a", "others")


def test_the_three_cuts_by_hand() -> None:
    activity = by_activity(np.array([2, 2, 3, 5, 8, 9]))
    assert activity.members.tolist() == [0, 0, 1, 1, 2, 2]
    assert activity.notes == ("up to 2", "3 to 5", "more than 5")
    popular = by_popularity(np.array([0, 1, 2, 3]), np.array([20, 50, 10, 20]))
    # by events: row 1 is the first half and begins the head; row 2 ends in the last fifth
    assert popular.members.tolist() == [1, 0, 2, 1]
    paths = [("all", "tea"), ("all", "tea"), ("all", "ale"), ()]
    category = by_category(np.array([0, 1, 2, 3, 3]), paths)
    assert category is not None
    assert category.names == ("tea", "ale", "others")
    assert category.members.tolist() == [0, 0, 1, 2, 2]
    assert by_category(np.array([0]), [(), ()]) is None


def test_quality_is_that_of_shared_metrics() -> None:
    ranks = np.array([0, 1, 9, 10, 500, NOT_FOUND])
    expected = ndcg_at(torch.from_numpy(ranks), 10).numpy()
    np.testing.assert_allclose(ndcg(ranks), expected)


def test_popularity_by_hand() -> None:
    popularity = np.array([0.5, 0.25, 0.0])
    found = mean_popularity([np.array([0, 1]), np.array([2]), np.array([], int)], popularity)
    np.testing.assert_array_equal(found, [0.375, 0.0, np.nan])
    assert lift(0.2, 0.3) == pytest.approx(0.5)
    assert lift(0.0, 0.3) is None


def test_spread_by_hand() -> None:
    even = spread(np.array([[0, 1], [2, 3]]), 4)
    assert (even.coverage, even.gini) == (1.0, 0.0)
    one = spread(np.array([[0, NOTHING], [0, NOTHING]]), 4)
    assert (one.coverage, one.gini) == (0.25, 0.75)  # (V - 1) / V where one item has all
    assert spread(np.full((2, 2), NOTHING), 3).gini == 0.0


def test_figures_of_a_group_are_means_over_its_users() -> None:
    rng = np.random.default_rng(3)
    users, items = 60, 30
    histories = [rng.choice(items, rng.integers(1, 9), replace=False) for _ in range(users)]
    people = People(
        histories=histories,
        targets=rng.integers(0, items, users),
        item_users=rng.integers(1, 20, items),
        users=users,
        categories=[("x",) if row % 2 else ("y",) for row in range(items)],
    )
    old, new = (
        Lists(ranks=rng.integers(0, 20, users), top=rng.integers(0, items, (users, 10)))
        for _ in range(2)
    )
    found = figures(people, old, new, np.random.default_rng(0))
    assert found[0].kind == "everybody"
    assert found[0].users == users
    plain = [1 / np.log2(rank + 2) if rank < 10 else 0.0 for rank in new.ranks]
    assert found[0].ndcg.value == pytest.approx(np.mean(plain))
    assert found[0].change.value == pytest.approx(found[0].ndcg.value - found[0].before.value)
    assert found[0].ndcg.low < found[0].ndcg.value < found[0].ndcg.high
    share = people.item_users / users
    arp = np.mean([np.mean([share[item] for item in row]) for row in new.top])
    gap = np.mean([np.mean([share[item] for item in row]) for row in histories])
    assert found[0].lift == pytest.approx((arp - gap) / gap)
    for kind in ("activity", "popularity", "category"):
        assert sum(one.users for one in found if one.kind == kind) == users
    assert min(one.users for one in found) >= 20
    assert to_json(found)[0]["lift"] == found[0].lift
    assert figures(people, old, new, np.random.default_rng(0), fewest=61) == []
