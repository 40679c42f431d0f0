"""A made-up benchmark: two platforms whose systems are more or less noisy oracles."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from clients.splits import Split, split
from shared.events import Sequences
from simulations.bench.quality.entries import Entry, Plan, Quoted
from simulations.bench.quality.measures import Facts
from simulations.bench.quality.outcome import NOTHING, Outcome
from simulations.bench.quality.summary import summarise

MakeSplit = Callable[..., Split]


def made_up_split(seed: int, users: int = 40, items: int = 30) -> Split:
    """Histories of 4 to 11 events at random; some items are met by nobody in training."""
    rng = np.random.default_rng(seed)
    events = [rng.permutation(items)[: rng.integers(4, 12)] for _ in range(users)]
    return split(
        Sequences(
            users=tuple(f"u{number}" for number in range(users)),
            items=np.concatenate(events).astype(np.int32),
            offsets=np.cumsum([0, *map(len, events)]).astype(np.int64),
        )
    )


def made_up_outcome(rng: np.random.Generator, facts: Facts, skill: float) -> Outcome:
    """Ranks whose logarithm is uniform, the better the higher `skill` in (0, 1)."""
    users, items = len(facts.targets), len(facts.vectors)
    exponent = rng.random(users) ** (1 - skill)
    ranks = np.minimum((items - 1) * (1 - exponent), items - 20).astype(np.int32)
    top = np.stack([rng.choice(items, 10, replace=False) for _ in range(users)]).astype(np.int32)
    hit = np.flatnonzero(ranks < 10)
    top[hit, ranks[hit]] = facts.targets[hit]
    return Outcome(ranks=ranks, top=top, ranked=np.full(users, items - 8, np.int32), items=items)


@pytest.fixture
def make_split() -> MakeSplit:
    return made_up_split


@pytest.fixture(scope="session")
def bench() -> tuple[list[Entry], dict[str, Facts], Plan]:
    """Entries, facts and plan: two platforms, baselines, a family by epsilon with two seeds."""
    facts = {}
    for number, (name, users, items) in enumerate((("beauty", 400, 120), ("books", 150, 90))):
        cut = made_up_split(number, users, items)
        vectors = np.random.default_rng(number).standard_normal((items, 8)).astype(np.float32)
        facts[name] = Facts.of(cut, "test", vectors)
    rng = np.random.default_rng(5)

    def entry(label: str, skill: float, seeds: tuple[int, ...] = (), **more: Any) -> Entry:
        outcomes = {
            name: [made_up_outcome(rng, own, skill) for _ in seeds or (0,)]
            for name, own in facts.items()
        }
        return Entry(label=label, outcomes=outcomes, seeds=seeds, **more)

    entries = [
        entry("popularity", 0.05),
        entry("frozen", 0.3),
        entry("knn", 0.4),
        entry("frozen+knn", 0.5),
        *(
            entry(f"federated eps {epsilon:g}", skill, (0, 1), family="federated", epsilon=epsilon)
            for epsilon, skill in ((1.0, 0.35), (3.0, 0.45), (8.0, 0.55), (math.inf, 0.65))
        ),
    ]
    quoted = (
        Quoted(name="SASRec", source="TIGER, 2023", platform="beauty", hr=0.0605, ndcg=0.0318),
        Quoted(name="SASRec", source="TIGER, 2023", platform="elsewhere", hr=None, ndcg=0.0374),
    )
    plan = Plan(base="frozen", seed=3, resamples=400, flips=499, quoted=quoted)
    return entries, facts, plan


@pytest.fixture(scope="session")
def summary(bench: Any) -> dict[str, Any]:
    entries, facts, plan = bench
    return summarise(entries, facts, "storefronts", plan)


@pytest.fixture
def outcome() -> Outcome:
    """Four users of six items, by hand: first, third, tenth and beyond, and not to be found."""
    top = np.full((4, 10), NOTHING, np.int32)
    top[0, :2] = 4, 0
    top[1, :3] = 0, 1, 2
    top[2, :1] = 3
    return Outcome(
        ranks=np.array([0, 2, 4, 6], np.int32),
        top=top,
        ranked=np.array([5, 5, 5, 1], np.int32),
        items=6,
    )
