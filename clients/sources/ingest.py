"""The front door: one platform's configured sources in, clean pseudonymous histories out.

Guarantee: what leaves this module names users by pseudonym only, and nothing of anybody on the
opt-out list has been looked at beyond the id that said so.
"""

import time
from dataclasses import dataclass, field

import numpy as np

from clients.sources.cleaning import clean_histories
from clients.sources.items import read_items
from clients.sources.log import read_log
from clients.sources.optout import read_opt_out
from clients.sources.pseudonyms import pseudonyms
from shared.catalogue import Catalogue
from shared.config.federation import PlatformSettings
from shared.errors import DataError
from shared.events import Sequences


@dataclass(frozen=True, kw_only=True)
class Ingested:
    """One platform's data, ready to learn from.

    Args:
        catalogue: the public items.
        sequences: per user, the catalogue rows in order of time, each item once; users come in
            the order in which they first appear in the log, whatever the secret.
        users, events, items: what is left after cleaning.
        dropped: reason -> rows of the log; reasons without a row are left out.
        dropped_items: reason -> rows of the catalogue.
    """

    catalogue: Catalogue
    sequences: Sequences
    users: int
    events: int
    items: int
    dropped: dict[str, int]
    dropped_items: dict[str, int] = field(default_factory=dict)

    @property
    def read(self) -> int:
        """Rows of the log, kept or dropped."""
        return self.events + sum(self.dropped.values())


def ingest(settings: PlatformSettings, secret: bytes, now: float | None = None) -> Ingested:
    """Read, clean and pseudonymise one platform's data.

    Args:
        secret: the platform's own, at least 16 bytes; keys the pseudonyms.
        now: seconds since 1970, for "in the future"; None is the clock's.

    Raises:
        SourceError: a file, table or column is missing or not as configured.
        CatalogueError: the catalogue has no items, no text, or an id twice.
        DataError: the log is empty, or nothing is left of it, or nobody has two events.
    """
    opt_out = read_opt_out(settings.cleaning.opt_out)
    catalogue, dropped_items = read_items(settings.items)
    log = read_log(
        settings.events,
        settings.cleaning,
        catalogue.ids,
        opt_out,
        time.time() if now is None else now,
    )
    histories = clean_histories(log, settings.cleaning.max_events_per_user_day)
    counts = {**log.dropped, **histories.dropped}
    dropped = {reason: count for reason, count in counts.items() if count}
    where = str(settings.events.path or "the query of the events")
    if log.read == 0:
        raise DataError(
            expected="at least one event",
            got="an empty log",
            where=where,
            remedy="Check the path, and that the export has finished.",
        )
    if len(histories.user) == 0:
        raise DataError(
            expected="events that can be believed",
            got=f"all {log.read:,} dropped: {_listed(dropped)}",
            where=where,
            remedy="The most frequent reason usually names a column or a unit that is set wrongly.",
        )
    present, lengths = np.unique(histories.user, return_counts=True)
    if int(lengths.max()) < 2:
        raise DataError(
            expected="users with at least two events",
            got=f"{len(present):,} users with one event each"
            + (f" (dropped: {_listed(dropped)})" if dropped else ""),
            where=where,
            remedy="Order is learned from histories: check that events.user is the user's id.",
        )
    sequences = Sequences(
        users=tuple(pseudonyms(secret, (log.users[number] for number in present))),
        items=histories.item,
        offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
    )
    return Ingested(
        catalogue=catalogue,
        sequences=sequences,
        users=len(sequences),
        events=len(sequences.items),
        items=len(catalogue),
        dropped=dropped,
        dropped_items=dropped_items,
    )


def _listed(dropped: dict[str, int]) -> str:
    most = sorted(dropped.items(), key=lambda pair: -pair[1])
    return ", ".join(f"{count:,} {reason}" for reason, count in most)
