"""The loss written out, the fast gradient against autograd, and whose data a window holds."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from shared.adapters import initial_adapter
from shared.config.training import ModelSettings
from shared.events import Sequences
from shared.ground import Ground
from shared.model import InterestModel, scales
from shared.objective import Table, Windows, factors, losses, windows

ITEMS, WIDTH = 30, 8
SETTINGS = ModelSettings(history_length=9, rank=7, layers=2)
NEGATIVES = torch.tensor([3, 7, 7, 12, 0, 29])
TEMPERATURE = 0.15
GCE_Q = 0.3


def packed(histories: list[list[int]]) -> Sequences:
    return Sequences(
        users=tuple(f"u{number}" for number in range(len(histories))),
        items=np.array([item for history in histories for item in history], np.int32),
        offsets=np.cumsum([0, *map(len, histories)]).astype(np.int64),
    )


def ground() -> Ground:
    generator = torch.Generator().manual_seed(3)
    vectors = torch.randn((ITEMS, WIDTH), generator=generator)
    features = torch.randn((ITEMS, 2 * WIDTH), generator=generator)
    return Ground(torch.nn.functional.normalize(vectors), torch.nn.functional.normalize(features))


def model(seed: int = 1) -> InterestModel:
    generator = np.random.default_rng(seed)
    adapter = {
        name: (0.3 * generator.normal(size=value.shape)).astype(np.float32)
        for name, value in initial_adapter(SETTINGS, WIDTH).items()
    }
    return InterestModel(SETTINGS, WIDTH).load(adapter)


def batch_of(histories: list[list[int]], longest: int = 6, coin: float = 0.5) -> Windows:
    users = np.arange(len(histories))
    return windows(packed(histories), users, np.full(len(users), coin), longest)


# --- the loss --------------------------------------------------------------------------------


@pytest.mark.parametrize("gce_q", [0.0, 0.1, 0.7, 1.0])
def test_the_loss_is_a_softmax_over_the_item_and_the_negatives(gce_q: float) -> None:
    """Written out in numpy, event by event; 7 is drawn twice, and never against itself."""
    history = [4, 9, 7, 9, 25]
    own, public = model(), ground()
    weight = own.weight.detach().double().numpy()
    items = public.vectors.double().numpy() + public.features.double().numpy() @ weight.T
    items /= np.linalg.norm(items, axis=1, keepdims=True)
    total = 0.0
    for event in range(1, len(history)):
        interest = np.zeros(WIDTH)
        for back, item in enumerate(reversed(history[:event])):
            interest += SETTINGS.decay**back * items[item]
        interest /= np.linalg.norm(interest)
        met = np.exp(interest @ items[history[event]] / TEMPERATURE)
        rest = sum(
            np.exp(interest @ items[other] / TEMPERATURE)
            for other in NEGATIVES.tolist()
            if other != history[event]
        )
        found = met / (met + rest)
        loss = (1 - found**gce_q) / gce_q if gce_q else -np.log(found)
        total += loss / (len(history) - 1)
    (loss,) = losses(own, public, batch_of([history]), NEGATIVES, TEMPERATURE, gce_q)
    assert float(loss.detach()) == pytest.approx(total, rel=1e-5)


def test_a_loss_is_the_users_own() -> None:
    """Whoever else is in the batch, in whatever order: one user's loss stays what it is."""
    histories = [[1, 2, 3], [4], [], [5, 6, 7, 8, 9, 1, 2, 3], [11, 12]]
    together = losses(
        model(), ground(), batch_of(histories), NEGATIVES, TEMPERATURE, GCE_Q
    ).tolist()
    turned = losses(
        model(), ground(), batch_of(histories[::-1]), NEGATIVES, TEMPERATURE, GCE_Q
    ).tolist()
    assert turned[::-1] == pytest.approx(together, rel=1e-5)
    for user, history in enumerate(histories):
        alone = losses(
            model(), ground(), batch_of([history]), NEGATIVES, TEMPERATURE, GCE_Q
        ).tolist()
        assert alone == pytest.approx([together[user]], rel=1e-5)
        assert (together[user] == 0) == (len(history) < 2)


# --- its gradient ----------------------------------------------------------------------------


