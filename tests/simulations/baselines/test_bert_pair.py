import math

import numpy as np
import pytest
import torch

from shared.errors import ConfigError, DataError
from simulations.baselines.bert_pair import (
    BertPair,
    BertPairScorer,
    Example,
    leading,
    pair_loss,
)
from simulations.baselines.frozen import Frozen
from simulations.baselines.learning import seeded
from simulations.baselines.reading import TextModel, TextReader

pytestmark = pytest.mark.usefixtures("generators_left_alone")

SMALL = {"learning_rate": 2e-3, "head_rate": 1e-2, "max_tokens": 12, "events": 2000}
EVEN = 10  # items of an even number


@pytest.fixture(scope="module")
def tastes(pack):
    """300 users; what follows an item is of the other kind: even after odd, odd after even."""
    rng = np.random.default_rng(0)
    users = []
    for _ in range(300):
        first, size = int(rng.integers(2)), int(rng.integers(2, 8))
        kinds = (first + np.arange(size)) % 2
        users.append((2 * rng.integers(0, EVEN, size=size) + kinds).tolist())
    return pack(*users)


@pytest.fixture(scope="module")
def kinds() -> list[str]:
    """Texts that say the kind, in the tiny model's words."""
    return [f"w{item % 2} common" for item in range(2 * EVEN)]


@pytest.fixture(scope="module")
def trained(tastes, kinds, tiny_bert, vectors) -> BertPairScorer:
    system = BertPair(texts=kinds, encoder=tiny_bert, seed=1, rerank=8, steps=300, **SMALL)
    return system.fit(tastes, vectors[: 2 * EVEN])


HISTORIES = [np.array(items, np.int32) for items in ([0, 1], [4, 7, 2], [5], [8, 3, 8, 13], [16])]


def test_it_learns_what_follows(trained) -> None:
    scores = trained.scores(HISTORIES)
    right, by_frozen = [], []
    for row, history in enumerate(HISTORIES):
        first = np.sort(scores[row].numpy())[::-1][:8]
        read = np.flatnonzero(scores[row].numpy() > 2)
        assert len(read) == 8
        np.testing.assert_allclose(first, 2 + np.arange(8, 0, -1) / 8, rtol=1e-6)
        fits = read[read % 2 != history[-1] % 2]
        assert 0 < len(fits) < 8
        order = read[np.argsort(-scores[row].numpy()[read])]
        right.append(set(order[: len(fits)]) == set(fits))
        cosines = trained.frozen.scores([history])[0].numpy()
        by_frozen.append(set(read[np.argsort(-cosines[read])][: len(fits)]) == set(fits))
    assert all(right)
    assert not any(by_frozen)


def test_the_rest_stays_below_in_frozen_order(trained) -> None:
    scores = trained.scores(HISTORIES)
    frozen = trained.frozen.scores(HISTORIES)
    best = leading(frozen, HISTORIES, 8)
    for row, history in enumerate(HISTORIES):
        read = np.flatnonzero(scores[row].numpy() > 2)
        assert set(read) == set(best[row])
        assert not set(read) & set(history)
        rest = np.setdiff1d(np.arange(2 * EVEN), read)
        assert torch.equal(scores[row, rest], frozen[row, rest])
        others = np.setdiff1d(rest, history)
        assert frozen[row, others].max() <= frozen[row, read].min()
        assert scores[row, read].min() > 2 > scores[row, rest].max()


def test_leading_by_hand() -> None:
    scores = torch.tensor([[0.1, 0.9, 0.5, 0.7]]).repeat(4, 1)
    histories = [np.array(items, np.int32) for items in ([1], [1, 3, 1], [0, 1, 2, 3], [])]
    found = leading(scores, histories, 3)
    assert [items.tolist() for items in found] == [[3, 2, 0], [2, 0], [], []]
    assert scores[0].tolist() == pytest.approx([0.1, 0.9, 0.5, 0.7])


def test_examples_are_what_frozen_has_among_the_first(tastes, kinds, tiny_bert, vectors) -> None:
    made = vectors[: 2 * EVEN]
    frozen = Frozen(0.6).fit(tastes, made)
    system = BertPair(texts=kinds, encoder=tiny_bert, seed=0, rerank=4, events=500)
    examples = system._examples(tastes, frozen, np.random.default_rng(0))
    assert 20 < len(examples) < 300
    for example in examples:
        first = leading(frozen.scores([example.history]), [example.history], 4)[0]
        assert example.item in first
        assert sorted([example.item, *example.others]) == sorted(first)


