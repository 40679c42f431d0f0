"""What real logs have and good data has not: rows are added (or struck) so that the truth is known.

Every kind of dirt is a row of its own that carries no other fault, so that whoever reads the log
can be held to exact counts.  Times here are whole seconds since 1970.

Shapes: N clean events, R rows written.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

UNKNOWN = -1  # an item that is not in the catalogue
MISSING = -1  # no user

_SHARES = {
    "duplicate": 0.015,
    "repeat": 0.03,
    "unknown_item": 0.008,
    "missing_user": 0.006,
    "bad_time": 0.003,
    "future_time": 0.002,
}
_FUTURE = 3_600_000_000  # 2084
_RETURNS_SHARE = 0.015
_OTHER_ACTION_SHARE = 0.06
_OPT_OUT_SHARE = 0.01
_BOT_EVENTS = 400


@dataclass(frozen=True, kw_only=True)
class Log:
    """A log as it is about to be written, ordered as a machine would have appended it.

    Args:
        user: (R,) user numbers, MISSING for none; numbers from `users` up are bots.
        item: (R,) item numbers, UNKNOWN for one that the catalogue does not have.
        time: (R,) seconds; meaningless where `bad_time`.
        bad_time, returned, other: (R,) marks: unreadable time, a return, another action.
        opted_out: user numbers that must not be read at all.
        counts: reason -> rows, for whoever checks.
    """

    user: NDArray[np.int64]
    item: NDArray[np.int64]
    time: NDArray[np.int64]
    bad_time: NDArray[np.bool_]
    returned: NDArray[np.bool_]
    other: NDArray[np.bool_]
    opted_out: NDArray[np.int64]
    counts: dict[str, int]


def soil(
    user: NDArray[np.int64],
    item: NDArray[np.int64],
    time: NDArray[np.int64],
    *,
    users: int,
    items: int,
    returns: bool,
    other_actions: bool,
    bot: bool,
    rng: np.random.Generator,
) -> Log:
    """Add dirt to clean events.

    Args:
        user, item, time: (N,) clean events.
        returns: add returns of things bought a little earlier.
        other_actions: add rows of an action that is no sign of interest (a skipped track).
        bot: add one user with hundreds of events on one day.
    """
    opted_out = np.sort(rng.choice(users, max(1, round(users * _OPT_OUT_SHARE)), replace=False))
    # Dirt copies rows of users who stayed: a row with two faults could be counted under either.
    stayed = np.flatnonzero(~np.isin(user, opted_out))
    columns = [np.stack([user, item, time, np.zeros_like(time)])]
    counts = {"opt_out": len(user) - len(stayed)}

    def add(reason: str, rows: NDArray[np.int64]) -> None:
        columns.append(rows)
        counts[reason] = rows.shape[1]

    def some(share: float) -> NDArray[np.int64]:
        count = max(1, round(len(stayed) * share))
        picked = rng.choice(stayed, min(count, len(stayed)), replace=False)
        return np.stack([user[picked], item[picked], time[picked], np.zeros_like(picked)])

    for reason, share in _SHARES.items():
        rows = some(share)
        if reason == "repeat":  # the same thing again, days later
            rows[2] += rng.integers(86_400, 30 * 86_400, rows.shape[1])
        elif reason == "unknown_item":
            rows[1], rows[2] = UNKNOWN, rows[2] + 1
        elif reason == "missing_user":
            rows[0], rows[2] = MISSING, rows[2] + 2
        elif reason == "bad_time":
            rows[3] = 1
        elif reason == "future_time":
            rows[2] += _FUTURE - rows[2].min()
        add(reason, rows)
    if returns:
        rows = some(_RETURNS_SHARE)
        rows[2] += rng.integers(60, 3600, rows.shape[1])
        rows[3] = 2
        add("return", rows)
    if other_actions:
        rows = some(_OTHER_ACTION_SHARE)
        rows[1] = rng.integers(0, items, rows.shape[1])
        rows[2] += 31
        rows[3] = 3
        add("other_action", rows)
    if bot:
        day = int(time.max()) // 86_400 * 86_400
        rows = np.stack(
            [
                np.full(_BOT_EVENTS, users),
                rng.integers(0, items, _BOT_EVENTS),
                day + 200 * np.arange(_BOT_EVENTS),
                np.zeros(_BOT_EVENTS, dtype=np.int64),
            ]
        )
        add("bot", rows)
    table = np.concatenate(columns, axis=1)
    # Roughly in order of time, as logs are; a few rows arrive late.
    late = np.where(
        rng.random(table.shape[1]) < 0.02, rng.integers(0, 5 * 86_400, table.shape[1]), 0
    )
    table = table[:, np.argsort(table[2] + late, kind="stable")]
    return Log(
        user=table[0],
        item=table[1],
        time=table[2],
        bad_time=table[3] == 1,
        returned=table[3] == 2,
        other=table[3] == 3,
        opted_out=opted_out,
        counts=counts,
    )
