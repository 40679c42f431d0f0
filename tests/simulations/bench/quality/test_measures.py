import itertools
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.errors import DataError
from simulations.bench.quality import measures
from simulations.bench.quality.measures import Facts
from simulations.bench.quality.outcome import NOTHING, Outcome


def _facts(vectors: list[list[float]], events: list[int]) -> Facts:
    return Facts(
        targets=np.array([4, 2, 5, 1], np.int32),
        history_events=np.array([2, 3, 4, 9]),
        item_events=np.array(events),
        vectors=np.array(vectors, np.float32),
    )


@pytest.fixture
def facts() -> Facts:
    vectors = [[1, 0], [0, 2], [-3, 0], [1, 1], [5, 0], [0, 0]]
    return _facts(vectors, [7, 3, 0, 1, 1, 4])


def test_small_exact_numbers(outcome: Outcome, facts: Facts) -> None:
    found = {name: values.tolist() for name, values in measures.per_user(outcome, facts).items()}
    assert tuple(found) == measures.PER_USER
    assert found["ndcg@10"] == [1, 0.5, 1 / math.log2(6), 0]
    assert found["hit@10"] == [1, 1, 1, 0]
    assert found["precision@10"] == [0.1, 0.1, 0.1, 0]
    assert found["f1@10"] == pytest.approx([2 / 11, 2 / 11, 2 / 11, 0])
    assert found["mrr"] == [1, 1 / 3, 1 / 5, 0]
    assert found["auc"] == [1, 0.5, 0, 0]
    # items 4 and 0 point the same way; of 0, 1, 2 two pairs are at right angles, one opposite
    assert found["diversity@10"] == pytest.approx([0, (1 + 2 + 1) / 3, 0, 0], abs=1e-12)
    # 16 events and 6 items: -log2((events + 1) / 22)
    bits = [-math.log2((n + 1) / 22) for n in (7, 3, 0, 1, 1, 4)]
    assert found["novelty@10"] == pytest.approx(
        [(bits[4] + bits[0]) / 2, sum(bits[:3]) / 3, bits[3], 0]
    )
    assert measures.coverage(outcome) == 5 / 6  # all but item 5


def test_ranks_beyond_ten() -> None:
    beyond = Outcome(
        ranks=np.array([9, 10, 98], np.int32),
        top=np.full((3, 10), NOTHING, np.int32),
        ranked=np.array([99, 99, 99], np.int32),
        items=100,
    )
    assert measures.hit(beyond).tolist() == [1, 0, 0]
    assert measures.ndcg(beyond).tolist() == [1 / math.log2(11), 0, 0]
    assert measures.auc(beyond).tolist() == [89 / 98, 88 / 98, 0]
    assert measures.coverage(beyond) == 0


def test_a_target_without_rivals() -> None:
    alone = Outcome(
        ranks=np.array([0, 3], np.int32),
        top=np.full((2, 10), NOTHING, np.int32),
        ranked=np.array([1, 1], np.int32),
        items=3,
    )
    assert measures.auc(alone).tolist() == [0.5, 0.0]


def test_f1_is_the_harmonic_mean(outcome: Outcome) -> None:
    precision, recall = measures.precision(outcome), measures.hit(outcome)
    with np.errstate(invalid="ignore"):
        harmonic = 2 * precision * recall / (precision + recall)
    assert measures.f1(outcome) == pytest.approx(np.nan_to_num(harmonic))


def test_groups(facts: Facts) -> None:
    groups = {name: who.tolist() for name, who in facts.groups().items()}
    assert groups == {
        "cold_users": [True, True, False, False],
        "unseen_items": [False, True, False, False],
    }


def test_facts_of_a_split(make_split: Any) -> None:
    cut = make_split(2)
    facts = Facts.of(cut, "test", np.ones((30, 2), np.float32))
    train = [item for user in range(len(cut)) for item in cut.train[user].tolist()]
    assert facts.item_events.tolist() == [train.count(item) for item in range(30)]
    assert facts.history_events.tolist() == [len(cut.train[user]) for user in range(len(cut))]
    assert np.array_equal(facts.targets, cut.test)


def test_facts_of_another_platform(outcome: Outcome, facts: Facts) -> None:
    other = _facts(facts.vectors[:5].tolist(), [1] * 5)
    with pytest.raises(DataError, match="4 users and 5 items"):
        measures.per_user(outcome, other)


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_against_loops(seed: int) -> None:
    rng = np.random.default_rng(seed)
    users, items = 6, 14
    lengths = rng.integers(0, 11, users)
    top = np.full((users, 10), NOTHING, np.int32)
    for user, length in enumerate(lengths):
        top[user, :length] = rng.choice(items, length, replace=False)
    vectors = rng.standard_normal((items, 5)).astype(np.float32) * rng.integers(0, 3, (items, 1))
    vectors = vectors.astype(np.float32)
    events = rng.integers(0, 20, items)
    scores = rng.permutation(items)
    ranked = int(rng.integers(2, items + 1))
    target = int(rng.integers(ranked))
    rank = sum(scores[i] >= scores[target] for i in range(ranked) if i != target)
    below = sum(scores[i] < scores[target] for i in range(ranked) if i != target)
    found = Outcome(
        ranks=np.full(users, rank, np.int32),
        top=top,
        ranked=np.full(users, ranked, np.int32),
        items=items,
    )
    assert measures.auc(found) == pytest.approx([below / (ranked - 1)] * users)
    diversity, novelty = measures.diversity(found, vectors), measures.novelty(found, events)
    for user in range(users):
        shown = [item for item in top[user].tolist() if item != NOTHING]
        apart = [1 - _cosine(vectors[a], vectors[b]) for a, b in itertools.combinations(shown, 2)]
        assert diversity[user] == pytest.approx(np.mean(apart) if apart else 0, abs=1e-5)
        bits = [-math.log2((events[i] + 1) / (events.sum() + items)) for i in shown]
        assert novelty[user] == pytest.approx(np.mean(bits) if bits else 0)
    everybody = {item for row in top.tolist() for item in row} - {NOTHING}
    assert measures.coverage(found) == len(everybody) / items


def test_diversity_of_many_users_is_that_of_each() -> None:
    rng = np.random.default_rng(0)
    top = rng.integers(0, 50, (5000, 10)).astype(np.int32)
    vectors = rng.standard_normal((50, 4)).astype(np.float32)

    def of(rows: Any) -> Any:
        users = len(rows)
        zeros = np.zeros(users, np.int32)
        whole = Outcome(ranks=zeros, top=rows, ranked=zeros + 50, items=50)
        return measures.diversity(whole, vectors)

    assert of(top)[[0, 2047, 2048, 4999]] == pytest.approx(of(top[[0, 2047, 2048, 4999]]))


def _cosine(one: Any, other: Any) -> float:
    lengths = float(np.linalg.norm(one) * np.linalg.norm(other))
    return float(one @ other) / lengths if lengths else 0.0
