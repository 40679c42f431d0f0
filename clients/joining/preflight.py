"""`check`: everything that can go wrong on the partner's side, looked at before it does.

Each check has a name, says what it found, and when it fails says what to do.  A check that rests
on one that failed is passed over.  Nothing is sent but two empty requests to the gateway; nothing
is charged.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rich.console import Console

from clients.joining.checks import data, machine, membership, promise
from clients.joining.checks.found import Found
from clients.prepare import Progress
from clients.settings import ClientFolder
from shared.errors import FedInterestError
from shared.nginx import find_nginx


@dataclass(frozen=True)
class Check:
    """One check.

    Args:
        name: for people.
        look: returns what it found, or raises one of our errors.
        after: names of those it rests on.
    """

    name: str
    look: Callable[[Found], str]
    after: tuple[str, ...] = ()


_KNOWN = ("settings", "keys", "enrolment")
GATEWAY, REHEARSAL = "gateway", "rehearsal"
CHECKS = (
    Check("python", machine.python),
    Check("packages", machine.packages),
    Check("nginx", lambda _: str(find_nginx())),
    Check("settings", machine.settings),
    Check("permissions", machine.permissions, ("settings",)),
    Check("disk space", machine.disk, ("settings",)),
    Check("memory", machine.memory, ("settings",)),
    Check("ports", machine.ports, ("settings",)),
    Check("keys", membership.keys, ("settings",)),
    Check("request", membership.request, ("keys",)),
    Check("enrolment", membership.enrolment, ("settings", "keys")),
    Check("certificate", membership.certificate, ("enrolment",)),
    Check("certificate expiry", membership.expiry, ("enrolment",)),
    Check("bundle", membership.bundle, ("enrolment",)),
    Check(GATEWAY, membership.gateway, _KNOWN),
    Check("gateway limits", membership.limits, (GATEWAY,)),
    Check("clock", membership.clock, (GATEWAY,)),
    Check("opt-out list", data.opt_out, ("settings",)),
    Check("events", data.events, ("settings", "opt-out list")),
    Check("catalogue", data.catalogue, ("events",)),
    Check("population", data.population, ("events", "enrolment")),
    Check("encoder", data.encoder, ("enrolment",)),
    Check("ledger", promise.ledger, ("settings", "keys")),
    Check("promise", promise.promise, ("enrolment",)),
    Check("policy", promise.policy, ("promise",)),
    Check("budget", promise.budget, ("promise", "ledger")),
    Check("prepared", data.prepared, ("events", "population", "encoder", "ledger", "promise")),
    Check(REHEARSAL, data.rehearsal, ("prepared", "policy", "promise")),
)
"""In the order they are made."""


def preflight(
    folder: ClientFolder, progress: Progress, *, gateway: bool = True, rehearsal: bool = True
) -> dict[str, Any]:
    """Make all checks.

    Args:
        gateway: try to reach it.
        rehearsal: train a round on a copy.

    Returns:
        {"ok", "code", "checks": [{"name", "status", "detail", "remedy", "code", "seconds"}]};
        status is "ok", "failed" or "skipped", code the exit code of the first that failed.
    """
    found, failed, results = Found(folder, progress), set[str](), list[dict[str, Any]]()
    left_out = (set() if gateway else {GATEWAY, "gateway limits", "clock"}) | (
        set() if rehearsal else {REHEARSAL}
    )
    for check in CHECKS:
        if check.name in left_out:
            continue
        began = time.monotonic()
        entry: dict[str, Any] = {"name": check.name, "status": "ok", "remedy": "", "code": 0}
        if missing := sorted(failed & set(check.after)):
            failed.add(check.name)
            entry |= {"status": "skipped", "detail": f"rests on: {', '.join(missing)}"}
        else:
            try:
                entry["detail"] = check.look(found)
            except FedInterestError as error:
                failed.add(check.name)
                entry |= {
                    "status": "failed",
                    "detail": f"expected {error.expected}, got {error.got} ({error.where})",
                    "remedy": error.remedy or "See the partner's guide.",
                    "code": error.exit_code,
                }
        entry["seconds"] = round(time.monotonic() - began, 3)
        results.append(entry)
    codes = [entry["code"] for entry in results if entry["status"] == "failed"]
    return {"ok": not codes, "code": codes[0] if codes else 0, "checks": results}


def render(result: dict[str, Any], console: Console) -> None:
    """For people."""
    marks = {"ok": "ok", "failed": "FAILED", "skipped": "-"}
    for entry in result["checks"]:
        line = f"{marks[entry['status']]:<7} {entry['name']:<19} {entry['detail']}"
        console.print(line, highlight=False, markup=False, soft_wrap=True)
        if entry["remedy"]:
            console.print(
                f"{'':<8}{entry['remedy']}", highlight=False, markup=False, soft_wrap=True
            )
    done = sum(entry["status"] == "ok" for entry in result["checks"])
    console.print(f"{done} of {len(result['checks'])} checks passed", highlight=False)
