"""How a partner's side does, for its operator."""

import json
from pathlib import Path
from typing import Any

from rich.console import Console

from clients.home import Home
from clients.node.control import PIDS
from clients.node.refusals import Refusals
from clients.spending.budget import budget
from clients.spending.budget import render as render_budget
from shared.certificates import days_left, read_certificate, utc_now
from shared.errors import FedInterestError
from shared.processes import read_status

_SHOWN = 5


def status(home: Home) -> dict[str, Any]:
    """What runs, what was answered and refused, what is left.  Changes nothing."""
    running = read_status(home.folder.state / PIDS)
    refused = Refusals(home.folder.state / "refusals.jsonl").lines()
    found: dict[str, Any] = {
        "platform": home.name,
        "running": running is not None,
        "paused": home.paused.exists(),
        "processes": {} if running is None else running["children"],
        "executor": _read(home.folder.state / "executor.json") if running is not None else {},
        "refusals": len(refused),
        "last_refusals": refused[-_SHOWN:],
        "prepared": False,
        "certificate_days_left": None,
        "federation": None,
        "budget": None,
        "problem": None,
    }
    try:
        enrolment = home.enrolment()
        certificate = read_certificate(enrolment.certificate_pem, "enrolment")
        found["certificate_days_left"] = round(days_left(certificate, utc_now()), 1)
        found["federation"] = enrolment.federation.name
        found["prepared"] = home.is_prepared()
        found["budget"] = budget(home)
    except FedInterestError as error:
        found["problem"] = str(error)
    return found


def render(found: dict[str, Any], console: Console) -> None:
    """For people."""
    state = "paused" if found["paused"] else "taking part"
    console.print(
        f"{found['platform']}: {'running, ' + state if found['running'] else 'not running'}",
        highlight=False,
        soft_wrap=True,
    )
    for name, child in found["processes"].items():
        console.print(
            f"  {name}: {child['state']}, process {child['pid']}, {child['restarts']} restarts",
            highlight=False,
            soft_wrap=True,
        )
    if counts := found["executor"]:
        console.print(
            f"Rounds trained since it started: {counts['trained']} (last: round "
            f"{counts['last_round']}, {counts['last_round_s']:.1f} s); refused: "
            f"{counts['refused']}",
            highlight=False,
            soft_wrap=True,
        )
    if (days := found["certificate_days_left"]) is not None:
        console.print(f"Certificate: {days:.0f} days left", highlight=False, soft_wrap=True)
    if found["budget"] is not None:
        render_budget(found["budget"], console)
    if found["refusals"]:
        console.print(
            f"Refusals on record: {found['refusals']}; the last ones:",
            highlight=False,
            soft_wrap=True,
        )
        for line in found["last_refusals"]:
            console.print(
                f"  {line.get('time')} {line.get('kind')} {line.get('setting')}: "
                f"asked {line.get('asked')}, permitted {line.get('expected')}",
                highlight=False,
                soft_wrap=True,
                markup=False,
            )
    if found["problem"]:
        console.print(f"Problem: {found['problem']}", highlight=False, soft_wrap=True, markup=False)


def _read(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return {}
