"""The demo platforms' files: five formats, five schemas, five ways of writing a time.

Each function writes one platform's log, catalogue and opt-out list into a folder.  What means
what in them is said in `demo.toml`, and nowhere else.

Shapes: V items, R rows of the log.
"""

import unicodedata
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from shared.files import replacing, write_bytes, write_text
from simulations.worlds.dirt import MISSING, UNKNOWN, Log
from simulations.worlds.titles import Items
from simulations.worlds.vocabulary import load_vocabulary

Writer = Callable[[Path, Items, Log, np.random.Generator], None]


def write_bazaar(folder: Path, items: Items, log: Log, rng: np.random.Generator) -> None:
    """A shop's CSV: quoted commas, written dates, returns as negative quantities."""
    skus = [f"SKU-{number}" for number in _numbers(len(items.titles), 10_000, rng)]
    customers = [f"C{number}" for number in _numbers(int(log.user.max()) + 1, 100_000, rng)]
    quantity = np.where(log.returned, -1, _pick(log, [1, 1, 1, 2, 3]))
    price = np.round(rng.lognormal(3.0, 0.8, len(items.titles)), 2)
    bad = ("", "0000-00-00 00:00:00", "n/a")
    events = pl.DataFrame(
        {
            "order_no": [f"{500_000 + row}" for row in _orders(log)],
            "customer": _names(customers, log.user, ""),
            "sku": _names(skus, log.item, "SKU-0"),
            "qty": quantity,
            "ordered_at": [
                bad[row % 3]
                if wrong
                else datetime.fromtimestamp(time, UTC).strftime("%Y-%m-%d %H:%M:%S")
                for row, (time, wrong) in enumerate(
                    zip(log.time.tolist(), log.bad_time, strict=True)
                )
            ],
        }
    )
    catalogue = pl.DataFrame(
        {"sku": skus, "name": items.titles, "department": items.categories, "price": price}
    )
    _write(folder / "orders.csv", lambda path: events.write_csv(path))
    _write(folder / "products.csv", lambda path: catalogue.write_csv(path))
    _opt_out(folder, customers, log)


def write_reel(folder: Path, items: Items, log: Log, rng: np.random.Generator) -> None:
    """A film service's `::`-separated files without a header, in Latin-1, times in seconds."""
    films = _numbers(len(items.titles), 1, rng)
    members = _numbers(int(log.user.max()) + 1, 1, rng)
    rating = _pick(log, [2, 3, 3, 4, 4, 4, 5, 5])
    time = np.where(log.bad_time, 0, log.time)
    users, titles = _names(members, log.user, ""), _names(films, log.item, "999999")
    rows = zip(users, titles, rating, time, strict=True)
    write_text(folder / "ratings.dat", "".join(f"{u}::{m}::{r}::{t}\n" for u, m, r, t in rows))
    catalogue = zip(films, items.titles, items.categories, strict=True)
    text = "".join(f"{m}::{_latin(t)}::{g}\n" for m, t, g in catalogue)
    write_bytes(folder / "movies.dat", text.encode("latin-1"))
    _opt_out(folder, members, log)


def write_tempo(folder: Path, items: Items, log: Log, rng: np.random.Generator) -> None:
    """A music service's JSON lines, times in milliseconds, plays and skips."""
    tracks = [f"trk_{number:06x}" for number in _numbers(len(items.titles), 0xA00000, rng)]
    listeners = [f"{number:08x}" for number in _numbers(int(log.user.max()) + 1, 0x10000000, rng)]
    artists = rng.choice(load_vocabulary().artists, len(items.titles)).tolist()
    events = pl.DataFrame(
        {
            "ts": np.where(log.bad_time, -1, log.time * 1000),
            "listener": _names(listeners, log.user, None),
            "event": np.where(log.other, "skip", "play"),
            "track": _names(tracks, log.item, "trk_gone"),
            "device": _pick(log, ["phone", "phone", "desktop", "speaker"]),
        }
    )
    catalogue = pl.DataFrame(
        {
            "track": tracks,
            "track_title": items.titles,
            "artist": artists,
            "length_ms": rng.integers(90_000, 420_000, len(tracks)),
        }
    )
    _write(folder / "plays.jsonl", lambda path: events.write_ndjson(path))
    _write(folder / "tracks.jsonl", lambda path: catalogue.write_ndjson(path))
    _opt_out(folder, listeners, log)


