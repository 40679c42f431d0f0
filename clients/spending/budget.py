"""What this platform's users were promised, what was spent, and what is left: from the ledgers."""

import math
from pathlib import Path
from typing import Any

from rich.console import Console

from clients.home import Home
from clients.platform import Platform
from clients.spending.promises import Asked, total_epsilon
from shared.errors import RunError
from shared.privacy.accountant import Charge


def budget(home: Home) -> dict[str, Any]:
    """Spent and left, for every promise and composed.

    Raises:
        LedgerError: a ledger is damaged, or behind its anchor.
    """
    records = home.promises.records()
    home.anchor.check(home.folder.ledgers, records)
    policy = home.folder.settings().policy
    current = _current(home)
    runs = []
    for file, record in records.items():
        spent = record.spent()
        runs.append(
            {
                "ledger": file,
                "current": current is not None and current.ledger == file,
                "promised_epsilon": record.epsilon,
                "delta": record.delta,
                "spent_epsilon": spent,
                "left_epsilon": max(0.0, record.epsilon - spent),
                "steps": len(record.entries),
                "steps_promised": _steps(current, file),
                "rounds": len({entry.request for entry in record.entries}),
                "head": record.head,
            }
        )
    total = total_epsilon(records)
    permitted = policy.max_epsilon_total
    return {
        "platform": home.name,
        "runs": runs,
        "total_epsilon": total,
        "total_permitted": permitted if math.isfinite(permitted) else None,
        "total_if_finished": total_epsilon(records, current),
        "anchor": str(home.anchor.path),
    }


def _current(home: Home) -> Asked | None:
    try:
        record = Platform.open(home.folder.platform).record
    except RunError:
        return None
    if not record.private:
        return None
    return Asked(
        ledger=Path(record.ledger).name,
        delta=record.delta,
        charge=Charge(record.sample_rate, record.noise_multiplier, record.steps),
    )


def _steps(current: Asked | None, file: str) -> int | None:
    return current.charge.steps if current is not None and current.ledger == file else None


def render(found: dict[str, Any], console: Console) -> None:
    """For people."""
    if not found["runs"]:
        console.print("Nothing has been spent: no round was ever trained here.")
    for run in found["runs"]:
        of = f" of {run['steps_promised']}" if run["steps_promised"] is not None else ""
        console.print(
            f"{run['ledger']}{' (this run)' if run['current'] else ''}: "
            f"epsilon {run['spent_epsilon']:.3f} of {run['promised_epsilon']:g} spent, "
            f"{run['left_epsilon']:.3f} left, at delta {run['delta']:.2g}; "
            f"{run['steps']}{of} steps in {run['rounds']} rounds",
            highlight=False,
            soft_wrap=True,
        )
    limit = found["total_permitted"]
    console.print(
        f"All runs composed: epsilon {found['total_epsilon']:.3f}; "
        f"{found['total_if_finished']:.3f} when this run has ended; "
        + (f"at most {limit:g} permitted" if limit is not None else "no limit set (policy)"),
        highlight=False,
        soft_wrap=True,
    )
