"""A coordinator at work: SuperLink, gateway and conductor, and what an operator sees of them.

Rules:
1. The gateway and the SuperLink run from the first moment, so that partners can connect and check;
   the conductor begins once enough of them are enrolled.
2. Whatever dies is started again; training goes on from the newest checkpoint
   (`server.running.conductor`).
3. Who is enrolled may connect, who was revoked may not, within a second, with no restart.
4. SIGTERM ends it in order: the conductor first, after the round in hand, or after `GRACE_S`.
5. A run that is finished stays so: see `server.running.runs` for what begins another.
"""

import fcntl
import logging
import os
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from server.membership import gateway
from server.membership.partners import Partners
from server.running.conductor import FINAL
from server.running.measures import DESCRIBED, Measures, told_of
from server.running.nodes import Nodes
from server.running.runs import Run, next_run, runs
from server.running.screen import Screen
from server.running.shortfall import SHORT
from server.running.status import PROCESSES
from server.running.superlink import SuperLink, free_port
from server.settings import LOOPBACK, ServerFolder
from server.tracking.tracker import require
from shared.enrolment import check_address
from shared.errors import ConfigError, FedInterestError, RunError
from shared.operations.endpoint import Endpoint
from shared.operations.logs import JsonLines, event, start_logging
from shared.operations.metrics import Metrics
from shared.operations.stopping import stopping
from shared.processes import POLL_S, Child, Supervisor

GRACE_S = 120.0
_LOOK_S, _RENEW_S = 1.0, 3600.0
log = logging.getLogger("fedinterest.server.up")


def up(path: Path, *, once: bool = False, rounds: int | None = None) -> int:
    """Coordinate until told to stop, or, with `once`, until the run is finished.

    Args:
        path: the coordinator's folder.
        rounds: of a new run, in the place of `training.rounds`.

    Returns:
        The exit code: 0, or that of a conductor that cannot go on.

    Raises:
        ConfigError, RunError, StorageError: it cannot start.
    """
    folder = ServerFolder(path)
    require(folder.settings.tracking)
    interactive = sys.stderr.isatty()
    with _alone(folder), _logged(folder, interactive), stopping() as stop:
        return Coordinator(folder, once=once, rounds=rounds, interactive=interactive).run(stop)


class Coordinator:
    """See `up`."""

    def __init__(
        self, folder: ServerFolder, *, once: bool, rounds: int | None, interactive: bool
    ) -> None:
        self.folder, self.once, self.rounds = folder, once, rounds
        self.screen = Screen(interactive)
        self.training: Run | None = None
        self.idle = False
        self._looked = self._renewed = float("-inf")
        self.link = SuperLink(folder.superlink, _superlink_port(folder))
        self.link.prepare()
        gateway.renew(folder, datetime.now(UTC))
        self.nodes = Nodes(folder, self.link)
        self.supervisor = Supervisor(
            [self._superlink(), self._gateway()], folder.state / PROCESSES, tell=self._tell
        )

    def run(self, stop: threading.Event) -> int:
        """Work; the exit code."""
        measures = Measures(
            self.folder, time.time(), self._children, lambda: list(self.nodes.connected)
        )
        endpoint = Endpoint(
            self.folder.operations_port,
            live=lambda: time.monotonic() - self._looked < 60,
            ready=self._needs,
            metrics=Metrics(DESCRIBED, measures.read).text,
        )
        event(log, "up", addr=self.folder.settings.coordinator.address, port=endpoint.port)
        self.screen.say(
            f"coordinator for {self.folder.settings.coordinator.address}; "
            f"http://127.0.0.1:{endpoint.port}/metrics"
        )
        self.nodes.start()
        try:
            while not stop.is_set():
                code = self.supervisor.poll()
                if code is not None and (self.once or code):
                    return code
                if self._look():
                    return 0
                time.sleep(POLL_S)
            return 0
        finally:
            event(log, "stopping")
            self.supervisor.stop()
            self.nodes.stop()
            endpoint.stop()
            self.screen.close()

    def _look(self) -> bool:
        """What is due every second; True where nothing is left to do."""
        now = time.monotonic()
        if now - self._looked < _LOOK_S:
            return False
        self._looked = now
        if now - self._renewed > _RENEW_S:
            self._renewed = now
            try:
                gateway.renew(self.folder, datetime.now(UTC))
            except FedInterestError as error:  # what runs goes on with what it has
                log.error("the gateway cannot be renewed: %s", error)
        if self.training is None and not self.idle:
            self._begin()
        if self.training is not None:
            self.screen.show(told_of(self.folder, self.training))
        return self.idle and self.once

    def _begin(self) -> None:
        """Start the conductor, once enough partners are enrolled."""
        known = runs(self.folder)
        if not known:
            enrolled = len(Partners(self.folder.path).list(enrolled_only=True))
            needed = self.folder.settings.coordinator.partners
            if enrolled < needed:
                self.screen.say(f"waiting: {enrolled} of {needed} partners are enrolled")
                return
        self.training = next_run(self.folder, rounds=self.rounds)
        if self.training is None:
            self.idle = True
            self.screen.say(
                f"run {known[-1].name} is finished; another begins when server.toml or the "
                "partners have changed"
            )
            return
        self.screen.say(
            f"run {self.training.name}: {len(self.training.settings.platforms)} platforms"
        )
        self.supervisor.add(self._conductor(self.training))

    def _superlink(self) -> Child:
        return Child(
            name="superlink",
            command=self.link.command(),
            env=_environment(self.link.environment()),
            log_path=self.folder.log / "superlink.log",
            ready=self.link.ready,
            ready_timeout_s=120,
        )

    def _gateway(self) -> Child:
        host, port = check_address(self.folder.settings.coordinator.listen, "coordinator.listen")
        reached = (LOOPBACK if host == "0.0.0.0" else host.strip("[]"), port)
        made = gateway.gateway(self.folder)
        return Child(
            name="gateway",
            command=made.command(),
            log_path=self.folder.log / "gateway.log",
            ready=lambda: _listens(reached),
            before=lambda: _prepared(self.folder),
        )

    def _conductor(self, run: Run) -> Child:
        return Child(
            name="conductor",
            command=[
                *(sys.executable, "-m", "server.running.conductor"),
                *(str(self.folder.path), run.name, str(self.link.port)),
            ],
            env=_environment(self.link.environment()),
            log_path=self.folder.log / "conductor.jsonl",
            final=FINAL | ({SHORT} if self.once else set()),
            grace_s=GRACE_S,
        )

    def _children(self) -> dict[str, tuple[bool, int]]:
        states, restarts = self.supervisor.states, self.supervisor.restarts
        return {name: (state == "ready", restarts[name]) for name, state in states.items()}

    def _needs(self) -> dict[str, bool]:
        """For /readyz: SuperLink and gateway, and the conductor of a run that was begun."""
        states = self.supervisor.states
        needs = {name: states[name] == "ready" for name in ("superlink", "gateway")}
        if self.training is not None:
            needs["conductor"] = states.get("conductor") in ("ready", "ended")
        return needs

    def _tell(self, what: str, name: str, fields: dict[str, Any]) -> None:
        level = logging.WARNING if what in ("died", "late") else logging.INFO
        event(log, what, level, child=name, **fields)
        if what in ("died", "late") and fields["code"] != SHORT:  # which says itself what it lacks
            self.screen.say(f"{name} {what} (exit code {fields['code']}); it is started again")
        elif what == "ready" or (what == "ended" and fields["code"] == 0):
            self.screen.say(f"{name} {'is ready' if what == 'ready' else 'is done'}")
        elif what == "ended":
            told = told_of(self.folder, self.training) if self.training else {}
            self.screen.say(f"{name} cannot go on: {told.get('message') or fields['code']}")


