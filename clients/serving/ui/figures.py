"""The numbers of the overview: what was promised and spent, what was left out of the log, quality.

All of it is read from files that are there already.  What is slow is worked out once a snapshot, of
users drawn at random where there are many; who opts out is in none from the next snapshot on.
"""

import json
import math
import threading
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from clients.serving.fairness import Fairness, HeldOut, fairness
from clients.serving.ui.moved import Moved, moved
from clients.serving.ui.opened import Desk
from clients.sources.reasons import reason_words
from shared.errors import FedInterestError, RunError

T = TypeVar("T")
_SEED = 0  # the same people are drawn for the same snapshot


@dataclass(frozen=True, kw_only=True)
class Spent:
    """The promise to each user, and what is spent of it.

    Args:
        epsilon: promised; infinite without privacy.
        delta: likewise.
        spent: so far.
        steps, steps_promised: of training.
        rounds: that were paid for.
        problem: why `spent` is not known; "" otherwise.
    """

    epsilon: float
    delta: float
    spent: float
    steps: int
    steps_promised: int
    rounds: int
    problem: str = ""

    @property
    def private(self) -> bool:
        """Whether there is a promise."""
        return math.isfinite(self.epsilon)

    @property
    def left(self) -> float:
        """What may still be spent."""
        return max(0.0, self.epsilon - self.spent)


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """What the preparation reported.

    Args:
        kind: of the platform.
        events: that were kept.
        dropped: (reason in words, rows), the most frequent first.
        dropped_items: likewise of the catalogue.
    """

    kind: str
    events: int
    dropped: tuple[tuple[str, int], ...]
    dropped_items: tuple[tuple[str, int], ...]


class Figures:
    """What the page shows of a desk; safe to be called from many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[str, tuple[Hashable, Any]] = {}

    def spent(self, desk: Desk) -> Spent:
        """From the platform's record and its ledger.

        Raises:
            RunError: the platform's record cannot be read.
        """
        folder = desk.served.platform
        try:
            record = json.loads((folder / "platform.json").read_text(encoding="utf-8"))
            ledger = (folder / str(record.get("ledger", "ledger.jsonl"))).resolve()
            promise = Spent(
                epsilon=float(record["epsilon"]),
                delta=float(record["delta"]),
                spent=0.0,
                steps=0,
                steps_promised=int(record["steps"]),
                rounds=0,
            )
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise RunError(
                expected="a platform's record", got=type(error).__name__, where="platform.json"
            ) from error
        if not promise.private or not ledger.is_file():
            return promise
        return self._once("spent", (promise, _stamp(ledger)), lambda: _spent(promise, ledger))

    def prepared(self, desk: Desk) -> Prepared | None:
        """From the preparation's report; None where there is none."""
        try:
            facts = json.loads((desk.served.platform / "facts.json").read_text(encoding="utf-8"))
            return Prepared(
                kind=str(facts.get("kind", "")),
                events=int(facts["events"]),
                dropped=_counted(facts.get("dropped") or {}),
                dropped_items=_counted(facts.get("dropped_items") or {}),
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None

    def moved(self, desk: Desk) -> Moved:
        """What the newest model changed."""
        loaded = desk.engine.loaded
        return self._once(
            "moved",
            (loaded.snapshot.meta.id, desk.before.name),
            lambda: moved(loaded, desk.before, desk.live.opted_out(), np.random.default_rng(_SEED)),
        )

    def fairness(self, desk: Desk) -> Fairness | None:
        """Quality on held-out events; None where the preparation held none out.

        Raises:
            RunError: they are damaged.
        """
        path = desk.served.platform / "heldout.npz"
        if not path.is_file():
            return None
        loaded = desk.engine.loaded

        def work() -> Fairness | None:
            held = HeldOut.read(desk.served.platform)
            if held is None:
                return None
            rng, out = np.random.default_rng(_SEED), desk.live.opted_out()
            return fairness(loaded.stock.base, held, loaded.own_open, rng, without=out)

        return self._once("fairness", (loaded.snapshot.meta.id, _stamp(path)), work)

    def _once(self, name: str, key: Hashable, work: Callable[[], T]) -> T:
        with self._lock:
            known = self._known.get(name)
            if known is None or known[0] != key:
                known = self._known[name] = (key, work())
            found: T = known[1]
            return found


def _spent(promise: Spent, ledger: Path) -> Spent:
    from shared.privacy.record import read_ledger  # accountants take seconds to import

    values = {name: getattr(promise, name) for name in ("epsilon", "delta", "steps_promised")}
    try:
        record = read_ledger(ledger)
        return Spent(
            **values,
            spent=record.spent(),
            steps=len(record.entries),
            rounds=len({entry.request for entry in record.entries}),
        )
    except FedInterestError as error:
        return Spent(**values, spent=0.0, steps=0, rounds=0, problem=error.got)


def _counted(values: dict[str, Any]) -> tuple[tuple[str, int], ...]:
    found = [(reason_words(str(reason)), int(count)) for reason, count in values.items()]
    return tuple(sorted((one for one in found if one[1] > 0), key=lambda one: (-one[1], one[0])))


def _stamp(path: Path) -> tuple[int, int, int]:
    told = path.stat()
    return told.st_mtime_ns, told.st_size, told.st_ino
