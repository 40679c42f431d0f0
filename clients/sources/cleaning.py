"""The rules that compare rows: duplicates, bots, repeats.  Every dropped row has one reason.

In this order: rows that say the same twice; users with more events on one day than a person
makes; a user's later events on an item already seen.  Shapes: N rows in, K rows kept.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import polars as pl
from numpy.typing import NDArray

from clients.sources.log import Log
from clients.sources.ordering import Key, first_of_each, stable_order, starts

PART_ROWS = 1_000_000
_DAY_US = 86_400_000_000


@dataclass(frozen=True, kw_only=True)
class Histories:
    """What is left, user by user, oldest first.

    Args:
        user: (K,) uint32, rising; numbers of `Log.users`.
        item: (K,) int32 catalogue rows.
        dropped: "duplicate", "bot" and "repeat" -> rows.
    """

    user: NDArray[np.uint32]
    item: NDArray[np.int32]
    dropped: dict[str, int]


def clean_histories(log: Log, max_events_per_user_day: int) -> Histories:
    """Sort the log into histories and drop what comparison shows not to be believed.

    A history is in order of time, then of the order column, then of the log.  Without a time,
    nobody can be told to be a bot; without time and order, a duplicate is counted as a repeat.

    No rule looks beyond one user, so large logs are cleaned some users at a time: it takes less
    memory, and a thread each.
    """
    edges = _edges(log.user)
    if len(edges) == 2:
        return _clean(log, max_events_per_user_day)

    def clean_part(bounds: tuple[int, int]) -> Histories:
        rows = np.flatnonzero((log.user >= bounds[0]) & (log.user < bounds[1]))
        part = replace(
            log,
            user=log.user[rows],
            item=log.item[rows],
            action=None if log.action is None else log.action[rows],
            time=None if log.time is None else log.time[rows],
            order=None if log.order is None else log.order[rows],
        )
        return _clean(part, max_events_per_user_day)

    with ThreadPoolExecutor(pl.thread_pool_size()) as threads:
        parts = list(threads.map(clean_part, pairwise(edges)))
    return Histories(
        user=np.concatenate([part.user for part in parts]),
        item=np.concatenate([part.item for part in parts]),
        dropped={
            reason: sum(part.dropped[reason] for part in parts) for reason in parts[0].dropped
        },
    )


def _edges(user: NDArray[np.uint32]) -> list[int]:
    """Bounds of ranges of user numbers that hold about `PART_ROWS` rows each."""
    parts = -(-len(user) // PART_ROWS)
    if parts < 2:
        return [0, int(user.max(initial=0)) + 1]
    total = np.cumsum(np.bincount(user))
    inner = np.searchsorted(total, np.arange(1, parts) * PART_ROWS) + 1
    return sorted({0, *(int(edge) for edge in inner), len(total)})


def _clean(log: Log, max_events_per_user_day: int) -> Histories:
    moment: NDArray[np.int64] | NDArray[np.float64] | None
    moment = log.order if log.time is None else log.time
    keys: list[Key] = [log.user]
    keys += [key for key in (log.time, log.order) if key is not None]
    order = stable_order(keys)
    user, item = log.user[order], log.item[order]
    if moment is not None:
        moment = moment[order]

    duplicates = 0
    if moment is not None:
        first = _first_said(user, item, log.action, moment, order)
        duplicates = len(first) - int(first.sum())
        if duplicates:
            user, item, moment = user[first], item[first], moment[first]

    bots = 0
    if log.time is not None and moment is not None:
        human = _not_bots(user, moment, max_events_per_user_day)
        bots = len(human) - int(human.sum())
        if bots:
            user, item = user[human], item[human]

    width = np.uint64(item.max(initial=0)) + np.uint64(1)
    pair = user.astype(np.uint64) * width + item.astype(np.uint64)
    new = first_of_each([pair])
    return Histories(
        user=user[new],
        item=item[new],
        dropped={"duplicate": duplicates, "bot": bots, "repeat": len(new) - int(new.sum())},
    )


def _first_said(
    user: NDArray[np.uint32],
    item: NDArray[np.int32],
    action: NDArray[np.uint32] | None,
    moment: NDArray[np.int64] | NDArray[np.float64],
    order: NDArray[np.int64],
) -> NDArray[np.bool_]:
    """(N,) False for rows equal to an earlier one.

    Args:
        user, item, moment: sorted by user, then moment.
        action: as in the log, unsorted.
        order: (N,) rows of the log.
    """
    first = np.ones(len(user), dtype=np.bool_)
    begins = starts([user, moment])
    crowded = ~begins
    crowded[:-1] |= ~begins[1:]  # rows that share user and moment with a neighbour
    rows = np.flatnonzero(crowded)
    if len(rows):
        keys: list[Key] = [user[rows], moment[rows], item[rows].astype(np.int64)]
        if action is not None:
            keys.append(action[order[rows]])
        first[rows] = first_of_each(keys)
    return first


def _not_bots(
    user: NDArray[np.uint32], moment: NDArray[np.int64] | NDArray[np.float64], limit: int
) -> NDArray[np.bool_]:
    """(N,) False for all rows of users with more than `limit` rows on some day; sorted input."""
    human = np.ones(len(user), dtype=np.bool_)
    busy = np.flatnonzero((np.bincount(user) > limit)[user]) if len(user) else np.zeros(0, int)
    if len(busy):  # few have that many events in all
        who, day = user[busy], moment[busy] // _DAY_US
        begin = np.flatnonzero(starts([who, day]))
        length = np.diff(begin, append=len(who))
        human[busy[np.isin(who, who[begin[length > limit]])]] = False
    return human
