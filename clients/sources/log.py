"""A platform's log, read once in a stream: every row is either kept, as a few small numbers, or
counted under the first reason that speaks against it.

The rules that look at one row only are here, in the order of `ROW_REASONS`; those that compare
rows are in `cleaning`.  The opt-out list is the first of all: it is held against the distinct user
ids as they are read, and no other rule sees a row it names.  Ids are numbered while the log
streams past, so the rules read each distinct id once.  Shapes: N rows kept, R rows read, U distinct
users among the kept.
"""

from contextlib import closing
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from clients.sources.tables import open_tables
from clients.sources.times import as_number, time_us
from clients.sources.values import MISSING_USERS, as_id, trimmed
from shared.config.sources import Cleaning, EventSource, epoch_us
from shared.errors import SourceError

ROW_REASONS = (
    "opt_out",
    "missing_user",
    "missing_item",
    "unknown_item",
    "bad_time",
    "future_time",
    "too_old",
    "return",
    "other_action",
)


@dataclass(frozen=True, kw_only=True)
class Log:
    """The rows that passed, in the order of the source.

    Args:
        user: (N,) uint32 numbers of users, in the order they first appear.
        users: U raw ids; they go no further than `ingest`.
        item: (N,) int32 catalogue rows.
        action: (N,) uint32 numbers of actions; None when the log names none.
        time: (N,) int64 microseconds since 1970; None when the log has no time.
        order: (N,) float64; None when the log has no order column.
        read: rows read, kept or not.
        dropped: reason -> rows, every one of `ROW_REASONS`.
    """

    user: NDArray[np.uint32]
    users: list[str]
    item: NDArray[np.int32]
    action: NDArray[np.uint32] | None
    time: NDArray[np.int64] | None
    order: NDArray[np.float64] | None
    read: int
    dropped: dict[str, int]


@dataclass(frozen=True, kw_only=True)
class _Numbered:
    """A column of ids: (R,) numbers, and the trimmed id of each number (null: no id)."""

    codes: NDArray[np.uint32]
    ids: pl.Series

    @classmethod
    def of(cls, column: pl.Series) -> "_Numbered":
        """Of a categorical column; the last number stands for null."""
        codes = column.to_physical()
        known = codes.drop_nulls().to_numpy()
        size = int(known.max()) + 1 if len(known) else 0
        spelt = pl.Series("id", np.arange(size, dtype=np.uint32)).cat.to(column.dtype)
        ids = spelt.cast(pl.String).to_frame().select(trimmed(pl.col("id")))["id"]
        if codes.null_count():
            codes = codes.fill_null(size)
        return cls(codes=codes.to_numpy(), ids=ids.extend_constant(None, 1))

    def rows_where(self, test: pl.Series) -> NDArray[np.bool_]:
        """(R,) whether the row's id passes `test`, which is given per number."""
        return test.fill_null(False).to_numpy()[self.codes]


