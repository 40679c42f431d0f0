"""What a coordinator is at, from its folder alone: it may be asked while nothing runs."""

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from server.membership import gateway
from server.membership.partners import Partners
from server.running.measures import days_left, summed, told_of
from server.running.nodes import connected_now
from server.running.runs import Run, runs
from server.settings import ServerFolder
from shared.processes import read_status

if TYPE_CHECKING:
    from rich.console import Console

PROCESSES = "processes.json"


def status(path: Path) -> dict[str, Any]:
    """As plain values, for --json.

    Returns:
        running, children (name -> state, restarts), partners, gateway, run (None before the
        first), ports; `ok` is whether everything that should run does.

    Raises:
        RunError, ConfigError: `path` is no coordinator's folder, or is damaged.
    """
    folder, now = ServerFolder(path), datetime.now(UTC)
    settings = folder.settings.coordinator
    alive = read_status(folder.state / PROCESSES)
    children = {
        name: {"state": one["state"], "restarts": one["restarts"]}
        for name, one in (alive or {"children": {}})["children"].items()
    }
    connected = connected_now(folder) if alive else []
    known = runs(folder)
    run = _run(folder, known[-1]) if known else None
    fine = {"ready", "ended"}
    return {
        "ok": bool(alive) and all(one["state"] in fine for one in children.values()),
        "running": alive is not None,
        "pid": alive["pid"] if alive else None,
        "address": settings.address,
        "operations": f"http://127.0.0.1:{folder.operations_port}" if alive else None,
        "children": children,
        "partners": {
            one.name: {
                "status": one.status,
                "connected": one.name in connected,
                "certificate_days": round(days_left(one, now), 1),
            }
            for one in Partners(path).list()
        },
        "partners_needed": settings.partners,
        "gateway_certificate_days": round(gateway.certificate_days_left(folder, now), 1),
        "run": run,
    }


def _run(folder: ServerFolder, run: Run) -> dict[str, Any]:
    from server.rounds.log import RoundLog

    lines = RoundLog(run.path / "rounds.jsonl").lines()
    settings, told, finished = run.settings, told_of(folder, run), run.finished
    found = summed(lines)
    spent = {name[0]: value for name, value in found["run_epsilon"].items()}
    return {
        "name": run.name,
        "phase": "finished" if finished else told.get("phase", "not begun"),
        "message": "" if finished else told.get("message", ""),
        "round": found["run_rounds_done"],
        "rounds": settings.training.rounds,
        "seconds": round(found["run_rounds_seconds_total"], 1),
        "epsilon": {
            name: value if value != float("inf") else "inf" for name, value in spent.items()
        },
        "adapter_sha256": lines[-1]["adapter_sha256"] if lines else None,
        "folder": str(run.path),
    }


def render(result: dict[str, Any], console: "Console") -> None:
    """For people."""
    from rich.table import Table

    console.print(f"coordinator at {result['address']}: {_word(result)}", highlight=False)
    for name, child in result["children"].items():
        again = f", started again {child['restarts']} times" if child["restarts"] else ""
        console.print(f"  {name}: {child['state']}{again}", highlight=False)
    if (run := result["run"]) is not None:
        console.print(
            f"run {run['name']}: round {run['round']} of {run['rounds']}, {run['phase']}"
            + (f" ({run['message']})" if run["message"] else ""),
            highlight=False,
            markup=False,
        )
    table = Table("partner", "status", "connected", "certificate, days", "epsilon spent")
    spent = run["epsilon"] if run else {}
    for name, one in result["partners"].items():
        table.add_row(
            name,
            one["status"],
            "yes" if one["connected"] else "no",
            f"{one['certificate_days']:.0f}",
            _epsilon(spent.get(name)),
        )
    console.print(table)
    missing = result["partners_needed"] - sum(
        one["status"] == "enrolled" for one in result["partners"].values()
    )
    if missing > 0 and run is None:
        console.print(f"The first run begins once {missing} more are enrolled.", highlight=False)


def _epsilon(value: float | str | None) -> str:
    return "" if value is None else value if isinstance(value, str) else f"{value:.3f}"


def _word(result: dict[str, Any]) -> str:
    if not result["running"]:
        return "not running"
    return "running" if result["ok"] else "running, not all of it"
