"""What users allow: learning, being found by others; and who was erased."""

import sqlite3
from dataclasses import dataclass, replace

from clients.serving.answers import Consent
from clients.serving.live.database import Database
from clients.serving.live.events import erase_events
from clients.serving.live.rows import added, total, user_of
from shared.errors import ConsentError

NOTHING = Consent(learning=False, similar_users=False)


@dataclass(frozen=True)
class _Known:
    """What is in memory: who is out and who is in, as of change number `seq`."""

    seq: int
    out: frozenset[str]
    into: frozenset[str]


class Choices:
    """The choices in a live store.

    What is in memory is held against the store's count of changes at every question, so that
    another process's change is seen at once.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._known = _Known(0, frozenset(), frozenset())

    def of(self, pseudonym: str) -> Consent:
        """What a user allows; the default where nothing was said."""
        with self._database.reading() as db:
            return _read(db, user_of(pseudonym))[0]

    def set(
        self, pseudonym: str, *, learning: bool | None = None, similar_users: bool | None = None
    ) -> Consent:
        """Keep what a user allows; None leaves it as it is.  Who is not learned from is not found.

        An opt-out is `pending` from then on, until it is taken up or taken back.

        Raises:
            ConsentError: the user was erased, and is to be learned from again.
        """
        user = user_of(pseudonym)

        def work(db: sqlite3.Connection) -> Consent:
            before, pending, erased = _read(db, user)
            wanted = replace(
                before,
                **({} if learning is None else {"learning": learning}),
                **({} if similar_users is None else {"similar_users": similar_users}),
            )
            if not wanted.learning:
                wanted = NOTHING
            elif erased:
                raise ConsentError(
                    expected="a user who was not forgotten",
                    got="one who was",
                    where="learning",
                    remedy="Forgetting is for ever: that is what the receipt says.",
                )
            if wanted != before:
                pending = not wanted.learning and (pending or before.learning)
                _write(db, user, wanted, pending=pending, erased=erased)
            return wanted

        return self._database.write(work)

    def pending(self) -> list[str]:
        """Who has opted out and is perhaps still trained on, the first first."""
        with self._database.reading() as db:
            found = db.execute("SELECT user FROM consent WHERE pending ORDER BY seq").fetchall()
        return [user.hex() for (user,) in found]

    def mark(self, pseudonym: str, *, pending: bool) -> None:
        """Note that an opt-out was taken up, or is to be taken up again; nothing for others."""
        user = user_of(pseudonym)

        def work(db: sqlite3.Connection) -> None:
            db.execute(
                "UPDATE consent SET pending = ? WHERE user = ? AND NOT learning", (pending, user)
            )

        self._database.write(work)

    def erase(self, *pseudonyms: str) -> int:
        """Erase users; how many events there were.  See `Live.erase`."""
        users = [user_of(one) for one in pseudonyms]

        def work(db: sqlite3.Connection) -> int:
            gone = 0
            for user in users:
                gone += erase_events(db, user)
                *_, erased = _read(db, user)
                if not erased:
                    _write(db, user, NOTHING, pending=True, erased=True)
            return gone

        return self._database.write(work, overwrite=True)

    def erased(self) -> frozenset[str]:
        """Whose tombstones there are."""
        with self._database.reading() as db:
            found = db.execute("SELECT user FROM consent WHERE erased").fetchall()
        return frozenset(user.hex() for (user,) in found)

    def opted_out(self) -> frozenset[str]:
        """Who may be neither learned from nor named."""
        return self._fresh().out

    def opted_in(self) -> frozenset[str]:
        """Who may be found by others."""
        return self._fresh().into

    def _fresh(self) -> _Known:
        known = self._known
        with self._database.reading() as db:
            seq = int(total(db, "consents"))
            if seq == known.seq:
                return known
            rows = db.execute(
                "SELECT user, learning, similar_users FROM consent WHERE seq > ?", (known.seq,)
            ).fetchall()
        changed = frozenset(user.hex() for user, _, _ in rows)
        out = frozenset(user.hex() for user, learning, _ in rows if not learning)
        into = frozenset(user.hex() for user, learning, similar in rows if learning and similar)
        known = _Known(seq, (known.out - changed) | out, (known.into - changed) | into)
        # Rows may be newer than `seq`: then they are read again next time.  Of two threads that get
        # here each has a right answer, and what the slower one leaves is held against the count.
        self._known = known
        return known


def _read(db: sqlite3.Connection, user: bytes) -> tuple[Consent, bool, bool]:
    """(what a user allows, whether an opt-out is pending, whether the user was erased)."""
    row = db.execute(
        "SELECT learning, similar_users, pending, erased FROM consent WHERE user = ?", (user,)
    ).fetchone()
    if row is None:
        return Consent(), False, False
    return Consent(learning=bool(row[0]), similar_users=bool(row[1])), bool(row[2]), bool(row[3])


def _write(
    db: sqlite3.Connection, user: bytes, consent: Consent, *, pending: bool, erased: bool
) -> None:
    db.execute(
        "INSERT OR REPLACE INTO consent (user, seq, learning, similar_users, pending, erased) "
        "VALUES (?, ?, ?, ?, ?, ?)",
        (
            user,
            added(db, "consents", 1),
            consent.learning,
            consent.similar_users,
            pending,
            erased,
        ),
    )
