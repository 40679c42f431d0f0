"""Posted events: each once, in the order of their times, until the platform's own log has them."""

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter

from clients.serving.live.database import Database
from clients.serving.live.rows import LiveEvent, added, total, user_of

_CHUNK = 1_000


@dataclass(frozen=True, kw_only=True)
class Posting:
    """What became of events; they add up to those that were posted.

    Args:
        accepted: on disk.
        repeated: here already, or so old that the platform's own log has them (`prune`).
        refused: of users who have opted out or were erased.
    """

    accepted: int
    repeated: int
    refused: int


@dataclass(frozen=True)
class Events:
    """The events of a live store."""

    database: Database

    def keep(self, events: Sequence[LiveEvent]) -> Posting:
        """Keep events; one commit."""
        rows = [(user_of(one.pseudonym), one.item_id, float(one.time)) for one in events]
        users = list({row[0]: None for row in rows})

        def work(db: sqlite3.Connection) -> Posting:
            out = {
                user
                for user in users
                if db.execute(
                    "SELECT 1 FROM consent WHERE user = ? AND NOT learning", (user,)
                ).fetchone()
            }
            pruned = total(db, "pruned")
            allowed = [row for row in rows if row[0] not in out]
            new = [row for row in allowed if row[2] >= pruned]
            db.executemany(
                "INSERT OR IGNORE INTO users (name) VALUES (?)",
                [(user,) for user in {row[0]: None for row in new}],
            )
            db.executemany(
                "INSERT OR IGNORE INTO names (item) VALUES (?)",
                [(item,) for item in {row[1]: None for row in new}],
            )
            # max: of no row at all, SQLite says -1.
            accepted = max(0, db.executemany(_INSERT, new).rowcount)
            added(db, "events", accepted)
            return Posting(
                accepted=accepted,
                repeated=len(allowed) - accepted,
                refused=len(rows) - len(allowed),
            )

        return self.database.write(work)

    def history(self, pseudonym: str, most: int) -> list[LiveEvent]:
        """A user's newest events, at most `most`, oldest first by (time, order of arrival)."""
        with self.database.reading() as db:
            rows = db.execute(_HISTORY, (user_of(pseudonym), most)).fetchall()
        return [
            LiveEvent(pseudonym=pseudonym, item_id=item, time=time) for item, time in rows[::-1]
        ]

    def users(self) -> list[str]:
        """Everybody with an event."""
        with self.database.reading() as db:
            return [user.hex() for (user,) in db.execute("SELECT name FROM users")]

    def changed_users(self, since_seq: int) -> tuple[list[str], int]:
        """(who has events that arrived after number `since_seq`, the newest number)."""
        with self.database.reading() as db:
            (newest,) = db.execute("SELECT max(seq) FROM events").fetchone()
            upto = max(since_seq, newest or 0)
            found = db.execute(
                "SELECT name FROM users WHERE number IN "
                "(SELECT user FROM events WHERE seq > ? AND seq <= ?) ORDER BY number",
                (since_seq, upto),
            ).fetchall()
        return [user.hex() for (user,) in found], upto

    def histories_since(self, since_seq: int, most: int) -> tuple[dict[str, list[str]], int]:
        """(pseudonym -> item ids of the newest `most` events, oldest first as in `history`; the
        newest number), of the `changed_users`.  Of items and users, numbers are read event by
        event, and names once.
        """
        with self.database.reading() as db:
            (newest,) = db.execute("SELECT max(seq) FROM events").fetchone()
            upto = max(since_seq, newest or 0)
            if upto == since_seq:
                return {}, upto
            users = dict(db.execute(_USERS, (since_seq, upto)).fetchall())
            items = dict(db.execute(_NAMES, (since_seq, upto)).fetchall())
            rows = db.execute(_HISTORIES, (since_seq, upto))
            found: dict[str, list[str]] = {}
            for number, mine in groupby(rows, key=itemgetter(0)):
                # An item that came between the queries is of an event after `upto`.
                own = [items[item] for _, item in mine if item in items]
                if number in users:
                    found[users[number].hex()] = own[-most:]
        return found, upto

    def dropped_before(self) -> float:
        """What `prune` was told last; minus infinity at first."""
        with self.database.reading() as db:
            return total(db, "pruned")

    def counts(self, since: float, until: float) -> dict[str, int]:
        """item id -> events with since <= time < until, but of those who have opted out."""
        with self.database.reading() as db:
            return dict(db.execute(_COUNTS, (since, until)).fetchall())

    def newest(self) -> float | None:
        """Time of the newest event."""
        with self.database.reading() as db:
            found: float | None = db.execute("SELECT max(time) FROM events").fetchone()[0]
            return found

    def count(self) -> int:
        """How many there are."""
        with self.database.reading() as db:
            return int(total(db, "events"))

    def prune(self, before: float) -> int:
        """Drop events with time < `before`, which the platform's own log has; how many.

        From then on older ones are taken for repeated.  In parts, so that nobody who posts waits
        for all of it.
        """

        def part(db: sqlite3.Connection) -> int:
            db.execute("UPDATE totals SET value = max(value, ?) WHERE name = 'pruned'", (before,))
            old = db.execute(
                "SELECT seq, user FROM events WHERE time < ? LIMIT ?", (before, _CHUNK)
            ).fetchall()
            db.executemany("DELETE FROM events WHERE seq = ?", [(seq,) for seq, _ in old])
            db.executemany(_NOBODY, [(user, user) for user in {user for _, user in old}])
            added(db, "events", -len(old))
            return len(old)

        gone = 0
        while True:
            found = self.database.write(part)
            gone += found
            if found < _CHUNK:
                return gone


