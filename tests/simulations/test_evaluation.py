import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from clients.splits import Split, split
from shared.errors import DataError
from shared.events import Sequences
from simulations.baselines.base import Sum
from simulations.baselines.frozen import FrozenScorer
from simulations.evaluation import evaluate, evaluate_many, mean_metrics

ITEMS = 30


def _sequences(users: list[list[int]]) -> Sequences:
    return Sequences(
        users=tuple(f"u{number}" for number in range(len(users))),
        items=np.array([item for user in users for item in user], np.int32),
        offsets=np.cumsum([0, *map(len, users)]).astype(np.int64),
    )


def _world(seed: int, users: int = 23) -> tuple[list[list[int]], Split]:
    rng = np.random.default_rng(seed)
    events = [rng.permutation(ITEMS)[: rng.integers(4, 12)].tolist() for _ in range(users)]
    return events, split(_sequences(events))


class _Recorded:
    """Scores from a fixed table, remembering what it was asked."""

    def __init__(self, items: int = ITEMS) -> None:
        self.items = items
        self.asked: list[list[int]] = []
        self.calls = 0

    def scores(self, histories: list[NDArray[np.int32]]) -> torch.Tensor:
        self.calls += 1
        self.asked += [history.tolist() for history in histories]
        return torch.stack(
            [torch.arange(self.items, dtype=torch.float32) * (h[-1] % 2 * 2 - 1) for h in histories]
        )


class _Oracle:
    """Knows what comes next."""

    def __init__(self, events: list[list[int]], back: int) -> None:
        self.answer = {tuple(user[:-back]): user[-back] for user in events}

    def scores(self, histories: list[NDArray[np.int32]]) -> torch.Tensor:
        scores = torch.zeros(len(histories), ITEMS)
        for row, history in enumerate(histories):
            scores[row, self.answer[tuple(history.tolist())]] = 1
        return scores


class _Constant:
    def scores(self, histories: list[NDArray[np.int32]]) -> torch.Tensor:
        return torch.zeros(len(histories), ITEMS)


def _slow(
    events: list[list[int]], vectors: NDArray[np.float32], back: int, length: int
) -> list[int]:
    """The protocol with loops and sorting, for exactly representable scores."""
    found = []
    for user in events:
        history, target = user[:-back], user[-back]
        read = history[-length:]
        weights = [0.5 ** (len(read) - 1 - place) for place in range(len(read))]
        interest = sum(w * vectors[i] for w, i in zip(weights, read, strict=True)) / sum(weights)
        score = {i: float(interest @ vectors[i]) for i in range(ITEMS) if i not in history}
        rivals = sorted((i for i in score if i != target), key=lambda i: -score[i])
        found.append(sum(score[i] >= score[target] for i in rivals))
    return found


@pytest.mark.parametrize(("which", "back"), [("test", 1), ("validation", 2)])
def test_a_system_that_knows_is_perfect(which: str, back: int) -> None:
    events, cut = _world(0)
    result = evaluate(_Oracle(events, back), cut, which, score_batch=5)  # type: ignore[arg-type]
    assert result.metrics == {"ndcg@10": 1.0, "hit@10": 1.0}
    assert result.items == ITEMS


def test_a_system_that_knows_nothing_gets_nothing_for_ties() -> None:
    events, cut = _world(1)
    result = evaluate(_Constant(), cut)
    assert result.ranks.tolist() == [ITEMS - len(user) for user in events]
    assert result.ranks.dtype == np.int32
    assert result.metrics == {"ndcg@10": 0.0, "hit@10": 0.0}


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    length=st.integers(1, 12),
    batch=st.sampled_from([1, 7, 64]),
    back=st.sampled_from([1, 2]),
)
def test_ranks_are_those_of_the_slow_protocol(
    seed: int, length: int, batch: int, back: int
) -> None:
    events, cut = _world(seed)
    rng = np.random.default_rng(seed)
    vectors = rng.standard_normal((ITEMS, 8)).astype(np.float32)
    vectors[5] = vectors[3]  # a real tie
    result = evaluate(
        FrozenScorer(torch.from_numpy(vectors), decay=0.5),
        cut,
        "test" if back == 1 else "validation",
        history_length=length,
        score_batch=batch,
    )
    slow = np.array(_slow(events, vectors.astype(np.float64), back, length))
    # float32 rounding may break the tie of the twins 3 and 5, and nothing else
    assert np.abs(result.ranks - slow).max() <= 1
    targets = cut.targets("test" if back == 1 else "validation")
    assert (result.ranks == slow)[~np.isin(targets, [3, 5])].all()


