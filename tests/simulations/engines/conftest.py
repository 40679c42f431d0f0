"""A run folder with two small platforms, random texts' vectors and random tastes."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from clients.platform import Platform
from clients.platform_record import PlatformRecord
from shared.catalogue import Catalogue
from shared.config.federation import FederationSettings
from shared.events import Sequences

WIDTH, ITEMS, USERS = 16, 40, 60
SETTINGS = {
    "platforms": {
        name: {"population": USERS, "events": {"path": "gone"}, "items": {"path": "gone"}}
        for name in ("shop", "films")
    },
    "model": {"rank": 8, "layers": 2, "history_length": 10},
    "privacy": {"epsilon": 8.0, "sample_rate": 0.3, "steps_per_round": 2},
    "training": {"rounds": 3},
    "speed": {"threads": 1},
}


def write_platform(folder: Path, name: str, settings: FederationSettings, seed: int) -> None:
    rng = np.random.default_rng(seed)
    lengths = rng.integers(2, 9, USERS)
    titles = tuple(f"{name} item {row}" for row in range(ITEMS))
    record = PlatformRecord(
        name=name,
        kind=name,
        population=USERS,
        epsilon=settings.privacy.epsilon,
        delta=settings.privacy.delta_for(USERS),
        noise_multiplier=1.5,
        steps=settings.privacy.steps_per_round * settings.training.rounds,
        sample_rate=settings.privacy.sample_rate,
        clip_norm=settings.privacy.clip_norm,
        model=settings.model,
        unsafe_seed=7,
    )
    Platform.create(
        folder,
        record,
        Catalogue(
            ids=tuple(f"{name}{row}" for row in range(ITEMS)),
            texts=titles,
            titles=titles,
            categories=((),) * ITEMS,
        ),
        rng.normal(size=(ITEMS, 2, WIDTH)).astype(np.float32),
        Sequences(
            users=tuple(f"u{user}" for user in range(USERS)),
            items=rng.integers(0, ITEMS, lengths.sum()).astype(np.int32),
            offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        ),
    )


@pytest.fixture
def make_run(tmp_path: Path) -> Callable[[str], Path]:
    def make(name: str) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        (folder / "federation.json").write_text(json.dumps(SETTINGS))
        settings = FederationSettings.load(SETTINGS, where="test")
        for number, platform in enumerate(settings.platforms):
            write_platform(folder / "platforms" / platform, platform, settings, number)
        return folder

    return make
