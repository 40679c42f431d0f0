"""A platform that joins late: how its users are drawn, and what its own training costs and does."""

from pathlib import Path

import numpy as np
import pytest
import torch

from clients.splits import split
from shared.adapters import initial_adapter
from shared.config.federation import FederationSettings
from shared.events import Sequences
from shared.ground import Ground
from simulations.bench.newcomer import NewcomerPlan, adapt, chosen, disjoint, rows_of

ITEMS, WIDTH, LAYERS = 30, 8, 2
SOURCE = {"path": "gone"}


def settings(epsilon: float = float("inf")) -> FederationSettings:
    return FederationSettings.load(
        {
            "platforms": {
                name: {"population": 500, "events": SOURCE, "items": SOURCE}
                for name in ("shop", "films")
            },
            "model": {"layers": LAYERS, "rank": 4},
            "privacy": {"epsilon": epsilon},
            "training": {"negatives": 9, "learning_rate": 4.0},
        },
        where="test",
    )


def plan(epsilon: float, seed: int = 0) -> NewcomerPlan:
    return NewcomerPlan(
        users=20, groups=2, epsilon=epsilon, rounds=4, seed=seed, out=Path("x"), cache=Path("x")
    )


def people(users: int = 20, seed: int = 0) -> Sequences:
    rng = np.random.default_rng(seed)
    events = [rng.permutation(ITEMS)[: rng.integers(4, 9)] for _ in range(users)]
    return Sequences(
        users=tuple(f"u{number}" for number in range(users)),
        items=np.concatenate(events).astype(np.int32),
        offsets=np.cumsum([0, *map(len, events)]).astype(np.int64),
    )


def ground() -> Ground:
    generator = torch.Generator().manual_seed(1)
    unit = torch.nn.functional.normalize
    return Ground(
        unit(torch.randn((ITEMS, WIDTH), generator=generator), dim=1),
        unit(torch.randn((ITEMS, LAYERS * WIDTH), generator=generator), dim=1),
    )


def test_groups_are_disjoint_and_as_large_as_asked() -> None:
    groups = disjoint(103, 20, 10, seed=0)
    assert [len(group) for group in groups] == [20] * 5
    assert len(np.unique(np.concatenate(groups))) == 100
    assert all(np.all(np.diff(group) > 0) for group in groups)
    assert not np.array_equal(groups[0], disjoint(103, 20, 10, seed=1)[0])


def test_a_small_platform_is_one_group() -> None:
    (group,) = disjoint(7, 20, 10, seed=0)
    assert group.tolist() == list(range(7))


def test_some_users_keep_their_own_events() -> None:
    whole = split(people())
    few = chosen(whole, np.array([2, 11, 19]))
    assert few.train.users == ("u2", "u11", "u19")
    for place, row in enumerate((2, 11, 19)):
        assert np.array_equal(few.train[place], whole.train[row])
        assert few.test[place] == whole.test[row]
        assert few.validation[place] == whole.validation[row]


def test_adapting_trains_one_block_a_round_and_leaves_the_shared_model_alone() -> None:
    start = initial_adapter(settings().model, WIDTH)
    found = adapt(start, ground(), people(), settings(), plan(float("inf")), "shop/0")
    assert len(start) == 4
    assert all(value.any() for value in found.values())  # four rounds, four blocks
    assert not any(value.any() for value in start.values())


def test_a_step_is_shorter_for_fewer_users_and_noise_is_there() -> None:
    """Without an event to learn from, what is left is the noise, at the size that was promised."""
    start = initial_adapter(settings(8.0).model, WIDTH)
    nothing = people()
    empty = Sequences(
        users=nothing.users, items=np.zeros(0, np.int32), offsets=np.zeros(21, np.int64)
    )
    found = adapt(start, ground(), empty, settings(8.0), plan(8.0), "shop/0")
    from clients.platform_record import promise

    own = settings(8.0).privacy
    _, noise = promise(own, 20, 4)
    rate = 4.0 * 20 / 1000
    wanted = rate * noise * own.clip_norm / (own.sample_rate * 20)
    drawn = np.concatenate([value.ravel() for value in found.values()])
    assert drawn.std() == pytest.approx(wanted, rel=0.25)
    other = adapt(start, ground(), empty, settings(8.0), plan(8.0), "shop/1")
    assert not np.allclose(next(iter(found.values())), next(iter(other.values())))


def test_the_gain_is_over_frozen_knn() -> None:
    systems = {
        name: {"ndcg@10": value, "hit@10": value}
        for name, value in (
            *(("frozen", 0.1), ("frozen+knn", 0.2), ("shared", 0.3)),
            *(("shared+knn", 0.4), ("adapted", 0.35), ("adapted+knn", 0.5)),
        )
    }
    result = {"platforms": {"shop": {"systems": systems}}, "mean": systems}
    assert [row[0] for row in rows_of(result)] == ["shop", "mean"]
    assert rows_of(result)[0][-1] == "2.500"
