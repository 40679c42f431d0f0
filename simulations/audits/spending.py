"""What a run spent, from the two places that say so: its ledgers and its signed record.

Neither `summary.json` nor any other result is read here: those are claims, to be held against this.
The ledger is what is accounted for (it also knows steps that nothing was released for); the signed
statements must tell the same story.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from shared.errors import FedInterestError
from shared.privacy.accountant import Charge
from shared.privacy.record import Entry, Record, read_ledger
from shared.transparency.journal import read
from shared.transparency.keys import PublicKey, read_keys
from shared.transparency.statement import COORDINATOR, PlatformRound

LEDGER, RECORD = "ledger", "record"


@dataclass(frozen=True)
class Spending:
    """One platform's side of a run.

    Args:
        platform: its name.
        ledger: the promise and every charged step; None where there is no whole ledger.
        unit, adjacency: as the ledger's promise states them; "" where it does not.
        statements: what the platform signed, one a release.
        problems: in words, why one of them cannot be read or does not fit the other.
    """

    platform: str
    ledger: Record | None = None
    unit: str = ""
    adjacency: str = ""
    statements: tuple[PlatformRound, ...] = ()
    problems: tuple[str, ...] = field(default=())

    @property
    def private(self) -> bool:
        """False where the platform itself signed that there is no guarantee."""
        return not any(not statement.private for statement in self.statements)

    @property
    def charges(self) -> list[Charge]:
        """All that was charged, equal constants counted together."""
        return [] if self.ledger is None else self.ledger.charges()

    def stages(self) -> list[tuple[int, list[Charge]]]:
        """(round, its charges), in the order in which they were charged."""
        found: list[tuple[int, list[Charge]]] = []
        for entry in () if self.ledger is None else self.ledger.entries:
            charge = Charge(entry.sample_rate, entry.noise_multiplier)
            if found and found[-1][0] == entry.round:
                found[-1][1].append(charge)
            else:
                found.append((entry.round, [charge]))
        return found


def read_spending(run: Path) -> dict[str, Spending]:
    """Every platform of a run by name; those that only a setting or a log names, too."""
    keys, lost = _keys(run)
    return {name: _spending(run, name, keys, lost) for name in _names(run)}


def read_json(path: Path) -> Any:
    """A JSON file's content; None where there is none or it is none."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _names(run: Path) -> list[str]:
    names: dict[str, None] = {}
    for file in ("federation.json", "summary.json"):
        found = read_json(run / file)
        platforms = found.get("platforms") if isinstance(found, dict) else None
        names |= dict.fromkeys(platforms if isinstance(platforms, dict) else ())
    for folder in (LEDGER, RECORD):
        names |= dict.fromkeys(sorted(path.stem for path in (run / folder).glob("*.jsonl")))
    names.pop(COORDINATOR, None)
    return list(names)


def _keys(run: Path) -> tuple[dict[str, PublicKey], str]:
    try:
        return read_keys(run / RECORD / "keys.json"), ""
    except FedInterestError as error:
        return {}, f"no keys: {error}"


def _spending(run: Path, name: str, keys: dict[str, PublicKey], lost: str) -> Spending:
    problems: list[str] = []
    statements: list[PlatformRound] = []
    if name in keys:
        try:
            for entry in read(run / RECORD / f"{name}.jsonl", keys[name]):
                if isinstance(entry.statement, PlatformRound):
                    statements.append(entry.statement)
        except FedInterestError as error:
            problems.append(f"its signed record cannot be read: {error}")
    else:
        problems.append(lost or "its signed record cannot be read: no key for it in keys.json")
    ledger, promise = None, {}
    path = run / LEDGER / f"{name}.jsonl"
    not_private = bool(statements) and all(not statement.private for statement in statements)
    if path.is_file() or not not_private:
        try:
            ledger = read_ledger(path)
            promise = json.loads(path.read_bytes().split(b"\n", 1)[0])
        except (FedInterestError, OSError, ValueError) as error:
            problems.append(f"its ledger cannot be read: {error}")
    if ledger is not None:
        problems += _differences(ledger, statements)
    return Spending(
        platform=name,
        ledger=ledger,
        unit=str(promise.get("unit", "")),
        adjacency=str(promise.get("adjacency", "")),
        statements=tuple(statements),
        problems=tuple(problems),
    )


def _differences(ledger: Record, statements: list[PlatformRound]) -> list[str]:
    """Where a signed statement and the ledger's charges for it differ."""
    found = []
    taken: set[int] = set()
    for statement in statements:
        what = f"round {statement.round}: the signed statement"
        if (statement.epsilon, statement.delta) != (ledger.epsilon, ledger.delta):
            found.append(f"{what} promises otherwise than the ledger")
        if statement.charge is None:
            found.append(f"{what} says NOT PRIVATE, and there is a ledger")
            continue
        places = range(statement.charge.first, statement.charge.first + statement.steps)
        if not places or places.stop > len(ledger.entries) or not taken.isdisjoint(places):
            found.append(f"{what} names charges that the ledger does not hold for it")
            continue
        taken.update(places)
        if any(not _same(statement, ledger.entries[place]) for place in places):
            found.append(f"{what} has other parameters (q, sigma or round) than the ledger")
    return found


def _same(statement: PlatformRound, entry: Entry) -> bool:
    said = (statement.round, statement.sample_rate, statement.noise_multiplier)
    return said == (entry.round, entry.sample_rate, entry.noise_multiplier)
