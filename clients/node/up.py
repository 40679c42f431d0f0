"""Keeps a partner's three programs alive: sidecar, SuperNode, executor, in this order.

The platform's folder is made first if it is not there.  SIGTERM and SIGINT end everything in
reverse order: first nothing is answered any more, then the node is signed off, then the way out
is closed.  An executor that died takes the SuperNode with it: the message it was working on would
otherwise keep the SuperNode waiting for a minute.
"""

import os
import signal
import socket
import ssl
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from clients.home import Home
from clients.joining.keys import LOOPBACK
from clients.node import supernode
from clients.node.control import PIDS
from clients.node.measures import Measures
from clients.node.sidecar import sidecar
from clients.prepare import Progress
from shared.files import write_json
from shared.operations.endpoint import Endpoint
from shared.processes import Child, Supervisor

_SOURCE = Path(__file__).resolve().parents[2]
_EXTRA_BYTES = 4 * 1024**2  # of a request beside the update itself

OPERATIONS = "operations.json"
Tell = Callable[[str, str, dict[str, Any]], None]


@dataclass
class Ports:
    """Where the programs of one partner meet, on loopback.

    Args:
        sidecar, runtime: of the sidecar and of the SuperNode's Runtime API.
    """

    sidecar: int = field(default_factory=lambda: free_port())
    runtime: int = field(default_factory=lambda: free_port())


def free_port() -> int:
    """A TCP port that nobody listens on at the moment."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


def children(home: Home, ports: Ports) -> list[Child]:
    """The three programs, ready to be supervised; their files are in place.

    Raises:
        ConfigError: nginx is missing, or does not accept the configuration.
        RunError, ProtocolError: there is no enrolment.
    """
    enrolment, keys, folder = home.enrolment(), home.keys, home.folder
    keys.install(enrolment.certificate_pem, enrolment.ca_pem)
    largest = home.policy().max_update_bytes + _EXTRA_BYTES
    nginx = sidecar(folder.sidecar, keys, enrolment, port=ports.sidecar, max_body=largest)
    nginx.write()
    nginx.test()
    own = {**os.environ, "PYTHONPATH": _python_path()}
    flower = supernode.environment(own, home=folder.state / "flwr", node=folder.state / "node_id")
    trust = keys.loopback_certificate
    return [
        Child(
            name="sidecar",
            command=nginx.command(),
            log_path=folder.log / "sidecar.log",
            ready=lambda: _sidecar_answers(ports.sidecar, trust),
            grace_s=0.5,
        ),
        Child(
            name="supernode",
            command=supernode.command(
                sidecar=f"{LOOPBACK}:{ports.sidecar}",
                certificate=trust,
                key=keys.node_key,
                port=ports.runtime,
                secret=keys.executor_secret,
            ),
            log_path=folder.log / "supernode.log",
            env=flower,
            ready=lambda: listens(ports.runtime),
            ready_timeout_s=120.0,
            grace_s=1.5,
        ),
        Child(
            name="executor",
            command=[
                *(sys.executable, "-P", "-m", "clients.node.executor"),
                *(str(folder.path), f"{LOOPBACK}:{ports.runtime}"),
            ],
            log_path=folder.log / "executor.log",
            env=flower,
            grace_s=0.8,
        ),
    ]


def up(
    home: Home,
    progress: Progress,
    *,
    tell: Tell | None = None,
    stopping: Callable[[], bool] | None = None,
) -> int:
    """Prepare the platform, and run its programs until told to stop.

    Args:
        tell: hears what happens to the programs; see `Supervisor`.
        stopping: ends it too; for callers that do not use signals.

    Returns:
        Exit code.

    Raises:
        RunError: another `up` works in this folder, or there is no enrolment.
        FedInterestError: the platform cannot be prepared.
    """
    home.folder.make()
    home.prepare(progress)
    stopped: list[int] = []
    restarts = 0
    supervisor = Supervisor(
        children(home, Ports()), status_path=home.folder.state / PIDS, tell=tell
    )

    def each() -> None:
        nonlocal restarts
        if (now := supervisor.restarts["executor"]) != restarts:
            restarts = now
            supervisor.restart("supernode")

    def programs() -> dict[str, tuple[bool, int, int | None]]:
        return {
            name: (state == "ready", supervisor.restarts[name], supervisor.pid(name))
            for name, state in supervisor.states.items()
        }

    measures = Measures(home, programs, time.time())
    endpoint = Endpoint(
        home.settings.operations.port,
        live=lambda: True,
        ready=lambda: {
            **{name: one[0] for name, one in programs().items()},
            "not paused": not home.paused.exists(),
        },
        metrics=measures.text,
    )
    write_json(home.folder.state / OPERATIONS, {"port": endpoint.port})
    before = {
        number: signal.signal(number, lambda signum, _frame: stopped.append(signum))
        for number in (signal.SIGTERM, signal.SIGINT)
    }
    try:
        return supervisor.run(lambda: bool(stopped) or (stopping is not None and stopping()), each)
    finally:
        endpoint.stop()
        for number, handler in before.items():
            signal.signal(number, handler)


def listens(port: int) -> bool:
    """Whether somebody listens on a port of loopback."""
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return probe.connect_ex((LOOPBACK, port)) == 0


def _sidecar_answers(port: int, certificate: Path) -> bool:
    context = ssl.create_default_context(cafile=str(certificate))
    try:
        url = f"https://{LOOPBACK}:{port}/sidecar"
        with urllib.request.urlopen(url, timeout=2, context=context) as answer:
            return bool(answer.status == 204)
    except (urllib.error.URLError, OSError):
        return False


def _python_path() -> str:
    """So that the children find this very code, wherever they are started."""
    more = os.environ.get("PYTHONPATH")
    return os.pathsep.join([str(_SOURCE), *([more] if more else [])])
