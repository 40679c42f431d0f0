"""Real processes: started in order, restarted, ended with all they started, none left over."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from shared.errors import RunError
from shared.processes import Child, Supervisor, read_status
from shared.sessions import started_at

SLEEP = (sys.executable, "-S", "-c", "import time; time.sleep(60)")
# Starts a child of its own that ignores SIGTERM, and writes both numbers down.
FAMILY = """
import os, signal, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-S", "-c",
    "import signal,time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)"])
open(sys.argv[1], "w").write(f"{os.getpid()} {child.pid}\\n")
time.sleep(60)
"""


class Clock:
    """Seconds that pass when told to."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def made() -> Iterator[list[Supervisor]]:
    """Supervisors to stop whatever happens."""
    found: list[Supervisor] = []
    yield found
    for one in found:
        one.stop()


def wait(condition: Callable[[], Any], each: Callable[[], Any] | None = None) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        if each is not None:
            each()
        assert time.monotonic() < deadline, "did not happen in 20 s"
        time.sleep(0.02)


def alive(pid: int) -> bool:
    return started_at(pid) != 0


def child(folder: Path, name: str, command: tuple[str, ...] = SLEEP, **more: Any) -> Child:
    return Child(name=name, command=command, log_path=folder / f"{name}.log", **more)


def test_a_child_waits_until_the_one_before_is_ready(
    tmp_path: Path, made: list[Supervisor]
) -> None:
    told: list[tuple[str, str]] = []
    first = child(tmp_path, "first", ready=lambda: (tmp_path / "go").exists())
    one = Supervisor(
        [first, child(tmp_path, "second")],
        tmp_path / "status.json",
        tell=lambda what, name, _: told.append((what, name)),
    )
    made.append(one)
    for _ in range(5):
        one.poll()
    assert one.states == {"first": "starting", "second": "waiting"}
    (tmp_path / "go").touch()
    wait(lambda: one.all_ready, one.poll)
    assert told == [
        ("started", "first"),
        ("ready", "first"),
        ("started", "second"),
        ("ready", "second"),
    ]
    pids = [one.pid("first"), one.pid("second")]
    found = json.loads((tmp_path / "status.json").read_text())
    assert [found["children"][name]["pid"] for name in ("first", "second")] == pids
    assert (tmp_path / "status.json").stat().st_mode & 0o777 == 0o600
    told.clear()
    one.stop()
    assert told == [("stopped", "second"), ("stopped", "first")]
    assert not any(alive(pid) for pid in pids if pid)
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)  # no zombie either


def test_pauses_double_and_a_minute_of_life_makes_them_short_again(
    tmp_path: Path, made: list[Supervisor]
) -> None:
    clock, pauses = Clock(), list[float]()

    def tell(what: str, _name: str, fields: dict[str, Any]) -> None:
        if what == "died":
            assert fields["code"] == -signal.SIGKILL
            pauses.append(fields["pause_s"])

    one = Supervisor([child(tmp_path, "a")], tmp_path / "status.json", tell=tell, clock=clock)
    made.append(one)
    for life in [0.0] * 7 + [60.0]:
        wait(lambda: one.all_ready, one.poll)
        clock.now += life
        os.kill(one.pid("a") or 0, signal.SIGKILL)
        wait(lambda: one.states["a"] == "pausing", one.poll)
        clock.now += pauses[-1] - 0.01
        one.poll()
        assert one.states["a"] == "pausing"
        clock.now += 0.02
    assert pauses == [0.5, 1, 2, 4, 8, 10, 10, 0.5]
    wait(lambda: one.all_ready, one.poll)
    assert one.restarts == {"a": 8}


def test_with_a_child_its_whole_family_ends(tmp_path: Path, made: list[Supervisor]) -> None:
    pids = tmp_path / "pids"
    command = (sys.executable, "-S", "-c", FAMILY, str(pids))
    ready = lambda: pids.exists() and pids.read_text().endswith("\n")  # noqa: E731
    one = Supervisor([child(tmp_path, "a", command, ready=ready)], tmp_path / "status.json")
    made.append(one)
    wait(lambda: one.all_ready, one.poll)
    parent, grandchild = map(int, pids.read_text().split())
    assert parent == one.pid("a")
    assert alive(grandchild)
    os.kill(parent, signal.SIGKILL)
    wait(lambda: one.states["a"] == "pausing", one.poll)
    assert not alive(grandchild)


