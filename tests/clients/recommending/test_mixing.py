"""The head's weights are chosen on the platform's own last events."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from clients.recommending.head import LocalHead, Mixing
from clients.recommending.mixing import KNN, POPULARITY, tuned, without_last
from shared.events import Sequences
from shared.metrics import ndcg_at, ranks

ITEMS = 25


def packed(histories: list[list[int]]) -> Sequences:
    return Sequences(
        users=tuple(f"u{number}" for number in range(len(histories))),
        items=np.array([item for history in histories for item in history], np.int32),
        offsets=np.cumsum([0, *map(len, histories)]).astype(np.int64),
    )


@dataclass
class Fixed:
    """Scores that say the same whoever asks."""

    row: torch.Tensor

    def scores(self, histories):
        return self.row.repeat(len(histories), 1)


def people(users: int = 120, seed: int = 0) -> Sequences:
    """Item i is followed by i + 1 most of the time; small numbers are popular."""
    rng = np.random.default_rng(seed)
    histories = []
    for _ in range(users):
        start = int(rng.integers(0, ITEMS - 8) * rng.random())
        history = [start + step for step in range(int(rng.integers(3, 8)))]
        histories.append(history)
    return packed(histories)


@given(st.lists(st.lists(st.integers(0, ITEMS - 1), max_size=6), min_size=1, max_size=8))
@settings(deadline=None)
def test_the_last_event_of_everybody_is_held_out(histories: list[list[int]]) -> None:
    found = without_last(packed(histories))
    assert len(found) == len(histories)
    for user, history in enumerate(histories):
        assert found[user].tolist() == history[:-1]


def test_the_weights_are_the_best_of_the_grid() -> None:
    """Against ranking one user at a time, with heads made by hand."""
    train = people()
    scorer = Fixed(torch.linspace(0.3, 0, ITEMS))
    head = LocalHead.fit(train, ITEMS)
    found = tuned(head, scorer, train).mixing
    before = LocalHead.fit(without_last(train), ITEMS)
    quality = dict.fromkeys(((knn, popularity) for knn in KNN for popularity in POPULARITY), 0.0)
    for user in range(len(train)):
        *history, target = train[user].tolist()
        read = [np.array(history, np.int32)]
        content, alike = scorer.scores(read), before.knn(read)
        for knn, popularity in quality:
            scores = content + knn * alike + popularity * torch.from_numpy(before.popularity)
            found_at = ranks(scores, torch.tensor([target]), read)
            quality[knn, popularity] += float(ndcg_at(found_at, 10)[0])
    assert quality[found.knn, found.popularity] == pytest.approx(max(quality.values()))
    assert max(quality.values()) > min(quality.values()) + 1  # the choice matters


def test_a_head_that_knows_is_trusted_and_one_that_does_not_is_not() -> None:
    train = people()
    head = LocalHead.fit(train, ITEMS)
    wrong = Fixed(torch.linspace(0, 1, ITEMS) ** 3)  # speaks for what nobody takes
    assert tuned(head, wrong, train).mixing.knn > 0.6
    rng = np.random.default_rng(1)
    noise = packed([rng.permutation(ITEMS)[:3].tolist() for _ in range(80)])
    by_last = Fixed(torch.zeros(ITEMS))
    # nobody's next item follows from anything, but item 3 is everybody's last one
    last = packed([[*(i for i in noise[user].tolist() if i != 3), 3] for user in range(80)])
    by_last.row[3] = 0.4
    chosen = tuned(LocalHead.fit(last, ITEMS), by_last, last).mixing
    assert chosen.knn == KNN[0]


def test_the_head_itself_stays_as_it_was_fitted() -> None:
    train = people()
    head = LocalHead.fit(train, ITEMS)
    found = tuned(head, Fixed(torch.zeros(ITEMS)), train)
    assert found.similarity is head.similarity
    assert found.popularity is head.popularity
    assert head.mixing == Mixing()


def test_nobody_to_learn_from_changes_nothing() -> None:
    train = packed([[3], [], [4]])
    head = LocalHead.fit(train, ITEMS)
    assert tuned(head, Fixed(torch.zeros(ITEMS)), train) is head


def test_only_some_users_are_looked_at() -> None:
    train = people()
    asked = []

    class Counting(Fixed):
        def scores(self, histories):
            asked.append(len(histories))
            return super().scores(histories)

    tuned(LocalHead.fit(train, ITEMS), Counting(torch.zeros(ITEMS)), train, users=30)
    assert sum(asked) == 30
