"""Which ledger belongs to which federation: one promise, one ledger, and all of them add up.

A platform may take part in several federations, or in one under new terms, one after the other.
Each gets a ledger of its own in DIR/ledger: NAME.jsonl, NAME-2.jsonl, ...; `promises.json` beside
them says which is whose.  A ledger that it does not name, or one that it names and that is gone
though something was charged to it, is never passed over: what was spent there would be forgotten.
"""

import json
from dataclasses import dataclass
from pathlib import Path

from shared.config.federation import PublicSettings
from shared.errors import AccountantError, LedgerError
from shared.files import sha256, write_json
from shared.privacy import accountant
from shared.privacy.accountant import Charge
from shared.privacy.ledger import Record, read_ledger

FILE = "promises.json"


def terms_sha256(name: str, federation: PublicSettings, authority: str) -> str:
    """What a promise is made for: the platform, the terms of training, and who leads it.

    Args:
        name: the platform's.
        federation: as enrolled.
        authority: PEM text of the coordinator's certificate authority.
    """
    own = federation.platforms[name]
    terms = {
        "authority": sha256(authority.encode()),
        "federation": federation.name,
        "platform": name,
        "population": own.population,
        "model": federation.model.model_dump(mode="python"),
        "privacy": federation.privacy.model_dump(mode="python"),
        "training": federation.training.model_dump(mode="python"),
    }
    return sha256(json.dumps(terms, sort_keys=True).encode())


@dataclass(frozen=True)
class Promises:
    """The ledgers of one platform.

    Args:
        folder: DIR/ledger.
        name: the platform's.
    """

    folder: Path
    name: str

    def known(self) -> dict[str, str]:
        """File name -> hash of its terms, in the order the promises were made.

        Raises:
            LedgerError: `promises.json` is damaged, or gone though there are ledgers, or does not
                name one of them.
        """
        path = self.folder / FILE
        present = {one.name for one in self.folder.glob("*.jsonl")}
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            known = {str(file): str(terms) for file, terms in found.items()}
        except FileNotFoundError:
            known = {}
        except (OSError, ValueError, AttributeError) as error:
            raise _lost(path, type(error).__name__) from error
        if unknown := sorted(present - set(known)):
            raise _lost(path, f"nothing about {unknown[0]}")
        return known

    def ledger_for(self, terms: str) -> Path:
        """The ledger of a promise; its name is on record when this returns.

        Raises:
            LedgerError: see `known`.
            StorageError: the disk refused.
        """
        known = self.known()
        for file, made_for in known.items():
            if made_for == terms:
                return self.folder / file
        number = len(known) + 1
        file = f"{self.name}.jsonl" if number == 1 else f"{self.name}-{number}.jsonl"
        write_json(self.folder / FILE, {**known, file: terms})
        return self.folder / file

    def records(self) -> dict[str, Record]:
        """File name -> what was promised and charged there; ledgers not begun yet are left out.

        Raises:
            LedgerError: one is damaged, or `known` fails.
        """
        return {
            file: read_ledger(self.folder / file)
            for file in self.known()
            if (self.folder / file).exists() or (self.folder / f"{file}.head").exists()
        }


@dataclass(frozen=True)
class Asked:
    """What a run still needs: its promise, and every step of it.

    Args:
        ledger: file name of its ledger.
        delta: of its promise.
        charge: all of its steps.
    """

    ledger: str
    delta: float
    charge: Charge


def total_epsilon(records: dict[str, Record], asked: Asked | None = None) -> float:
    """Epsilon of all ledgers composed, at the largest of their deltas; 0 where nothing was spent.

    Args:
        asked: count this run in full, as if all its steps had been charged.

    Raises:
        AccountantError: the accountant cannot answer.
    """
    charges: list[Charge] = []
    deltas: list[float] = []
    for file, record in records.items():
        if asked is None or file != asked.ledger:
            charges += record.charges()
            deltas.append(record.delta)
    if asked is not None:
        spent = records.get(asked.ledger)
        mine = [] if spent is None else spent.charges()
        steps = sum(one.steps for one in mine)
        charges += mine
        if asked.charge.steps > steps:
            rest = asked.charge.steps - steps
            charges.append(Charge(asked.charge.sample_rate, asked.charge.noise_multiplier, rest))
        deltas.append(asked.delta)
    if not charges:
        return 0.0
    if not deltas:
        raise AccountantError(expected="a promise", got="none", where="total epsilon")
    return accountant.epsilon(accountant.merged(charges), max(deltas))


def _lost(path: Path, got: str) -> LedgerError:
    return LedgerError(
        expected="a record of every ledger beside it",
        got=got,
        where=str(path),
        remedy="Restore the whole ledger folder from the newest copy; never start an empty one.",
    )
