"""Made-up curves: two platforms, whose users' NDCG is drawn."""

from typing import Any

import numpy as np
import pytest

from shared.config.federation import FederationSettings
from simulations.bench.curves.points import Measured, Point
from simulations.bench.curves.summary import Subject, sealed, summarise

SOURCE = {"path": "gone"}
USERS = {"shop": 90, "films": 40}


def settings(epsilon: float = 8.0) -> FederationSettings:
    return FederationSettings.load(
        {
            "platforms": {
                name: {"population": population, "events": SOURCE, "items": SOURCE}
                for name, population in (("shop", 900), ("films", 400))
            },
            "privacy": {"epsilon": epsilon},
            "training": {"rounds": 16},
        },
        where="test",
    )


def subject_of(epsilon: float = 8.0) -> Subject:
    return Subject(
        recipe="made-up",
        settings=settings(epsilon),
        seed=0,
        users=USERS,
        data={name: name for name in USERS},
    )


def drawn(rng: np.random.Generator, **skills: float) -> Measured:
    return {
        name.replace("_", "+"): {
            platform: (rng.random(users) < skill).astype(np.float64)
            for platform, users in USERS.items()
        }
        for name, skill in skills.items()
    }


@pytest.fixture(scope="session")
def curves() -> dict[str, Any]:
    """The content of a curves.json."""
    rng = np.random.default_rng(4)
    subject = subject_of()
    base = drawn(rng, frozen=0.3, frozen_knn=0.4)
    rounds = [
        Point(at=at, systems=drawn(rng, federated=skill, federated_knn=skill + 0.1))
        for at, skill in ((8, 0.5), (16, 0.6))
    ]
    users = [
        Point(
            at=at,
            systems=drawn(
                rng,
                federated=skill,
                federated_knn=skill,
                local=0.8 * skill,
                local_knn=0.9 * skill,
            ),
        )
        for at, skill in ((0.125, 0.4), (0.5, 0.5), (1.0, 0.6))
    ]
    found = subject.head()
    found["rounds"] = summarise(subject, "rounds", base, rounds)
    found["users"] = summarise(subject, "users", base, users)
    return sealed(found)
