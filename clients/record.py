"""What a platform puts on record about its releases: one signed statement each, in its own log.

The statement is on disk before the update leaves.  The same release, asked for again, has the same
statement; another update for the same request is another release, and is stated as such.
"""

from pathlib import Path

from clients.policy import Policy
from shared.errors import LedgerError
from shared.files import sha256
from shared.privacy.record import read_ledger
from shared.transparency.canonical import canonical
from shared.transparency.envelope import Envelope
from shared.transparency.journal import Journal
from shared.transparency.keys import SigningKey
from shared.transparency.statement import Charge, PlatformRound


def policy_sha256(policy: Policy) -> str:
    """Hex SHA-256 of a policy as it was read, defaults included."""
    values = {name: str(value) for name, value in policy.model_dump().items()}
    return sha256(canonical(values))


def charge_of(ledger: Path, charge_key: str) -> Charge:
    """Where in the ledger at `ledger` the steps under `charge_key` stand.

    Raises:
        LedgerError: it is damaged, or has no such charge: nothing may be released then.
    """
    record = read_ledger(ledger)
    places = [place for place, entry in enumerate(record.entries) if entry.request == charge_key]
    if not places:
        raise LedgerError(
            expected="this round's charge in the ledger", got="none", where=str(ledger)
        )
    return Charge(first=places[0], entries=len(record.entries), head=record.head)


def stated(path: Path, key: SigningKey, release: PlatformRound) -> Envelope:
    """The signed statement of `release` from the log at `path`, added to it if it is a new one.

    Args:
        release: with any `index` and `root`; the log gives it its place.

    Raises:
        RunError: the log is damaged, or another key's.
        StorageError: the disk refused.
    """
    with Journal(path, name=release.platform, key=key) as journal:
        for entry in reversed(journal.entries):
            known = entry.statement
            if isinstance(known, PlatformRound) and _same(known, release):
                return entry.envelope

        def placed(index: int, root: str) -> PlatformRound:
            return PlatformRound(**{**vars(release), "index": index, "root": root})

        return journal.append(placed).envelope


def _same(known: PlatformRound, release: PlatformRound) -> bool:
    mine, other = (
        (one.round, one.request, one.update, one.adapter_in, one.base) for one in (known, release)
    )
    return mine == other
