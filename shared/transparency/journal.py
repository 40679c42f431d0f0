"""A log on disk: append-only, signed, locked while it is written, whole after any crash.

An append writes twice: first the head's file (the signed head of the longer log, and its last
line), replaced atomically; then the line itself.  Both are durable when it returns.  So the head
is never behind the lines, and a line that a crash has torn is known from it: it is written again
when the log is opened.  Anything else is damage; see `shared.transparency.inspection`.
"""

import fcntl
import os
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from shared.errors import RunError
from shared.files import storage_error, write_bytes
from shared.transparency.envelope import STATEMENT, Envelope
from shared.transparency.inspection import (
    Entry,
    Inspection,
    TreeHead,
    head_bytes,
    inspect,
)
from shared.transparency.keys import PublicKey, SigningKey
from shared.transparency.merkle import leaf_hash
from shared.transparency.statement import Statement

__all__ = ["Entry", "Journal", "head_path", "read"]


def head_path(path: Path) -> Path:
    """Where the head of the log at `path` lies."""
    return path.with_name(path.name + ".head")


def read(path: Path, key: PublicKey) -> list[Entry]:
    """Verify and read a log, without changing or locking it.

    Args:
        path: `NAME.jsonl`; the log is called NAME.
        key: whose log it is.

    Raises:
        RunError: there is none, or it is not whole; names the first thing that is wrong.
        StorageError: it cannot be read.
    """
    found = _inspected(path, path.stem, key)
    if found.faults:
        raise _damaged(path, found)
    return found.entries


class Journal:
    """The only way to add to a log; holds an exclusive lock while open.

    Args:
        path: the `.jsonl` file; made, with its folder, if it is not there.
        name: of the log.
        key: signs entries and heads.

    Attributes:
        entries: all that is in it.

    Raises:
        RunError: it is damaged, another key's, or in use by another process.
        StorageError: the disk refused.
    """

    def __init__(self, path: Path, *, name: str, key: SigningKey) -> None:
        self.path, self.name, self._key = Path(path), name, key
        self._file = _open_locked(self.path)
        try:
            self._load()
        except BaseException:
            self.close()
            raise

    def append(self, make: Callable[[int, str], Statement]) -> Entry:
        """Sign the statement that `make(index, root)` gives for the next place, and keep it.

        Raises:
            StorageError: the disk refused; open the log again to know whether it is in it.
        """
        if self._file < 0:
            raise RunError(expected="an open log", got="a closed one", where=str(self.path))
        index, root = len(self._tree), self._tree.root().hex()
        statement = make(index, root)
        envelope = Envelope.signed(STATEMENT, statement.to_payload(), self._key)
        line = envelope.to_bytes()
        try:
            self._tree.append(leaf_hash(line))
            self._write(line)
        except BaseException:
            self.close()  # only the disk knows what is in it now
            raise
        entry = Entry(index, self._tree.leaf(index).hex(), envelope, statement)
        self.entries.append(entry)
        return entry

    def _load(self) -> None:
        found = _inspected(self.path, self.name, self._key.public)
        fresh = found.head is None and not found.entries and not head_path(self.path).exists()
        if found.torn is not None and len(found.faults) == 1:
            self._settle(found.torn)
            found = _inspected(self.path, self.name, self._key.public)
        if found.faults and not (fresh and not os.fstat(self._file).st_size):
            raise _damaged(self.path, found)
        self.entries, self._tree = found.entries, found.tree

    def _settle(self, line: bytes) -> None:
        """Write a torn last line again."""
        try:
            content = os.pread(self._file, os.fstat(self._file).st_size, 0)
            os.ftruncate(self._file, content.rfind(b"\n") + 1)
        except OSError as error:
            raise storage_error(error, self.path) from error
        self._put(line + b"\n")

    def _write(self, line: bytes) -> None:
        """Head first, then the line."""
        head = TreeHead(self.name, len(self._tree), self._tree.root().hex())
        write_bytes(head_path(self.path), head_bytes(head, line, self._key))
        self._put(line + b"\n")

    def _put(self, content: bytes) -> None:
        try:
            view = memoryview(content)
            while view:
                view = view[os.write(self._file, view) :]
            os.fsync(self._file)
        except OSError as error:
            raise storage_error(error, self.path) from error

    def close(self) -> None:
        """Release the lock."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _inspected(path: Path, name: str, key: PublicKey) -> Inspection:
    try:
        head = _head(path)
        content = path.read_bytes()
        while head != (now := _head(path)):  # somebody is appending
            head, content = now, path.read_bytes()
    except FileNotFoundError:
        raise RunError(
            expected="a log of the record", got="none", where=str(path), remedy=_REMEDY
        ) from None
    except OSError as error:
        raise storage_error(error, path) from error
    return inspect(content, head, name=name, key=key)


def _head(path: Path) -> bytes | None:
    try:
        return head_path(path).read_bytes()
    except FileNotFoundError:
        return None


_REMEDY = "Restore the log and its .head file from one backup; do not edit them."


def _damaged(path: Path, found: Inspection) -> RunError:
    first = found.faults[0]
    place = "" if first.entry is None else f", entry {first.entry}"
    return RunError(
        expected="a log as it was signed", got=first.what, where=f"{path}{place}", remedy=_REMEDY
    )


def _open_locked(path: Path) -> int:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise storage_error(error, path) from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(file)
        raise RunError(
            expected="a log that nobody else is writing",
            got="one locked by another process",
            where=str(path),
            remedy="Stop the other process first.",
        ) from error
    return file
