"""Child processes of one supervisor: started in order, restarted when they die, stopped in reverse.

Rules:
1. A child starts once those before it are ready.  One that dies is started again after a pause that
   doubles from 0.5 s to 10 s; a minute of life makes the next pause short again.
2. A child that is not ready in its time counts as dead.
3. A child gets a session of its own, and with the child its whole session ends: what it started
   (nginx's workers) never outlives it to hold a port.
4. Children get SIGTERM when the thread that started them ends, in whatever way.  What a killed
   supervisor left behind all the same is ended by the next one, which knows it from the status
   file: by process number, start time and boot, never by name.
5. Everything happens in `poll`, on the caller's thread; what is waited for is the end of a child
   that does not obey SIGTERM.

For Linux.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from shared.errors import RunError
from shared.files import storage_error, write_json
from shared.sessions import boot, kill_session, started_at

FIRST_PAUSE_S, LONGEST_PAUSE_S, STEADY_S = 0.5, 10.0, 60.0
POLL_S = 0.1
MAX_LOG_BYTES = 10 * 1024**2

# Runs in the child before the program: asks the kernel to be told when the parent dies.  A
# preexec_fn would do so too, but is not safe beside threads.
_TIED = (
    "import ctypes,os,signal,sys;"
    "ctypes.CDLL(None,use_errno=True).prctl(1,signal.SIGTERM,0,0,0);"
    "os.getppid()==int(sys.argv[1]) or os._exit(0);"
    "os.execvp(sys.argv[2],sys.argv[2:])"
)

State = Literal["waiting", "starting", "ready", "pausing", "stopped", "ended"]
Tell = Callable[[str, str, dict[str, Any]], None]


@dataclass(frozen=True, kw_only=True)
class Child:
    """One program to keep alive.

    Args:
        name: unique among its siblings.
        command: program and arguments; nothing secret: others on the machine can read it.
        log_path: where its output is added.
        env: its whole environment; None means the supervisor's.
        ready: whether it does its work, asked again and again; None: as soon as it runs.
        ready_timeout_s: it must be ready by then.
        before: called before every start.
        grace_s: between SIGTERM and SIGKILL.
        final: exit codes after which it has done its work: supervision ends with that code.
    """

    name: str
    command: Sequence[str]
    log_path: Path
    env: Mapping[str, str] | None = None
    ready: Callable[[], bool] | None = None
    ready_timeout_s: float = 30.0
    before: Callable[[], None] | None = None
    grace_s: float = 5.0
    final: frozenset[int] = frozenset()


@dataclass
class _Kept:
    child: Child
    state: State = "waiting"
    process: "subprocess.Popen[bytes] | None" = None
    ticks: int = 0
    since: float = 0.0
    pause_s: float = 0.0
    starts: int = 0
    exit_code: int | None = None


@dataclass
class Supervisor:
    """Keeps `children` alive.

    Raises:
        RunError: another supervisor works with `status_path`.

    Args:
        children: in the order they start.
        status_path: JSON: each child's state and process number; also what rule 4 reads.
        tell: hears ("started" | "ready" | "died" | "late" | "stopped" | "ended", child, fields).
        clock: seconds that only grow.
    """

    children: Sequence[Child]
    status_path: Path
    tell: Tell | None = None
    clock: Callable[[], float] = time.monotonic
    _kept: list[_Kept] = field(init=False)

    def __post_init__(self) -> None:
        self._kept = [_Kept(child) for child in self.children]
        _end_leftovers(self.status_path)
        self._write()

    @property
    def states(self) -> dict[str, State]:
        """Each child's state."""
        return {kept.child.name: kept.state for kept in self._kept}

    @property
    def all_ready(self) -> bool:
        """Whether every child does its work."""
        return all(kept.state == "ready" for kept in self._kept)

    @property
    def restarts(self) -> dict[str, int]:
        """How often each child was started again."""
        return {kept.child.name: max(0, kept.starts - 1) for kept in self._kept}

    @property
    def exit_codes(self) -> dict[str, int | None]:
        """How each child ended last; minus the signal that ended it; None where it never has."""
        return {kept.child.name: kept.exit_code for kept in self._kept}

    def add(self, child: Child) -> None:
        """One more, after the others."""
        self._kept.append(_Kept(child))
        self._write()

    def pid(self, name: str) -> int | None:
        """The process number of a child that runs."""
        for kept in self._kept:
            if kept.child.name == name and kept.process is not None:
                return kept.process.pid
        return None

    def poll(self) -> int | None:
        """See who died and who is ready, start whom it is time for.

        Returns:
            The exit code of a child that has ended for good (`Child.final`), or None.
        """
        blocked = False
        for kept in self._kept:
            if kept.process is None:
                if not blocked and kept.state != "ended":
                    self._start_in_time(kept)
            elif (code := self._look(kept, kept.process)) is not None:
                return code
            blocked = blocked or kept.state != "ready"
        return None

    def run(self, stop: Callable[[], bool], each: Callable[[], None] | None = None) -> int:
        """Poll until `stop()` or until a child has ended for good; then stop all.

        Args:
            each: called after every poll.

        Returns:
            That child's exit code; 0 after `stop()`.
        """
        try:
            while not stop():
                if (code := self.poll()) is not None:
                    return code
                if each is not None:
                    each()
                time.sleep(POLL_S)
            return 0
        finally:
            self.stop()

    def stop(self) -> None:
        """End all children, last first: SIGTERM, their grace, SIGKILL."""
        for kept in reversed(self._kept):
            if kept.process is not None:
                _end(kept.process, kept.child.grace_s)
                self._gone(kept, kept.process.returncode)
            if kept.state != "ended":
                self._turn(kept, "stopped")

    def restart(self, name: str) -> None:
        """End a child; `poll` starts it again."""
        for kept in self._kept:
            if kept.child.name == name and kept.process is not None:
                _end(kept.process, kept.child.grace_s)

    def _start_in_time(self, kept: _Kept) -> None:
        child = kept.child
        if kept.state == "pausing" and self.clock() < kept.since + kept.pause_s:
            return
        if child.before is not None:
            child.before()
        kept.process = _spawn(child)
        kept.ticks = started_at(kept.process.pid)
        kept.since, kept.starts = self.clock(), kept.starts + 1
        self._turn(kept, "starting", pid=kept.process.pid, restarts=kept.starts - 1)

    def _look(self, kept: _Kept, process: "subprocess.Popen[bytes]") -> int | None:
        child, age = kept.child, self.clock() - kept.since
        if (code := process.poll()) is not None:
            self._gone(kept, code)
            if code in child.final:
                self._turn(kept, "ended", code=code)
                return code
            self._pause(kept, "died", age)
        elif kept.state == "starting":
            if child.ready is None or child.ready():
                self._turn(kept, "ready", seconds=round(age, 3))
            elif age > child.ready_timeout_s:
                _end(process, child.grace_s)
                self._gone(kept, process.returncode)
                self._pause(kept, "late", age)
        return None

    def _gone(self, kept: _Kept, code: int | None) -> None:
        if kept.process is not None:
            kill_session(kept.process.pid)
        kept.process, kept.exit_code = None, code

    def _pause(self, kept: _Kept, what: str, age: float) -> None:
        first = age >= STEADY_S or kept.pause_s == 0
        kept.pause_s = FIRST_PAUSE_S if first else min(LONGEST_PAUSE_S, 2 * kept.pause_s)
        kept.since = self.clock()
        self._turn(kept, "pausing", what, code=kept.exit_code, pause_s=kept.pause_s)

    def _turn(self, kept: _Kept, state: State, what: str = "", **fields: Any) -> None:
        changed, kept.state = kept.state != state, state
        if changed:
            self._write()
            if self.tell is not None:
                word = what or {"starting": "started"}.get(state, state)
                self.tell(word, kept.child.name, fields)

    def _write(self) -> None:
        children = {
            kept.child.name: {
                "state": kept.state,
                "pid": kept.process.pid if kept.process else None,
                "ticks": kept.ticks if kept.process else None,
                "restarts": max(0, kept.starts - 1),
                "exit_code": kept.exit_code,
            }
            for kept in self._kept
        }
        own = {"pid": os.getpid(), "ticks": started_at(os.getpid()), "boot": boot()}
        write_json(self.status_path, {**own, "children": children})


