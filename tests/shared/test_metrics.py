import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from shared.metrics import NOT_FOUND, Excluded, hit_at, ndcg_at, ranks


def _slow_rank(scores: list[float], target: int, excluded: list[int]) -> int:
    """The rules, read off one by one."""
    if target in excluded:
        return NOT_FOUND
    ahead = 0
    for item, score in enumerate(scores):
        if item == target or item in excluded:
            continue
        below = score < scores[target]
        ahead += not below
    return ahead


def _rank(scores: list[float], target: int, excluded: list[int]) -> int:
    return int(
        ranks(torch.tensor([scores]), torch.tensor([target]), [np.array(excluded, dtype=np.int32)])[
            0
        ]
    )


def test_ranks_are_counted_from_zero() -> None:
    assert [_rank([0.1, 0.9, 0.5], target, []) for target in range(3)] == [2, 0, 1]


def test_ties_count_against_the_system() -> None:
    assert _rank([0.5, 0.5, 0.5, 0.1], 0, []) == 2
    assert _rank([0.0] * 100, 99, []) == 99


def test_excluded_items_are_not_ranked() -> None:
    assert _rank([0.9, 0.8, 0.7, 0.6], 2, [0]) == 1
    assert _rank([0.9, 0.8, 0.7, 0.6], 2, [0, 1]) == 0
    assert _rank([0.9, 0.8, 0.7, 0.6], 2, [3]) == 2


def test_an_item_excluded_twice_is_excluded_once() -> None:
    assert _rank([0.9, 0.8, 0.7], 2, [0, 0, 0]) == 1


def test_an_excluded_target_is_never_found() -> None:
    missed = _rank([0.9, 0.8, 0.7], 0, [0])
    assert missed == NOT_FOUND
    # with three items, a rank of 3 would have been a hit among the first ten
    assert hit_at(torch.tensor([missed]), 10).tolist() == [0]
    assert ndcg_at(torch.tensor([missed]), 10).tolist() == [0]


@pytest.mark.parametrize("bad", [math.nan, -math.inf])
def test_a_target_scored_nan_or_minus_infinity_is_last(bad: float) -> None:
    assert _rank([0.1, bad, 0.3], 1, []) == 2


def test_nan_of_a_rival_does_not_help() -> None:
    assert _rank([0.5, math.nan, 0.3], 0, []) == 1


def test_all_scores_minus_infinity_tie_even_with_exclusions() -> None:
    assert _rank([-math.inf] * 4, 0, [2]) == 2


def test_scores_are_left_as_they_were() -> None:
    scores = torch.tensor([[0.9, 0.8, 0.7]])
    before = scores.clone()
    ranks(scores, torch.tensor([1]), [np.array([0], np.int32)])
    assert torch.equal(scores, before)


def test_an_expanded_view_can_be_ranked() -> None:
    scores = torch.tensor([3.0, 2.0, 1.0]).expand(2, -1)
    exclude = [np.array([0], np.int32), np.array([], np.int32)]
    assert ranks(scores, torch.tensor([2, 2]), exclude).tolist() == [1, 2]


def test_exclusions_stay_with_their_user() -> None:
    scores = torch.tensor([[0.9, 0.5, 0.1], [0.9, 0.5, 0.1]])
    packed = Excluded.of([np.array([0], np.int32), np.array([2], np.int32)])
    assert packed.rows.tolist() == [0, 1]
    assert packed.columns.tolist() == [0, 2]
    assert ranks(scores, torch.tensor([1, 1]), packed).tolist() == [0, 1]


def test_nobody_has_a_history() -> None:
    assert ranks(torch.tensor([[0.1, 0.2]]), torch.tensor([1]), [np.array([], np.int32)]) == 0


_SCORE = st.one_of(st.integers(-2, 2).map(float), st.just(math.nan), st.just(-math.inf))


@st.composite
def _users(draw: st.DrawFn) -> tuple[list[list[float]], list[int], list[list[int]]]:
    items = draw(st.integers(1, 9))
    users = draw(st.integers(1, 5))
    item = st.integers(0, items - 1)
    scores = [draw(st.lists(_SCORE, min_size=items, max_size=items)) for _ in range(users)]
    targets = [draw(item) for _ in range(users)]
    return scores, targets, [draw(st.lists(item, max_size=12)) for _ in range(users)]


@given(_users())
def test_ranks_are_those_of_the_slow_count(
    users: tuple[list[list[float]], list[int], list[list[int]]],
) -> None:
    scores, targets, excluded = users
    fast = ranks(
        torch.tensor(scores),
        torch.tensor(targets),
        [np.array(row, dtype=np.int32) for row in excluded],
    )
    assert fast.tolist() == [
        _slow_rank(*user) for user in zip(scores, targets, excluded, strict=True)
    ]


def test_metrics_by_hand() -> None:
    found = torch.tensor([0, 1, 2, 9, 10, 500])
    assert hit_at(found, 10).tolist() == [1, 1, 1, 1, 0, 0]
    assert hit_at(found, 1).tolist() == [1, 0, 0, 0, 0, 0]
    expected = [1.0, 1 / math.log2(3), 0.5, 1 / math.log2(11), 0.0, 0.0]
    assert ndcg_at(found, 10).tolist() == pytest.approx(expected, abs=1e-15)
    assert ndcg_at(found, 10)[3].item() == pytest.approx(0.28906482631788782)
