"""Is every step on disk before its gradient, on the terms it is taken, and never forgotten?

A platform with a budget for two rounds is opened afresh for each round, as after a restart.  At
each step that is taken, the ledger is read from disk as an auditor would.  A request that is asked
again gets the same answer, or is charged again.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from clients.platform import Platform
from shared.errors import BudgetExhausted
from shared.privacy.record import Entry, read_ledger
from shared.training import Steps
from simulations.audits.checks import independent
from simulations.audits.checks.check import Cause, Check, Outcome
from simulations.audits.checks.site import (
    RATE,
    STEPS,
    folders,
    histories,
    released,
    request,
    site,
)

ADJACENCY, UNIT = "add or remove one user", "one user of this platform, all their events"
NOISE, DELTA = 1.0, 1e-5


@dataclass
class Seen:
    """What was on disk at each step, and on what terms the step was taken."""

    charged: list[int] = field(default_factory=list)
    terms: list[tuple[float, float]] = field(default_factory=list)


@contextmanager
def _watching(path: Path) -> Iterator[Seen]:
    seen = Seen()
    installed = Steps.take

    def take(self: Steps, *args: Any, **kwargs: Any) -> None:
        seen.charged.append(len(_entries(path)))
        seen.terms.append((self.plan.sample_rate, self.plan.noise_multiplier))
        installed(self, *args, **kwargs)

    Steps.take = take  # type: ignore[method-assign]
    try:
        yield seen
    finally:
        Steps.take = installed  # type: ignore[method-assign]


def _entries(path: Path) -> tuple[Entry, ...]:
    return read_ledger(path).entries if path.exists() else ()


def check(seed: int) -> Outcome:
    """See the module."""
    budget = 1.01 * independent.epsilon(RATE, NOISE, 2 * STEPS, DELTA)
    people = histories(8, seed)
    with folders() as folder:
        own = folder / "platform"
        platform = site(own, people, noise_multiplier=NOISE, epsilon=budget, delta=DELTA)
        path = platform.ledger_path
        with _watching(path) as seen:
            answer = released(platform.train(request(1)), request(1))
        found = _first_round(seen, path)
        if found is not None:
            return found
        before = _entries(path)
        again = released(Platform.open(own).train(request(1)), request(1))
        if _entries(path) == before and (again != answer).any():
            return Outcome(Cause.NOT_CHARGED, detail="two answers to one request for one charge")
        with _watching(path) as seen:
            Platform.open(own).train(request(2))
        entries = _entries(path)
        if len(entries) < STEPS + len(seen.charged):
            return Outcome(Cause.FORGOTTEN, detail=f"{len(entries)} steps after two rounds")
        return _beyond(own, path, people)


def _first_round(seen: Seen, path: Path) -> Outcome | None:
    entries, taken = _entries(path), len(seen.charged)
    if len(entries) < taken:
        return Outcome(Cause.NOT_CHARGED, detail=f"{taken} steps taken, {len(entries)} charged")
    if min(seen.charged, default=0) < taken:
        return Outcome(Cause.CHARGED_LATE, detail=f"{min(seen.charged, default=0)} on disk")
    if {(entry.sample_rate, entry.noise_multiplier) for entry in entries} != set(seen.terms):
        return Outcome(Cause.OTHER_TERMS, detail=f"taken on {sorted(set(seen.terms))}")
    promise = json.loads(path.read_text(encoding="utf-8").splitlines()[0])
    if (promise.get("adjacency"), promise.get("unit")) != (ADJACENCY, UNIT):
        return Outcome(Cause.ADJACENCY, detail=f"the ledger says: {promise.get('adjacency')}")
    return None


def _beyond(own: Path, path: Path, people: list[list[int]]) -> Outcome:
    """The budget is spent: neither other data nor a further round may get an answer."""
    for data, round_, cause in (
        ([*people, [1, 2, 3]], 2, Cause.NOT_CHARGED),
        (people, 3, Cause.NOT_ENFORCED),
    ):
        record = Platform.open(own).record
        site(own, data, noise_multiplier=NOISE, epsilon=record.epsilon, delta=DELTA)
        before = len(_entries(path))
        with _watching(path) as seen:
            try:
                Platform.open(own).train(request(round_))
            except BudgetExhausted:
                continue
        more = len(_entries(path)) - before
        if more >= len(seen.charged) > 0:
            cause = Cause.NOT_ENFORCED
        return Outcome(cause, detail=f"{len(seen.charged)} steps taken and {more} charged beyond")
    return Outcome()


CHECK = Check("ledger", ("accounting", "adjacency"), check)
