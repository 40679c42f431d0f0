import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from clients.recommending.scorer import InterestScorer
from shared.adapters import initial_adapter
from shared.config.training import ModelSettings
from shared.events import Sequences
from shared.ground import Ground
from simulations.baselines.base import Baseline
from simulations.baselines.frozen import Frozen
from simulations.baselines.frozen_knn import FrozenKnn
from simulations.baselines.knn import Knn
from simulations.baselines.popularity import Popularity

VECTORS = np.array([[1, 0], [0, 1], [0.6, 0.8], [-1, 0]], np.float32)


def _train(*users: list[int]) -> Sequences:
    return Sequences(
        users=tuple(f"u{number}" for number in range(len(users))),
        items=np.array([item for user in users for item in user], np.int32),
        offsets=np.cumsum([0, *map(len, users)]).astype(np.int64),
    )


def _history(*items: int) -> np.ndarray:
    return np.array(items, np.int32)


TRAIN = _train([0, 1, 2], [1, 0], [1])


def test_popularity_is_log_of_the_training_events() -> None:
    scores = Popularity().fit(TRAIN, VECTORS).scores([_history(3), _history()])
    expected = np.log1p([2, 3, 1, 0])
    np.testing.assert_allclose(scores, [expected, expected], rtol=1e-6)


def test_frozen_by_hand() -> None:
    scores = Frozen(decay=0.6).fit(TRAIN, VECTORS).scores([_history(0, 1)])
    interest = (0.6 / 1.6, 1 / 1.6)
    length = math.hypot(*interest)
    dots = [interest[0], interest[1], 0.6 * interest[0] + 0.8 * interest[1], -interest[0]]
    expected = [dot / length for dot in dots]
    assert scores[0].tolist() == pytest.approx(expected, rel=1e-6)


def test_frozen_of_an_empty_history_has_no_opinion() -> None:
    assert Frozen().fit(TRAIN, VECTORS).scores([_history()]).tolist() == [[0, 0, 0, 0]]


@settings(deadline=None)
@given(
    histories=st.lists(
        st.lists(st.integers(0, 3), min_size=1, max_size=60), min_size=1, max_size=4
    ),
    decay=st.sampled_from([0.05, 0.6, 1.0]),
)
def test_frozen_equals_a_loop_and_ignores_its_neighbours(
    histories: list[list[int]], decay: float
) -> None:
    fast = Frozen(decay).fit(TRAIN, VECTORS).scores([_history(*items) for items in histories])
    for row, items in enumerate(histories):
        total, weight, weights = np.zeros(2), 1.0, 0.0
        for item in reversed(items):
            total += weight * VECTORS[item]
            weights += weight
            weight *= decay
        mean = total / weights
        if np.linalg.norm(mean) > 1e-3:  # of opposite vectors little is left but rounding
            slow = VECTORS.astype(np.float64) @ (mean / np.linalg.norm(mean))
            np.testing.assert_allclose(fast[row], slow, atol=1e-4)


def test_frozen_is_bit_for_bit_the_interest_model_at_round_0() -> None:
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((40, 16)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    histories = [rng.integers(0, 40, size=size).astype(np.int32) for size in (1, 3, 50)]
    settings = ModelSettings(layers=1)
    ground = Ground(torch.from_numpy(vectors), torch.from_numpy(vectors))
    expected = InterestScorer.of(settings, initial_adapter(settings, 16), ground).scores(histories)
    assert torch.equal(Frozen(0.6).fit(TRAIN, vectors).scores(histories), expected)


def test_knn_is_the_head_without_popularity() -> None:
    scores = Knn(window=1).fit(TRAIN, VECTORS).scores([_history(1), _history(3)])
    # next to 1: 0 came after it once and before it once (1.75), 2 after it once (1)
    # and the columns' sums are 1.75 and 1; what row 1 sums to falls out
    ratio = (1 / math.sqrt(1)) / (1.75 / math.sqrt(1.75))
    assert scores[0].tolist() == pytest.approx([1, 0, ratio, 0], rel=1e-6)
    assert scores[1].tolist() == [0, 0, 0, 0]


def test_frozen_knn_adds_the_three_parts() -> None:
    history = [_history(0, 1), _history(2)]
    frozen = Frozen().fit(TRAIN, VECTORS).scores(history)
    knn = Knn().fit(TRAIN, VECTORS).scores(history)
    popular = Popularity().fit(TRAIN, VECTORS).scores(history)
    both = FrozenKnn().fit(TRAIN, VECTORS).scores(history)
    torch.testing.assert_close(both, frozen + 0.6 * knn + 0.02 * popular)


@pytest.mark.parametrize("baseline", [Popularity(), Frozen(), Knn(), FrozenKnn()])
def test_every_baseline_scores_the_whole_catalogue(baseline: Baseline) -> None:
    scorer = baseline.fit(TRAIN, VECTORS)
    histories = [_history(0), _history(1, 2, 3)]
    scores = scorer.scores(histories)
    assert scores.shape == (2, 4)
    assert scores.dtype == torch.float32
    assert torch.equal(scores, scorer.scores(histories))
