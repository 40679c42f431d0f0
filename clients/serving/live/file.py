"""The SQLite file itself: how it is made, and its errors in our words."""

import os
import sqlite3
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from shared.errors import RunError, StorageError
from shared.files import storage_error

BUSY_S = 10.0
"""How long another process may keep the file."""

_DAMAGED = {
    sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_NOTADB,
    sqlite3.SQLITE_ERROR,  # a table that is not there
    sqlite3.SQLITE_CONSTRAINT,
    sqlite3.SQLITE_MISMATCH,
}
_REFUSED = {
    sqlite3.SQLITE_FULL: "a full disk",
    sqlite3.SQLITE_BUSY: "a file that others keep busy",
    sqlite3.SQLITE_LOCKED: "a file that others keep busy",
    sqlite3.SQLITE_READONLY: "a file that may only be read",
    sqlite3.SQLITE_CANTOPEN: "a file that cannot be opened",
}


@contextmanager
def told(path: Path) -> Iterator[None]:
    """SQLite's errors in our words; its own never quote a value."""
    try:
        yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code in _DAMAGED:
            raise RunError(
                expected="a live store as it was written",
                got="a damaged file",
                where=str(path),
                remedy="Restore it, or move it and its -wal away: what was posted since the log "
                "was last read is lost then, and so is who opted out but for DIR's own lists.",
            ) from error
        raise StorageError(
            expected="to read and write the live store",
            got=_REFUSED.get(code, getattr(error, "sqlite_errorname", type(error).__name__)),
            where=str(path),
            remedy="Check disk space and permissions; what was accepted before is kept.",
        ) from error


def make(path: Path) -> None:
    """An empty file for the owner's eyes only, where there is none; its name is on disk, too.

    Raises:
        StorageError: the disk refused.
    """
    try:
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
            for folder in (path.parent, path.parent.parent):
                handle = os.open(folder, os.O_RDONLY)
                try:
                    os.fsync(handle)
                finally:
                    os.close(handle)
    except OSError as error:
        raise storage_error(error, path) from error


def log_ahead(db: sqlite3.Connection) -> None:
    """Write-ahead logging, from now on."""
    until = time.monotonic() + BUSY_S
    while True:
        try:
            db.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            # Two processes that open a new file at once: SQLite does not wait by itself here.
            busy = error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
            if not busy or time.monotonic() > until:
                raise
            time.sleep(0.01)


def at_version(
    db: sqlite3.Connection, path: Path, schema: str, version: int, changes: Mapping[int, str]
) -> None:
    """Make the tables in an empty file, or change those of an older version: all or nothing.

    Args:
        changes: older version -> SQL that makes its tables those of `version`.

    Raises:
        RunError: it has others.
    """
    db.execute("BEGIN IMMEDIATE")
    try:
        (found,) = db.execute("PRAGMA user_version").fetchone()
        (tables,) = db.execute("SELECT count(*) FROM sqlite_master").fetchone()
        wanted = schema if found == 0 and tables == 0 else changes.get(found)
        if wanted is not None:
            for statement in wanted.split(";"):
                db.execute(statement)
            db.execute(f"PRAGMA user_version = {version}")
        elif found != version:
            raise RunError(
                expected=f"version {version}",
                got=str(found),
                where=str(path),
                remedy="Serve with the release that wrote it, or move it away.",
            )
        db.execute("COMMIT")
    finally:
        if db.in_transaction:
            db.execute("ROLLBACK")
