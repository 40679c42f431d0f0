"""A real platform's folder, made on the spot, and the real answer it gives to a round's request."""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clients.platform import Platform
from clients.platform_record import PlatformRecord
from shared.adapters import initial_adapter
from shared.catalogue import Catalogue
from shared.config.training import ModelSettings
from shared.model import trained_in
from shared.protocol import TrainReply, TrainRequest
from shared.whitening import fit_whitening, moments
from simulations.audits.checks.probe import Floats, Histories, packed
from simulations.audits.overheard import overhearing

ITEMS, WIDTH, LAYERS = 30, 16, 2
MODEL = ModelSettings(history_length=6, rank=16, layers=LAYERS)
STEPS, RATE, CLIP_NORM, LEARNING_RATE = 3, 0.5, 1.5, 0.5


@dataclass(frozen=True)
class Place:
    """What distinguishes one platform from another.

    Args:
        name, kind, population: see `PlatformRecord`.
    """

    name: str = "films"
    kind: str = "film"
    population: int = 64


PLACES = (Place(), Place("shop", "shop", 4000), Place("news", "news", 150))


def states(seed: int = 0) -> NDArray[np.float32]:
    """(V, H, D) random text states."""
    drawn = np.random.default_rng([seed, 7]).normal(size=(ITEMS, LAYERS, WIDTH))
    return drawn.astype(np.float32)


def site(
    folder: Path,
    histories: Histories,
    place: Place = PLACES[0],
    *,
    users: tuple[str, ...] | None = None,
    **changes: Any,
) -> Platform:
    """A platform whose users have `histories`; in a folder that holds one, the data are replaced.

    Args:
        users: pseudonyms, in the place of made-up ones.
        changes: of the record; without `unsafe_seed` secrets are the operating system's.
    """
    values: dict[str, Any] = {
        "name": place.name,
        "kind": place.kind,
        "population": place.population,
        "epsilon": 100.0,
        "delta": 1e-5,
        "noise_multiplier": 1.0,
        "steps": 2 * STEPS,
        "sample_rate": RATE,
        "clip_norm": CLIP_NORM,
        "model": MODEL,
    }
    sequences = packed(histories)
    if users is not None:
        sequences = type(sequences)(users=users, items=sequences.items, offsets=sequences.offsets)
    words = tuple(f"Thing {number}" for number in range(ITEMS))
    catalogue = Catalogue(
        ids=tuple(f"i{number}" for number in range(ITEMS)),
        texts=words,
        titles=words,
        categories=tuple(("things",) for _ in words),
    )
    record = PlatformRecord(**{**values, **changes})
    return Platform.create(folder, record, catalogue, states(), sequences)


def request(round_: int = 1, **changes: Any) -> TrainRequest:
    """A round's request, as the coordinator makes it."""
    settings: dict[str, Any] = {
        "steps": STEPS,
        "sample_rate": RATE,
        "clip_norm": CLIP_NORM,
        "private": True,
        "total_rounds": 2,
        "learning_rate": LEARNING_RATE,
        "targets_per_user": 3,
        "negatives": 20,
        "temperature": 0.2,
        "gce_q": 0.1,
        **MODEL.constants(),
        **changes,
    }
    base = fit_whitening([moments(states()[:, -1]), moments(states(1)[:, -1] + 1)])
    adapter = initial_adapter(MODEL, WIDTH)
    return TrainRequest(
        round=round_,
        adapter=adapter,
        trained=trained_in(list(adapter), round_),
        base=base.to_arrays(),
        settings=settings,
    )


def histories(users: int, seed: int, shortest: int = 2, longest: int = 8) -> list[list[int]]:
    """Random histories of items of this catalogue."""
    generator = np.random.default_rng([seed, 13])
    lengths = generator.integers(shortest, longest + 1, users)
    return [generator.integers(0, ITEMS, length).tolist() for length in lengths]


def released(reply: TrainReply, asked: TrainRequest) -> Floats:
    """The update of the tensors that were to be trained, as one flat vector."""
    return np.concatenate([reply.update[name].astype(np.float64).ravel() for name in asked.trained])


def noised(platforms: Iterable[Platform], asked: TrainRequest) -> list[Floats]:
    """The same of each platform before it is cut to what travels: small differences show there.

    Where one of them sends anything but that, what all of them send.
    """
    with overhearing() as heard:
        replies = [platform.train(asked) for platform in platforms]
        found = [heard.of(reply) for reply in replies]
    sent = [reply.update for reply in replies]
    updates = sent if None in found else [update for update in found if update is not None]
    return [
        np.concatenate([update[name].astype(np.float64).ravel() for name in asked.trained])
        for update in updates
    ]


def in_noise(platform: Platform, round_: int = 1) -> Floats:
    """A round's noised update, in stddevs of the noise accounted for in all steps together."""
    asked, record = request(round_), platform.record
    noise = record.noise_multiplier * CLIP_NORM * STEPS**0.5
    (found,) = noised([platform], asked)
    return found * RATE * record.population / LEARNING_RATE / noise


@contextmanager
def folders() -> Iterator[Path]:
    """A folder to make platforms in, gone afterwards; in memory where the system has such."""
    memory = Path("/dev/shm")
    where = memory if os.access(memory, os.W_OK | os.X_OK) else None
    with TemporaryDirectory(prefix="fedinterest-audit-", dir=where) as name:
        yield Path(name)
