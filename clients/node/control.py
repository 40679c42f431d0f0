"""What an operator does with a partner's programs from outside: pause, resume, stop.

Imports little: a kill switch must not wait for torch.
"""

import json
import os
import signal
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from clients.settings import PAUSED, ClientFolder
from shared.errors import RunError
from shared.files import storage_error, write_text
from shared.processes import read_status
from shared.sessions import kill_session, started_at

STOP_S = 5.0
_ASKED_S = 4.0
PIDS = "processes.json"


def pause(folder: ClientFolder) -> None:
    """Refuse everything from now on; a round that is being computed is ended.

    Raises:
        StorageError: the disk refused.
    """
    write_text(folder.state / PAUSED, "")


def resume(folder: ClientFolder) -> bool:
    """Take part again; False where nobody had paused.

    Raises:
        StorageError: the disk refused.
    """
    path = folder.state / PAUSED
    try:
        path.unlink()
    except FileNotFoundError:
        return False
    except OSError as error:
        raise storage_error(error, path) from error
    return True


def stop(folder: ClientFolder) -> dict[str, Any]:
    """End all programs of this partner; nothing is sent after this returns.

    They are told first and killed after 4 s, each known by its process number and the time it
    began, never by name.

    Returns:
        {"stopped": whether anything ran, "seconds", "killed"}.

    Raises:
        RunError: something is still there.
    """
    began = time.monotonic()
    path = folder.state / PIDS
    running = read_status(path)
    if running is None:
        return {"stopped": False, "seconds": 0.0, "killed": False}
    # What the children are is read once more at the end: one may have been started meanwhile.
    supervisor, ticks = int(running["pid"]), int(running["ticks"])
    leaders = _leaders(running)
    with suppress(ProcessLookupError):
        os.kill(supervisor, signal.SIGTERM)
    while started_at(supervisor) == ticks and time.monotonic() - began < _ASKED_S:
        time.sleep(0.05)
    killed = started_at(supervisor) == ticks
    if killed:
        with suppress(ProcessLookupError):
            os.kill(supervisor, signal.SIGKILL)
    leaders |= _leaders(_read(path))
    for pid, since in leaders.items():
        if started_at(pid) in (0, since):
            kill_session(pid)
    left = [pid for pid, since in leaders.items() if started_at(pid) == since]
    if left or (started_at(supervisor) == ticks and _wait_gone(supervisor, ticks)):
        raise RunError(
            expected="no process of this platform",
            got=f"processes {left or [supervisor]}",
            where=str(folder.path),
            remedy="End them by hand, or unplug the network.",
        )
    return {"stopped": True, "seconds": time.monotonic() - began, "killed": killed}


def _wait_gone(pid: int, ticks: int) -> bool:
    """Whether a process is still there after half a second."""
    deadline = time.monotonic() + 0.5
    while started_at(pid) == ticks and time.monotonic() < deadline:
        time.sleep(0.02)
    return started_at(pid) == ticks


def _leaders(running: dict[str, Any]) -> dict[int, int]:
    """Process number -> when it began, of the children in a status file."""
    return {
        int(child["pid"]): int(child["ticks"])
        for child in running.get("children", {}).values()
        if child.get("pid") is not None and child.get("ticks") is not None
    }


def _read(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return {}
