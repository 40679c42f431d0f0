"""All that a report is made of: the run's record and ledgers, and what each audit says of them.

Rules:
1. Record and epsilons are audited anew, whatever lies in RUN/audit: whoever hands over a run could
   have written that.  Runs that an earlier `audit epsilon --with` composed are composed again.
2. The code's audit is the one that this machine keeps in its cache, for the same reason.
3. Canaries and attacks take minutes, so what lies in RUN/audit is believed to be a result.  It
   counts for this run only if it was made at what the record signs: epsilon, delta, noise, rate
   and rounds.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shared.errors import FedInterestError
from shared.files import write_json
from shared.progress import Progress
from shared.transparency.journal import Entry, read
from shared.transparency.keys import read_keys
from shared.transparency.statement import COORDINATOR, CoordinatorRound, PlatformRound
from simulations.audits import formal
from simulations.audits.kept import AttackAudit, CanaryAudit, CodeAudit
from simulations.audits.kind import about as about_of
from simulations.audits.kind import is_run
from simulations.audits.parts import (
    Part,
    attack_part,
    canary_part,
    code_part,
    epsilon_part,
    verify_part,
)
from simulations.audits.spending import Spending, read_json, read_spending
from simulations.audits.verify import verify
from simulations.environment import cache_folder

RECORD, AUDIT = "record", "audit"


@dataclass(frozen=True)
class Link:
    """The log entry that a figure comes from.

    Args:
        log: file in the run folder.
        entry: its place in it, from 0.
        round: of the statement.
        leaf: its RFC 6962 leaf hash.
        ledger: file that the release was paid from, "" without privacy.
        lines: first and last line of the charges in it, from 1.
    """

    log: str
    entry: int
    round: int
    leaf: str
    ledger: str = ""
    lines: tuple[int, int] | None = None

    def row(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "log": self.log,
            "entry": self.entry,
            "round": self.round,
            "leaf": self.leaf,
            "ledger": self.ledger or None,
            "lines": None if self.lines is None else list(self.lines),
        }


@dataclass(frozen=True)
class Dossier:
    """One run, audited.

    Args:
        run: its folder; `about` is its run.json.
        spending: by platform.
        links: platform -> round -> the last release of that round.
        coordinator: its last entry; None where its log cannot be read.
        verified, recomputed: results of `audit verify` and `audit epsilon`, made now.
        canary, attack, code: what was left by the others; None where it does not count.
        parts: what each audit came to.
    """

    run: Path
    about: Mapping[str, Any]
    spending: Mapping[str, Spending]
    links: Mapping[str, Mapping[int, Link]]
    coordinator: Link | None
    verified: Mapping[str, Any]
    recomputed: Mapping[str, Any]
    canary: CanaryAudit | None
    attack: AttackAudit | None
    code: CodeAudit | None
    parts: Mapping[str, Part]

    @property
    def open(self) -> bool:
        """Whether some platform signed that nothing is promised: NOT PRIVATE."""
        return any(not one.private for one in self.spending.values())

    @property
    def private(self) -> bool:
        """Whether there is a promise that can be read, and nobody signed that there is none."""
        return bool(self.promises) and not self.open

    @property
    def promises(self) -> dict[str, tuple[float, float]]:
        """platform -> (epsilon, delta), as its ledger promises."""
        return {
            name: (one.ledger.epsilon, one.ledger.delta)
            for name, one in self.spending.items()
            if one.ledger is not None
        }

    @property
    def seeded(self) -> bool:
        """Whether the noise follows from a seed, as far as run and platforms say."""
        return bool(self.verified["unsafe_seed"]) or self.about.get("seed") is not None

    @property
    def cleared(self) -> bool:
        """Whether an epsilon may be printed."""
        return self.recomputed["epsilon"] is not None

    @property
    def missing(self) -> list[str]:
        """What was not checked, and why: "secure noise (the noise follows from seed 0)"."""
        whys: dict[str, list[str]] = {}
        for row in self.recomputed["assumptions"]:
            if not row["checked"]:
                whys.setdefault(row["evidence"], []).append(row["name"])
        return [f"{', '.join(dict.fromkeys(names))} ({why})" for why, names in whys.items()]

    def last(self, platform: str) -> Link | None:
        """The last release of a platform: it signs the promise and the mechanism."""
        rounds = self.links.get(platform, {})
        return rounds[max(rounds)] if rounds else None

    def assumption(self, name: str) -> tuple[bool, str]:
        """(checked, evidence) of what epsilon rests on, in this run."""
        for row in self.recomputed["assumptions"]:
            if row["name"] == name:
                return row["checked"] is True, str(row["evidence"])
        return False, "not looked at"


def read_dossier(run: Path, progress: Progress) -> Dossier:
    """Audit what takes seconds, and read what the slower audits left.

    Raises:
        RunError: not a run folder, or one of another version.
        StorageError: the results cannot be kept.
    """
    about = about_of(run)
    folder = run / AUDIT
    progress("auditing", 0, 3)
    verified = verify(run)
    write_json(folder / "verify.json", verified)
    progress("auditing", 1, 3)
    others, lost = _others(folder)
    recomputed = formal.recompute(run, others=others)
    write_json(folder / "epsilon.json", recomputed)
    progress("auditing", 2, 3)
    spending = read_spending(run)
    links, coordinator, coordinator_codes = _links(run, list(spending))
    signed = {name: one.statements[-1] for name, one in spending.items() if one.statements}
    codes = {one.code for platform in spending.values() for one in platform.statements}
    rounds = int(verified["rounds"])
    canary, canary_result = canary_part(folder / "canary.json", run, signed, rounds)
    attack, attack_result = attack_part(folder / "attack.json", run, signed, rounds)
    code, code_result = code_part(cache_folder() / "audit-code.json", codes, coordinator_codes)
    progress("auditing", 3, 3)
    return Dossier(
        run=run,
        about=about,
        spending=spending,
        links=links,
        coordinator=coordinator,
        verified=verified,
        recomputed=recomputed,
        canary=None if canary.state == "not audited" else canary_result,
        attack=None if attack.state == "not audited" else attack_result,
        code=None if code.state == "not audited" else code_result,
        parts={
            "verify": verify_part(folder / "verify.json", run, verified),
            "epsilon": epsilon_part(folder / "epsilon.json", run, recomputed, verified, lost),
            "canary": canary,
            "attack": attack,
            "code": code,
        },
    )


def _others(folder: Path) -> tuple[list[Path], list[str]]:
    """Runs that the last `audit epsilon` composed this one with: those still there, and not."""
    found = read_json(folder / "epsilon.json")
    rows = found.get("assumptions") if isinstance(found, dict) else None
    named = [
        row["run"]
        for row in (rows if isinstance(rows, list) else ())
        if isinstance(row, dict) and isinstance(row.get("run"), str)
    ]
    others = [Path(name) for name in list(dict.fromkeys(named))[1:]]  # this run comes first
    there = [other for other in others if is_run(other)]
    return there, [str(other) for other in others if other not in there]


def _links(
    run: Path, names: Sequence[str]
) -> tuple[dict[str, dict[int, Link]], Link | None, set[str]]:
    """Entries by platform and round, the coordinator's last one, and the codes it signed."""
    try:
        keys = read_keys(run / RECORD / "keys.json")
    except FedInterestError:
        return {}, None, set()

    def entries(name: str) -> list[Entry]:
        try:
            return read(run / RECORD / f"{name}.jsonl", keys[name]) if name in keys else []
        except FedInterestError:
            return []

    links: dict[str, dict[int, Link]] = {}
    for name in names:
        for entry in entries(name):
            if isinstance(entry.statement, PlatformRound):
                links.setdefault(name, {})[entry.statement.round] = _link(name, entry)
    told = [one for one in entries(COORDINATOR) if isinstance(one.statement, CoordinatorRound)]
    last = _link(COORDINATOR, told[-1]) if told else None
    return links, last, {one.statement.code for one in told}


def _link(name: str, entry: Entry) -> Link:
    said = entry.statement
    charge = said.charge if isinstance(said, PlatformRound) else None
    plain = Link(f"{RECORD}/{name}.jsonl", entry.index, said.round, entry.leaf)
    if charge is None:
        return plain
    first = charge.first + 2  # line 1 is the promise
    lines = (first, first + said.steps - 1)
    return Link(plain.log, plain.entry, plain.round, plain.leaf, f"ledger/{name}.jsonl", lines)
