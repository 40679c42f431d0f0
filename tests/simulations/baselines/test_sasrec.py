import numpy as np
import pytest
import torch
from torch.nn import functional

from shared.errors import ConfigError, DataError
from simulations.baselines import sasrec
from simulations.baselines.learning import seeded
from simulations.baselines.popularity import Popularity
from simulations.baselines.sasrec import SasRec, SasRecNetwork, accumulate

pytestmark = pytest.mark.usefixtures("generators_left_alone")

SMALL = {"hidden": 32, "batch": 32, "dropout": 0.1, "learning_rate": 5e-3, "epochs": 20}


def _network(**changes: int) -> SasRecNetwork:
    with seeded(0):
        sizes = {"hidden": 16, "blocks": 2, "heads": 2, "dropout": 0.0, "length": 8, **changes}
        return SasRecNetwork(24, **sizes).eval()


@pytest.fixture(scope="module")
def trained(circle, vectors) -> sasrec.SasRecScorer:
    return SasRec(seed=1, **SMALL).fit(circle, vectors)


def test_it_learns_what_follows(trained, circle, vectors, share_found) -> None:
    assert share_found(trained) >= 0.95
    assert share_found(Popularity().fit(circle, vectors)) < 0.15


def test_one_seed_gives_one_result(trained, circle, vectors, walks) -> None:
    again = SasRec(seed=1, **SMALL).fit(circle, vectors)
    assert torch.equal(again.scores(walks), trained.scores(walks))
    other = SasRec(seed=2, **{**SMALL, "epochs": 1}).fit(circle, vectors)
    assert not torch.equal(other.scores(walks), trained.scores(walks))


def test_a_users_scores_are_their_own(trained, walks) -> None:
    together = trained.scores([*walks, np.arange(20, dtype=np.int32)])
    for row, walk in enumerate(walks):
        torch.testing.assert_close(trained.scores([walk])[0], together[row], rtol=1e-4, atol=1e-4)


def test_earlier_states_do_not_see_later_events() -> None:
    network = _network()
    items, sizes = torch.tensor([[3, 1, 4, 1, 5]]), torch.tensor([5])
    before = network(items, sizes)
    items[0, 3] = 9
    after = network(items, sizes)
    assert torch.equal(before[:, :3], after[:, :3])
    assert (before[:, 3:] - after[:, 3:]).abs().amax(dim=2).min() > 1e-3


def test_order_counts() -> None:
    network = _network()
    sizes = torch.tensor([3])
    one = network(torch.tensor([[1, 2, 3]]), sizes)[0, -1]
    other = network(torch.tensor([[2, 1, 3]]), sizes)[0, -1]
    assert (one - other).abs().max() > 1e-3


def test_places_are_counted_back_from_the_newest() -> None:
    network, places = _network(), []
    network.places.register_forward_pre_hook(lambda _, read: places.append(read[0].tolist()))
    network(torch.zeros(2, 4, dtype=torch.int64), torch.tensor([3, 4]))
    assert places == [[[2, 1, 0, 0], [3, 2, 1, 0]]]


def test_only_the_newest_events_are_read() -> None:
    scorer = sasrec.SasRecScorer(_network(), length=8)
    history = np.arange(20, dtype=np.int32)
    torch.testing.assert_close(scorer.scores([history]), scorer.scores([history[-8:]]))
    assert (scorer.scores([history]) - scorer.scores([history[-7:]])).abs().max() > 1e-3


def test_a_block_is_attention_written_as_a_loop() -> None:
    with seeded(0):
        block = sasrec.Block(hidden=8, heads=2, dropout=0.0).eval()
    states = torch.rand(1, 5, 8, generator=torch.Generator().manual_seed(0))
    query, key, value = block.queries(block.norms[0](states))[0].split(8, dim=1)
    read = torch.zeros(5, 8)
    for head in (slice(0, 4), slice(4, 8)):
        for place in range(5):
            weights = (query[place, head] @ key[: place + 1, head].T / 4**0.5).softmax(dim=0)
            read[place, head] = weights @ value[: place + 1, head]
    after = states[0] + block.out(read)
    expected = after + block.pointwise(block.norms[1](after))
    torch.testing.assert_close(block(states)[0], expected)


def test_the_gradient_in_parts_is_the_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    batch = [np.array(items, np.int32) for items in ([1, 2, 3, 4], [5, 6], [7, 7, 8, 9, 10, 11])]
    plain, parts = _network(), _network()
    losses = []
    for events in batch:  # every event by itself, without padding
        states = plain(
            torch.from_numpy(events[None, :-1].astype(np.int64)), torch.tensor([len(events) - 1])
        )
        logits = states[0] @ plain.items.weight.T
        losses += [
            -functional.log_softmax(row, dim=0)[item]
            for row, item in zip(logits, events[1:].tolist(), strict=True)
        ]
    mean = torch.stack(losses).mean()
    mean.backward()
    monkeypatch.setattr(sasrec, "_EVENTS_AT_ONCE", 4)
    assert accumulate(parts, batch) == pytest.approx(float(mean.detach()), rel=1e-5)
    for one, other in zip(plain.parameters(), parts.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-4, atol=1e-6)


def test_the_smallest_worlds(pack) -> None:
    tiny = SasRec(seed=0, hidden=4, epochs=2)
    one = tiny.fit(pack([0, 0], [0]), np.zeros((1, 1), np.float32))
    assert one.scores([np.array([0], np.int32)]).shape == (1, 1)
    two = tiny.fit(pack([0, 1]), np.zeros((3, 1), np.float32))
    scores = two.scores([np.array([0], np.int32), np.array([], np.int32)])
    assert scores.shape == (2, 3)
    assert scores[1].tolist() == [0, 0, 0]
    assert torch.isfinite(scores).all()


def test_what_is_refused(pack) -> None:
    with pytest.raises(DataError, match="two training events"):
        SasRec(seed=0).fit(pack([0], [1]), np.zeros((2, 1), np.float32))
    with pytest.raises(DataError, match="outside the catalogue"):
        SasRec(seed=0).fit(pack([0, 5]), np.zeros((2, 1), np.float32))
    with pytest.raises(ConfigError, match="a divisor of hidden = 10, got heads = 4"):
        SasRec(seed=0, hidden=10, heads=4)
    with pytest.raises(ConfigError, match=r"dropout = 1\.5"):
        SasRec(seed=0, dropout=1.5)
