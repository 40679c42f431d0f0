"""The arithmetic that serves, against the code that the bench evaluates, and plain loops."""

import numpy as np
import pytest
import torch

from clients.delivered import read_delivered
from clients.recommending.head import LocalHead, Mixing
from clients.recommending.scorer import InterestScorer
from clients.serving import scores
from clients.serving.snapshot import write
from clients.serving.snapshot.build import newest
from shared.whitening import Whitening
from tests.clients.serving.conftest import PARTS, Shop


@pytest.mark.parametrize("length", [1, 2, 6])
def test_the_parts_are_those_of_the_evaluated_model(shop: Shop, length: int) -> None:
    """Torch's model with the own adapter, and the head with the tuned weights: to 1e-5."""
    platform = shop.platform
    snapshot = newest(platform, shop.folder / "snapshots", parts=PARTS)
    delivered = read_delivered(platform.folder)
    assert delivered is not None
    own = platform.own_adapter(delivered.adapter, 3, PARTS)
    assert any(not np.array_equal(own[name], delivered.adapter[name]) for name in own)
    ground = platform.ground(Whitening.from_arrays(delivered.base))
    scorer = InterestScorer.of(platform.record.model, own, ground)
    mixing = Mixing(knn=snapshot.meta.knn, popularity=snapshot.meta.popularity)
    head = LocalHead.fit(platform.sequences, 60, decay=platform.record.model.decay, mixing=mixing)
    history = platform.sequences[int(np.argmax(platform.sequences.lengths))][:length]
    found = scores.score(snapshot, history, np.arange(60))
    # a snapshot holds items in half precision
    np.testing.assert_allclose(found.shared, scorer.scores([history])[0].numpy(), atol=5e-4)
    np.testing.assert_allclose(
        found.together + found.popular, head.scores([history])[0].numpy(), atol=1e-5
    )
    expected = scorer.scores([history])[0] + head.scores([history])[0]
    np.testing.assert_allclose(found.total, expected.numpy(), atol=5e-4)
    assert torch.isfinite(expected).all()


def test_an_empty_history_leaves_popularity(shop: Shop) -> None:
    snapshot = newest(shop.platform, shop.folder / "snapshots", parts=PARTS)
    found = scores.score(snapshot, np.zeros(0, np.int64), np.arange(60))
    assert not found.shared.any()
    assert not found.together.any()
    np.testing.assert_array_equal(found.total, found.popular)
    ranked = scores.ranked(snapshot, np.zeros(0, np.int64), 60)
    assert ranked.rows.tolist() == best(found.total, 60)


@pytest.mark.parametrize("limit", [60, 0])
def test_the_best_are_what_sorting_all_gives(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    """For every user, with and without filters; by lists too, which read all of so few items."""
    monkeypatch.setattr(write, "EXACT_LIMIT", limit)
    snapshot = newest(shop.platform, shop.folder / str(limit), parts=PARTS)
    assert snapshot.index.exact == (limit == 60)
    rng = np.random.default_rng(0)
    for user in range(40):
        history = shop.platform.sequences[user].astype(np.int64)
        total = scores.score(snapshot, history, np.arange(60)).total
        for k in (1, 5, 60):
            assert scores.ranked(snapshot, history, k).rows.tolist() == best(total, k)
            allowed = rng.random(60) < 0.6
            found = scores.ranked(snapshot, history, k, allowed=allowed, without=history)
            total_left = np.where(allowed, total, -np.inf)
            total_left[history] = -np.inf
            assert found.rows.tolist() == best(total_left, k)
            np.testing.assert_array_equal(found.total, total[found.rows])


def test_what_an_event_adds_is_what_the_others_leave(shop: Shop) -> None:
    snapshot = newest(shop.platform, shop.folder / "snapshots", parts=PARTS)
    history = shop.platform.sequences[int(np.argmax(shop.platform.sequences.lengths))]
    for row in range(60):
        found = scores.left_out(snapshot, history.astype(np.int64), row)
        others = [history, *(np.delete(history, place) for place in range(len(history)))]
        expected = [scores.score(snapshot, one, np.array([row])).total[0] for one in others]
        np.testing.assert_allclose(found, expected, atol=1e-6)


def best(total: np.ndarray, k: int) -> list[int]:
    rows = sorted(range(len(total)), key=lambda row: (-total[row], row))
    return [row for row in rows if total[row] > -np.inf][:k]


def test_diversity_by_hand() -> None:
    """Two twins score best; the second place goes to the stranger once likeness counts."""
    vectors = np.array([[1, 0], [1, 0], [0, 1]], np.float32)
    totals = np.array([1.0, 0.9, 0.5], np.float32)
    assert scores.diverse(totals, vectors, 2, 0.0).tolist() == [0, 1]
    # brought to [0, 1] the scores are 1, 0.8, 0: twin 0.5 * 0.8 - 0.5 * 1 < stranger 0
    assert scores.diverse(totals, vectors, 2, 0.5).tolist() == [0, 2]
    assert scores.diverse(totals[:0], vectors[:0], 2, 0.5).tolist() == []
    assert sorted(scores.diverse(totals, vectors, 9, 1.0).tolist()) == [0, 1, 2]