def erase_events(db: sqlite3.Connection, user: bytes) -> int:
    """Delete a user's events, the user's row, and names of items that nobody else has; how many."""
    found = db.execute("SELECT number FROM users WHERE name = ?", (user,)).fetchone()
    if found is None:
        return 0
    (number,) = found
    mine = {item for (item,) in db.execute("SELECT item FROM events WHERE user = ?", (number,))}
    gone = db.execute("DELETE FROM events WHERE user = ?", (number,)).rowcount
    db.execute("DELETE FROM users WHERE number = ?", (number,))
    # One pass over an index: rare enough not to have every post keep another index for it.
    others = {item for (item,) in db.execute(_AMONG, (json.dumps(sorted(mine)),))}
    db.executemany("DELETE FROM names WHERE number = ?", [(item,) for item in mine - others])
    added(db, "events", -gone)
    return gone


_INSERT = """
INSERT OR IGNORE INTO events (user, item, time)
SELECT users.number, names.number, ?3 FROM users, names WHERE users.name = ?1 AND names.item = ?2
"""
_HISTORY = """
SELECT names.item, events.time FROM events JOIN names ON names.number = events.item
WHERE events.user = (SELECT number FROM users WHERE name = ?)
ORDER BY events.time DESC, events.seq DESC LIMIT ?
"""
_CHANGED = "SELECT user FROM events WHERE seq > ? AND seq <= ?"
_HISTORIES = f"""
SELECT user, item FROM events WHERE user IN ({_CHANGED}) ORDER BY user, time, seq
"""
_NAMES = f"""
SELECT number, item FROM names
WHERE number IN (SELECT item FROM events WHERE user IN ({_CHANGED}))
"""
_USERS = f"SELECT number, name FROM users WHERE number IN ({_CHANGED})"
_COUNTS = """
SELECT names.item, sum(found.events) FROM (
    SELECT item, count(*) AS events FROM events WHERE time >= ?1 AND time < ?2 GROUP BY item
    UNION ALL
    SELECT item, -count(*) FROM events
    WHERE user IN (
        SELECT users.number FROM consent JOIN users ON users.name = consent.user
        WHERE NOT consent.learning
    ) AND time >= ?1 AND time < ?2 GROUP BY item
) AS found JOIN names ON names.number = found.item
GROUP BY found.item HAVING sum(found.events) > 0
"""
_AMONG = """
SELECT DISTINCT item FROM events WHERE item IN (SELECT value FROM json_each(?))
"""
_NOBODY = "DELETE FROM users WHERE number = ? AND NOT EXISTS (SELECT 1 FROM events WHERE user = ?)"