def write_herald(folder: Path, items: Items, log: Log, rng: np.random.Generator) -> None:
    """A news site's Parquet, times as ISO 8601 in UTC."""
    articles = [f"n{number}" for number in _numbers(len(items.titles), 40_000, rng)]
    readers = [f"reader-{number}" for number in _numbers(int(log.user.max()) + 1, 1_000, rng)]
    events = pl.DataFrame(
        {
            "reader": _names(readers, log.user, None),
            "article": _names(articles, log.item, "n0"),
            "read_at": [
                "unknown"
                if wrong
                else datetime.fromtimestamp(time, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
                for time, wrong in zip(log.time.tolist(), log.bad_time, strict=True)
            ],
            "seconds_on_page": _pick(log, range(4, 601)),
        }
    )
    catalogue = pl.DataFrame(
        {"article": articles, "headline": items.titles, "section": items.categories}
    )
    _write(folder / "reads.parquet", lambda path: events.write_parquet(path))
    _write(folder / "articles.parquet", lambda path: catalogue.write_parquet(path))
    _opt_out(folder, readers, log)


def write_arcade(folder: Path, items: Items, log: Log, rng: np.random.Generator) -> None:
    """A young game store's TSV, times in microseconds, no categories."""
    games = _numbers(len(items.titles), 1_000, rng)
    players = [f"p{number}" for number in _numbers(int(log.user.max()) + 1, 10_000, rng)]
    events = pl.DataFrame(
        {
            "player": _names(players, log.user, None),
            "app_id": _names(games, log.item, "1"),
            "added_us": np.where(log.bad_time, 0, log.time * 1_000_000),
        }
    )
    catalogue = pl.DataFrame({"app_id": games, "game": items.titles})
    _write(folder / "library.tsv", lambda path: events.write_csv(path, separator="\t"))
    _write(folder / "games.tsv", lambda path: catalogue.write_csv(path, separator="\t"))
    _opt_out(folder, players, log)


WRITERS: dict[str, Writer] = {
    "bazaar": write_bazaar,
    "reel": write_reel,
    "tempo": write_tempo,
    "herald": write_herald,
    "arcade": write_arcade,
}


def _numbers(count: int, first: int, rng: np.random.Generator) -> list[int]:
    """Distinct numbers from `first` + 1 up, in no order and with gaps."""
    return (first + 1 + rng.permutation(count * 3)[:count]).tolist()


def _names(names: Sequence[object], numbers: np.ndarray, otherwise: str | None) -> list[str | None]:
    """Numbers -> ids as the platform writes them; `otherwise` for UNKNOWN and MISSING."""
    none = (MISSING, UNKNOWN)
    return [otherwise if number in none else str(names[number]) for number in numbers.tolist()]


def _latin(title: str) -> str:
    """The title as a program from before Unicode would keep it."""
    return unicodedata.normalize("NFC", title).replace("’", "'")


def _pick(log: Log, values: Sequence[Any]) -> np.ndarray:
    """(R,) one of `values` per row, the same for copies of a row."""
    mixed = log.user * 7_919 + log.item * 104_729 + log.time * 31
    return np.asarray(values)[mixed % 1_000_003 % len(values)]


def _orders(log: Log) -> list[int]:
    """Order numbers: the same for exact copies of a row, so that these are duplicates."""
    keys = zip(log.user.tolist(), log.time.tolist(), log.returned.tolist(), strict=True)
    numbers: dict[tuple[int, int, bool], int] = {}
    return [numbers.setdefault(key, len(numbers)) for key in keys]


def _opt_out(folder: Path, names: Sequence[object], log: Log) -> None:
    write_text(folder / "opt_out.txt", "".join(f"{names[user]}\n" for user in log.opted_out))


def _write(path: Path, write: Callable[[Path], object]) -> None:
    with replacing(path) as temporary:
        write(temporary)
