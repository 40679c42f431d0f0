"""Where an operator's tools ask how a side does: on loopback, plain HTTP, reading only.

/livez      200 while the process does its work at all; restart it when it does not
/readyz     200 when it can do what it is for, else 503; the body says what is missing
/metrics    for Prometheus
"""

import json
import logging
import threading
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from shared.errors import ConfigError, FedInterestError
from shared.operations.metrics import CONTENT_TYPE

_TIMEOUT_S = 5.0
log = logging.getLogger("fedinterest.operations")

Answer = tuple[int, str, bytes]


class Endpoint:
    """The three paths, served until `stop`.

    Args:
        port: on 127.0.0.1; 0 takes a free one.
        live: whether the process does its work.
        ready: what is needed -> whether it is there.
        metrics: the body of /metrics.

    Raises:
        ConfigError: the port is taken.
    """

    def __init__(
        self,
        port: int,
        *,
        live: Callable[[], bool],
        ready: Callable[[], Mapping[str, bool]],
        metrics: Callable[[], bytes],
    ) -> None:
        self._live, self._ready, self._metrics = live, ready, metrics

        class Handler(BaseHTTPRequestHandler):
            timeout = _TIMEOUT_S
            server_version, sys_version = "fedinterest", ""
            answer = staticmethod(self._answer)

            def do_GET(self) -> None:
                code, kind, body = self.answer(self.path)
                self.send_response(code)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:
                """Nothing: a probe every few seconds is not news."""

        try:
            self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        except OSError as error:
            raise ConfigError(
                expected="a free port on 127.0.0.1",
                got=f"{port}: {error.strerror}",
                where="operations_port",
                remedy="Give another one, or 0 for any.",
            ) from error
        self._server.daemon_threads = True
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.1,), name="operations", daemon=True
        )
        self._thread.start()

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._server.server_address[1])

    def stop(self) -> None:
        """Close it."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _answer(self, path: str) -> Answer:
        try:
            match path.partition("?")[0]:
                case "/livez":
                    return (200, "text/plain", b"ok\n") if self._live() else _plain(503, "stuck")
                case "/readyz":
                    needs = dict(self._ready())
                    body = json.dumps({"ready": all(needs.values()), "needs": needs}) + "\n"
                    code = 200 if all(needs.values()) else 503
                    return code, "application/json", body.encode()
                case "/metrics":
                    return 200, CONTENT_TYPE, self._metrics()
        except (FedInterestError, OSError) as error:
            log.warning("%s: %s", path.partition("?")[0][:40], type(error).__name__)
            return _plain(500, type(error).__name__)
        return _plain(404, "not here")


def _plain(code: int, text: str) -> Answer:
    return code, "text/plain", f"{text}\n".encode()
