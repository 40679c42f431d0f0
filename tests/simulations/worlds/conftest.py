"""One small demo world for all tests of this folder."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from clients.sources.ingest import Ingested, ingest
from shared.config.federation import FederationSettings
from simulations.worlds import write_demo_world


@dataclass(frozen=True, kw_only=True)
class SmallWorld:
    folder: Path
    settings: FederationSettings
    facts: dict[str, Any]
    read: dict[str, Ingested]


@pytest.fixture(scope="session")
def small_world(tmp_path_factory: pytest.TempPathFactory) -> SmallWorld:
    folder = tmp_path_factory.mktemp("world")
    settings = write_demo_world(folder, seed=5, scale=0.3)
    return SmallWorld(
        folder=folder,
        settings=settings,
        facts=json.loads((folder / "world.json").read_text(encoding="utf-8")),
        read={name: ingest(one, bytes(32), None) for name, one in settings.platforms.items()},
    )