def test_where_frozen_finds_nothing_all_events_are_examples(pack, tiny_bert) -> None:
    # 0 is followed by 1, and frozen has 2 first: they have one direction
    made = np.array([[1, 0], [-1, 0], [1, 0]], np.float32)
    train = pack([0, 1], [0, 1])
    system = BertPair(texts=["w0", "w1", "w2"], encoder=tiny_bert, seed=0, rerank=1, events=5)
    examples = system._examples(train, Frozen().fit(train, made), np.random.default_rng(0))
    assert [(e.history.tolist(), e.item, e.others.tolist()) for e in examples] == [
        ([0], 1, [2])
    ] * 5


def test_the_loss_is_binary_cross_entropy_written_as_a_loop(tiny_bert, kinds) -> None:
    with seeded(0):
        reader = TextReader.load(tiny_bert, kinds, max_tokens=20, item_tokens=8)
        model = TextModel(reader, 1).eval()
        torch.nn.init.normal_(model.head.weight)
    examples = [
        Example(np.array([1, 2], np.int32), 3, np.array([4])),
        Example(np.array([5], np.int32), 6, np.array([7, 9])),
    ]
    total = 0.0
    for example in examples:
        for item in (example.item, *example.others.tolist()):
            pair = reader.writer.pairs([example.history], [np.array([item])])
            logit = float(model.logits(pair, 1))
            said = 1 / (1 + math.exp(-logit))
            total -= math.log(said if item == example.item else 1 - said)
    fast = pair_loss(model, examples, 2, np.random.default_rng(0)).detach()
    assert float(fast) == pytest.approx(total / 5, rel=1e-4)


def test_one_seed_gives_one_result(tastes, kinds, tiny_bert, vectors) -> None:
    def logits(seed: int) -> torch.Tensor:
        system = BertPair(texts=kinds, encoder=tiny_bert, seed=seed, steps=10, **SMALL)
        scorer = system.fit(tastes, vectors[: 2 * EVEN])
        pairs = scorer.model.reader.writer.pairs([HISTORIES[0]], [np.arange(2 * EVEN)])
        return torch.cat([scorer.scores(HISTORIES).flatten(), scorer.model.logits(pairs, 8)[:, 0]])

    first = logits(1)
    assert torch.equal(logits(1), first)
    assert not torch.equal(logits(2), first)


def test_a_users_scores_are_their_own(trained) -> None:
    together = trained.scores(HISTORIES)
    for row, history in enumerate(HISTORIES):
        alone = trained.scores([history])[0]
        torch.testing.assert_close(alone.clamp_max(2), together[row].clamp_max(2))
        # items of one text tie but for rounding, so that their places may change: the kinds not
        ranked = [np.argsort(-row.numpy())[:8] % 2 for row in (alone, together[row])]
        np.testing.assert_array_equal(*ranked)


def test_the_smallest_worlds(pack, tiny_bert) -> None:
    one = BertPair(texts=["w0"], encoder=tiny_bert, seed=0, steps=2, events=4)
    scorer = one.fit(pack([0, 0], [0]), np.ones((1, 1), np.float32))
    assert scorer.scores([np.array([0], np.int32)]).shape == (1, 1)
    two = BertPair(texts=["w0", "", "w2"], encoder=tiny_bert, seed=0, steps=2, events=4)
    scorer = two.fit(pack([0, 1]), np.eye(3, dtype=np.float32))
    scores = scorer.scores([np.array([], np.int32), np.array([1], np.int32)])
    assert scores[0].tolist() == [0, 0, 0]
    assert (scores[1] > 2).tolist() == [True, False, True]


def test_what_is_refused(pack, tiny_bert, texts) -> None:
    with pytest.raises(DataError, match="one for each item"):
        BertPair(texts=texts, encoder=tiny_bert, seed=0).fit(pack([0, 1]), np.zeros((2, 1)))
    with pytest.raises(ConfigError, match="rerank = 0"):
        BertPair(texts=texts, encoder=tiny_bert, seed=0, rerank=0)
