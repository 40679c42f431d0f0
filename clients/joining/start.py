"""The first step of a partner: a commented client.toml, the keys, and the enrolment request."""

import json
import math
import re
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from clients.home import Home
from clients.settings import ClientFolder
from clients.sources.files import file_tables
from shared.config.sources import EventSource
from shared.enrolment import EnrolmentRequest
from shared.errors import ConfigError, SourceError
from shared.files import write_text

_LIKELY = {
    "user": r"user|customer|reader|member|account|reviewer|visitor|client|buyer|viewer|player",
    "item": r"item|sku|product|asin|article|story|film|movie|track|song|game|book|isbn|content",
    "time": r"time|date|timestamp|^ts$|^at$|_at$|when|^ms$|epoch",
    "title": r"title|name|headline|label",
    "category": r"categor|genre|shelf|department|section",
}


@dataclass(frozen=True, kw_only=True)
class Answers:
    """What `init` has to know.

    Args:
        name, kind, population: see `clients.settings.Identity`.
        events, items: files; relative ones are taken from the partner's folder.
        columns: setting -> column: user, item, time of the events; item_id, title, category of the
            catalogue.
        time_unit: of the time column.
        separator, header: of events in a format that has neither.
        items_separator: of the catalogue.
    """

    name: str
    kind: str
    population: int
    events: Path
    items: Path
    columns: dict[str, str]
    time_unit: str = "s"
    separator: str | None = None
    header: Sequence[str] = field(default_factory=tuple)
    items_separator: str | None = None


def columns_of(path: Path, separator: str | None = None) -> list[str]:
    """The column names of a file.

    Raises:
        SourceError: there is no such file, or its format is not known.
    """
    source = EventSource(path=path, separator=separator)
    with closing(file_tables(source, {})) as tables:
        return list(next(tables).schema().names())


def likely(columns: Sequence[str], what: str) -> str | None:
    """The column that most likely holds `what`: one that is called so, the shortest such name."""
    fits = [name for name in columns if re.search(_LIKELY[what], name, re.IGNORECASE)]
    return min(fits, key=lambda name: (len(name), columns.index(name)), default=None)


def time_unit_of(path: Path, column: str, separator: str | None = None) -> str:
    """How times are written in a column, by the first that there is: "s", "ms", "us" or "iso"."""
    with closing(file_tables(EventSource(path=path, separator=separator), {})) as tables:
        table = next(tables)
        found = table.collect(table.frame.select(column).head(1))
    text = str(found[column][0]).strip() if len(found) else ""
    if not re.fullmatch(r"\d+(\.\d+)?", text):
        return "iso"
    digits = len(text.partition(".")[0])
    return "s" if digits <= 11 else "ms" if digits <= 14 else "us"


def users_of(path: Path, column: str, separator: str | None = None) -> int:
    """How many different users a log has, before any cleaning."""
    import polars as pl

    names = set()
    with closing(file_tables(EventSource(path=path, separator=separator), {})) as tables:
        for table in tables:
            distinct = table.collect(table.frame.select(pl.col(column).unique()))
            names.update(distinct[column].to_list())
    return len(names)


def public_population(users: int) -> int:
    """A number to declare for `users`: one leading digit, up, so that it says little of them."""
    unit = 10 ** max(0, len(str(users)) - 1)
    return max(2, math.ceil(users / unit) * unit)


def begin(folder: ClientFolder, answers: Answers) -> Home:
    """Write client.toml, keys, an empty opt-out list and request.json.

    Raises:
        ConfigError: there is a client.toml already, or the answers do not make a valid one.
        SourceError: the place cannot be written.
    """
    if folder.toml.exists():
        raise ConfigError(
            expected="a folder without client.toml",
            got="one that has been set up",
            where=str(folder.toml),
            remedy="Edit it, or choose another DIR. `rotate-keys` writes a new request.json.",
        )
    folder.make()
    write_text(folder.toml, toml_text(answers))
    try:
        home = Home.open(folder.path)
    except ConfigError:
        folder.toml.unlink()
        raise
    if not folder.opt_out.exists():
        write_text(folder.opt_out, "")
    home.keys.make()
    write_request(home)
    return home


