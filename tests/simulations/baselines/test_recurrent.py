import math
from typing import Literal

import numpy as np
import pytest
import torch

from shared.errors import ConfigError, DataError
from simulations.baselines.learning import seeded
from simulations.baselines.popularity import Popularity
from simulations.baselines.recurrent import (
    Recurrent,
    RecurrentNetwork,
    RecurrentScorer,
    draw_others,
    loss,
)

pytestmark = pytest.mark.usefixtures("generators_left_alone")

SMALL = {"hidden": 48, "batch": 32, "dropout": 0.0, "learning_rate": 1e-2, "epochs": 20}


def _network(vectors: np.ndarray, cell: Literal["lstm", "gru"] = "lstm") -> RecurrentNetwork:
    with seeded(0):
        made = torch.from_numpy(vectors)
        return RecurrentNetwork(made, cell=cell, hidden=12, dropout=0.0).eval()


@pytest.fixture(scope="module")
def trained(circle, vectors) -> RecurrentScorer:
    return Recurrent(seed=1, **SMALL).fit(circle, vectors)


def test_it_learns_what_follows(trained, circle, vectors, share_found) -> None:
    assert share_found(trained) >= 0.9
    assert share_found(Recurrent(seed=1, cell="gru", **SMALL).fit(circle, vectors)) >= 0.9
    assert share_found(Popularity().fit(circle, vectors)) < 0.15


def test_it_says_how_likely_an_item_is_next(trained, walks) -> None:
    said = trained.scores(walks).sigmoid()
    following = [(int(walk[-1]) + 1) % 24 for walk in walks]
    real = said[range(24), following]
    assert real.median() > 0.5
    assert (said.sum(dim=1) - real).median() / 23 < 0.1


def test_one_seed_gives_one_result(trained, circle, vectors, walks) -> None:
    again = Recurrent(seed=1, **SMALL).fit(circle, vectors)
    assert torch.equal(again.scores(walks), trained.scores(walks))
    other = Recurrent(seed=2, **{**SMALL, "epochs": 1}).fit(circle, vectors)
    assert not torch.equal(other.scores(walks), trained.scores(walks))


def test_the_vectors_are_frozen_and_untouched(circle, vectors) -> None:
    before = vectors.copy()
    scorer = Recurrent(seed=1, **{**SMALL, "epochs": 1}).fit(circle, vectors)
    np.testing.assert_array_equal(vectors, before)
    np.testing.assert_allclose(scorer.network.vectors, vectors * 4, rtol=1e-6)


def test_a_users_scores_are_their_own(trained, walks) -> None:
    together = trained.scores([*walks, np.arange(20, dtype=np.int32)])
    for row, walk in enumerate(walks):
        torch.testing.assert_close(trained.scores([walk])[0], together[row], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_earlier_states_do_not_see_later_events(cell, vectors) -> None:
    network = _network(vectors, cell)
    items = torch.tensor([[3, 1, 4, 1, 5]])
    before = network(items)
    items[0, 3] = 9
    after = network(items)
    torch.testing.assert_close(before[:, :3], after[:, :3], rtol=0, atol=1e-7)
    assert (before[:, 3:] - after[:, 3:]).abs().amax(dim=2).min() > 1e-3


def test_the_loss_is_binary_cross_entropy_written_as_a_loop(vectors) -> None:
    network = _network(vectors[:2])  # of two items the drawn one is always the other
    network.bias.data.fill_(0.3)
    batch = [np.array(items, np.int32) for items in ([0, 1, 1, 0], [1, 0])]
    total, count = 0.0, 0
    for events in batch:
        for place in range(1, len(events)):
            history = torch.from_numpy(events[None, :place].astype(np.int64))
            interest = network(history)[0, -1].detach()
            for item, label in ((events[place], 1), (1 - events[place], 0)):
                logit = 4 * float(interest @ torch.from_numpy(vectors[item])) + 0.3
                said = 1 / (1 + math.exp(-logit))
                total -= math.log(said if label else 1 - said)
                count += 1
    with seeded(0):
        fast = float(loss(network, batch, 1).detach())
    assert fast == pytest.approx(total / count, rel=1e-5)


def test_others_are_uniform_and_never_the_item_itself() -> None:
    with seeded(0):
        drawn = draw_others(torch.tensor([0, 3]), 4000, 4)
    assert torch.bincount(drawn[0], minlength=4)[0] == 0
    assert torch.bincount(drawn[1], minlength=4)[3] == 0
    assert (torch.bincount(drawn[1])[:3] - 4000 / 3).abs().max() < 150
    assert draw_others(torch.tensor([0, 0]), 5, 1).shape == (2, 0)


def test_the_smallest_worlds(pack) -> None:
    tiny = Recurrent(seed=0, hidden=4, epochs=2)
    one = tiny.fit(pack([0, 0], [0]), np.ones((1, 2), np.float32))
    assert one.scores([np.array([0], np.int32)]).shape == (1, 1)
    two = tiny.fit(pack([0, 1]), np.zeros((3, 2), np.float32))
    scores = two.scores([np.array([0], np.int32), np.array([], np.int32)])
    assert scores.shape == (2, 3)
    assert scores[1].tolist() == [0, 0, 0]
    assert torch.isfinite(scores).all()


def test_what_is_refused(pack) -> None:
    with pytest.raises(DataError, match="two training events"):
        Recurrent(seed=0).fit(pack([0], [1]), np.zeros((2, 1), np.float32))
    with pytest.raises(ConfigError, match="negatives = 0"):
        Recurrent(seed=0, negatives=0)
