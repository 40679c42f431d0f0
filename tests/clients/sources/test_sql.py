"""The same log from SQLite and from a real PostgreSQL gives what the file gives."""

import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

import clients.sources.sql as sql
from clients.sources.ingest import Ingested, ingest
from clients.sources.pseudonyms import pseudonym
from shared.config.federation import PlatformSettings
from shared.errors import ConfigError, DataError, SourceError

SECRET = b"0123456789abcdef0123456789abcdef"
EVENTS = {"user": "u", "item": "i", "time": "t", "quantity": "q"}


def read(url: str, query: str, **events: Any) -> Ingested:
    items = {"url": url, "query": "SELECT * FROM items", "item": "id", "title": "name"}
    settings = PlatformSettings.load(
        {"events": {"url": url, "query": query, **EVENTS, **events}, "items": items},
        where="test",
    )
    return ingest(settings, SECRET, 1_700_000_000.0)


def histories(result: Ingested) -> dict[str, list[str]]:
    ids = result.catalogue.ids
    return {u: [ids[r] for r in result.sequences[k]] for k, u in enumerate(result.sequences.users)}


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    with closing(sqlite3.connect(tmp_path / "shop.db")) as shop, shop:
        shop.execute("CREATE TABLE log (u, i TEXT, t INTEGER, q REAL)")
        shop.execute("CREATE TABLE items (id TEXT, name TEXT)")
        rows = [(7, "b", 1600000002, 1), (7, "a", 1600000001, 1), (None, "a", 1600000001, 1)]
        rows += [
            ("x", "a", 1600000001, -1),
            ("x", "b", 1600000001, 2),
            ("x", "a", 1600000009, None),
        ]
        shop.executemany("INSERT INTO log VALUES (?, ?, ?, ?)", rows)
        shop.executemany("INSERT INTO items VALUES (?, ?)", [("a", "Tart"), ("b", "Kettle")])
    return f"sqlite:///{tmp_path / 'shop.db'}"


@pytest.mark.parametrize("batch", [1, 2, 100_000])
def test_sqlite(sqlite_url: str, batch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sql, "BATCH_ROWS", batch)
    result = read(sqlite_url, "SELECT * FROM log WHERE i LIKE '%' AND i <> 'a:b'")
    assert histories(result) == {
        pseudonym(SECRET, "7"): ["a", "b"],
        pseudonym(SECRET, "x"): ["b", "a"],
    }
    assert result.dropped == {"missing_user": 1, "return": 1}


def test_postgresql(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sql, "BATCH_ROWS", 3)
    engine = sa.create_engine(postgres_url)
    with engine.begin() as shop:
        shop.execute(sa.text("CREATE TABLE items (id uuid, name text)"))
        shop.execute(
            sa.text("CREATE TABLE log (u numeric, i uuid, t timestamptz, day date, q smallint)")
        )
        one, two = (f"00000000-0000-0000-0000-00000000000{k}" for k in (1, 2))
        shop.execute(sa.text(f"INSERT INTO items VALUES ('{one}', 'Tart'), ('{two}', 'Kettle')"))
        shop.execute(
            sa.text(
                "INSERT INTO log VALUES "
                f"(5, '{two}', '2020-01-01 12:00+02', '2020-01-02', 1),"
                f"(5, '{one}', '2020-01-01 10:30+00', '2020-01-01', 1),"
                f"(5.0, '{one}', '2020-01-01 12:30+02', '2020-01-01', 1),"
                f"(NULL, '{one}', '2020-01-01 10:30+00', '2020-01-01', 1),"
                f"(6, '{one}', NULL, NULL, 1),"
                f"(6, '{one}', '2020-01-01', '2020-01-01', 0)"
            )
        )
    result = read(postgres_url, "SELECT * FROM log WHERE i::text LIKE '0%'")
    assert histories(result) == {pseudonym(SECRET, "5"): [two, one]}
    assert result.dropped == {"missing_user": 1, "bad_time": 1, "return": 1, "duplicate": 1}
    assert histories(read(postgres_url, "SELECT * FROM log", time="day")) == {
        pseudonym(SECRET, "5"): [one, two]
    }
    with pytest.raises(SourceError, match=r"expected a column 'tt' .*Did you mean 't'"):
        read(postgres_url, "SELECT * FROM log", time="tt")
    with pytest.raises(SourceError, match='UndefinedTable: relation "logs" does not exist'):
        read(postgres_url, "SELECT * FROM logs")
    with engine.connect() as shop:  # our reader left nothing open
        count = sa.text("SELECT count(*) FROM pg_stat_activity WHERE backend_type='client backend'")
        for _ in range(100):  # a backend takes a moment to go after its client has
            if (left := shop.execute(count).scalar()) == 1:
                break
            shop.rollback()
            time.sleep(0.05)
        assert left == 1
    engine.dispose()


@pytest.mark.parametrize(
    ("url", "query", "says"),
    [
        ("sqlite:////nowhere/shop.db", "SELECT 1", "unable to open database file"),
        ("sqlite://", "SELECT * FROM nothing", "no such table: "),
        ("nosuch://host/db", "SELECT 1", "Install the database's driver"),
        ("not a url", "SELECT 1", "A url looks like postgresql"),
        ("postgresql+psycopg://reader@/db?host=/nowhere", "SELECT 1", "Check that the database is"),
    ],
)
def test_failures_are_explained(url: str, query: str, says: str) -> None:
    with pytest.raises(SourceError) as caught:
        read(url, query)
    assert says in str(caught.value)
    assert caught.value.exit_code == 3


def test_empty_result(sqlite_url: str) -> None:
    with pytest.raises(DataError, match="an empty log"):
        read(sqlite_url, "SELECT * FROM log WHERE i = 'none'")


def test_passwords_come_from_the_environment(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for url in ("postgresql://me:hunter2@host/db", "postgresql://host/db?password=hunter2"):
        with pytest.raises(ConfigError, match="without a password") as caught:
            read(url, "SELECT 1")
        assert "hunter2" not in str(caught.value)
    with pytest.raises(ConfigError, match="environment variable SHOP_PW"):
        read("postgresql+psycopg://me:${SHOP_PW}@/db?host=/nowhere", "SELECT 1")
    monkeypatch.setenv("SHOP_PW", "hunt@er/2")
    with pytest.raises(SourceError) as refused:
        read("postgresql+psycopg://me:${SHOP_PW}@/db?host=/nowhere", "SELECT 1")
    assert "hunt" not in str(refused.value)
    monkeypatch.setenv("SHOP_URL", sqlite_url)
    assert read("${SHOP_URL}", "SELECT * FROM log").users == 2
