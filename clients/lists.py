"""The two lists of users who are not learned from.

    DIR/opt-out.txt     raw ids, one a line, the partner's own (`cleaning.opt_out` may name another
                        file): the log is read without them
    DIR/left-out.txt    pseudonyms, one a line: whatever the log and the other list say, nothing is
                        trained on them until they opt in again

Whoever changes one holds DIR/state/lists.lock, for milliseconds.
"""

import fcntl
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from clients.home import Home
from clients.sources.optout import read_opt_out
from shared.errors import DataError, RunError
from shared.files import storage_error, write_text

LEFT_OUT = "left-out.txt"


@dataclass(frozen=True)
class Lists:
    """One partner's.

    Args:
        opt_out, left_out, lock: files.
    """

    opt_out: Path
    left_out: Path
    lock: Path

    @classmethod
    def of(cls, home: Home) -> "Lists":
        """Those of a partner's folder."""
        return cls(
            opt_out=home.settings.cleaning.opt_out or home.folder.opt_out,
            left_out=home.folder.path / LEFT_OUT,
            lock=home.folder.state / "lists.lock",
        )

    @contextmanager
    def held(self) -> Iterator[None]:
        """Nobody else changes a list meanwhile.

        Raises:
            StorageError: the lock cannot be made.
        """
        try:
            self.lock.parent.mkdir(parents=True, exist_ok=True)
            handle = os.open(self.lock, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise storage_error(error, self.lock) from error
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)

    def names(self) -> frozenset[str]:
        """The pseudonyms on the list of those left out.

        Raises:
            RunError: it cannot be read, or is damaged: it is not known who must be left out.
        """
        try:
            found = self.left_out.read_text(encoding="ascii").split("\n")
        except FileNotFoundError:
            return frozenset()
        except (OSError, UnicodeDecodeError) as error:
            raise self._damaged(type(error).__name__) from None
        names = [line.strip() for line in found if line.strip()]
        if any(len(name) != 64 or set(name) - set("0123456789abcdef") for name in names):
            raise self._damaged("something else")
        return frozenset(names)

    def leave_out(self, names: Iterable[str]) -> None:
        """Put pseudonyms on the list; hold the lock."""
        known, wanted = self.names(), set(names)
        if not wanted <= known:
            self._write(known | wanted)

    def let_in(self, name: str) -> None:
        """Take a pseudonym off the list; hold the lock."""
        known = self.names()
        if name in known:
            self._write(known - {name})

    def raw(self) -> list[str]:
        """The raw ids on the opt-out list; none where there is no list.

        Raises:
            SourceError: it cannot be read.
        """
        return read_opt_out(self.opt_out) if self.opt_out.is_file() else []

    def add(self, user: str) -> None:
        """Put a raw id on the opt-out list, where it is not on it; hold the lock."""
        if user not in self.raw():
            text = self._text()
            joint = "" if not text or text.endswith("\n") else "\n"
            write_text(self.opt_out, f"{text}{joint}{user}\n")

    def remove(self, user: str) -> None:
        """Take a raw id off the opt-out list; all other lines stay as they are; hold the lock."""
        if user in self.raw():
            lines = self._text().split("\n")
            write_text(self.opt_out, "\n".join(line for line in lines if line.strip() != user))

    def _text(self) -> str:
        # Decoded from bytes: a list that came from elsewhere keeps its line ends.
        return self.opt_out.read_bytes().decode("utf-8-sig") if self.opt_out.is_file() else ""

    def _write(self, names: frozenset[str]) -> None:
        write_text(self.left_out, "".join(f"{name}\n" for name in sorted(names)))

    def _damaged(self, got: str) -> RunError:
        return RunError(
            expected="pseudonyms, one a line",
            got=got,
            where=str(self.left_out),
            remedy="Restore it: without it somebody who has opted out might come back.",
        )


def raw_id(user: str) -> str:
    """A user's id as lists and pseudonyms take it.

    Raises:
        DataError: it is empty, or would be more than one line.
    """
    name = user.strip()
    if not name or "\n" in name:
        raise DataError(expected="a user's id", got="an empty one", where="user")
    return name
