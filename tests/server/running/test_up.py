"""`fedinterest-server up` in a process, with a real nginx and SuperLink; nobody is enrolled."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from server.membership.enrolment import init
from server.running.status import status
from shared.sessions import started_at

pytestmark = pytest.mark.usefixtures("nginx")

ROOT = Path(__file__).resolve().parents[3]


def start(folder: Path, *more: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "server.cli", "up", str(folder), *more],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        stderr=subprocess.PIPE,
        text=True,
    )


def wait(condition: Callable[[], Any], what: str) -> Any:
    deadline = time.monotonic() + 90
    while not (found := condition()):
        assert time.monotonic() < deadline, what
        time.sleep(0.1)
    return found


def get(port: int, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as found:
            return found.status, found.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()
    except OSError:
        return 0, ""


def pids(folder: Path) -> dict[str, int]:
    found = json.loads((folder / "state" / "processes.json").read_text())["children"]
    return {name: one["pid"] for name, one in found.items() if one["pid"]}


def test_up_waits_for_partners_restarts_what_dies_and_leaves_nothing(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        gateway = probe.getsockname()[1]
    folder = tmp_path / "coordinator"
    init(folder, name="toys", address=f"127.0.0.1:{gateway}", now=datetime.now(UTC))
    running = start(folder)
    try:
        wait(lambda: status(folder)["ok"], "a coordinator that is up")
        port = int(status(folder)["operations"].rpartition(":")[2])
        assert get(port, "/livez")[0] == 200
        assert json.loads(get(port, "/readyz")[1])["needs"] == {"superlink": True, "gateway": True}
        assert "fedinterest_coordinator_partners_needed 2.0" in get(port, "/metrics")[1]
        again = start(folder)  # the second one
        assert again.wait(60) == 10
        assert again.stderr is not None
        assert "got one that is" in again.stderr.read()
        again.stderr.close()

        before = pids(folder)
        assert set(before) == {"superlink", "gateway"}
        os.kill(before["gateway"], signal.SIGKILL)  # its workers hold the port, until they end too
        wait(lambda: pids(folder).get("gateway") not in (None, before["gateway"]), "a new gateway")
        wait(lambda: status(folder)["ok"], "a gateway that is ready")
        assert 'child_restarts_total{child="gateway"} 1.0' in get(port, "/metrics")[1]
        assert pids(folder)["superlink"] == before["superlink"]

        now = pids(folder)
        running.kill()  # and nobody is left
        running.wait()
        wait(lambda: not any(started_at(pid) for pid in now.values()), "the end of the children")
        assert status(folder)["running"] is False
        assert running.stderr is not None
        running.stderr.close()

        running = start(folder)  # in the same folder, on the same ports
        wait(lambda: status(folder)["ok"], "a coordinator that is up again")
        assert int(status(folder)["operations"].rpartition(":")[2]) == port
        now = pids(folder)
        running.terminate()
        assert running.wait(30) == 0
        assert not any(started_at(pid) for pid in now.values())
        assert running.stderr is not None
        events = [json.loads(line)["event"] for line in running.stderr.read().splitlines()]
        assert events[0] == "up"
        assert events[-2:] == ["stopped", "stopped"]
    finally:
        running.kill()
        running.wait()
        if running.stderr is not None:
            running.stderr.close()
