"""From a platform's raw log to its private folder: what happens before the first round.

The steps are here one by one, because a simulation takes them for many platforms and keeps some
events apart; `prepare_platform` takes them all for a partner.
"""

import os
import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clients.platform import Platform
from clients.platform_record import PlatformRecord, promise
from clients.settings import ClientFolder, ClientSettings
from clients.sources.ingest import Ingested, ingest
from clients.splits import SHORT_HISTORY, split
from shared.config.federation import PlatformSettings, PublicSettings
from shared.encoder import encode_catalogue, encoder_identity
from shared.errors import ConfigError
from shared.events import Sequences
from shared.files import replacing, write_bytes, write_json

Progress = Callable[[str, int, int], None]

MICRO_BATCH, ENCODE_BATCH = 256, 128


def pseudonym_secret(folder: Path, unsafe_seed: int | None, name: str) -> bytes:
    """The platform's pseudonym secret, made once and kept in its folder."""
    path = folder / "pseudonym.secret"
    if path.is_file():
        return path.read_bytes()
    if unsafe_seed is None:
        secret = secrets.token_bytes(32)
    else:
        secret = f"unsafe seed {unsafe_seed} {name}".ljust(32).encode()
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    write_bytes(path, secret)
    return secret


def facts_of(kind: str, data: Ingested, train: Sequences, *, held_out: int) -> dict[str, Any]:
    """Exact counts of a platform's data, for the platform's own eyes.

    Args:
        train: what is trained on.
        held_out: events of each of its users that are kept apart; they are counted too.
    """
    kept = len(train.items) + held_out * len(train)
    dropped = dict(data.dropped)
    if short := len(data.sequences.items) - kept:
        dropped[SHORT_HISTORY] = short
    return {
        "kind": kind,
        "users": len(train),
        "items": data.items,
        "events": data.read - sum(dropped.values()),
        "dropped": dropped,
        "dropped_items": data.dropped_items,
    }


def keep_apart(folder: Path, *, validation: NDArray[np.int32], test: NDArray[np.int32]) -> None:
    """Write the held-out event of every user, once for each use, beside the platform's data."""
    with replacing(folder / "heldout.npz") as temporary, open(temporary, "wb") as file:
        np.savez(file, validation=validation, test=test)


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a platform's folder points to, and what is its own affair.

    Args:
        ledger, journals: relative to its folder; see `PlatformRecord`.
        micro_batch: users whose gradients are in memory at once.
        unsafe_seed: for tests and seeded simulations only.
    """

    ledger: str
    journals: str
    micro_batch: int = MICRO_BATCH
    unsafe_seed: int | None = None


def record_of(
    name: str,
    own: PlatformSettings,
    population: int,
    federation: PublicSettings,
    place: Place,
    *,
    encoder: str,
) -> PlatformRecord:
    """What a platform promises its users, and what for.

    Raises:
        AccountantError: no noise multiplier reaches the budget.
    """
    privacy = federation.privacy
    delta, noise_multiplier = promise(privacy, population, federation.training.rounds)
    return PlatformRecord(
        name=name,
        kind=own.kind,
        population=population,
        epsilon=privacy.epsilon,
        delta=delta,
        noise_multiplier=noise_multiplier,
        steps=federation.training.rounds * privacy.steps_per_round,
        sample_rate=privacy.sample_rate,
        clip_norm=privacy.clip_norm,
        model=federation.model,
        ledger=place.ledger,
        journals=place.journals,
        encoder=encoder,
        micro_batch=place.micro_batch,
        unsafe_seed=place.unsafe_seed,
    )


def without(sequences: Sequences, gone: set[str]) -> Sequences:
    """The histories of all but the users in `gone`, in the same order."""
    kept = np.array([user not in gone for user in sequences.users], dtype=np.bool_)
    lengths = sequences.lengths
    return Sequences(
        users=tuple(user for user in sequences.users if user not in gone),
        items=sequences.items[np.repeat(kept, lengths)],
        offsets=np.concatenate([[0], np.cumsum(lengths[kept])]).astype(np.int64),
    )


def prepare_platform(
    home: ClientFolder,
    settings: ClientSettings,
    federation: PublicSettings,
    *,
    ledger: Path,
    journals: Path,
    forgotten: set[str],
    cache: Path,
    progress: Progress,
) -> Platform:
    """Read the log and make DIR/platform, or make it again under other terms.

    Args:
        federation: as enrolled; it names this platform and its population.
        ledger, journals: of the promise.
        forgotten: pseudonyms of users who were forgotten, whatever the log says.
        cache: encoded catalogues, by content.
        progress: called with (what, done, total).

    Raises:
        ConfigError: the federation knows another population than client.toml.
        FedInterestError: see `ingest`, `split`, `encode_catalogue` and `promise`.
    """
    name, folder = settings.platform.name, home.platform
    population = federation.platforms[name].population
    if population != settings.platform.population:
        raise ConfigError(
            expected=f"the population that was enrolled, {population}",
            got=str(settings.platform.population),
            where=f"{home.toml}, platform.population",
            remedy="Set it back, or send a new request.json and be enrolled anew.",
        )
    own, seed = settings.source, settings.unsafe.seed
    progress("reading the log", 0, 0)
    data = _without(ingest(own, pseudonym_secret(folder, seed, name)), forgotten)
    cut = split(data.sequences) if settings.training.hold_out else None
    train = data.sequences if cut is None else cut.train
    states = encode_catalogue(
        data.catalogue,
        federation.model,
        cache_dir=cache,
        batch_size=ENCODE_BATCH,
        progress=lambda done, total: progress("encoding the catalogue", done, total),
    )
    progress("calibrating the noise", 0, 0)
    place = Place(
        ledger=relative(ledger, folder), journals=relative(journals, folder), unsafe_seed=seed
    )
    encoder = encoder_identity(federation.model)
    record = record_of(name, own, settings.platform.population, federation, place, encoder=encoder)
    if cut is None:
        (folder / "heldout.npz").unlink(missing_ok=True)
    else:
        keep_apart(folder, validation=cut.validation, test=cut.test)
    facts = facts_of(own.kind, data, train, held_out=0 if cut is None else 2)
    write_json(folder / "facts.json", facts)
    # Under new terms the old folder must not be taken for a whole one while it is rewritten.
    (folder / "platform.json").unlink(missing_ok=True)
    return Platform.create(folder, record, data.catalogue, states, train)


def _without(data: Ingested, forgotten: set[str]) -> Ingested:
    sequences = without(data.sequences, forgotten)
    if gone := len(data.sequences.items) - len(sequences.items):
        dropped = {**data.dropped, "forgotten": gone}
        return replace(
            data,
            sequences=sequences,
            users=len(sequences),
            events=len(sequences.items),
            dropped=dropped,
        )
    return data


def relative(path: Path, folder: Path) -> str:
    """`path` as seen from `folder`, so that the partner's folder can be moved."""
    return Path(os.path.relpath(path, folder)).as_posix()
