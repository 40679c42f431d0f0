"""Any SQL database through SQLAlchemy, read in batches with a cursor on the server's side."""

from collections.abc import Generator, Sequence
from typing import Any

import polars as pl
import sqlalchemy as sa

from clients.sources.tables import Table
from shared.config.sources import EventSource, ItemSource
from shared.errors import SourceError

BATCH_ROWS = 100_000
_PLAIN = (str, int, float, bool, type(None))


def sql_tables(source: EventSource | ItemSource) -> Generator[Table, None, None]:
    """Yield the rows of `source.query`, `BATCH_ROWS` at a time; an empty result is one empty table.

    The transaction is rolled back at the end: nothing is ever written.

    Raises:
        SourceError: no driver, no connection, or the database refuses the query.
        ConfigError: the url names an environment variable that is not set.
    """
    where = "database"
    reading = False
    try:
        url = sa.make_url(source.connection_url())
        where = url.render_as_string(hide_password=True)
        engine = sa.create_engine(url, poolclass=sa.pool.NullPool)
        with (
            engine.connect().execution_options(stream_results=True) as connection,
            connection.execute(sa.text(source.query or "")) as result,
        ):
            names = list(result.keys())
            empty = True
            while rows := result.fetchmany(BATCH_ROWS):
                empty, reading = False, True
                yield _table(names, rows, where)
            if empty:
                yield _table(names, [], where)
    except (sa.exc.SQLAlchemyError, ImportError) as error:
        raise SourceError(
            expected="the rows of a query",
            got=_reason(error, reading),
            where=where,
            remedy=_remedy(error),
        ) from error


def _table(names: list[str], rows: Sequence[Sequence[Any]], where: str) -> Table:
    columns = [_column(name, [row[k] for row in rows]) for k, name in enumerate(names)]
    return Table(
        frame=pl.DataFrame(columns).lazy(), where=where, explain=lambda error: _unreadable(where)
    )


def _column(name: str, values: list[Any]) -> pl.Series:
    kinds = {type(value) for value in values} - {type(None)}
    if not kinds:
        return pl.Series(name, values, dtype=pl.String)
    if len(kinds) > 1 or not kinds.issubset(_PLAIN):
        column = pl.Series(name, values, strict=False) if len(kinds) == 1 else None
        if column is None or column.dtype == pl.Object:  # mixed (SQLite), UUIDs and the like
            values = [None if value is None else _text(value) for value in values]
            return pl.Series(name, values, dtype=pl.String)
        return column
    return pl.Series(name, values)


def _text(value: Any) -> str:
    if isinstance(value, bytes | memoryview):
        return bytes(value).decode("utf-8", errors="replace")
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _unreadable(where: str) -> SourceError:
    return SourceError(
        expected="plain columns (text, numbers, times)", got="something else", where=where
    )


def _reason(error: Exception, reading: bool) -> str:
    """The database's own first line, unless rows were flowing: it could then quote one of them."""
    cause = getattr(error, "orig", None) or error
    if reading:
        return f"a failure while reading ({type(cause).__name__})"
    lines = str(cause).strip().splitlines()
    return f"{type(cause).__name__}: {lines[0]}" if lines else type(cause).__name__


def _remedy(error: Exception) -> str:
    if isinstance(error, ImportError | sa.exc.NoSuchModuleError):
        return "Install the database's driver, or correct the beginning of the url."
    if isinstance(error, sa.exc.ArgumentError):
        return "A url looks like postgresql+psycopg://user@host/database or sqlite:///file.db."
    if isinstance(error, sa.exc.OperationalError):
        return "Check that the database is up, the url, and the names in the query."
    return "Run the query by hand to see what the database makes of it."
