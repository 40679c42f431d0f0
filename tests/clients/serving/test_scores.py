"""The arithmetic that serves, against the code that the bench evaluates, and plain loops."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from clients.delivered import read_delivered
from clients.recommending.head import LocalHead, Mixing
from clients.recommending.scorer import InterestScorer
from clients.serving import scores
from clients.serving.snapshot.build import newest
from shared.whitening import Whitening
from tests.clients.serving.conftest import WEIGHT, Shop


@pytest.mark.parametrize("length", [1, 2, 6])
def test_the_parts_are_those_of_the_evaluated_model(shop: Shop, length: int) -> None:
    """Torch's model with the own adapter, and the head with the tuned weights: to 1e-5."""
    platform = shop.platform
    snapshot = newest(platform, shop.folder / "snapshots", own_weight=WEIGHT)
    delivered = read_delivered(platform.folder)
    assert delivered is not None
    own = platform.own_adapter(delivered.adapter, 3, WEIGHT)
    assert any(not np.array_equal(own[name], delivered.adapter[name]) for name in own)
    ground = platform.ground(Whitening.from_arrays(delivered.base))
    scorer = InterestScorer.of(platform.record.model, own, ground)
    mixing = Mixing(knn=snapshot.meta.knn, popularity=snapshot.meta.popularity)
    head = LocalHead.fit(platform.sequences, 60, decay=platform.record.model.decay, mixing=mixing)
    history = platform.sequences[int(np.argmax(platform.sequences.lengths))][:length]
    found = scores.score(snapshot, history)
    np.testing.assert_allclose(found.shared, scorer.scores([history])[0].numpy(), atol=1e-5)
    expected = scorer.scores([history])[0] + head.scores([history])[0]
    np.testing.assert_allclose(found.total, expected.numpy(), atol=1e-5)
    assert torch.isfinite(expected).all()


def test_an_empty_history_leaves_popularity(shop: Shop) -> None:
    snapshot = newest(shop.platform, shop.folder / "snapshots", own_weight=WEIGHT)
    found = scores.score(snapshot, np.zeros(0, np.int64))
    assert not found.shared.any()
    assert not found.together.any()
    np.testing.assert_array_equal(found.total, found.popular)


TOTALS = hnp.arrays(
    np.float32, st.integers(1, 40), elements=st.sampled_from([0.0, 0.25, 0.5, 1.0, -1.0])
)


@given(TOTALS, st.integers(1, 50), st.randoms(use_true_random=False))
def test_the_best_are_what_sorting_gives(totals: np.ndarray, k: int, random: object) -> None:
    allowed = np.array([random.random() < 0.7 for _ in totals])  # type: ignore[attr-defined]
    rows = sorted(np.flatnonzero(allowed).tolist(), key=lambda row: (-totals[row], row))
    assert scores.best(totals, k, allowed).tolist() == rows[:k]
    assert (
        scores.best(totals, k).tolist()
        == sorted(range(len(totals)), key=lambda row: (-totals[row], row))[:k]
    )


def test_diversity_by_hand() -> None:
    """Two twins score best; the second place goes to the stranger once likeness counts."""
    vectors = np.array([[1, 0], [1, 0], [0, 1]], np.float32)
    totals = np.array([1.0, 0.9, 0.5], np.float32)
    rows = np.array([7, 8, 9])
    assert scores.diverse(rows, totals, vectors, 2, 0.0).tolist() == [7, 8]
    # brought to [0, 1] the scores are 1, 0.8, 0: twin 0.5 * 0.8 - 0.5 * 1 < stranger 0
    assert scores.diverse(rows, totals, vectors, 2, 0.5).tolist() == [7, 9]
    assert scores.diverse(rows[:0], totals[:0], vectors[:0], 2, 0.5).tolist() == []
    assert sorted(scores.diverse(rows, totals, vectors, 9, 1.0).tolist()) == [7, 8, 9]
