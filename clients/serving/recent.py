"""Interests of the users who have posted events: read together, and kept until theirs change.

Whoever has posted since the snapshot was made has another interest than it says.  They are looked
up in one query and worked out in batches; what was worked out stays until the user has new events,
another snapshot answers, an item is put anew, or old events are dropped.

Shapes: `U` users of the snapshot, `P` who have posted, `D` width, `B` users of a batch.
"""

import threading
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from clients.serving.answers import Member
from clients.serving.live.store import Live
from clients.serving.people import merged
from clients.serving.scores import interests
from clients.serving.stock import Stock

_AT_ONCE = 256  # users whose events lie side by side: up to 20 MiB
_ROWS = 16_384  # of the snapshot's users at once: a copy in single precision is 25 MB


@dataclass(frozen=True, kw_only=True)
class Known:
    """What was worked out.

    Args:
        stock: of which.
        upto: number of the newest event that is in it.
        dropped: of what time events had been dropped then.
        place: pseudonym -> row of `vectors`.
        numbers: (P,) numbers of these users in the snapshot; -1 where it does not know them.
        vectors: (P, D) float16, as the snapshot has its own.
    """

    stock: Stock
    upto: int = 0
    dropped: float = -np.inf
    place: dict[str, int] = field(default_factory=dict)
    numbers: NDArray[np.int64]
    vectors: NDArray[np.float16]

    @classmethod
    def nothing(cls, stock: Stock, dropped: float) -> "Known":
        """Nothing yet."""
        none = np.zeros((0, stock.users.shape[1]), np.float16)
        return cls(stock=stock, dropped=dropped, numbers=np.zeros(0, np.int64), vectors=none)

    def fits(self, stock: Stock, dropped: float) -> bool:
        """Whether it holds for `stock`, which may have other items deleted."""
        return (
            self.stock.meta.id == stock.meta.id
            and self.stock.put is stock.put
            and self.dropped == dropped
        )


class Recent:
    """See the module.  Safe to be used from many threads; what it gives does not change.

    Args:
        live: the events.
    """

    def __init__(self, live: Live) -> None:
        self._live = live
        self._lock = threading.Lock()
        self._known: Known | None = None

    def known(self, stock: Stock) -> Known:
        """What holds now."""
        with self._lock:
            known, dropped = self._known, self._live.dropped_before()
            if known is None or not known.fits(stock, dropped):
                known = Known.nothing(stock, dropped)
            posted, upto = self._live.histories_since(known.upto, stock.meta.history_length)
            if posted or upto != known.upto or known is not self._known:
                known = self._known = _extended(known, stock, posted, upto)
            return known


def _extended(known: Known, stock: Stock, posted: dict[str, list[str]], upto: int) -> Known:
    """`known` with the users of `posted` worked out anew."""
    place, numbers = dict(known.place), known.numbers.tolist()
    vectors = [known.vectors]
    anew: list[int] = []
    everybody = list(posted)
    for start in range(0, len(everybody), _AT_ONCE):
        some = everybody[start : start + _AT_ONCE]
        rows = [merged(stock, name, posted[name]) for name in some]
        found = [n for n, one in enumerate(rows) if len(one)]  # else of items that are gone
        for n in found:
            if some[n] not in place:
                place[some[n]] = len(place)
                numbers.append(stock.number_of.get(some[n], -1))
            anew.append(place[some[n]])
        if found:
            vectors.append(_interests(stock, [rows[n] for n in found]))
    whole = np.zeros((len(place), known.vectors.shape[1]), np.float16)
    whole[: len(known.vectors)] = known.vectors
    whole[np.array(anew, np.int64)] = np.concatenate(vectors[1:] or [known.vectors[:0]])
    return Known(
        stock=stock,
        upto=upto,
        dropped=known.dropped,
        place=place,
        numbers=np.array(numbers, np.int64),
        vectors=whole,
    )


def _interests(stock: Stock, histories: Sequence[NDArray[np.int64]]) -> NDArray[np.float16]:
    """(B, D) what `scores.interest` says of each; every history has an event."""
    read = [rows[-stock.meta.history_length :] for rows in histories]
    return interests(read, stock.meta.decay, stock.index.vectors).astype(np.float16)


def closest(
    stock: Stock,
    known: Known,
    wanted: NDArray[np.float32],
    size: int,
    *,
    without: Collection[str],
    only: Collection[str] | None,
) -> Iterator[Member]:
    """The users with the largest cosine, ties by pseudonym.

    Args:
        wanted: (D,) of unit length.
        size: how many at most.
        without: not these.
        only: none but these; None is all.
    """
    users, own = stock.sequences.users, len(stock.users)
    fresh = np.flatnonzero(known.numbers < 0)  # they stand behind the snapshot's own
    names = np.empty(len(known.place), object)
    for name, row in known.place.items():
        names[row] = name
    behind = names[fresh].tolist()
    cosines = np.concatenate([_cosines(stock.users, wanted), np.zeros(len(fresh), np.float32)])
    slots = known.numbers.copy()
    slots[fresh] = own + np.arange(len(fresh))
    cosines[slots] = _cosines(known.vectors, wanted)

    def places(some: Collection[str]) -> list[int]:
        found = []
        for name in some:
            row = known.place.get(name)
            place = stock.number_of.get(name) if row is None else int(slots[row])
            if place is not None:
                found.append(place)
        return found

    able = np.ones(len(cosines), bool)
    if only is not None:
        able[:] = False
        able[places(only)] = True
    able[places(without)] = False
    rows = np.flatnonzero(able)
    if size < len(rows):
        least = -np.partition(-cosines[rows], size - 1)[size - 1]
        rows = rows[cosines[rows] >= least]

    def name_of(row: int) -> str:
        return users[row] if row < own else behind[row - own]

    values = cosines[rows].tolist()
    pairs = sorted(
        zip(values, rows.tolist(), strict=True), key=lambda one: (-one[0], name_of(one[1]))
    )
    for cosine, row in pairs[:size]:
        yield Member(pseudonym=name_of(row), score=cosine)


def _cosines(vectors: NDArray[np.float16], wanted: NDArray[np.float32]) -> NDArray[np.float32]:
    """(U,), in parts: all vectors in single precision are twice the memory of the snapshot's."""
    found = np.empty(len(vectors), np.float32)
    for start in range(0, len(vectors), _ROWS):
        some = slice(start, start + _ROWS)
        found[some] = vectors[some].astype(np.float32) @ wanted
    return found
