"""What several tables need: pseudonyms as bytes, and counters."""

import math
import sqlite3
from dataclasses import dataclass

from shared.errors import DataError

_BYTES = 32


@dataclass(frozen=True, kw_only=True, slots=True)
class LiveEvent:
    """One event.

    Args:
        pseudonym: 64 hex digits.
        time: seconds since 1970.

    Raises:
        DataError: the time is not finite, or the item's id is empty or no text that can be stored.
    """

    pseudonym: str
    item_id: str
    time: float

    def __post_init__(self) -> None:
        try:
            if not (math.isfinite(self.time) and self.item_id.encode()):
                raise ValueError
        except ValueError:  # also of `encode`, whose own text quotes the id
            raise DataError(
                expected="an item's id in Unicode and a finite time",
                got="something else",
                where="event",
            ) from None


def user_of(pseudonym: str) -> bytes:
    """The 32 bytes of a pseudonym.

    Raises:
        DataError: it is none.
    """
    try:
        user = bytes.fromhex(pseudonym)
    except ValueError:
        user = b""
    if len(user) != _BYTES:
        raise DataError(expected="a pseudonym of 64 hex digits", got="another text", where="user")
    return user


def total(db: sqlite3.Connection, name: str) -> float:
    """A counter."""
    (found,) = db.execute("SELECT value FROM totals WHERE name = ?", (name,)).fetchone()
    return float(found)


def added(db: sqlite3.Connection, name: str, change: int) -> int:
    """Move a counter; what it says then."""
    db.execute("UPDATE totals SET value = value + ? WHERE name = ?", (change, name))
    return int(total(db, name))
