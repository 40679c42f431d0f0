"""One SQLite file: readers side by side, and one commit for all who wait to write.

Guarantee: when `write` returns, what it did is on disk, through a kill of the process and a loss
of power (write-ahead log, synchronous=FULL: the log is fsynced at every commit).

Group commit: whoever comes while nobody commits leads, and takes along all who have come since
the last commit; one fsync serves them all.  What one of them does wrong is undone alone.
"""

import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

from clients.serving.live.file import BUSY_S, at_version, log_ahead, make, told
from shared.errors import FedInterestError, RunError, StorageError

_WRITER_KIB = 16 * 1024  # a large transaction that outgrows it is written twice
_LOG_BYTES = 16 * 1024**2

T = TypeVar("T")
Work = Callable[[sqlite3.Connection], T]


@dataclass(eq=False)
class _Job:
    """What one caller of `write` waits for."""

    work: Work[Any]
    overwrite: bool
    result: Any = None
    error: Exception | None = None
    done: bool = False


class Database:
    """A file of ours.

    Args:
        path: of the file; made, for the owner's eyes only, if it is not there.
        schema: SQL that makes an empty one.
        version: of the schema.
        changes: older version -> SQL that makes its file one of `version`.

    Raises:
        RunError: the file is damaged, of another version, or no file of ours.
        StorageError: the disk refused.
    """

    def __init__(
        self, path: Path, *, schema: str, version: int, changes: Mapping[int, str]
    ) -> None:
        self.path = path
        self._idle: list[sqlite3.Connection] = []
        self._turn = threading.Condition()
        self._waiting: list[_Job] = []
        self._leading = self._closed = False
        make(path)
        with told(path):
            self._writer = self._connect()
            self._writer.execute(f"PRAGMA cache_size = -{_WRITER_KIB}")
            self._writer.execute("PRAGMA temp_store = MEMORY")  # nothing of it lies in /tmp
            try:
                log_ahead(self._writer)
                at_version(self._writer, path, schema, version, changes)
            except BaseException:
                self._writer.close()
                raise

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """A connection to read with; nobody else has it meanwhile."""
        with told(self.path):
            self._must_be_open()
            try:
                db = self._idle.pop()
            except IndexError:
                db = self._connect()
                db.execute("PRAGMA query_only = ON")
            try:
                yield db
            finally:
                self._idle.append(db)
                if self._closed:
                    self._close_idle()

    def write(self, work: Work[T], *, overwrite: bool = False) -> T:
        """Do `work` in a transaction that may be shared with others; on disk at return.

        Args:
            work: is given the connection; may be called again if the first call was not committed.
            overwrite: what was deleted must be in no file of the database at return.

        Raises:
            StorageError: the disk refused; nothing of it was done (with `overwrite`: perhaps all
                but the overwriting; do it again).
            RunError: the file is damaged, or closed.
            Exception: what `work` raised; nothing of it was done.
        """
        job = _Job(work, overwrite)
        with self._turn:
            self._must_be_open()
            self._waiting.append(job)
            while self._leading and not job.done:
                self._turn.wait()
            if not job.done:
                self._leading, batch, self._waiting = True, self._waiting, []
        if not job.done:
            try:
                self._commit(batch)
            finally:
                with self._turn:
                    self._leading = False
                    # None, unless this thread was interrupted: then another one leads them.
                    left = [one for one in batch if not one.done and one is not job]
                    self._waiting[:0] = left
                    self._turn.notify_all()
        if job.error is not None:
            raise job.error
        return cast(T, job.result)

    def close(self) -> None:
        """Let go of the file, once what is being written is on disk."""
        with self._turn:
            self._closed = True
            while self._leading or self._waiting:
                self._turn.wait(BUSY_S)
        self._writer.close()
        self._close_idle()

    def _commit(self, batch: list[_Job]) -> None:
        db = self._writer
        try:
            with told(self.path):
                db.execute("BEGIN IMMEDIATE")
                for job in batch:
                    self._try(job)
                db.execute("COMMIT")
        except FedInterestError as error:
            for job in batch:
                job.error = error
        finally:
            if db.in_transaction:
                with suppress(sqlite3.Error):
                    db.execute("ROLLBACK")
        if any(job.overwrite and job.error is None for job in batch):
            self._overwrite([job for job in batch if job.overwrite])
        for job in batch:
            job.done = True

    def _try(self, job: _Job) -> None:
        db = self._writer
        db.execute("SAVEPOINT job")
        try:
            with told(self.path):
                job.result = job.work(db)
        except Exception as error:  # it goes to its caller; the others go on
            if not db.in_transaction:  # SQLite has undone all of it: a full disk
                raise
            db.execute("ROLLBACK TO job")
            job.error = error
        db.execute("RELEASE job")

    def _overwrite(self, jobs: list[_Job]) -> None:
        """Write the file anew, and empty the log.

        SQLite zeroes what it deletes, but where it has split a page before, copies stay behind in
        the gaps: only VACUUM leaves none.  About a second a million events.
        """
        try:
            with told(self.path):
                self._writer.execute("VACUUM")
                (busy, _, _) = self._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
                if busy:
                    raise StorageError(
                        expected="a moment without readers",
                        got="none",
                        where=str(self.path),
                        remedy="Do it again: deleted bytes may still be in its log.",
                    )
        except FedInterestError as error:
            for job in jobs:
                job.error = job.error or error

    def _connect(self) -> sqlite3.Connection:
        db = sqlite3.connect(
            self.path, timeout=BUSY_S, isolation_level=None, check_same_thread=False
        )
        for pragma in (
            "synchronous = FULL",
            "secure_delete = ON",
            f"journal_size_limit = {_LOG_BYTES}",
        ):
            db.execute(f"PRAGMA {pragma}")
        return db

    def _must_be_open(self) -> None:
        if self._closed:
            raise RunError(expected="an open live store", got="a closed one", where=str(self.path))

    def _close_idle(self) -> None:
        while self._idle:
            with suppress(IndexError):
                self._idle.pop().close()
