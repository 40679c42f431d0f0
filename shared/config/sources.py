"""Where one platform's events and items lie, and which of their columns mean what."""

import codecs
import os
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, Self
from urllib.parse import quote_plus

from pydantic import Field, field_validator, model_validator

from shared.config.base import Settings
from shared.errors import ConfigError

Format = Literal["auto", "csv", "tsv", "jsonl", "parquet", "sql"]
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_PASSWORD = re.compile(r"://[^:/@]*:(.*)@|[?&](?:password|pwd)=([^&]*)", re.IGNORECASE)


class _Source(Settings):
    """A file (`path`) or a table (`url` with `query`).

    Args:
        path: a file, a folder of files, or a pattern such as `logs/2026-*.csv` (read in the order
            of their names).
        url: SQLAlchemy URL of a database.  Passwords are never written here, because settings are
            copied into run folders: write `${NAME}` and the environment variable NAME is used.
        query: the SELECT whose columns are mapped below.
        format: "auto" goes by the ending of the file's name.
        separator: between fields, of any length (`::`); default "," for csv and a tab for tsv.
        header: column names, for files that have none; the first line is then data.
        encoding: of text files, any name Python knows.
    """

    path: Path | None = None
    url: str | None = None
    query: str | None = None
    format: Format = "auto"
    separator: str | None = Field(default=None, min_length=1)
    header: list[str] | None = Field(default=None, min_length=1)
    encoding: str = "utf-8"

    @field_validator("url")
    @classmethod
    def _no_password(cls, value: str | None) -> str | None:
        password = None if value is None else _password(value)
        if password is not None and not _VARIABLE.fullmatch(password):
            # Not a ValueError: pydantic would repeat the url, and with it the password.
            raise ConfigError(
                expected="a url without a password in it",
                got="a password (not shown)",
                where="url of a source",
                remedy="Write ${NAME} in its place and set the environment variable NAME.",
            )
        return value

    @field_validator("header")
    @classmethod
    def _distinct(cls, value: list[str] | None) -> list[str] | None:
        if value is not None and len(set(value)) != len(value):
            raise ValueError("expected distinct column names")
        return value

    @field_validator("encoding")
    @classmethod
    def _known(cls, value: str) -> str:
        try:
            codecs.lookup(value)
        except LookupError:
            raise ValueError(
                "expected an encoding Python knows, such as utf-8 or latin-1"
            ) from None
        return value

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if (self.path is None) == (self.url is None):
            raise ValueError("expected either `path` or `url`")
        if (self.url is None) != (self.query is None):
            raise ValueError("expected `query` together with `url`")
        if self.format == "sql" and self.url is None:
            raise ValueError('expected a `url` for format "sql"')
        return self

    def connection_url(self) -> str:
        """`url` with every `${NAME}` replaced (and quoted, unless it is the whole url).

        Raises:
            ConfigError: an environment variable is not set.
        """
        url = self.url or ""
        whole = _VARIABLE.fullmatch(url)

        def value(match: re.Match[str]) -> str:
            found = os.environ.get(match[1])
            if found is None:
                raise ConfigError(
                    expected=f"the environment variable {match[1]}",
                    got="none",
                    where="url of a source",
                    remedy=f"Set it before starting: export {match[1]}=...",
                )
            return found if whole else quote_plus(found)

        return _VARIABLE.sub(value, url)


class EventSource(_Source):
    """A platform's log.

    Args:
        user, item: columns that hold the ids.
        time: column with the time; None when only an order is known.
        time_unit: "s", "ms", "us" since 1970, or "iso" for written dates (UTC unless they say
            otherwise).  Columns that are dates already (Parquet, SQL) need no unit.
        order: column to sort a user's events by where there is no time; with one, it breaks ties.
        action: column with what the user did; None means "view".
        actions: keep only these actions; None keeps all.
        quantity: column whose zero or negative values are returns.
    """

    user: str = "user_id"
    item: str = "item_id"
    time: str | None = None
    time_unit: Literal["s", "ms", "us", "iso"] = "s"
    order: str | None = None
    action: str | None = None
    actions: list[str] | None = None
    quantity: str | None = None

    @model_validator(mode="after")
    def _actions_of_a_column(self) -> Self:
        if self.actions is not None and self.action is None:
            raise ValueError("expected `action`, the column that `actions` are read from")
        return self


class ItemSource(_Source):
    """A platform's catalogue.

    Args:
        item: column that holds the id.
        title: column shown to people (and encoded first).
        text: further columns to encode after the title.
        category: column with a category path; `category_separator` splits its levels.
        empty_text: an item with no text at all is kept under the words "unknown item", or dropped
            (its events are then events on an unknown item).
        duplicates: what to do with an id that comes twice: refuse the catalogue, take the first
            row that has a title, or the most frequent title (for catalogues read from a log).
    """

    item: str = "item_id"
    title: str = "title"
    text: list[str] = Field(default_factory=list)
    category: str | None = None
    category_separator: str = Field(default=">", min_length=1)
    empty_text: Literal["placeholder", "drop"] = "placeholder"
    duplicates: Literal["error", "first", "most_frequent"] = "error"


class Cleaning(Settings):
    """What is not believed.  Every dropped row is counted under its reason.

    Args:
        max_events_per_user_day: a user with more on any day (UTC) is a bot and dropped whole.
        min_time, max_time: ISO dates, UTC unless they say otherwise; None is the time of ingestion.
        opt_out: file with one raw user id per line.
    """

    max_events_per_user_day: int = Field(default=500, ge=1)
    min_time: str = "1990-01-01"
    max_time: str | None = None
    opt_out: Path | None = None

    @field_validator("min_time", "max_time")
    @classmethod
    def _iso(cls, value: str | None) -> str | None:
        if value is not None:
            try:
                epoch_us(value)
            except ValueError:
                raise ValueError("expected a date such as 2026-11-30 or 2026-11-30T12:00") from None
        return value


def epoch_us(iso: str) -> int:
    """Microseconds since 1970 of an ISO date (UTC unless it says otherwise)."""
    moment = datetime.fromisoformat(iso)
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    since = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def _password(url: str) -> str | None:
    found = _PASSWORD.search(url)
    return None if found is None else found[1] or found[2] or None