def test_one_that_is_never_ready_counts_as_dead(tmp_path: Path, made: list[Supervisor]) -> None:
    clock = Clock()
    told: list[str] = []
    one = Supervisor(
        [child(tmp_path, "a", ready=lambda: False, ready_timeout_s=3)],
        tmp_path / "status.json",
        tell=lambda what, _name, _fields: told.append(what),
        clock=clock,
    )
    made.append(one)
    one.poll()
    pid = one.pid("a") or 0
    clock.now += 3.1
    one.poll()
    assert told == ["started", "late"]
    assert not alive(pid)


def test_a_final_exit_code_ends_supervision_and_another_does_not(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    script = f"import os,sys; p={str(mark)!r}; d=os.path.exists(p); open(p,'w'); sys.exit(7*d or 1)"
    command = (sys.executable, "-S", "-c", script)
    children = [child(tmp_path, "a"), child(tmp_path, "b", command, final=frozenset({0, 7}))]
    one = Supervisor(children, tmp_path / "status.json")
    assert one.run(lambda: False) == 7
    assert one.states == {"a": "stopped", "b": "ended"}
    assert one.restarts == {"a": 0, "b": 1}


def test_before_is_called_before_every_start(tmp_path: Path, made: list[Supervisor]) -> None:
    calls: list[int] = []
    one = Supervisor(
        [child(tmp_path, "a", before=lambda: calls.append(1))], tmp_path / "status.json"
    )
    made.append(one)
    wait(lambda: one.all_ready, one.poll)
    os.kill(one.pid("a") or 0, signal.SIGKILL)
    wait(lambda: one.restarts["a"] == 1, one.poll)
    assert calls == [1, 1]


def test_one_that_ignores_sigterm_is_killed_after_its_grace(tmp_path: Path) -> None:
    script = (
        "import signal,time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
        "print('deaf', flush=True); time.sleep(60)"
    )
    log = tmp_path / "a.log"
    command = (sys.executable, "-S", "-c", script)
    ready = lambda: "deaf" in log.read_text()  # noqa: E731
    one = Supervisor(
        [child(tmp_path, "a", command, ready=ready, grace_s=0.3)], tmp_path / "status.json"
    )
    wait(lambda: one.all_ready, one.poll)
    pid = one.pid("a") or 0
    start = time.monotonic()
    one.stop()
    assert 0.3 <= time.monotonic() - start < 3
    assert not alive(pid)


SUPERVISOR = """
import sys, time
from pathlib import Path
from shared.processes import Child, Supervisor
folder = Path(sys.argv[1])
command = (sys.executable, "-S", "-c", sys.argv[2], str(folder / "pids"))
one = Supervisor([Child(name="a", command=command, log_path=folder / "a.log")],
                 folder / "status.json")
one.run(lambda: False)
"""


def test_what_a_killed_supervisor_left_is_ended(tmp_path: Path) -> None:
    """The child gets SIGTERM from the kernel; its own child ignores that and is left over."""
    status, pids = tmp_path / "status.json", tmp_path / "pids"
    supervisor = subprocess.Popen(
        [sys.executable, "-c", SUPERVISOR, str(tmp_path), FAMILY],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])},
    )
    try:
        wait(lambda: pids.exists() and pids.read_text().endswith("\n"))
        parent, grandchild = map(int, pids.read_text().split())
        assert (read_status(status) or {})["pid"] == supervisor.pid
        with pytest.raises(RunError, match=f"process {supervisor.pid} works in"):
            Supervisor([], status)
    finally:
        supervisor.kill()
        supervisor.wait()
    wait(lambda: not alive(parent))
    assert alive(grandchild)
    assert read_status(status) is None
    Supervisor([], status)
    assert not alive(grandchild)


def test_a_number_that_another_process_has_now_is_left_alone(tmp_path: Path) -> None:
    """The status file names this test's own process, with another start time."""
    stranger = subprocess.Popen(SLEEP, start_new_session=True)
    try:
        status = tmp_path / "status.json"
        Supervisor([], status)
        found = json.loads(status.read_text())
        left = {"pid": stranger.pid, "ticks": started_at(stranger.pid) - 1}
        status.write_text(json.dumps(found | {"children": {"a": left}}))
        Supervisor([], status)
        assert alive(stranger.pid)
    finally:
        stranger.kill()
        stranger.wait()
