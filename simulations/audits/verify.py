"""`fedinterest audit verify`: has anyone changed the record?

Every log of RUN/record is checked by itself, with the keys of RUN/record/keys.json, and then all of
them against each other, the ledgers, rounds.jsonl, the summary and the released adapter.  Nothing
is trusted but the keys: whoever made all of them could have written everything, so their ids are
shown, to be compared with those that coordinator and platforms give out.
"""

import gc
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from shared.errors import RunError
from shared.transparency.inspection import Inspection, inspect
from shared.transparency.keys import PublicKey, parse_keys
from shared.transparency.statement import COORDINATOR, PlatformRound
from simulations.audits.agreement import agree
from simulations.audits.evidence import KEYS, RECORD, Evidence
from simulations.audits.story import Finding

ONE_BY_ONE = 5_000
"""Up to so many entries every signature is checked by itself; in longer records those that a signed
head covers are not, for that head is signed by the same key (see `inspection`, rule 5)."""

SHOWN = 200
"""Most findings in a result."""


def verify(run: Path, *, keys: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Check the record of a run.

    Args:
        run: its folder; `platforms/` need not be in it.
        keys: public keys by name as they are known from elsewhere, to be held against keys.json.

    Returns:
        `ok`, `seconds`, `rounds` (of the coordinator's record, without the set-up), `private`,
        `unsafe_seed`, `signatures` (checked one by one), `logs` (name -> entries, head, key id),
        `findings` (log, entry from 0, round, what), `findings_total`, `notes`.
    """
    started = time.monotonic()
    with _no_collection():
        result = examine(Evidence.read(run), keys=keys)
    return {**result, "seconds": round(time.monotonic() - started, 3)}


@contextmanager
def _no_collection() -> Iterator[None]:
    """Without garbage collection: nothing dies early here, and looking is a fifth of the time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def examine(evidence: Evidence, *, keys: Mapping[str, str] | None = None) -> dict[str, Any]:
    """`verify` for what has been read already; without `seconds`."""
    findings: list[Finding] = []
    known = _keys(evidence, findings)
    for name, expected in (keys or {}).items():
        if name not in known or known[name].hex != expected:
            findings.append(Finding(KEYS, None, None, f"not the key that {name} gives out"))
    logs = _logs(evidence, known, findings)
    story = agree(evidence, {name: log.entries for name, log in logs.items()}, known)
    findings += story.findings
    statements = [
        entry.statement
        for log in logs.values()
        for entry in log.entries[-1:]
        if isinstance(entry.statement, PlatformRound)
    ]
    return {
        "ok": not findings,
        "seconds": 0.0,
        "rounds": max(story.last, 0),
        "private": bool(statements) and all(one.private for one in statements),
        "unsafe_seed": any(one.unsafe_seed for one in statements),
        "signatures": sum(log.signatures for log in logs.values()),
        "logs": {
            name: {
                "entries": len(log.tree),
                "head": None if log.head is None else log.head.root,
                "key": known[name].id,
            }
            for name, log in logs.items()
        },
        "findings": [asdict(finding) for finding in findings[:SHOWN]],
        "findings_total": len(findings),
        "notes": story.notes,
    }


def _keys(evidence: Evidence, findings: list[Finding]) -> dict[str, PublicKey]:
    content = evidence.files.get(KEYS)
    if content is None:
        what = "missing: ask the coordinator for it; without keys nothing can be checked"
        findings.append(Finding(KEYS, None, None, what))
        return {}
    try:
        return parse_keys(content, KEYS)
    except RunError as error:
        what = f"expected {error.expected}, got {error.got}"
        findings.append(Finding(KEYS, None, None, what))
        return {}


def _logs(
    evidence: Evidence, keys: Mapping[str, PublicKey], findings: list[Finding]
) -> dict[str, Inspection]:
    names = sorted({*evidence.logs(RECORD), COORDINATOR})
    size = sum(len(content.splitlines()) for content in evidence.files.values())
    logs = {}
    for name in names:
        content, head = evidence.log(RECORD, name)
        if content is None:
            what = "missing: ask its owner for it"
            findings.append(Finding(name, None, None, what))
        elif name not in keys:
            findings.append(Finding(name, None, None, f"no key for it in {KEYS}"))
        else:
            log = inspect(
                content, head, name=name, key=keys[name], every_signature=size <= ONE_BY_ONE
            )
            logs[name] = log
            findings += [Finding(name, one.entry, one.round, one.what) for one in log.faults]
    return logs


def render(result: dict[str, Any], console: Console) -> None:
    """Show a result to people."""
    table = Table(title=f"record of {result['rounds']} rounds", title_justify="left")
    for column in ("log", "entries", "head", "key"):
        table.add_column(column, justify="right" if column == "entries" else "left")
    for name, log in result["logs"].items():
        head = "none" if log["head"] is None else log["head"][:16]
        table.add_row(name, str(log["entries"]), head, log["key"][:16])
    console.print(table)
    for finding in result["findings"]:
        entry = "" if finding["entry"] is None else f", entry {finding['entry']}"
        round_ = "" if finding["round"] is None else f" (round {finding['round']})"
        console.print(
            f"FOUND  {finding['log']}{entry}{round_}: {finding['what']}",
            markup=False,
            highlight=False,
        )
    if (more := result["findings_total"] - len(result["findings"])) > 0:
        console.print(f"... and {more} more", highlight=False)
    for note in result["notes"]:
        console.print(f"note: {note}", markup=False, highlight=False)
    if not result["private"] and len(result["logs"]) > 1:
        console.print("NOT PRIVATE: the record promises nothing to anybody.")
    if result["unsafe_seed"]:
        console.print("note: noise and platforms' keys follow from a seed; anybody can make them.")
    verdict = "nothing was changed" if result["ok"] else "the record is not as it was signed"
    console.print(
        f"{verdict}; {result['signatures']} signatures one by one, the rest under signed heads; "
        f"{result['seconds']:.2f} s",
        highlight=False,
    )
    if result["ok"]:
        console.print("Compare the key ids with those that the platforms give out.")
