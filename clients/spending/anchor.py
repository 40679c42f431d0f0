"""A second memory of how far the ledgers had come, outside the partner's folder.

A ledger shows damage, but not that it is an old copy: restored from a backup, or wiped and begun
anew, it is whole, and knows nothing of what was spent since.  The anchor is a small file elsewhere
(another disk is best) with the length and the head hash of every ledger.  Rules:

1. Order in a round: ledger, anchor, release.  The charge is on disk before anything is computed
   (`shared.privacy.ledger`); the anchor is moved to it before the answer leaves the machine.  So
   whatever was released is in the ledger AND in the anchor, through any crash.
2. A ledger must go through what the anchor says: at least as many lines, and that line's hash.
   Otherwise nothing is trained: it is behind its anchor, or it is another ledger.
3. A ledger that is ahead of its anchor is right: a crash came between the two, or the anchor was
   lost, and nothing of the difference has been released unrecorded.  The anchor follows.
4. An anchor only moves forward.  It is replaced atomically, and a damaged one permits nothing.

It is written behind the charge and not ahead of it because a crash between the two must leave a
state that is right by itself: an anchor ahead of its ledger would look like a restored backup.

Whoever can restore both the folder and the anchor can still turn time back: keep them apart.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from shared.errors import LedgerError
from shared.files import sha256, write_text
from shared.privacy.ledger import Record
from shared.privacy.record import read_head

VERSION = 1


@dataclass(frozen=True)
class Mark:
    """How far a ledger had come.

    Args:
        lines: with the first, the promise.
        head: hash of the last of them.
    """

    lines: int
    head: str


def default_path(key_id: str) -> Path:
    """Where the anchor of the platform with this statement key lies unless it is told."""
    base = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(base) / "fedinterest" / f"{key_id}.json"


@dataclass(frozen=True)
class Anchor:
    """The file.

    Args:
        path: outside the partner's folder.
    """

    path: Path

    def marks(self) -> dict[str, Mark]:
        """Ledger's file name -> how far it had come; empty where there is no anchor yet.

        Raises:
            LedgerError: the anchor is damaged.
        """
        try:
            text = self.path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return {}
        except (OSError, UnicodeDecodeError) as error:
            raise self._damaged(type(error).__name__) from error
        try:
            values = json.loads(text)
            if self._text(values["ledgers"]) != text:
                raise ValueError("checksum")
            return {
                str(file): Mark(int(mark["lines"]), str(mark["head"]))
                for file, mark in values["ledgers"].items()
            }
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise self._damaged(type(error).__name__) from error

    def check(self, folder: Path, records: Mapping[str, Record]) -> None:
        """Rule 2, for every ledger that the anchor knows.

        Args:
            folder: of the ledgers.
            records: file name -> ledger, as read.

        Raises:
            LedgerError: a ledger is missing, behind its anchor, or another one.
        """
        for file, mark in self.marks().items():
            record = records.get(file)
            if record is None:
                raise self._behind(folder / file, mark, "no ledger")
            if len(record.entries) + 1 < mark.lines:
                raise self._behind(folder / file, mark, f"{len(record.entries)} charges")
            if line_hash(folder / file, mark.lines) != mark.head:
                raise self._behind(folder / file, mark, "other charges in their place")

    def follow(self, folder: Path, records: Mapping[str, Record]) -> None:
        """Check, then move on to where the ledgers are; durable when this returns.

        Raises:
            LedgerError: see `check`.
            StorageError: the disk refused: release nothing.
        """
        self.check(folder, records)
        before = self.marks()
        now = {file: Mark(len(record.entries) + 1, record.head) for file, record in records.items()}
        if {**before, **now} != before:
            self._write({**before, **now})

    def move_to(self, path: Path) -> "Anchor":
        """The same marks at another place (a new statement key has another file); the old stays.

        Raises:
            LedgerError: this anchor is damaged.
            StorageError: the disk refused.
        """
        other, marks = Anchor(path), self.marks()
        if marks and other.path != self.path:
            other._write(marks)
        return other

    def _write(self, marks: Mapping[str, Mark]) -> None:
        write_text(self.path, self._text({file: vars(mark) for file, mark in marks.items()}))

    def _text(self, ledgers: Mapping[str, object]) -> str:
        body = json.dumps(ledgers, sort_keys=True)
        return json.dumps(
            {"version": VERSION, "ledgers": ledgers, "sha256": sha256(body.encode())},
            sort_keys=True,
            indent=2,
        )

    def _behind(self, ledger: Path, mark: Mark, got: str) -> LedgerError:
        return LedgerError(
            expected=f"a ledger that goes on from {mark.lines - 1} charges (head {mark.head[:12]})",
            got=got,
            where=f"{ledger}, against its anchor {self.path}",
            remedy="An old copy was restored, or the ledger was wiped. Put the newest one back: "
            "without it nobody knows what the users have spent, and they must not be trained on "
            "under this promise any more.",
        )

    def _damaged(self, got: str) -> LedgerError:
        return LedgerError(
            expected="an anchor as it was written",
            got=got,
            where=str(self.path),
            remedy="Restore it. If you are certain that the ledger is the newest one, remove the "
            "anchor: it is written again.",
        )


def line_hash(ledger: Path, number: int) -> str:
    """Hash of line `number` (from 1) of a ledger that has been read and found whole.

    Lines that a crash has left in the head file only count as written; see `shared.privacy.record`.
    """
    head = read_head(ledger)
    content = ledger.read_bytes() if ledger.exists() else b""
    if head is not None:
        content = content[: head.size] + head.pending
    return str(json.loads(content.split(b"\n")[number - 1])["hash"])