def read_log(
    source: EventSource, cleaning: Cleaning, items: tuple[str, ...], opt_out: list[str], now: float
) -> Log:
    """Read `source`, keeping what passes the row rules.

    Memory: about 40 bytes per row read, plus the distinct ids; the log itself is streamed.

    Args:
        items: the catalogue's ids; an item's row is its position.
        opt_out: raw ids of users to leave out.
        now: seconds since 1970; later events are in the future.

    Raises:
        SourceError: the log cannot be read as configured.
    """
    frame = _collect(source)
    user, item = _Numbered.of(frame["user"]), _Numbered.of(frame["item"])
    action = _Numbered.of(frame["action"]) if source.action is not None else None
    time = frame["time"] if source.time is not None else None
    order = frame["order"] if source.order is not None else None
    row_of = item.ids.cast(pl.Enum(items), strict=False).to_physical().cast(pl.Int32)

    reason = np.zeros(len(frame), dtype=np.uint8)

    def drop(name: str, rows: NDArray[np.bool_]) -> None:
        reason[rows & (reason == 0)] = ROW_REASONS.index(name) + 1

    if opt_out:
        drop("opt_out", user.rows_where(user.ids.is_in(opt_out)))
    drop("missing_user", user.rows_where(user.ids.is_null() | user.ids.is_in(MISSING_USERS)))
    drop("missing_item", item.rows_where(item.ids.is_null()))
    drop("unknown_item", item.rows_where(row_of.is_null()))
    if time is not None:
        latest = round(now * 1e6) if cleaning.max_time is None else epoch_us(cleaning.max_time)
        drop("bad_time", time.is_null().to_numpy())
        drop("future_time", (time > latest).fill_null(False).to_numpy())
        drop("too_old", (time < epoch_us(cleaning.min_time)).fill_null(False).to_numpy())
    elif order is not None:
        drop("bad_time", order.is_null().to_numpy())
    if source.quantity is not None:
        drop("return", (frame["quantity"] <= 0).fill_null(False).to_numpy())
    if action is not None and source.actions is not None:
        drop("other_action", ~action.rows_where(action.ids.is_in(source.actions)))

    counts = np.bincount(reason, minlength=len(ROW_REASONS) + 1)
    kept = reason == 0
    numbers, users = _renumber(user, user.codes[kept])
    return Log(
        user=numbers,
        users=users,
        item=row_of.fill_null(-1).to_numpy()[item.codes[kept]],
        action=None if action is None else _renumber(action, action.codes[kept])[0],
        time=None if time is None else time.fill_null(0).to_numpy()[kept],
        order=None if order is None else order.fill_null(-np.inf).to_numpy()[kept],
        read=len(frame),
        dropped={name: int(counts[k + 1]) for k, name in enumerate(ROW_REASONS)},
    )


def _collect(source: EventSource) -> pl.DataFrame:
    """All rows, ids numbered, other cells as numbers; null where a cell makes no sense."""
    wanted = {
        setting: column
        for setting in ("user", "item", "action", "time", "order", "quantity")
        if (column := getattr(source, setting)) is not None
    }
    numbering = {name: pl.Categorical(pl.Categories.random()) for name in wanted}
    parts = []
    with closing(open_tables(source, wanted)) as tables:
        for table in tables:
            schema = table.schema()
            chosen = []
            for name, column in wanted.items():
                if name in ("user", "item", "action"):
                    cell = as_id(column, schema, table.where).cast(numbering[name])
                else:
                    _plain(column, schema, table.where)
                    cell = _number(name, column, schema, source)
                chosen.append(cell.alias(name))
            parts.append(table.collect(table.frame.select(chosen)))
    return pl.concat(parts, rechunk=True)


def _number(name: str, column: str, schema: pl.Schema, source: EventSource) -> pl.Expr:
    if name == "time":
        return time_us(column, schema[column], source.time_unit)
    number = as_number(column, schema[column])
    return pl.when(number.is_not_nan()).then(number)


def _plain(column: str, schema: pl.Schema, where: str) -> None:
    if schema[column].is_nested() or schema[column] in (pl.Object, pl.Binary):
        raise SourceError(
            expected=f"plain values in column {column!r}", got=f"{schema[column]}", where=where
        )


def _renumber(column: _Numbered, codes: NDArray[np.uint32]) -> tuple[NDArray[np.uint32], list[str]]:
    """Number the ids of `codes` from 0 in the order they first appear, and list them.

    Two spellings of one id that differ in outer blanks get one number.
    """
    first = np.full(len(column.ids), len(codes), dtype=np.int64)
    first[codes[::-1]] = np.arange(len(codes) - 1, -1, -1)  # the last writing is the first row
    present = np.flatnonzero(first < len(codes))
    seen = pl.Series(present[np.argsort(first[present])])
    ids = column.ids.gather(seen).fill_null("")
    distinct = ids.unique(maintain_order=True)
    number = np.zeros(len(column.ids), dtype=np.uint32)
    number[seen.to_numpy()] = ids.cast(pl.Enum(distinct)).to_physical().cast(pl.UInt32).to_numpy()
    return number[codes], distinct.to_list()
