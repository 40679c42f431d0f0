"""What must have been checked before an epsilon means anything.

An epsilon is a sentence about a mechanism: users sampled independently, each clipped, noise of a
known scale that nobody can recompute, every step on record.  If one of these was not checked, the
number is about another mechanism, and it is not printed; the missing check is named.

Where evidence comes from: the record is verified anew, now; the code's audit is the one that this
machine made and keeps in its cache folder, never one that came with the run, because whoever hands
over a run could have written it.  It counts for a run whose platforms all signed the hash of the
very code that was audited.  That they ran that code is their word; what they released is what
`audit canary` and `audit attack` look at.
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from shared.privacy.record import ADJACENCY, UNIT
from simulations.audits.kind import deployed
from simulations.audits.spending import Spending, read_json

AUDIT_FILE = "audit-code.json"
SECURE_NOISE = "secure noise"


@dataclass(frozen=True)
class Assumption:
    """One thing that an epsilon rests on.

    Args:
        name: "record", "sampling", "clipping", "adjacency", "secure noise" or "accounting".
        run: folder of the run it is about.
        checked: whether it was checked, and held.
        evidence: what was looked at, or what is missing.
        remedy: what would check it; "" where it is.
    """

    name: str
    run: str
    checked: bool
    evidence: str
    remedy: str = ""

    def row(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)


@dataclass(frozen=True)
class CodeAudit:
    """What `audit code` found on this machine.

    Args:
        platform_code: hash of the code that it looked at; "" where there was no audit.
        checks: each check's `name`, `ok` and `covers`.
    """

    platform_code: str = ""
    checks: tuple[Mapping[str, Any], ...] = ()

    @classmethod
    def read(cls, cache: Path) -> "CodeAudit":
        """The audit kept in the cache folder; an empty one where there is none, or no whole one."""
        found = read_json(cache / AUDIT_FILE)
        try:
            checks = tuple(
                {"name": str(c["name"]), "ok": c["ok"] is True, "covers": frozenset(c["covers"])}
                for c in found["checks"]
            )
            return cls(str(found["codes"]["platform"]), checks)
        except (KeyError, TypeError):
            return cls()

    def of(self, topic: str, codes: Iterable[str]) -> tuple[bool, str, str]:
        """(checked, evidence, remedy) for `topic` in a run whose platforms signed `codes`."""
        ran = sorted(set(codes))
        remedy = "fedinterest audit code"
        if not self.platform_code:
            return False, "the code was not audited on this machine", remedy
        if not ran:
            return False, "no platform signed which code it ran", "fedinterest audit verify RUN"
        others = [code for code in ran if code != self.platform_code]
        if others:
            return (
                False,
                f"audited code {self.platform_code[:12]}, but {others[0][:12]} ran",
                f"{remedy}, with the version that made the run",
            )
        checks = [check for check in self.checks if topic in check["covers"]]
        failed = [check["name"] for check in checks if not check["ok"]]
        if not checks:
            return False, f"the code's audit has no check of {topic}", remedy
        if failed:
            return False, f"the code failed: {', '.join(failed)}", f"{remedy}; repair what it names"
        named = ", ".join(check["name"] for check in checks)
        return True, f"code {self.platform_code[:12]} passed: {named}", ""


def assume(
    run: Path,
    spending: Mapping[str, Spending],
    *,
    verified: Mapping[str, Any],
    audit: CodeAudit,
) -> list[Assumption]:
    """All that the epsilons of `run` rest on, checked or not.

    Args:
        verified: what `simulations.audits.verify.verify` says of the run.
        audit: of the code, on this machine.
    """
    codes = [one.code for platform in spending.values() for one in platform.statements]
    found = {
        "record": _record(run, verified),
        "sampling": audit.of("sampling", codes),
        "clipping": audit.of("clipping", codes),
        "adjacency": _first(_adjacency(spending), audit.of("adjacency", codes)),
        SECURE_NOISE: _first(_secrecy(run, spending), audit.of("noise", codes)),
        "accounting": audit.of("accounting", codes),
    }
    return [
        Assumption(name, str(run), checked, evidence, remedy.replace("RUN", str(run)))
        for name, (checked, evidence, remedy) in found.items()
    ]


def only_secrecy_missing(
    assumptions: Iterable[Assumption], spending: Mapping[str, Spending], audit: CodeAudit
) -> bool:
    """Whether all was checked, and nothing is amiss but the noise's secrecy (a seeded run)."""
    codes = [one.code for platform in spending.values() for one in platform.statements]
    missing = [one.name for one in assumptions if not one.checked]
    return missing == [SECURE_NOISE] and audit.of("noise", codes)[0]


def _record(run: Path, verified: Mapping[str, Any]) -> tuple[bool, str, str]:
    if verified["ok"] is True:
        return True, f"verified now: {verified['rounds']} rounds, nothing was changed", ""
    first = verified["findings"][0] if verified["findings"] else {"log": "record", "what": "?"}
    what = f"{first['log']}: {first['what']}"
    return False, f"does not verify ({what})", "fedinterest audit verify RUN"


def _adjacency(spending: Mapping[str, Spending]) -> tuple[bool, str, str]:
    """What the ledgers promise, and to whom."""
    for name, one in spending.items():
        if one.ledger is None:
            why = "no readable ledger" if one.private else "NOT PRIVATE, no ledger"
            return False, f"{name}: {why}, so no promise", "ask the platform for its ledger"
        if (one.unit, one.adjacency) != (UNIT, ADJACENCY):
            said = one.adjacency or "nothing"
            remedy = "such a promise is not one that is accounted for here"
            return False, f"{name}'s ledger promises: {said}", remedy
    if not spending:
        return False, "no platform", "give the folder of a run"
    return True, f"every ledger says: {ADJACENCY}", ""


def _secrecy(run: Path, spending: Mapping[str, Spending]) -> tuple[bool, str, str]:
    """Whether anybody could recompute the noise: what run and platforms say of a seed."""
    remedy = "run it again without --seed"
    settings = {"seed": None} if deployed(run) else read_json(run / "run.json")
    if not isinstance(settings, dict) or "seed" not in settings:
        return False, "run.json does not say whether there was a seed", "give a whole run folder"
    if settings["seed"] is not None:
        return False, f"the noise follows from seed {settings['seed']}", remedy
    for name, one in spending.items():
        if any(statement.unsafe_seed for statement in one.statements):
            return False, f"{name} signed that its noise follows from a seed", remedy
        if not one.statements:
            return False, f"{name} signed nothing about its noise", "fedinterest audit verify RUN"
        own = read_json(run / "platforms" / name / "platform.json")
        if isinstance(own, dict) and own.get("unsafe_seed") is not None:
            return False, f"{name}'s noise follows from seed {own['unsafe_seed']}", remedy
    return True, "every platform signed: noise of the operating system", ""


def _first(own: tuple[bool, str, str], code: tuple[bool, str, str]) -> tuple[bool, str, str]:
    """Both must hold; the run's own trouble is named before the code's."""
    if not own[0]:
        # A seeded run whose code was not audited lacks both, and says so.
        return own if code[0] else (False, f"{own[1]}; and {code[1]}", f"{own[2]}; {code[2]}")
    return (True, f"{own[1]}; {code[1]}", "") if code[0] else code
