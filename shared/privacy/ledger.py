"""The only door to a platform's privacy budget: written ahead, append-only, exclusive.

Guarantee: when `charge` returns, the charge is on disk; the gradient it pays for is computed only
after that.  So, through any crash, what the ledger shows is never below what was spent.  What is
on disk, and what a crash may leave there, is in `shared.privacy.record`.
"""

import fcntl
import json
import math
import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from shared.errors import AccountantError, BudgetExhausted, LedgerError
from shared.files import storage_error, write_bytes
from shared.privacy import accountant
from shared.privacy.accountant import Charge
from shared.privacy.record import (
    ADJACENCY,
    ROOT,
    UNIT,
    VERSION,
    Entry,
    Head,
    Record,
    damaged,
    head_path,
    read_head,
    read_ledger,
    reconcile,
    sealed,
    unreadable,
)

__all__ = ["Entry", "Ledger", "Record", "read_ledger"]


class Ledger:
    """The only door to a platform's budget; holds an exclusive lock while open.

    Args:
        path: the `.jsonl` file; made, with its folder, if it is not there.
        platform, epsilon, delta: the promise.  A ledger on disk must hold the same one.

    Attributes:
        path, platform, budget (epsilon), delta.
        recovered: lines that had to be written again after a crash; they count as spent.

    Raises:
        LedgerError: damaged, in use by another process, or opened under another promise.
        StorageError: the disk refused.
        AccountantError: epsilon or delta is not a promise one can keep (0, inf, NaN).
    """

    def __init__(self, path: Path, *, platform: str, epsilon: float, delta: float) -> None:
        if not 0 < epsilon < math.inf or not 0 < delta < 1:
            raise AccountantError(
                expected="0 < epsilon < inf and 0 < delta < 1",
                got=f"epsilon = {epsilon!r}, delta = {delta!r}",
                where="ledger",
                remedy="A run without privacy (epsilon inf) keeps no ledger.",
            )
        self.path = Path(path)
        self.platform, self.budget, self.delta = platform, float(epsilon), float(delta)
        self._broken = False
        self._charges: list[Charge] = []
        self._known: dict[tuple[str, int], Entry] = {}
        self._file = _open_locked(self.path)
        try:
            self._load()
        except BaseException:
            self.close()
            raise

    @classmethod
    def open(cls, path: Path, *, platform: str, epsilon: float, delta: float) -> Self:
        """The same as the constructor, for reading aloud."""
        return cls(path, platform=platform, epsilon=epsilon, delta=delta)

    def charge(
        self, round: int, step: int, request: str, sample_rate: float, noise_multiplier: float
    ) -> bool:
        """Charge one step; see `charge_many`.  False when it was charged already (a replay)."""
        return bool(self.charge_many(round, [step], request, sample_rate, noise_multiplier))

    def charge_many(
        self,
        round: int,
        steps: Iterable[int],
        request: str,
        sample_rate: float,
        noise_multiplier: float,
    ) -> tuple[int, ...]:
        """Charge several steps ahead of computing any, on disk before this returns.

        All or nothing: if the budget does not cover all the new steps, none is charged.  One
        accountant run and one durable write, however many steps (about 15 ms on a plain disk).

        Args:
            round: federation round, for the reader.
            steps: step numbers within the request.
            request: what is paid for; `RoundSecret.charge_key`.
            sample_rate, noise_multiplier: public constants of the steps.

        Returns:
            The steps newly charged; those already charged under `request` are left out.

        Raises:
            BudgetExhausted: nothing was charged.
            LedgerError: a step of this request was charged on other terms, or the ledger failed
                before and has to be opened again.
            StorageError: the disk refused.  Compute nothing; open the ledger again, and what
                was or was not charged will be plain (wholly or not at all).
        """
        self._check_usable()
        terms = Charge(sample_rate, noise_multiplier)
        fresh = []
        for step in dict.fromkeys(steps):
            entry = Entry(round, step, request, terms.sample_rate, terms.noise_multiplier)
            known = self._known.get((request, step))
            if known is None:
                fresh.append(entry)
            elif known != entry:
                raise LedgerError(
                    expected=f"step {step} of round {known.round} on the terms it was charged on",
                    got="the same request with other constants",
                    where=str(self.path),
                )
        if not fresh:
            return ()
        if not self.can_afford(Charge(sample_rate, noise_multiplier, len(fresh))):
            raise BudgetExhausted(
                expected=f"epsilon <= {self.budget:g} at delta {self.delta:.3g}",
                got=f"{self.epsilon():.4f} spent and {len(fresh)} more steps asked for",
                where=f"platform {self.platform}, round {round}",
                remedy="The platform takes no further part in training; its users were promised.",
            )
        self._append([asdict(entry) for entry in fresh])
        self._known.update({(entry.request, entry.step): entry for entry in fresh})
        self._charges = accountant.merged([*self._charges, *(terms for _ in fresh)])
        return tuple(entry.step for entry in fresh)

    def charged(self, request: str) -> set[int]:
        """Steps already paid for under `request`."""
        return {step for known, step in self._known if known == request}

    def charges(self) -> list[Charge]:
        """All that was charged, equal constants counted together."""
        return list(self._charges)

    def epsilon(self) -> float:
        """Epsilon spent so far, at the promised delta."""
        return accountant.epsilon(self._charges, self.delta)

    def can_afford(self, charge: Charge) -> bool:
        """Whether `charge` on top of everything spent stays within the promise.

        More steps never cost less.  So where the promise covers a rounder number of them, which is
        composed once for many rounds, it covers these.
        """
        spent = accountant.merged([*self._charges, charge])
        if accountant.epsilon([_rounded_up(one) for one in spent], self.delta) <= self.budget:
            return True
        return accountant.epsilon(spent, self.delta) <= self.budget

    @property
    def head(self) -> str:
        """Hash of the last line: an auditor who keeps it can tell a rewritten past."""
        return self._last

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

    def _load(self) -> None:
        raw = _read_all(self._file, self.path)
        head = read_head(self.path)
        self._lines, self._bytes, self._last = 0, 0, ROOT
        if not raw and head is None:
            promise = {
                "version": VERSION,
                "platform": self.platform,
                "epsilon": self.budget,
                "delta": self.delta,
                "unit": UNIT,
                "adjacency": ADJACENCY,
            }
            self._append([promise])
            raw, head = _read_all(self._file, self.path), read_head(self.path)
        found = reconcile(raw, head, self.path)
        record = found.record
        on_disk = (record.platform, record.epsilon, record.delta)
        if on_disk != (self.platform, self.budget, self.delta):
            raise LedgerError(
                expected="the promise on record: platform {}, epsilon {}, delta {}".format(
                    *on_disk
                ),
                got=f"platform {self.platform}, epsilon {self.budget}, delta {self.delta}",
                where=f"{self.path} line 1",
                remedy="Keep the promise, or start another ledger, whose cost adds to this one's.",
            )
        self.recovered = 0
        if found.torn and head is not None:
            self.recovered = self._rewrite(head)
            raw = raw[: head.size] + head.pending
        self._lines, self._bytes = len(record.entries) + 1, len(raw)
        self._last = record.head
        self._known = {(entry.request, entry.step): entry for entry in record.entries}
        self._charges = record.charges()

    def _rewrite(self, head: Head) -> int:
        """Write the pending lines again after a crash; returns how many."""
        try:
            os.ftruncate(self._file, head.size)
        except OSError as error:
            raise storage_error(error, self.path) from error
        self._write(head.pending)
        return head.pending.count(b"\n")

    def _append(self, bodies: Sequence[dict[str, Any]]) -> None:
        """Intent first, then the lines; both durable when this returns."""
        lines, last = [], self._last
        for seq, body in enumerate(bodies, start=self._lines):
            line, last = sealed({"seq": seq, "prev": last, **body})
            lines.append(line)
        intent = {
            "version": VERSION,
            "lines": self._lines,
            "size": self._bytes,
            "last": self._last,
            "pending": [line.decode() for line in lines],
        }
        content = b"".join(line + b"\n" for line in lines)
        self._broken = True  # until all of it worked: after a failure only the disk knows
        if os.fstat(self._file).st_size != self._bytes:
            raise damaged(f"{self._bytes} bytes", "a file changed by somebody else", self.path)
        write_bytes(head_path(self.path), json.dumps(intent).encode())
        self._write(content)
        self._lines += len(lines)
        self._bytes += len(content)
        self._last = last
        self._broken = False

    def _write(self, content: bytes) -> None:
        try:
            view = memoryview(content)
            while view:
                view = view[os.write(self._file, view) :]
            os.fsync(self._file)
        except OSError as error:
            raise storage_error(error, self.path) from error

    def _check_usable(self) -> None:
        if self._broken or self._file < 0:
            raise LedgerError(
                expected="a ledger whose last write succeeded",
                got="a closed one" if self._file < 0 else "one whose last write failed",
                where=str(self.path),
                remedy="Open it again: it will find out what was charged.",
            )


def _rounded_up(charge: Charge) -> Charge:
    """With up to a quarter more steps, a number with three leading binary digits."""
    unit = 1 << max(0, charge.steps.bit_length() - 3)
    return replace(charge, steps=-(-charge.steps // unit) * unit)


def _open_locked(path: Path) -> int:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise storage_error(error, path) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        raise LedgerError(
            expected="a ledger that nobody else is using",
            got="one locked by another process",
            where=str(path),
            remedy="Two processes must not spend one budget: stop the other one first.",
        ) from error
    return descriptor


def _read_all(descriptor: int, path: Path) -> bytes:
    try:
        return os.pread(descriptor, os.fstat(descriptor).st_size, 0)
    except OSError as error:
        raise unreadable(error, path) from error
