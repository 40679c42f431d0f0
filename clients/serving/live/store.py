"""What happens between two snapshots, in one SQLite file: events, new items, what users allow.

Guarantees: what `post`, `put_items`, `allow` and `erase` have returned for is on disk, through a
kill of the process and a loss of power (write-ahead log, synchronous=FULL).  Users are pseudonyms
here; no raw id is ever stored.  One process writes, any number reads.
"""

import json
import os
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from clients.serving.answers import Consent, NewItem, Put
from shared.errors import RunError, StorageError

VERSION = 1
_SCHEMA = """
CREATE TABLE events (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    user BLOB NOT NULL, item TEXT NOT NULL, time REAL NOT NULL,
    UNIQUE (user, item, time)
);
CREATE INDEX by_user ON events (user, time, number);
CREATE INDEX by_time ON events (time);
CREATE TABLE consent (
    user BLOB PRIMARY KEY, learning INTEGER NOT NULL, similar_users INTEGER NOT NULL
) WITHOUT ROWID;
"""
# Since it was added, in a statement of its own: files of before get it when they are opened.
_ITEMS = """
CREATE TABLE IF NOT EXISTS items (
    item TEXT PRIMARY KEY, seq INTEGER NOT NULL UNIQUE,
    title TEXT NOT NULL, category TEXT NOT NULL, text TEXT NOT NULL
);
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class LiveEvent:
    """One event; `time` in seconds since 1970."""

    pseudonym: str
    item_id: str
    time: float


class Live:
    """See the module.

    Args:
        path: of the file; made if it is not there.

    Raises:
        RunError: the file is damaged, or of another version.
        StorageError: the disk refused.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._local = threading.local()
        self._connections: list[sqlite3.Connection] = []
        self._writing = threading.Lock()
        self._consents: tuple[int, frozenset[str], frozenset[str]] | None = None
        self._changes = 0
        path.parent.mkdir(parents=True, exist_ok=True)
        with self._told():
            if not path.exists():
                os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
            with self._writing, self._db:
                (version,) = self._db.execute("PRAGMA user_version").fetchone()
                if version == 0:
                    for statement in _SCHEMA.split(";"):
                        self._db.execute(statement)
                    self._db.execute(f"PRAGMA user_version = {VERSION}")
                elif version != VERSION:
                    raise RunError(expected=f"version {VERSION}", got=str(version), where=str(path))
                self._db.execute(_ITEMS)

    @property
    def _db(self) -> sqlite3.Connection:
        """This thread's connection."""
        found: sqlite3.Connection | None = getattr(self._local, "db", None)
        if found is None:
            found = sqlite3.connect(self.path, timeout=10, check_same_thread=False)
            for pragma in ("journal_mode = WAL", "synchronous = FULL", "secure_delete = ON"):
                found.execute(f"PRAGMA {pragma}")
            self._local.db = found
            self._connections.append(found)
        return found

    @contextmanager
    def _told(self) -> Iterator[None]:
        """SQLite's errors in our words."""
        try:
            yield
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError):
                raise StorageError(
                    expected="to read and write the live store",
                    got=str(error),
                    where=str(self.path),
                    remedy="Check disk space and permissions; what was accepted before is kept.",
                ) from error
            raise RunError(
                expected="a live store as it was written",
                got="a damaged file",
                where=str(self.path),
                remedy="Restore it, or move it away: events since the last preparation are lost.",
            ) from error

    def post(self, events: Sequence[LiveEvent]) -> int:
        """Keep events, in one transaction; how many are new (the same one again is not)."""
        rows = [(bytes.fromhex(one.pseudonym), one.item_id, one.time) for one in events]
        with self._told(), self._writing, self._db:
            before = self._db.total_changes
            self._db.executemany(
                "INSERT OR IGNORE INTO events (user, item, time) VALUES (?, ?, ?)", rows
            )
            return self._db.total_changes - before

    def history(self, pseudonym: str, most: int) -> list[LiveEvent]:
        """A user's newest events, at most `most`, oldest first."""
        with self._told():
            rows = self._db.execute(
                "SELECT item, time FROM events WHERE user = ? "
                "ORDER BY time DESC, number DESC LIMIT ?",
                (bytes.fromhex(pseudonym), most),
            ).fetchall()
        return [
            LiveEvent(pseudonym=pseudonym, item_id=item, time=time) for item, time in rows[::-1]
        ]

    def users(self) -> list[str]:
        """Everybody with an event here."""
        with self._told():
            return [user.hex() for (user,) in self._db.execute("SELECT DISTINCT user FROM events")]

    def counts(self, since: float, until: float) -> dict[str, int]:
        """item id -> events with since <= time < until."""
        with self._told():
            return dict(
                self._db.execute(
                    "SELECT item, count(*) FROM events WHERE time >= ? AND time < ? GROUP BY item",
                    (since, until),
                )
            )

    def newest(self) -> float | None:
        """Time of the newest event."""
        with self._told():
            found: float | None = self._db.execute("SELECT max(time) FROM events").fetchone()[0]
            return found

    def events(self) -> int:
        """How many there are."""
        with self._told():
            return int(self._db.execute("SELECT count(*) FROM events").fetchone()[0])

    def put_items(self, items: Sequence[NewItem]) -> Put:
        """Add items, or change those whose content is another, in one transaction."""
        counts = {"added": 0, "changed": 0, "unchanged": 0}
        with self._told(), self._writing, self._db:
            self._db.execute("BEGIN IMMEDIATE")
            (seq,) = self._db.execute("SELECT ifnull(max(seq), 0) FROM items").fetchone()
            for one in items:
                content = (one.title, json.dumps(one.category, ensure_ascii=False), one.text)
                known = self._db.execute(
                    "SELECT title, category, text FROM items WHERE item = ?", (one.item_id,)
                ).fetchone()
                if known == content:
                    counts["unchanged"] += 1
                    continue
                counts["added" if known is None else "changed"] += 1
                seq += 1
                self._db.execute(
                    "INSERT OR REPLACE INTO items (item, seq, title, category, text) "
                    "VALUES (?, ?, ?, ?, ?)",
                    (one.item_id, seq, *content),
                )
        return Put(**counts)

    def items_after(self, seq: int) -> tuple[list[NewItem], int]:
        """(items added or changed since, oldest change first, as they are now; the number to ask
        with next time); begin with 0.
        """
        with self._told():
            rows = self._db.execute(
                "SELECT item, title, category, text, seq FROM items WHERE seq > ? ORDER BY seq",
                (seq,),
            ).fetchall()
        found = [
            NewItem(item_id=item, title=title, category=tuple(json.loads(category)), text=text)
            for item, title, category, text, _ in rows
        ]
        return found, rows[-1][4] if rows else seq

    def consent(self, pseudonym: str) -> Consent:
        """What a user allows; the default where nothing was said."""
        with self._told():
            row = self._db.execute(
                "SELECT learning, similar_users FROM consent WHERE user = ?",
                (bytes.fromhex(pseudonym),),
            ).fetchone()
        return (
            Consent() if row is None else Consent(learning=bool(row[0]), similar_users=bool(row[1]))
        )

    def allow(self, pseudonym: str, consent: Consent) -> None:
        """Keep what a user allows."""
        with self._told(), self._writing, self._db:
            self._db.execute(
                "INSERT OR REPLACE INTO consent VALUES (?, ?, ?)",
                (bytes.fromhex(pseudonym), consent.learning, consent.similar_users),
            )
            self._changes += 1

    def opted_out(self) -> frozenset[str]:
        """Who may be neither learned from nor named."""
        return self._consented()[1]

    def opted_in(self) -> frozenset[str]:
        """Who may be found by others."""
        return self._consented()[2]

    def _consented(self) -> tuple[int, frozenset[str], frozenset[str]]:
        known, changes = self._consents, self._changes
        if known is None or known[0] != changes:
            with self._told():
                rows = self._db.execute("SELECT user, learning, similar_users FROM consent")
                found = [(user.hex(), bool(one), bool(other)) for user, one, other in rows]
            out = frozenset(user for user, learning, _ in found if not learning)
            into = frozenset(user for user, learning, similar in found if learning and similar)
            known = self._consents = (changes, out, into)
        return known

    def erase(self, pseudonym: str) -> int:
        """A user's events are overwritten, and the user stays opted out; how many there were."""
        user = bytes.fromhex(pseudonym)
        with self._told(), self._writing:
            with self._db:
                gone = self._db.execute("DELETE FROM events WHERE user = ?", (user,)).rowcount
                self._db.execute("INSERT OR REPLACE INTO consent VALUES (?, 0, 0)", (user,))
                self._changes += 1
            # secure_delete overwrites rows, not the copies that moving them between pages has left;
            # the log has some too.
            self._db.execute("VACUUM")
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return gone

    def close(self) -> None:
        """Let go of the file."""
        for connection in self._connections:
            connection.close()
        self._connections.clear()
        self._local = threading.local()
