"""Processes by number, and how to be sure that a number still means the same process.  For Linux.

A number alone may have gone to another process since; with the time it began and the machine's boot
it is unique.  A session (setsid) is a process and all it started, known by its leader's number,
which the kernel gives to nobody while any of them lives.
"""

import os
import signal
import time
from contextlib import suppress
from pathlib import Path

_PATIENCE_S = 5.0
_PAGE_MIB = os.sysconf("SC_PAGE_SIZE") / 1024**2


def kill_session(leader: int) -> None:
    """SIGKILL for every process of the session of `leader`, and wait until they are gone."""
    deadline = time.monotonic() + _PATIENCE_S
    while members := _session(leader):
        for member in members:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(member, signal.SIGKILL)
        if time.monotonic() > deadline:
            return
        time.sleep(0.01)


def _session(leader: int) -> list[int]:
    """Processes of a session that are not dead."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            fields = _stat(int(folder.name))
            if fields and int(fields[3]) == leader and fields[0] != "Z":
                found.append(int(folder.name))
    return found


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat after the program's name: state, ppid, pgrp, session, ..."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def started_at(pid: int) -> int:
    """When a process began, in ticks since the machine did; 0 where it is gone or dead."""
    fields = _stat(pid)
    return 0 if not fields or fields[0] == "Z" else int(fields[19])


def boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def resident_mib(pid: int) -> float:
    """Resident memory of a process in MiB; 0 where it is gone."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE_MIB
    except (OSError, ValueError, IndexError):
        return 0.0