def write_request(home: Home) -> EnrolmentRequest:
    """Write request.json for the keys that are there.

    Raises:
        RunError: a key is missing.
        StorageError: the disk refused.
    """
    own, keys = home.settings.platform, home.keys
    request = EnrolmentRequest(
        name=own.name,
        kind=own.kind,
        population=own.population,
        csr_pem=keys.csr(),
        node_key_pem=keys.node_public(),
        statement_key=keys.signing.public.hex,
    )
    write_text(home.folder.request, request.signed(keys.signing))
    return request


def toml_text(answers: Answers) -> str:
    """A client.toml with every setting explained."""
    columns = answers.columns
    events = [f"path = {_toml(str(answers.events))}"]
    if answers.separator is not None:
        events.append(f"separator = {_toml(answers.separator)}")
    if answers.header:
        events.append(f"header = {_toml(list(answers.header))}")
    events += [f"user = {_toml(columns['user'])}", f"item = {_toml(columns['item'])}"]
    if "time" in columns:
        events += [f"time = {_toml(columns['time'])}", f"time_unit = {_toml(answers.time_unit)}"]
    items = [f"path = {_toml(str(answers.items))}"]
    if answers.items_separator is not None:
        items.append(f"separator = {_toml(answers.items_separator)}")
    items += [f"item = {_toml(columns['item_id'])}", f"title = {_toml(columns['title'])}"]
    if "category" in columns:
        items.append(f"category = {_toml(columns['category'])}")
    return _TEMPLATE.format(
        name=_toml(answers.name),
        kind=_toml(answers.kind),
        population=answers.population,
        events="\n".join(events),
        items="\n".join(items),
    )


def check_sources(answers: Answers) -> None:
    """See that the files have the columns that were named.

    Raises:
        SourceError: one is missing.
    """
    for path, separator, wanted in (
        (answers.events, answers.separator, ("user", "item", "time")),
        (answers.items, answers.items_separator, ("item_id", "title", "category")),
    ):
        if answers.header and path == answers.events:
            present = list(answers.header)
        else:
            present = columns_of(path, separator)
        for name in wanted:
            column = answers.columns.get(name)
            if column is not None and column not in present:
                raise SourceError(
                    expected=f"a column {column!r}",
                    got=", ".join(present[:30]),
                    where=str(path),
                )


def _toml(value: str | list[str]) -> str:
    return json.dumps(value, ensure_ascii=False)  # TOML's basic strings are JSON's


_TEMPLATE = """\
# What this platform brings to a federation, and what it permits. Nothing in this file is ever sent,
# but for name, kind and population. Paths are relative to this file.

[platform]
name = {name}
kind = {kind}                     # a word for people
population = {population}              # public: at least as many users as there are

# --- where the data is ---------------------------------------------------------------------------
[events]
{events}
# action = "kind"                 # what the user did
# actions = ["buy"]               # keep only these
# quantity = "quantity"           # negative: a return, dropped

[items]
{items}
# text = ["description"]          # more columns for the encoder
# category_separator = ">"

[cleaning]
opt_out = "opt-out.txt"           # one user id a line; `forget` adds to it
# max_events_per_user_day = 500   # more is a bot

# --- what is permitted, whatever the coordinator asks --------------------------------------------
[policy]
max_epsilon = 8.0                 # of one run; a run without privacy is refused
# max_epsilon_total = 16.0        # of all runs together
# min_noise_multiplier = 0.5
# min_clip_norm = 0.1
# max_clip_norm = 10.0
# max_sample_rate = 1.0
# max_steps_per_round = 10
# max_rounds_a_day = 100
# windows = ["22:00-06:00"]       # local time
# allowed_base = ["<sha256>"]     # base models; default: any
# allowed_bundles = ["<sha256>"]  # default: the installed version's own
max_round_s = 3600                # a round that takes longer is ended
# max_memory_mib = 4096           # of the process that trains
# threads = 2
# max_update_bytes = 67108864     # of an answer

[training]
hold_out = false                  # true: keep two events of every user apart, to measure with

[operations]
port = 0                          # of /livez, /readyz and /metrics on 127.0.0.1; 0: any free one

[ledger]
# anchor = "/other/disk/anchor.json"   # remembers how far the ledger had come; keep it elsewhere
"""