def test_the_system_reads_the_newest_and_never_the_target() -> None:
    cut = split(_sequences([[0, 1, 2, 3, 4, 5]]))
    reader = _Recorded()
    evaluate(reader, cut, "test", history_length=3)
    evaluate(reader, cut, "validation", history_length=3)
    assert reader.asked == [[2, 3, 4], [1, 2, 3]]


def test_what_was_seen_before_the_cut_is_still_left_out() -> None:
    # last read item 5 is odd: higher item numbers score higher; 29 and 28 were seen long ago
    cut = split(_sequences([[29, 28, 1, 3, 5, 27]]))
    assert evaluate(_Recorded(), cut, "test", history_length=1).ranks.tolist() == [0]


def test_only_the_history_before_the_target_is_left_out() -> None:
    # for the validation item 26, the test item 27 is a rival like any other
    cut = split(_sequences([[29, 28, 1, 5, 26, 27]]))
    assert evaluate(_Recorded(), cut, "validation").ranks.tolist() == [1]


def test_metrics_by_hand() -> None:
    # the last of the history is odd, so the number of higher, unseen items is the rank
    cut = split(_sequences([[0, 2, 1, 29], [0, 2, 1, 27], [0, 2, 1, 20], [0, 2, 1, 19]]))
    result = evaluate(_Recorded(), cut)
    assert result.ranks.tolist() == [0, 2, 9, 10]
    assert result.metrics["hit@10"] == 0.75
    expected = (1 + 1 / 2 + 1 / math.log2(11)) / 4
    assert result.metrics["ndcg@10"] == pytest.approx(expected, abs=1e-12)


def test_systems_side_by_side_equal_systems_alone_and_share_their_parts() -> None:
    _, cut = _world(2)
    shared, other = _Recorded(), _Constant()
    both = Sum((shared, other))
    many = evaluate_many({"one": shared, "sum": both, "twice": Sum((both, shared))}, cut)
    assert shared.calls == 1
    for name, system in {"one": _Recorded(), "sum": Sum((_Recorded(), other))}.items():
        assert many[name].ranks.tolist() == evaluate(system, cut).ranks.tolist()


def test_a_sum_leaves_its_parts_alone() -> None:
    parts = [torch.full((1, 2), value) for value in (1.0, 2.0, 4.0)]
    assert Sum.add(parts).tolist() == [[7.0, 7.0]]
    assert [part.tolist() for part in parts] == [[[1.0, 1.0]], [[2.0, 2.0]], [[4.0, 4.0]]]


def test_progress_counts_users() -> None:
    _, cut = _world(3)
    steps: list[tuple[int, int]] = []
    evaluate(_Constant(), cut, score_batch=10, progress=lambda done, of: steps.append((done, of)))
    assert steps == [(10, 23), (20, 23), (23, 23)]


def test_systems_must_agree_on_the_catalogue() -> None:
    _, cut = _world(4)
    with pytest.raises(DataError, match=r"expected scores of shape \(23, 30\), got \(23, 31\)"):
        evaluate_many({"right": _Constant(), "wrong": _Recorded(31)}, cut)


def test_mean_over_platforms_is_unweighted() -> None:
    assert mean_metrics({"a": {"hit@10": 0.2}, "b": {"hit@10": 0.4}})["hit@10"] == pytest.approx(
        0.3
    )
