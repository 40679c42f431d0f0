"""What each audit came to: ok, found, or not audited, and why; never ok by default."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import isclose
from pathlib import Path
from typing import Any, Literal

from shared.files import sha256
from shared.transparency.statement import PlatformRound
from simulations.audits.kept import AttackAudit, CanaryAudit, CodeAudit, Mechanism, read_kept

State = Literal["ok", "found", "not audited"]
TOPICS = ("sampling", "adjacency", "noise", "clipping", "accounting", "release")
"""What an audit of the code must cover to be a whole one."""


@dataclass(frozen=True)
class Part:
    """One audit's place in the report.

    Args:
        name: of the audit's command.
        state: what it came to.
        why: in a sentence.
        command: what makes it, or makes it again.
        file: where its result lies, in the run folder or the cache; None where there is none.
        sha256: of that file.
        findings: in words.
    """

    name: str
    state: State
    why: str
    command: str
    file: str | None = None
    sha256: str | None = None
    findings: tuple[str, ...] = ()

    def row(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "state": self.state,
            "why": self.why,
            "command": self.command,
            "file": self.file,
            "sha256": self.sha256,
            "findings": list(self.findings),
        }


def verify_part(path: Path, run: Path, found: Mapping[str, Any]) -> Part:
    """The record, verified now."""
    said = [_located(one) for one in found["findings"]]
    if (more := found["findings_total"] - len(said)) > 0:
        said.append(f"and {more} more")
    ok = found["ok"] is True and not said
    why = (
        f"{found['rounds']} rounds, {len(found['logs'])} logs: nothing was changed"
        if ok
        else f"the record is not as it was signed: {_findings(found['findings_total'])}"
    )
    return _made("verify", ok, why, f"fedinterest audit verify {run}", path, said)


def epsilon_part(
    path: Path, run: Path, found: Mapping[str, Any], verified: Mapping[str, Any], lost: list[str]
) -> Part:
    """What was spent, recomputed now; "not audited" where only the code's audit is lacking."""
    said = [f"{one['platform'] or one['run']}: {one['what']}" for one in found["findings"]]
    rows = [row for row in found["assumptions"] if not row["checked"]]
    command = f"fedinterest audit epsilon {run}"
    for row in rows:
        if row["name"] == "secure noise" and verified["unsafe_seed"]:
            said.append(f"no epsilon: {row['evidence']}")
    said += [f"composed before with {other}, which is gone: {command} --with ..." for other in lost]
    if rows:
        missing = ", ".join(dict.fromkeys(row["name"] for row in rows))
        why = f"no epsilon is stated, for what it rests on was not checked: {missing}"
        if not said:
            command = "; ".join(dict.fromkeys(row["remedy"] for row in rows if row["remedy"]))
            return _part("epsilon", "not audited", why, command, path, said)
    elif said:
        why = f"spent otherwise than claimed: {_findings(len(said))}"
    else:
        why = "every platform's ledger costs what is claimed, and no more than was promised"
    return _made("epsilon", found["ok"] is True and not said, why, command, path, said)


def canary_part(
    path: Path, run: Path, signed: Mapping[str, PlatformRound], rounds: int
) -> tuple[Part, CanaryAudit | None]:
    """What canary users showed, if that was audited at what the record signs."""
    found, content, lack = read_kept(path, CanaryAudit)
    command = f"fedinterest audit canary {run}"
    if found is None:
        return _lacking("canary", lack, command, path, content), None
    said = [_told(one) for one in found.findings]
    best = max(found.bounds, key=lambda bound: bound.epsilon)
    why = (
        f"{found.canaries} canaries on {found.platform}: the highest lower bound is epsilon "
        f"{best.epsilon:.2f} ({best.name}, {best.kind}), of {found.epsilon:g} promised"
    )
    if found.coverage is not None and not found.coverage.holds:
        said.append("on paper a bound exceeds the truth more often than it may")
    return _judged("canary", found, said, why, command, path, signed, rounds), found


def attack_part(
    path: Path, run: Path, signed: Mapping[str, PlatformRound], rounds: int
) -> tuple[Part, AttackAudit | None]:
    """What the attacks reached, if they were run at what the record signs."""
    found, content, lack = read_kept(path, AttackAudit)
    command = f"fedinterest audit attack {run}"
    if found is None:
        return _lacking("attack", lack, command, path, content), None
    said = [_told(one) for one in found.findings]
    strongest = max(found.membership.values(), key=lambda one: one.private.auc)
    why = (
        f"membership on {found.platform}: AUC {strongest.private.auc:.3f} with privacy, "
        f"{strongest.control.auc:.3f} without; guessing is 0.500"
    )
    return _judged("attack", found, said, why, command, path, signed, rounds), found


