"""One configured source as a stream of lazy tables, whatever it is stored in."""

import difflib
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass

import polars as pl

from shared.config.sources import EventSource, ItemSource
from shared.errors import SourceError

_SHOWN_COLUMNS = 30
_SHOWN_LETTERS = 40


@dataclass(frozen=True, kw_only=True)
class Table:
    """One file, or one batch of a query's rows.

    Args:
        frame: its columns, unread.
        where: what to call it in messages.
        explain: turns a reader's exception into ours, without repeating any value of the data.
    """

    frame: pl.LazyFrame
    where: str
    explain: Callable[[Exception], SourceError]

    def collect(self, frame: pl.LazyFrame | None = None) -> pl.DataFrame:
        """Run `frame` (made from `self.frame`) in a stream: memory grows with what it keeps only.

        Raises:
            SourceError: the file is damaged, of another encoding, or not of the format configured.
        """
        try:
            return (self.frame if frame is None else frame).collect(engine="streaming")
        except (pl.exceptions.PolarsError, OSError) as error:
            raise self.explain(error) from error

    def schema(self) -> pl.Schema:
        """Names and types of the columns, without reading the rows."""
        try:
            return self.frame.collect_schema()
        except (pl.exceptions.PolarsError, OSError) as error:
            raise self.explain(error) from error


def open_tables(
    source: EventSource | ItemSource, wanted: dict[str, str]
) -> Generator[Table, None, None]:
    """Yield the tables of `source`, each with the wanted columns only, under their own names.

    Close the iterator (`contextlib.closing`) to let go of connections and temporary files early.

    Args:
        wanted: setting -> column, such as {"user": "reviewerID"}.

    Raises:
        SourceError: nothing there, not readable, or a wanted column is missing.
    """
    if source.url is not None:
        from clients.sources.sql import sql_tables  # SQLAlchemy is an extra

        tables = sql_tables(source)
    else:
        from clients.sources.files import file_tables

        tables = file_tables(source, wanted)
    with closing(tables):  # an error's traceback would otherwise keep a connection open
        for table in tables:
            check_columns(list(table.schema().names()), wanted, table.where, source)
            chosen = list(dict.fromkeys(wanted.values()))
            yield Table(frame=table.frame.select(chosen), where=table.where, explain=table.explain)


def check_columns(
    found: list[str], wanted: dict[str, str], where: str, source: EventSource | ItemSource
) -> None:
    """Refuse a table without a wanted column, naming it, the columns found and the nearest one."""
    for setting, column in wanted.items():
        if column in found:
            continue
        shown = ", ".join(repr(name[:_SHOWN_LETTERS]) for name in found[:_SHOWN_COLUMNS])
        more = f" and {len(found) - _SHOWN_COLUMNS} more" if len(found) > _SHOWN_COLUMNS else ""
        lower = {name.lower(): name for name in found}
        near = difflib.get_close_matches(column.lower(), list(lower), n=1, cutoff=0.5)
        kind = "events" if isinstance(source, EventSource) else "items"
        if near:
            remedy = f"Did you mean {lower[near[0]]!r}? Set it as {kind}.{setting}."
        elif len(found) == 1 and source.path is not None:
            remedy = f"Only one column was found: is {kind}.separator right?"
        else:
            remedy = f"Set {kind}.{setting}; if the file has no header line, set {kind}.header."
        raise SourceError(
            expected=f"a column {column!r} ({kind}.{setting})",
            got=f"columns {shown}{more}",
            where=where,
            remedy=remedy,
        )
