"""From raw logs to platform folders: what happens before the first round.

Each platform's log is read, cleaned and cut into training, validation and test events.  Its client
is given the training events only; the held-out ones stay with the simulation, in `heldout.npz`.
"""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from clients.platform import Platform
from clients.prepare import Place, Progress, facts_of, keep_apart, pseudonym_secret, record_of
from clients.sources.ingest import ingest
from clients.splits import Split, split
from shared.config.federation import FederationSettings
from shared.encoder import encode_catalogue, encoder_identity
from shared.errors import ConfigError, RunError
from shared.files import write_json
from shared.transparency.statement import COORDINATOR
from simulations.draw import Draw


@dataclass(frozen=True)
class Prepared:
    """One platform, ready to train and to be judged.

    Args:
        platform: what its client sees.
        split: training and held-out events.
        facts: users, items, events and drops, as in summary.json.
    """

    platform: Platform
    split: Split
    facts: dict[str, Any]


def rounded_up(users: int) -> int:
    """`users` to two leading digits, up: a public size that hides the exact count.

    Rounding up keeps delta = population ** -1.1 at or under users ** -1.1.
    """
    unit = 10 ** max(0, len(str(users)) - 2)
    return max(2, math.ceil(users / unit) * unit)


def prepare(
    settings: FederationSettings,
    run_folder: Path,
    *,
    cache: Path,
    unsafe_seed: int | None,
    progress: Progress,
    draw: Draw | None = None,
) -> FederationSettings:
    """Make every platform's folder that is not there yet; the settings with populations filled in.

    Args:
        cache: encoded catalogues, by content.
        progress: called with (what, done, total).
        draw: which users the platforms have; None: all that are in their logs.

    Raises:
        FedInterestError: see `ingest`, `split`, `encode_catalogue` and `promise`.
    """
    platforms = dict(settings.platforms)
    if COORDINATOR in platforms:
        raise ConfigError(
            expected="a platform's name",
            got=repr(COORDINATOR),
            where=f"platforms.{COORDINATOR}",
            remedy="That is the name of the coordinator's log; call the platform otherwise.",
        )
    encoder = ""
    for name, own in settings.platforms.items():
        folder = run_folder / "platforms" / name
        if (folder / "platform.json").is_file():
            population = Platform.open(folder).record.population
            platforms[name] = own.replace(population=population)
            continue
        progress(f"reading {name}", 0, 0)
        data = ingest(own, pseudonym_secret(folder, unsafe_seed, name))
        cut = split(data.sequences)
        if draw is not None:
            cut = draw.of(name, cut)
        states = encode_catalogue(
            data.catalogue,
            settings.model,
            cache_dir=cache,
            batch_size=settings.speed.encode_batch,
            progress=lambda done, total, name=name: progress(f"encoding {name}", done, total),  # type: ignore[misc]
        )
        encoder = encoder or encoder_identity(settings.model)
        population = own.population or rounded_up(len(cut))
        platforms[name] = own.replace(population=population)
        place = Place(
            ledger=f"../../ledger/{name}.jsonl",
            journals="../../record",
            micro_batch=settings.speed.train_batch,
            unsafe_seed=unsafe_seed,
        )
        record = record_of(name, own, population, settings, place, encoder=encoder)
        keep_apart(folder, validation=cut.validation, test=cut.test)
        facts = facts_of(own.kind, data, cut.train, held_out=2)
        write_json(folder / "facts.json", facts)
        (run_folder / "ledger").mkdir(exist_ok=True)
        Platform.create(folder, record, data.catalogue, states, cut.train)
    return settings.model_copy(update={"platforms": platforms})


def open_prepared(run_folder: Path, name: str) -> Prepared:
    """Read back what `prepare` wrote.

    Raises:
        RunError: it is not whole.
    """
    folder = run_folder / "platforms" / name
    platform = Platform.open(folder)
    try:
        facts = json.loads((folder / "facts.json").read_text(encoding="utf-8"))
        with np.load(folder / "heldout.npz", allow_pickle=False) as found:
            cut = Split(
                train=platform.sequences, validation=found["validation"], test=found["test"]
            )
    except (OSError, ValueError, KeyError) as error:
        raise RunError(
            expected="a prepared platform", got=type(error).__name__, where=str(folder)
        ) from error
    return Prepared(platform, cut, facts)