def gradients(
    own: InterestModel,
    name: str,
    batch: Windows,
    negatives: torch.Tensor,
    gce_q: float = GCE_Q,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(U, D, R) from the factors, and from autograd through the plain loss."""
    block = own.block(name)
    with torch.no_grad():
        table = Table(
            adapted=own.items(ground()),
            columns=ground().features[:, block.columns] * scales(ground(), own.moved(ground())),
            negatives=negatives,
            decay=SETTINGS.decay,
            temperature=TEMPERATURE,
            gce_q=gce_q,
        )
        inputs, outputs = factors(table, batch)
    fast = torch.einsum("uto,uti->uoi", outputs.double(), inputs.double()).numpy()
    slow = []
    for user in range(len(batch.items)):
        own.zero_grad()
        losses(own, ground(), batch, negatives, TEMPERATURE, gce_q)[user].backward()
        gradient = block.lora_B.weight.grad
        assert gradient is not None
        slow.append(gradient.double().numpy().copy())
    return fast, np.array(slow)


@settings(deadline=None, max_examples=25)
@given(
    histories=st.lists(st.lists(st.integers(0, ITEMS - 1), max_size=9), min_size=1, max_size=4),
    longest=st.integers(2, 9),
    coin=st.floats(0, 0.999),
    block=st.integers(0, 2),
    negatives=st.lists(st.integers(0, ITEMS - 1), min_size=1, max_size=8),
    gce_q=st.sampled_from([0.0, 0.1, 0.7, 1.0]),
)
def test_factors_are_the_gradient(
    histories: list[list[int]],
    longest: int,
    coin: float,
    block: int,
    negatives: list[int],
    gce_q: float,
) -> None:
    own = model()
    batch = batch_of(histories, longest, coin)
    fast, slow = gradients(own, own.names[block], batch, torch.tensor(negatives), gce_q)
    for one, other in zip(fast, slow, strict=True):
        assert np.linalg.norm(one - other) <= 3e-6 * np.linalg.norm(other) + 1e-6


def test_at_round_zero_too() -> None:
    own = InterestModel(SETTINGS, WIDTH)
    fast, slow = gradients(own, own.names[0], batch_of([[1, 2, 3, 4], [9, 8]]), NEGATIVES)
    assert np.linalg.norm(slow) > 0.1
    np.testing.assert_allclose(fast, slow, atol=1e-6)


# --- windows ---------------------------------------------------------------------------------


@settings(deadline=None, max_examples=150)
@given(
    lengths=st.lists(st.integers(0, 12), min_size=1, max_size=6),
    longest=st.integers(2, 8),
    data=st.data(),
)
def test_a_window_is_a_run_of_the_users_own_events(
    lengths: list[int], longest: int, data: st.DataObject
) -> None:
    # Every event is an item of its own, so that an item tells whose it is, and from where.
    ends = np.cumsum([0, *lengths])
    histories = [list(range(ends[u], ends[u + 1])) for u in range(len(lengths))]
    users = data.draw(st.lists(st.integers(0, len(lengths) - 1), max_size=5))
    coins = [data.draw(st.floats(2.0**-53, 1 - 2.0**-53)) for _ in users]
    found = windows(packed(histories), np.array(users, np.int64), np.array(coins), longest)
    assert len(found.items) == len(found.real) == len(users)
    assert found.items.shape[1] == found.real.shape[1] + 1 <= max(2, longest)
    for row, user in enumerate(users):
        history = histories[user]
        taken = min(len(history), longest)
        real = found.real[row].tolist()
        predicted = max(0, taken - 1)
        assert sum(real) == pytest.approx(1 if predicted else 0)
        assert [part > 0 for part in real] == [n < predicted for n in range(len(real))]
        if predicted:
            items = found.items[row].tolist()
            start = history.index(items[0])
            assert items[:taken] == history[start : start + taken]
            assert set(items) <= set(history)
        alone = windows(packed(histories), np.array([user]), np.array([coins[row]]), longest)
        assert alone.items[0, : taken or 1].tolist() == found.items[row, : taken or 1].tolist()


def test_every_start_is_as_likely() -> None:
    coins = np.random.default_rng(0).uniform(size=20_000)
    found = windows(packed([list(range(11))]), np.zeros(20_000, np.int64), coins, 6)
    starts = np.bincount(found.items[:, 0].numpy(), minlength=6)
    assert len(starts) == 6
    assert starts.min() > 20_000 / 6 * 0.94


def test_no_users_and_no_events() -> None:
    found = windows(packed([]), np.zeros(0, np.int64), np.zeros(0), 5)
    assert len(found.items) == 0
    found = windows(packed([[], []]), np.array([0, 1]), np.full(2, 0.5), 5)
    assert not found.real.any()
