"""Which kind of run an auditor is handed: a simulation's folder, or a coordinator's.

A coordinator's run (`server.running.runs`) has neither run.json nor a summary: it claims nothing
beyond its rounds and its end, and what a platform did with its noise is in that platform's
statements alone.
"""

import json
from pathlib import Path
from typing import Any

from shared.config.federation import PublicSettings, run_values
from simulations.audits.evidence import FINISHED
from simulations.run import FORMAT, read_run

MEMBERS = "members.json"  # as `server.running.runs` calls it


def deployed(run: Path) -> bool:
    """Whether `run` is a coordinator's."""
    return (run / MEMBERS).is_file() and not (run / "run.json").is_file()


def is_run(folder: Path) -> bool:
    """Whether `folder` is a run of either kind."""
    return (folder / "run.json").is_file() or deployed(folder)


def about(run: Path) -> dict[str, Any]:
    """A run's run.json, or what it would say of a coordinator's run.

    Raises:
        RunError: `run` is no run folder, or one of another version.
        ConfigError: its federation.json is not valid.
    """
    if not deployed(run):
        return read_run(run)
    settings = PublicSettings.published(run_values(run), where=str(run))
    return {
        "format": FORMAT,
        "recipe": settings.name,
        "engine": "deployed",
        "seed": None,
        "finished": _finished(run),
    }


def _finished(run: Path) -> bool:
    try:
        return isinstance(json.loads((run / FINISHED).read_text(encoding="utf-8")), dict)
    except (OSError, ValueError):
        return False