def _superlink_port(folder: ServerFolder) -> int:
    """Where SuperLink will listen: as before, if that port is still free.

    Raises:
        ConfigError: server.toml asks for one that is taken.
    """
    wanted = folder.superlink_port
    found = free_port(wanted)
    if found != wanted:
        if folder.settings.coordinator.superlink_port:
            raise ConfigError(
                expected="a free port on 127.0.0.1",
                got=f"{wanted}, which is taken",
                where="coordinator.superlink_port",
                remedy="Give another one, or 0 for any.",
            )
        folder.keep_port("superlink", found)
    return found


def _prepared(folder: ServerFolder) -> None:
    made = gateway.gateway(folder)
    made.write()
    made.test()


def _listens(address: tuple[str, int]) -> bool:
    try:
        with socket.create_connection(address, timeout=1):
            return True
    except OSError:
        return False


def _environment(base: dict[str, str]) -> dict[str, str]:
    """`base`, and the way to this code where it is not installed."""
    here = str(Path(__file__).resolve().parents[2])
    known = base.get("PYTHONPATH", "")
    return {**base, "PYTHONPATH": here + (os.pathsep + known if known else "")}


@contextmanager
def _alone(folder: ServerFolder) -> Iterator[None]:
    _ = folder.settings  # is it a coordinator's folder?
    folder.state.mkdir(mode=0o700, parents=True, exist_ok=True)
    with open(folder.state / "up.lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise RunError(
                expected="a coordinator that is not running",
                got="one that is",
                where=str(folder.path),
                remedy="`fedinterest-server status` says what it is at.",
            ) from error
        yield


@contextmanager
def _logged(folder: ServerFolder, interactive: bool) -> Iterator[None]:
    """JSON lines to log/coordinator.jsonl, and to standard error where nobody watches."""
    root = logging.getLogger()
    before = list(root.handlers), root.level
    start_logging(folder.log / "coordinator.jsonl")
    if not interactive:
        stream = logging.StreamHandler()
        stream.setFormatter(JsonLines())
        for worth in root.handlers[0].filters:
            stream.addFilter(worth)
        root.addHandler(stream)
    try:
        yield
    finally:
        for handler in root.handlers[:]:
            root.removeHandler(handler)
            handler.close()
        for handler in before[0]:
            root.addHandler(handler)
        root.setLevel(before[1])
