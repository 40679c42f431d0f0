"""The scorer against a plain numpy loop, and against the frozen baseline at round 0."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from clients.recommending.scorer import InterestScorer
from shared.adapters import Adapter, initial_adapter
from shared.config.training import ModelSettings
from shared.errors import AdapterError
from shared.ground import Ground
from simulations.baselines.frozen import FrozenScorer

ITEMS, WIDTH = 25, 9
SETTINGS = ModelSettings(history_length=5, rank=11, layers=3)

a_history = st.lists(st.integers(0, ITEMS - 1), max_size=12)


def public_ground() -> Ground:
    generator = torch.Generator().manual_seed(5)
    vectors = torch.randn((ITEMS, WIDTH), generator=generator)
    features = torch.randn((ITEMS, 3 * WIDTH), generator=generator)
    vectors, features = (torch.nn.functional.normalize(part) for part in (vectors, features))
    vectors[3] = 0  # an item that whitening left nothing of
    features[3] = 0
    return Ground(vectors=vectors, features=features)


def some_adapter(seed: int) -> Adapter:
    generator = np.random.default_rng(seed)
    return {
        name: generator.normal(size=value.shape).astype(np.float32)
        for name, value in initial_adapter(SETTINGS, WIDTH).items()
    }


def as_rows(histories: list[list[int]]) -> list[NDArray[np.int32]]:
    return [np.array(history, np.int32) for history in histories]


def frozen_loop(history: list[int], length: int) -> NDArray[np.float64]:
    """The frozen baseline as one would explain it: a weighted mean, and cosines with it."""
    vectors = public_ground().vectors.double().numpy()
    interest = np.zeros(WIDTH)
    for back, item in enumerate(reversed(history[-length:])):
        interest += SETTINGS.decay**back * vectors[item]
    size = np.linalg.norm(interest)
    return vectors @ interest / size if size > 0 else np.zeros(ITEMS)


@settings(deadline=None, max_examples=60)
@given(histories=st.lists(a_history, min_size=1, max_size=4))
def test_round_zero_scores_as_the_frozen_loop(histories: list[list[int]]) -> None:
    scorer = InterestScorer.of(SETTINGS, initial_adapter(SETTINGS, WIDTH), public_ground())
    found = scorer.scores(as_rows(histories))
    assert found.shape == (len(histories), ITEMS)
    assert found.dtype == torch.float32
    for row, history in enumerate(histories):
        want = frozen_loop(history, SETTINGS.history_length)
        np.testing.assert_allclose(found[row].numpy(), want, rtol=0, atol=2e-6)


@settings(deadline=None, max_examples=40)
@given(histories=st.lists(a_history, min_size=1, max_size=6))
def test_round_zero_is_the_frozen_baseline_to_the_bit(histories: list[list[int]]) -> None:
    """On the same events, as the evaluation hands them to both."""
    public = public_ground()
    cut = as_rows([history[-SETTINGS.history_length :] for history in histories])
    ours = InterestScorer.of(SETTINGS, initial_adapter(SETTINGS, WIDTH), public)
    frozen = FrozenScorer(public.vectors, decay=SETTINGS.decay)
    assert torch.equal(ours.scores(cut), frozen.scores(cut))


def test_older_events_than_the_model_reads_change_nothing() -> None:
    scorer = InterestScorer.of(SETTINGS, some_adapter(0), public_ground())
    recent = [4, 8, 15, 16, 23]
    assert len(recent) == SETTINGS.history_length
    assert torch.equal(
        scorer.scores(as_rows([[1, 2, 3, *recent]])), scorer.scores(as_rows([recent]))
    )
    assert not torch.equal(scorer.scores(as_rows([recent[1:]])), scorer.scores(as_rows([recent])))


def test_an_adapter_moves_scores() -> None:
    histories = as_rows([[1], [2, 3, 4], []])
    before = InterestScorer.of(SETTINGS, initial_adapter(SETTINGS, WIDTH), public_ground())
    after = InterestScorer.of(SETTINGS, some_adapter(1), public_ground())
    assert (before.scores(histories) - after.scores(histories)).abs().max() > 0.1
    scores = after.scores(histories)
    interests = after.interests(histories)
    assert interests.norm(dim=1).tolist() == pytest.approx([1, 1, 0], abs=1e-6)
    weight = after.model.weight.detach().double().numpy()
    public = public_ground()
    items = public.vectors.double().numpy() + public.features.double().numpy() @ weight.T
    own = np.linalg.norm(public.vectors.double().numpy(), axis=1, keepdims=True)
    items *= own / np.maximum(np.linalg.norm(items, axis=1, keepdims=True), 1e-30)
    assert (own == 0).any()  # an item without a text stays nothing
    np.testing.assert_allclose(scores.numpy(), interests.numpy() @ items.T, atol=1e-5)
    assert not scores[:, 3].any()


def test_a_user_s_scores_are_their_own() -> None:
    scorer = InterestScorer.of(SETTINGS, some_adapter(2), public_ground())
    histories = as_rows([[1, 2], [], [3, 9, 9, 9, 4, 11, 12], [24]])
    together = scorer.scores(histories)
    for row, history in enumerate(histories):
        assert torch.allclose(scorer.scores([history])[0], together[row], atol=1e-6)
    assert not scorer.scores(histories).requires_grad


def test_nobody_asks() -> None:
    scorer = InterestScorer.of(SETTINGS, some_adapter(2), public_ground())
    assert scorer.scores([]).shape == (0, ITEMS)


def test_an_adapter_of_another_width() -> None:
    other = initial_adapter(SETTINGS, WIDTH + 1)
    with pytest.raises(AdapterError, match="another base model"):
        InterestScorer.of(SETTINGS, other, public_ground())
