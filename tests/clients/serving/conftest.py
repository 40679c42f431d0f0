"""A platform with three users' worth of structure, a real adapter, and an engine over it; a real,
tiny encoder for those whose texts are read.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from clients.platform import Platform
from clients.platform_record import PlatformRecord
from clients.serving.answering import Engine
from clients.serving.live.store import Live
from clients.serving.snapshot.build import newest
from clients.sources.pseudonyms import pseudonym
from shared.catalogue import Catalogue
from shared.config.training import Interpolation, ModelSettings
from shared.events import Sequences
from shared.protocol import AdapterDelivery
from shared.whitening import fit_whitening

ITEMS, WIDTH, LAYERS, USERS = 60, 16, 2, 40
SECRET = b"0123456789abcdef"
PARTS = Interpolation(shared=0.25, own=0.5)
SHELVES = ("tea", "coffee", "books")


def made_platform(folder: Path, seed: int = 0) -> Platform:
    """Random texts' states, users who stay on a shelf most of the time."""
    rng = np.random.default_rng(seed)
    model = ModelSettings(rank=8, layers=LAYERS, history_length=6)
    record = PlatformRecord(
        name="shop",
        kind="shop",
        population=100,
        epsilon=8.0,
        delta=1e-3,
        noise_multiplier=1.0,
        steps=4,
        sample_rate=0.5,
        clip_norm=1.0,
        model=model,
    )
    catalogue = Catalogue(
        ids=tuple(f"i{row}" for row in range(ITEMS)),
        texts=tuple(f"text {row}" for row in range(ITEMS)),
        titles=tuple(f"Title {row} of {SHELVES[row % 3]}" for row in range(ITEMS)),
        categories=tuple(("all", SHELVES[row % 3]) for row in range(ITEMS)),
    )
    histories = []
    for user in range(USERS):
        own = [row for row in range(ITEMS) if row % 3 == user % 3]
        histories.append(rng.choice(own, int(rng.integers(2, 9)), replace=False))
    sequences = Sequences(
        users=tuple(pseudonym(SECRET, f"u{user}") for user in range(USERS)),
        items=np.concatenate(histories).astype(np.int32),
        offsets=np.concatenate([[0], np.cumsum([len(one) for one in histories])]).astype(np.int64),
    )
    states = rng.normal(size=(ITEMS, LAYERS, WIDTH)).astype(np.float32)
    return Platform.create(folder, record, catalogue, states, sequences)


def deliver(platform: Platform, round_: int, seed: int = 1) -> None:
    """A finished adapter, and releases of the platform's own."""
    from shared.adapters import initial_adapter

    rng = np.random.default_rng(seed)
    adapter = {
        name: rng.normal(scale=0.2, size=value.shape).astype(np.float32)
        for name, value in initial_adapter(platform.record.model, WIDTH).items()
    }
    base = fit_whitening([platform.moments()]).to_arrays()
    name = next(iter(adapter))
    platform.released.keep(1, {name: np.full_like(adapter[name], 0.1)})
    platform.receive(AdapterDelivery(round=round_, adapter=adapter, base=base))


@dataclass
class Shop:
    """The platform, its engine and where they lie."""

    platform: Platform
    live: Live
    engine: Engine
    folder: Path


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> ModelSettings:
    """Of `texts_world`'s encoder."""
    from tests.clients.serving.texts_world import made_model

    return made_model(tmp_path_factory.mktemp("model") / "encoder")


@pytest.fixture(scope="session")
def encoders(tmp_path_factory: pytest.TempPathFactory, model: ModelSettings) -> Path:
    """A folder with that encoder exported, which takes seconds; not to be changed."""
    from clients.serving.snapshot.export import export_encoder
    from shared.encoder import encoder_identity

    folder = tmp_path_factory.mktemp("encoders")
    export_encoder(model, folder, identity=encoder_identity(model))
    return folder


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    platform = made_platform(tmp_path / "shop")
    deliver(platform, 3)
    live = Live(tmp_path / "live.db")

    def renew():  # type: ignore[no-untyped-def]
        opened = Platform.open(tmp_path / "shop")
        return newest(opened, tmp_path / "snapshots", parts=PARTS)

    yield Shop(platform, live, Engine(renew, live, SECRET), tmp_path)
    live.close()
