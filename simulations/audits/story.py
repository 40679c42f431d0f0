"""What the logs of a run tell when they are put together, and what is wrong with it."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from shared.transparency.inspection import Entry
from shared.transparency.statement import CoordinatorRound, PlatformRound

Rounds = Mapping[int, tuple[int, CoordinatorRound]]
"""Round -> its entry in the coordinator's log, and the statement there."""

Told = tuple[Entry, PlatformRound]
"""A platform's entry and the statement in it."""


@dataclass(frozen=True)
class Finding:
    """What is wrong, and where: the log or file, its entry from 0, its round, where known."""

    log: str
    entry: int | None
    round: int | None
    what: str


@dataclass
class Story:
    """All that was found so far.

    Attributes:
        findings: what is wrong.
        notes: what is allowed, and worth knowing.
        last: last round of the coordinator's record; -1 without one.
    """

    findings: list[Finding] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    last: int = -1

    def wrong(
        self, what: str, log: str, entry: int | None = None, round_: int | None = None
    ) -> None:
        """Add a finding."""
        self.findings.append(Finding(log, entry, round_, what))
