"""A platform whose texts are read by a real, tiny encoder, and engines over it."""

import runpy
from collections.abc import Callable
from pathlib import Path

import numpy as np

from clients.platform import Platform
from clients.platform_record import PlatformRecord
from clients.serving.answering import Engine
from clients.serving.live.store import Live
from clients.serving.snapshot.build import newest
from clients.serving.snapshot.snapshot import Snapshot
from clients.serving.state_cache import StateCache
from clients.serving.texts import Texts
from clients.sources.pseudonyms import pseudonym
from shared.catalogue import Catalogue
from shared.config.training import ModelSettings
from shared.encoder import encoder_identity, load_encoder
from shared.events import Sequences
from tests.clients.serving.conftest import PARTS, SECRET, deliver

TINY = Path(__file__).resolve().parents[2] / "scenarios" / "tiny_world.py"
SHELVES, ITEMS, USERS = ("tea", "coffee", "books"), 60, 30


def text(row: int) -> str:
    """Three words of the shelf's ten: two in common for neighbours."""
    shelf, place = row % 3, row // 3
    return " ".join(f"w{10 * shelf + (place + step) % 10}" for step in (0, 1, 3))


def made_model(folder: Path) -> ModelSettings:
    """A random encoder of one layer; both its readings are used."""
    runpy.run_path(str(TINY))["write_encoder"](folder)
    return ModelSettings(encoder=str(folder), layers=2, rank=8, history_length=6)


def made_platform(folder: Path, model: ModelSettings) -> Platform:
    """Items of three shelves, users who each stay on one; round 3 was delivered."""
    rng = np.random.default_rng(7)
    catalogue = Catalogue(
        ids=tuple(f"i{row}" for row in range(ITEMS)),
        texts=tuple(text(row) for row in range(ITEMS)),
        titles=tuple(f"Title {row}" for row in range(ITEMS)),
        categories=tuple(("all", SHELVES[row % 3]) for row in range(ITEMS)),
    )
    histories = [
        rng.choice(np.arange(user % 3, ITEMS, 3), 5, replace=False) for user in range(USERS)
    ]
    sequences = Sequences(
        users=tuple(pseudonym(SECRET, f"u{user}") for user in range(USERS)),
        items=np.concatenate(histories).astype(np.int32),
        offsets=np.arange(0, 5 * USERS + 1, 5, dtype=np.int64),
    )
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
        encoder=encoder_identity(model),
    )
    states = load_encoder(model).encode(catalogue.texts, batch_size=8)
    platform = Platform.create(folder, record, catalogue, states, sequences)
    deliver(platform, 3)
    return platform


def snapshots(platform: Platform, folder: Path) -> Callable[[], Snapshot]:
    return lambda: newest(Platform.open(platform.folder), folder, parts=PARTS)


def engine_of(
    platform: Platform, folder: Path, encoders: Path, *, no_texts: str = "", **more: tuple[str, ...]
) -> tuple[Engine, Texts]:
    """As `serve` puts it together; a second one over the same folder is a restart."""
    live = Live(folder / "live.db")
    cache = StateCache(folder / "texts.db")
    texts = Texts(live, cache, encoders, no_texts=lambda: no_texts)
    renew = snapshots(platform, folder / "snapshots")
    return Engine(renew, live, SECRET, texts=texts, **more), texts
