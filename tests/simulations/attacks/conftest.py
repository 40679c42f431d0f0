"""A platform with random items and short histories: small enough to take apart by hand."""

from collections.abc import Callable

import numpy as np
import pytest

from shared.config.training import ModelSettings, ServerSettings
from shared.events import Sequences
from shared.ground import Ground
from shared.training import LocalPlan
from shared.whitening import fit_whitening, moments
from simulations.attacks.victim import Victim

WIDTH, ITEMS, USERS = 32, 60, 40


def make(seed: int = 0) -> Victim:
    rng = np.random.default_rng(seed)
    states = rng.normal(size=(ITEMS, 2, WIDTH)).astype(np.float32)
    lengths = rng.integers(3, 7, USERS)
    return Victim(
        name="shop",
        model=ModelSettings(rank=64, layers=2, history_length=10),
        server=ServerSettings(),
        ground=Ground.of(states, fit_whitening([moments(states[:, -1])])),
        sequences=Sequences(
            users=tuple(f"u{user}" for user in range(USERS)),
            items=np.concatenate([rng.permutation(ITEMS)[:n] for n in lengths]).astype(np.int32),
            offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        ),
        plan=LocalPlan(
            trained="",
            steps=1,
            learning_rate=10.0,
            targets_per_user=8,
            negatives=100,
            temperature=0.1,
            gce_q=0.1,
            sample_rate=0.5,
            clip_norm=1.0,
            noise_multiplier=1.5,
            population=USERS,
        ),
        rounds=6,
        epsilon=8.0,
        delta=0.01,
    )


@pytest.fixture(scope="session")
def victim() -> Victim:
    return make()


@pytest.fixture(scope="session")
def make_victim() -> Callable[[int], Victim]:
    return make