def read_status(path: Path) -> dict[str, Any] | None:
    """What a supervisor that is alive wrote to `path`; None where there is none."""
    found = _read(path)
    if found is None or found["boot"] != boot() or started_at(found["pid"]) != found["ticks"]:
        return None
    return found


def _read(path: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        _ = found["boot"], found["pid"], found["ticks"], found["children"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return dict(found)


def _spawn(child: Child) -> "subprocess.Popen[bytes]":
    try:
        child.log_path.parent.mkdir(parents=True, exist_ok=True)
        if child.log_path.is_file() and child.log_path.stat().st_size > MAX_LOG_BYTES:
            os.replace(child.log_path, child.log_path.with_suffix(".log.1"))
        log = os.open(child.log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    except OSError as error:
        raise storage_error(error, child.log_path) from error
    try:
        return subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _TIED, str(os.getpid()), *child.command],
            env=None if child.env is None else dict(child.env),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    finally:
        os.close(log)


def _end(process: "subprocess.Popen[bytes]", grace_s: float) -> None:
    process.terminate()
    try:
        process.wait(grace_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _end_leftovers(path: Path) -> None:
    """End what a supervisor that was killed has left running, as far as it is surely its own.

    Raises:
        RunError: that supervisor is alive.
    """
    found = _read(path)
    if found is None or found["boot"] != boot():
        return
    if started_at(found["pid"]) == found["ticks"] and found["pid"] != os.getpid():
        raise RunError(
            expected="a folder that no other supervisor works in",
            got=f"one that process {found['pid']} works in",
            where=str(path),
            remedy="Stop it first.",
        )
    for left in found["children"].values():
        # A number that another process has now is not ours any more; while any process of the
        # session lives the kernel gives its number to nobody.
        if left["pid"] is not None and started_at(left["pid"]) in (0, left["ticks"]):
            kill_session(left["pid"])
