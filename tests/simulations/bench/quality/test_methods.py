"""The field's federated methods: what each trains, and that its gradients and its privacy hold."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from clients.recommending.scorer import InterestScorer
from shared.adapters import initial_adapter
from shared.config.federation import FederationSettings
from shared.config.training import ModelSettings
from shared.events import Sequences
from shared.ground import Ground
from shared.model import InterestModel
from shared.objective import losses, windows
from shared.privacy.randomness import UnsafeSeed
from shared.training import by_length, draw_negatives
from simulations.bench.quality.methods import METHODS, Method
from simulations.bench.quality.pair_training import Member, Pair, _Client, first_pair, train_method
from simulations.bench.quality.rivals import Rivals, scorer_of

ITEMS, WIDTH, LAYERS, RANK = 30, 8, 3, 6
FEATURES = WIDTH * LAYERS


def settings(epsilon: float = float("inf"), **training: object) -> FederationSettings:
    source = {"events": {"path": "e.csv", "user": "u", "item": "i"}}
    source["items"] = {"path": "i.csv", "item": "i", "title": "t"}
    return FederationSettings.load(
        {
            "platforms": {name: {**source, "population": 40} for name in ("shop", "films")},
            "model": {"layers": LAYERS, "rank": RANK},
            "privacy": {"epsilon": epsilon, "sample_rate": 1.0, "clip_norm": 0.05},
            "training": {
                **{"rounds": 8, "learning_rate": 2.0, "negatives": 9, "targets_per_user": 3},
                **training,
            },
        },
        where="test",
    )


def ground(seed: int) -> Ground:
    generator = torch.Generator().manual_seed(seed)
    unit = torch.nn.functional.normalize
    return Ground(
        unit(torch.randn((ITEMS, WIDTH), generator=generator), dim=1),
        unit(torch.randn((ITEMS, FEATURES), generator=generator), dim=1),
    )


def member(seed: int, users: int = 20) -> Member:
    rng = np.random.default_rng(seed)
    histories = [rng.integers(0, ITEMS, rng.integers(2, 7)) for _ in range(users)]
    sequences = Sequences(
        users=tuple(f"u{number}" for number in range(users)),
        items=np.concatenate([*histories, np.zeros(0)]).astype(np.int32),
        offsets=np.cumsum([0, *map(len, histories)]).astype(np.int64),
    )
    return Member(ground=ground(seed), sequences=sequences, population=40, weight=3.0 + seed)


MEMBERS = {"shop": member(0), "films": member(1)}


def some_pair(rank: int = 4) -> Pair:
    rng = np.random.default_rng(5)
    return Pair(
        A=rng.normal(size=(rank, FEATURES)).astype(np.float32),
        B=(0.1 * rng.normal(size=(WIDTH, rank))).astype(np.float32),
    )


def secret(round_: int = 1):
    return UnsafeSeed(0).open(platform="shop", round=round_, request="", data="")


def client(name: str, own: FederationSettings, of: Member) -> _Client:
    return _Client(method=METHODS[name], member=of, settings=own, rounds=8)


@pytest.mark.parametrize("method", METHODS.values(), ids=list(METHODS))
def test_no_round_sends_more_than_ours(method: Method) -> None:
    rank = method.rank(192, 384, 1536)
    sizes = {"B": 384 * rank, "A": 1536 * rank}
    assert all(sum(sizes[part] for part in parts) <= 384 * 192 for parts in method.trained)
    assert all(
        sum(sizes[part] for part in parts) > 0.8 * 384 * 192 for parts in method.trained[-1:]
    )


@pytest.mark.parametrize("parts", [("B",), ("A",), ("A", "B")])
def test_a_step_is_the_gradient_of_the_mean_loss(parts: tuple[str, ...]) -> None:
    """Against autograd through the whole W: dB = dW A', dA = B' dW."""
    own, of, pair = settings(), MEMBERS["shop"], some_pair()
    found = client("ffa", own, of).round(pair, parts, secret())
    whole = InterestModel(ModelSettings(layers=LAYERS, rank=FEATURES), WIDTH)
    whole.load({whole.names[0]: pair.weight.astype(np.float32)})
    users = by_length(of.sequences, np.arange(20))
    coins = secret().stream("positions", 0).uniform(20)
    drawn = draw_negatives(ITEMS, 9, secret().stream("negatives", 0))
    batch = windows(of.sequences, users, coins[users], 4)
    losses(
        whole, of.ground, batch, torch.from_numpy(drawn), own.training.temperature, 0.0
    ).sum().backward()
    gradient = whole.block(whole.names[0]).lora_B.weight.grad
    assert gradient is not None
    wanted = {"B": gradient.numpy() @ pair.A.T, "A": pair.B.T @ gradient.numpy()}
    everybody = 80
    rate = (
        METHODS["ffa"].rate(own.training.learning_rate, everybody) / 40
    )  # of the mean over the declared population
    assert list(found) == list(parts)
    for part in parts:
        np.testing.assert_allclose(found[part], -rate * wanted[part], rtol=2e-4, atol=2e-6)


@pytest.mark.parametrize("name", ["ffa", "fedavg-ab"])
def test_a_user_counts_for_at_most_clip_norm_over_both_parts(name: str) -> None:
    """Add one user: what changes in a noised step is their one clipped term, jointly in A and B."""
    own, pair = settings(epsilon=8.0), some_pair()
    parts = METHODS[name].trained[0]
    nobody = replace(MEMBERS["shop"], sequences=member(0, users=0).sequences)
    somebody = replace(MEMBERS["shop"], sequences=member(0, users=1).sequences)
    without = client(name, own, nobody).round(pair, parts, secret())
    within = client(name, own, somebody).round(pair, parts, secret())
    difference = np.sqrt(sum(np.square(within[part] - without[part]).sum() for part in parts))
    bound = METHODS[name].rate(own.training.learning_rate, 80) * own.privacy.clip_norm / 40
    assert difference == pytest.approx(bound, rel=1e-3)  # clipped, so exactly at the bound
    assert all(np.abs(without[part]).max() > 0 for part in parts)  # noise alone


def weights_of(name: str, own: FederationSettings, seed: int = 0) -> dict[str, NDArray[np.float32]]:
    return train_method(METHODS[name], MEMBERS, own, seed=seed)


@pytest.mark.parametrize("name", METHODS)
def test_a_method_learns_and_is_repeatable(name: str) -> None:
    own = settings(learning_rate=1.0)
    found, again = weights_of(name, own), weights_of(name, own)
    other = weights_of(name, own, seed=1)
    for platform, weight in found.items():
        assert weight.shape == (WIDTH, FEATURES)
        assert np.isfinite(weight).all()
        assert np.abs(weight).max() > 0
        assert np.array_equal(weight, again[platform])
        assert not np.array_equal(weight, other[platform])
        before, after = (loss_under(each, MEMBERS[platform], own) for each in (0 * weight, weight))
        assert after < before
    personal = not np.array_equal(found["shop"], found["films"])
    assert personal == (METHODS[name].personal is not None)


def loss_under(weight: NDArray[np.float32], of: Member, own: FederationSettings) -> float:
    model = scorer_of(weight, own, of.ground).model
    users = np.arange(20)
    batch = windows(of.sequences, users, np.zeros(20), 7)
    return float(losses(model, of.ground, batch, torch.arange(ITEMS), 0.1, 0.0).sum().detach())


def test_fedsvd_keeps_the_product_and_straightens_a() -> None:
    pair = some_pair()
    found = pair.refactored()
    np.testing.assert_allclose(found.weight, pair.weight, atol=1e-5)
    gram = found.A @ found.A.T
    np.testing.assert_allclose(gram, np.eye(4) * gram[0, 0], atol=1e-4)
    assert gram[0, 0] == pytest.approx(np.square(pair.A).sum() / 4, rel=1e-5)
    start = first_pair(WIDTH, FEATURES, 4, 6, seed=0)
    assert start.refactored() is start  # B is zero: nothing to factor


def test_a_pair_that_has_learned_nothing_is_the_frozen_baseline() -> None:
    own = settings()
    start = first_pair(WIDTH, FEATURES, RANK, 4, seed=0)
    rival = scorer_of(start.weight, own, ground(0))
    ours = InterestScorer.of(own.model, initial_adapter(own.model, WIDTH), ground(0))
    histories = [np.array([1, 2], np.int32), np.array([7], np.int32)]
    assert torch.equal(rival.scores(histories), ours.scores(histories))


def test_a_method_is_trained_once(tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []
    rivals = Rivals(
        folder=tmp_path,
        members=MEMBERS,
        settings=settings(),
        progress=lambda *event: told.append(event),
    )
    first = rivals.scorer("ffa", 8.0, 0, "shop")
    rounds = len(told)
    second = rivals.scorer("ffa", 8.0, 0, "shop")
    assert rounds == 8
    assert len(told) == 8
    assert torch.equal(first.items, second.items)
    rivals.scorer("ffa", 8.0, 1, "shop")
    assert len(told) == 16
