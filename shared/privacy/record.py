"""What a ledger looks like on disk, and how to tell that it is whole.  Nothing here writes.

Two files:

- `NAME.jsonl`, one JSON object a line.  The first is the promise (platform, epsilon, delta, unit,
  adjacency); each further one is one charged step.  Every line carries the hash of the line
  before (`prev`) and of itself (`hash`, SHA-256 over the line without that field).
- `NAME.jsonl.head`, replaced atomically before every append: how long the record was, its last
  hash, and the lines about to be written (the intent).

What may be found:

1. The record ends where the head says, with all the intended lines: whole.
2. Intended lines are missing, torn, or read as zeros: a crash while they were being written.
   They are known from the head and COUNT AS SPENT (`Found.torn` says that they are to be written
   again).  A torn charge was never acknowledged, so dropping it would be sound; but a disk that
   lost an acknowledged write leaves the same bytes, and counting is right in both cases.  The
   price is at most one call's steps, and not even that if the round is replayed, because they
   are then found already charged.
3. Anything else (a line edited, dropped, repeated, reordered; lines cut off that the head knows;
   a missing head) is damage: `LedgerError` names the line.  Nothing is repaired by guessing.

Hashes are not signatures: whoever may write both files can write a new history, or put back an
old copy of both.  They show damage and careless hands; against the platform itself, an auditor
keeps `Record.head` somewhere else.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shared.errors import AccountantError, LedgerError, StorageError
from shared.files import sha256
from shared.privacy import accountant
from shared.privacy.accountant import Charge

VERSION = 1
UNIT = "one user of this platform, all their events"
ADJACENCY = "add or remove one user"
ROOT = "0" * 64
_SEAL = re.compile(rb',"hash":"([0-9a-f]{64})"\}$')


@dataclass(frozen=True)
class Entry:
    """One charged step; `request` names what it paid for (`RoundSecret.charge_key`)."""

    round: int
    step: int
    request: str
    sample_rate: float
    noise_multiplier: float


@dataclass(frozen=True)
class Record:
    """A ledger as read: the promise and every charged step, in order.

    Args:
        platform, epsilon, delta: the promise in the first line.
        entries: charged steps.
        head: hash of the last line; it fixes the whole record.
    """

    platform: str
    epsilon: float
    delta: float
    entries: tuple[Entry, ...]
    head: str

    def charges(self) -> list[Charge]:
        """What was charged, equal constants counted together."""
        return accountant.merged(Charge(e.sample_rate, e.noise_multiplier) for e in self.entries)

    def spent(self) -> float:
        """Epsilon at the promised delta after all entries."""
        return accountant.epsilon(self.charges(), self.delta)


def read_ledger(path: Path) -> Record:
    """Verify and read a ledger without changing or locking it (for reports and auditors).

    Raises:
        LedgerError: it is damaged, or there is none.
        StorageError: it cannot be read.
    """
    try:
        head, raw = read_head(path), path.read_bytes()
        while head != (now := read_head(path)):  # somebody is appending
            head, raw = now, path.read_bytes()
    except FileNotFoundError:
        raise damaged("a ledger", "no file", path, "Check the run folder.") from None
    except OSError as error:
        raise unreadable(error, path) from error
    return reconcile(raw, head, path).record


@dataclass(frozen=True)
class Head:
    """What the `.head` file says.

    Args:
        lines, size: how many lines and bytes were settled before the last append.
        last: hash of the last settled line.
        pending: the bytes that were then to be appended.
    """

    lines: int
    size: int
    last: str
    pending: bytes


@dataclass(frozen=True)
class Found:
    """A whole record, and whether its pending lines still have to be written to the file."""

    record: Record
    torn: bool


def reconcile(raw: bytes, head: Head | None, path: Path) -> Found:
    """Rules 1 to 3 of the module's docstring for a ledger that reads `raw`.

    Raises:
        LedgerError: rule 3; names the line.
    """
    whole = raw.split(b"\n")[:-1]
    settled = whole if head is None else whole[: head.lines]
    verify(settled, path)  # before anything else, so that an edited line is the one that is named
    if head is None:
        raise damaged(
            "the .head file beside the ledger",
            "none",
            path,
            "Restore it: without it nobody can tell whether the last lines are missing.",
        )
    if len(settled) < head.lines:
        raise damaged(f"{head.lines} lines", "the rest cut off", path, line=len(settled) + 1)
    if _seal_of(settled) != head.last or sum(len(line) + 1 for line in settled) != head.size:
        raise damaged("the lines that the .head file knows", "others", path, line=head.lines)
    tail = raw[head.size :]
    for place, byte in enumerate(tail):
        # Zeros: a file system that recorded the new length before the data.
        if byte and (place >= len(head.pending) or byte != head.pending[place]):
            line = head.lines + head.pending[:place].count(b"\n") + 1
            raise damaged("what was last written", "something else", path, line=line)
    bodies = verify([*settled, *head.pending.split(b"\n")[:-1]], path)
    return Found(_record(bodies, path), tail != head.pending)


def verify(lines: Sequence[bytes], path: Path) -> list[dict[str, Any]]:
    """Check the chain from the first line; return what the lines say."""
    bodies: list[dict[str, Any]] = []
    last = ROOT
    for number, line in enumerate(lines, start=1):
        seal = _SEAL.search(line)
        unsealed = line[: seal.start()] + b"}" if seal else b""
        if seal is None or sha256(unsealed) != seal[1].decode():
            raise damaged("a line as it was written", "an altered one", path, line=number)
        try:
            body = json.loads(unsealed)
        except ValueError as error:
            raise damaged("JSON", "something else", path, line=number) from error
        if body.get("seq") != number - 1 or body.get("prev") != last:
            got = f"seq {body.get('seq')}"
            raise damaged("lines in their order, none missing", got, path, line=number)
        last = seal[1].decode()
        bodies.append(body)
    return bodies


def sealed(body: dict[str, Any]) -> tuple[bytes, str]:
    """The line for `body`, without newline, and its hash."""
    unsealed = json.dumps(body, separators=(",", ":"), allow_nan=False).encode()
    seal = sha256(unsealed)
    return unsealed[:-1] + f',"hash":"{seal}"}}'.encode(), seal


def head_path(path: Path) -> Path:
    """Where the head of the ledger at `path` lies."""
    return path.with_name(path.name + ".head")


def read_head(path: Path) -> Head | None:
    """The head of the ledger at `path`; None when there is no such file."""
    head = head_path(path)
    try:
        content = json.loads(head.read_bytes())
        pending = "".join(line + "\n" for line in content["pending"])
        return Head(
            int(content["lines"]), int(content["size"]), str(content["last"]), pending.encode()
        )
    except FileNotFoundError:
        return None
    except OSError as error:
        raise unreadable(error, head) from error
    except (ValueError, KeyError, TypeError) as error:
        raise damaged("a ledger's head", "something else", head) from error


def unreadable(error: OSError, path: Path) -> StorageError:
    """The disk would not let us read `path`."""
    got = error.strerror or str(error)
    return StorageError(expected="to read a ledger", got=got, where=str(path))


def damaged(
    expected: str, got: str, path: Path, remedy: str = "", *, line: int | None = None
) -> LedgerError:
    """A `LedgerError` that names the file and, where known, the line."""
    return LedgerError(
        expected=expected,
        got=got,
        where=f"{path} line {line}" if line else str(path),
        remedy=remedy or "Restore the ledger and its .head file from one backup; do not edit it.",
    )


def _record(bodies: Sequence[dict[str, Any]], path: Path) -> Record:
    if not bodies:
        raise damaged("a promise in line 1", "an empty ledger", path, line=1)
    promise, *charged = bodies
    if promise.get("version") != VERSION:
        raise damaged(f"version {VERSION}", f"{promise.get('version')!r}", path, line=1)
    entries: list[Entry] = []
    try:
        for body in charged:
            terms = Charge(body["sample_rate"], body["noise_multiplier"])
            entries.append(
                Entry(
                    round=body["round"],
                    step=body["step"],
                    request=body["request"],
                    sample_rate=terms.sample_rate,
                    noise_multiplier=terms.noise_multiplier,
                )
            )
        return Record(
            platform=str(promise["platform"]),
            epsilon=float(promise["epsilon"]),
            delta=float(promise["delta"]),
            entries=tuple(entries),
            head=sealed(bodies[-1])[1],
        )
    except (KeyError, TypeError, ValueError, AccountantError) as error:
        line = len(entries) + 2
        raise damaged("a promise or a charge", type(error).__name__, path, line=line) from error


def _seal_of(lines: Sequence[bytes]) -> str:
    seal = _SEAL.search(lines[-1]) if lines else None
    return seal[1].decode() if seal else ROOT
