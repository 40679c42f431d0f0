"""`fedinterest-client serve`: gRPC, JSON and operations in front of `Answers`, until SIGTERM.

At the end: NOT_SERVING, no new calls, those in flight are finished (`serving.grace_s`), then the
measures go.  A second signal is as usual.
"""

import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from clients.serving.engine import Answers
from clients.serving.heap import tidied
from clients.serving.service.gateway import Gateway
from clients.serving.service.measures import Measures, Tally
from clients.serving.service.refresher import Refresher
from clients.serving.service.server import GrpcServer
from clients.serving.service.servicer import Servicer
from clients.serving.service.settings import ServingSettings
from shared.operations.endpoint import Endpoint
from shared.operations.logs import event, start_logging
from shared.operations.stopping import stopping as told_to_stop

POLL_S = 0.05
_SWITCH_S = 0.0005
log = logging.getLogger("fedinterest.serving")


@dataclass(frozen=True, kw_only=True)
class Places:
    """Where a service can be reached.

    Args:
        grpc: "host:port".
        json: likewise; None where there is no gateway.
        operations: port of /livez, /readyz and /metrics, on 127.0.0.1.
    """

    grpc: str
    json: str | None
    operations: int


def serve(
    answers: Answers,
    settings: ServingSettings,
    *,
    log_path: Path | None = None,
    started: Callable[[Places], None] | None = None,
    stopping: Callable[[], bool] | None = None,
) -> int:
    """Answer until told to stop.

    Args:
        answers: not closed here.
        log_path: where JSON lines go; None is standard error.
        started: hears where it can be reached, once it can.
        stopping: ends it too; for callers that do not use signals.

    Returns:
        0, or 1 where calls in flight had to be cut off.

    Raises:
        ConfigError: an address or the TLS files cannot be used.
    """
    with _logged(log_path), told_to_stop() as told, _quick_turns():
        service = Service(answers, settings)
        try:
            places = service.places
            event(log, "serving", addr=places.grpc, port=places.operations)
            if started is not None:
                started(places)
            with tidied():
                while not (told.is_set() or (stopping is not None and stopping())):
                    told.wait(POLL_S)
        finally:
            event(log, "stopping")
            began = time.monotonic()
            clean = service.stop()
        outcome = "all answered" if clean else "cut off"
        event(log, "stopped", outcome=outcome, seconds=round(time.monotonic() - began, 3))
        return 0 if clean else 1


class Service:
    """All parts of it, at work until `stop`; for `serve`, and for who has a main loop already."""

    def __init__(self, answers: Answers, settings: ServingSettings) -> None:
        self._settings = settings
        self.draining = False
        self.tally = Tally()
        servicer = Servicer(answers, self.tally)
        with ExitStack() as undo:  # what was begun ends if what follows cannot begin
            self._server = GrpcServer(servicer, settings)
            undo.callback(self._server.stop)
            self._gateway = Gateway(servicer, settings) if settings.json_address else None
            if self._gateway is not None:
                undo.callback(self._gateway.stop, 0.0)
            self._refresher = Refresher(
                answers,
                every_s=settings.refresh_s,
                tally=self.tally,
                say=self._server.say_ready,
            )
            measures = Measures(
                answers,
                self.tally,
                ready=lambda: self._refresher.ready,
                draining=lambda: self.draining,
            )
            self._endpoint = Endpoint(
                settings.operations_port,
                live=lambda: True,
                ready=self._needs,
                metrics=measures.text,
            )
            undo.pop_all()
        self._refresher.start()

    @property
    def places(self) -> Places:
        """Where it can be reached."""
        return Places(
            grpc=self._server.address,
            json=None if self._gateway is None else self._gateway.address,
            operations=self._endpoint.port,
        )

    def stop(self) -> bool:
        """End in order; whether all calls in flight were answered."""
        self.draining = True
        until = time.monotonic() + self._settings.grace_s
        if self._gateway is not None:
            self._gateway.draining = True
        clean = self._server.stop()
        if self._gateway is not None:
            clean = self._gateway.stop(max(0.0, until - time.monotonic())) and clean
        self._refresher.stop()
        self._endpoint.stop()
        return clean

    def _needs(self) -> dict[str, bool]:
        return {"snapshot": self._refresher.ready, "not stopping": not self.draining}


@contextmanager
def _logged(path: Path | None) -> Iterator[None]:
    root = logging.getLogger()
    before, level = list(root.handlers), root.level
    handler = start_logging(path)
    try:
        yield
    finally:
        root.removeHandler(handler)
        if path is not None:
            handler.close()
        for one in before:
            root.addHandler(one)
        root.setLevel(level)


@contextmanager
def _quick_turns() -> Iterator[None]:
    """Threads hand over sooner: by default one that computes keeps a reply waiting for 5 ms."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(_SWITCH_S)
    try:
        yield
    finally:
        sys.setswitchinterval(before)