def code_part(
    path: Path, platforms: set[str], coordinators: set[str]
) -> tuple[Part, CodeAudit | None]:
    """The audit of the code that this machine keeps, if it was of the code that ran."""
    found, content, lack = read_kept(path, CodeAudit)
    command = "fedinterest audit code --self-test"
    if found is None:
        lack = "the code was not audited on this machine" if content is None else lack
        return _lacking("code", lack, command, path, content), None
    others = sorted(
        (platforms - {found.codes.platform}) | (coordinators - {found.codes.coordinator})
    )
    covered = {topic for check in found.checks for topic in check.covers}
    lacking = [topic for topic in TOPICS if topic not in covered]
    if not platforms or not coordinators:
        why = "the record does not say which code ran"
    elif others:
        why = f"other code was audited than ran ({others[0][:12]})"
        command += ", with the version that made the run"
    elif lacking:
        why = f"no check of {', '.join(lacking)}"
    else:
        why = ""
    if why:
        return _part("code", "not audited", why, command, path, []), found
    said = [f"{one.name}: {one.cause or 'failed'}" for one in found.checks if not one.ok]
    faults = found.faults or ()
    said += [f"planted fault not caught: {one.name}" for one in faults if not one.right]
    if found.clean is not None and found.clean.alarms:
        said.append(f"{_findings(len(found.clean.alarms))} on clean code")
    good = sum(check.ok for check in found.checks)
    why = f"{good} of {len(found.checks)} checks passed on the code that ran"
    if faults:
        why += f"; {sum(one.right for one in faults)} of {len(faults)} planted faults caught"
    else:
        why += "; no faults were planted to test the checks themselves"
    return _made("code", found.ok and not said, why, command, path, said), found


def _judged(
    name: str,
    found: Mechanism,
    said: list[str],
    why: str,
    command: str,
    path: Path,
    signed: Mapping[str, PlatformRound],
    rounds: int,
) -> Part:
    """What was found counts in any case; what was not found only for the same mechanism."""
    if said or not found.ok:
        return _made(name, False, why, command, path, said)
    differs = _differences(found, signed.get(found.platform), rounds)
    if differs:
        why = f"a result was left, but of another training than this run's: {'; '.join(differs)}"
        return _part(name, "not audited", why, command, path, [])
    return _made(name, True, why, command, path, said)


def _differences(found: Mechanism, signed: PlatformRound | None, rounds: int) -> list[str]:
    """Where the audited mechanism is not the one that the platform signed."""
    if signed is None:
        return [f"the record has no readable statement of {found.platform}"]
    pairs = {
        "epsilon": (found.epsilon, signed.epsilon),
        "delta": (found.delta, signed.delta),
        "noise_multiplier": (found.noise_multiplier, signed.noise_multiplier),
        "sample_rate": (found.sample_rate, signed.sample_rate),
        "rounds": (float(found.rounds), float(rounds)),
    }
    return [
        f"{name} {one:.6g} there, {other:.6g} in the record"
        for name, (one, other) in pairs.items()
        if not isclose(one, other, rel_tol=1e-9)
    ]


def _made(name: str, ok: bool, why: str, command: str, path: Path, said: list[str]) -> Part:
    if not ok and not said:
        said = ["its own verdict is that something is wrong"]
    return _part(name, "ok" if ok else "found", why, command, path, said)


def _part(name: str, state: State, why: str, command: str, path: Path, said: list[str]) -> Part:
    file = path.name if name == "code" else f"{path.parent.name}/{path.name}"
    return Part(name, state, why, command, file, sha256(path.read_bytes()), tuple(said))


def _lacking(name: str, why: str, command: str, path: Path, content: bytes | None) -> Part:
    if content is None:
        return Part(name, "not audited", why, command)
    return _part(name, "not audited", why, command, path, [])


def _located(finding: Mapping[str, Any]) -> str:
    entry = "" if finding["entry"] is None else f", entry {finding['entry']}"
    round_ = "" if finding["round"] is None else f" (round {finding['round']})"
    return f"{finding['log']}{entry}{round_}: {finding['what']}"


def _told(finding: Any) -> str:
    """A finding in words, however its audit writes it."""
    if isinstance(finding, str):
        return finding
    if isinstance(finding, dict) and isinstance(finding.get("cause"), str):
        said = finding["cause"]
        bound, epsilon = finding.get("bound"), finding.get("epsilon")
        if isinstance(bound, str) and isinstance(epsilon, int | float):
            said += f": epsilon is at least {epsilon:.2f} ({bound})"
        looks = finding.get("looks_like")
        if isinstance(looks, list) and looks:
            said += f"; {'; '.join(str(one) for one in looks)}"
        return said
    return str(finding)


def _findings(count: int) -> str:
    return f"{count} finding{'' if count == 1 else 's'}"
