"""The page's server: HTTP/1.1 on loopback, for the browser of whoever started it.

Rules:
1. Every path begins with a token that is drawn at the start and printed once: other users of the
   machine, and other pages in the browser, do not know it.
2. The Host header must be a name of loopback with this port (no DNS rebinding); a foreign Origin
   is refused; there is no CORS.
3. What carries a user's id is posted: no address ever holds one.  Nothing is logged.
4. Pages may load their own style and script and nothing else, and stand in no frame.
5. A request has one time and one size; connections are counted.
"""

import hmac
import io
import secrets
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from clients.serving.service.http_reader import RequestReader
from clients.serving.service.settings import LOOPBACK, is_loopback, split_address
from clients.serving.ui.forms import MOST_BYTES, Form
from clients.serving.ui.pages import Answer, Pages
from shared.errors import ConfigError

MAX_CONNECTIONS = 32
IDLE_S, REQUEST_S, WRITE_S = 30.0, 5.0, 10.0
_HEADER_BYTES = 64 * 1024
FORM = "application/x-www-form-urlencoded"
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; "
        "img-src data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
    # not "no-referrer": with that a form of our own comes with the Origin "null"
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


class PageServer:
    """The server on its port, until `stop`.

    Args:
        pages: answers.
        port: 0 picks a free one.
        idle_s, request_s: how long to wait for a request, and for all of it.

    Raises:
        ConfigError: the port cannot be listened on.
    """

    def __init__(
        self, pages: Pages, port: int = 0, *, idle_s: float = IDLE_S, request_s: float = REQUEST_S
    ) -> None:
        self.token = secrets.token_urlsafe(24)

        class Bound(_Handler):
            pass

        Bound.pages, Bound.server_of, Bound.times = pages, self, (idle_s, request_s)
        try:
            self._server = _Server((LOOPBACK, port), Bound)
        except (OSError, OverflowError) as error:
            raise ConfigError(
                expected="a port that is free to listen on",
                got=f"{port}: {getattr(error, 'strerror', None) or 'no port'}",
                where="--port",
                remedy="Give another one, or none for any.",
            ) from error
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.1}, name="page"
        )
        self._thread.daemon = True
        self._thread.start()

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._server.server_address[1])

    @property
    def address(self) -> str:
        """What to open."""
        return f"http://{LOOPBACK}:{self.port}/{self.token}/"

    def stop(self) -> None:
        """No more requests."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        self._connections = threading.BoundedSemaphore(MAX_CONNECTIONS)
        super().__init__(address, handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self._connections.acquire(blocking=False):
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._connections.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Nothing: a trace may hold anything."""


class _Handler(BaseHTTPRequestHandler):
    pages: Pages
    server_of: PageServer
    times: tuple[float, float]

    protocol_version = "HTTP/1.1"
    server_version, sys_version = "fedinterest", ""
    disable_nagle_algorithm = True
    connection: socket.socket

    def setup(self) -> None:
        super().setup()
        self.rfile.close()
        self._reader = RequestReader(
            self.connection,
            idle_s=self.times[0],
            request_s=self.times[1],
            most_bytes=MOST_BYTES + _HEADER_BYTES,
        )
        self.rfile = io.BufferedReader(self._reader)

    def handle_one_request(self) -> None:
        self._reader.begin()
        try:
            super().handle_one_request()
        except (OSError, ValueError):
            self.close_connection = True

    def do_GET(self) -> None:
        if self._admitted():
            self._reply(self._below(None))

    do_HEAD = do_GET

    def do_POST(self) -> None:
        if not self._admitted():
            return
        body = self._body()
        if body is None:
            return
        try:
            form = Form.parse(body)
        except ConfigError:
            self._reply(self.pages.refused("What was sent is not a form of this page."))
            return
        self._reply(self._below(form))

    def _below(self, form: Form | None) -> Answer | None:
        token, slash, path = self.path.removeprefix("/").partition("/")
        if not hmac.compare_digest(token.encode(), self.server_of.token.encode()) or not slash:
            return None
        try:
            return self.pages.answer(path, form)
        except Exception:  # noqa: BLE001 - a bug of ours; its trace may hold what was typed
            return Answer(body=b"Something went wrong in this page.\n", code=500, kind="text/plain")

    def _admitted(self) -> bool:
        """Rule 2."""
        hosts = self.headers.get_all("Host") or []
        origin = self.headers.get("Origin")
        here = len(hosts) == 1 and self._is_here(hosts[0])
        if here and origin in (None, f"http://{hosts[0]}"):
            return True
        self.close_connection = True
        self._say(403, "Only pages of this server, on this machine, are let in.")
        return False

    def _is_here(self, host: str) -> bool:
        try:
            name, port = split_address(host)
        except ConfigError:
            return False
        return is_loopback(name) and port == self.server_of.port

    def _body(self) -> bytes | None:
        """All of the body; None where it is not read, and then the connection ends."""
        self.close_connection, keep = True, self.close_connection
        lengths = self.headers.get_all("Content-Length") or []
        sound = len(lengths) == 1 and lengths[0].isascii() and lengths[0].isdigit()
        if self.headers.get("Transfer-Encoding") is not None or not sound:
            self._say(411, "Content-Length is needed.")
            return None
        if len(lengths[0]) > 9 or int(lengths[0]) > MOST_BYTES:
            self._say(413, f"A form here is at most {MOST_BYTES} bytes.")
            return None
        if self.headers.get_content_type() != FORM:
            self._say(415, f"{FORM} is needed.")
            return None
        body = self.rfile.read(int(lengths[0]))
        if len(body) < int(lengths[0]):
            raise ConnectionResetError
        self.close_connection = keep
        return body

    def _reply(self, answer: Answer | None) -> None:
        if answer is None:
            self._say(404, "Nothing here. Open the whole address that was printed at the start.")
            return
        self.connection.settimeout(WRITE_S)
        self.send_response(answer.code)
        self.send_header("Content-Type", answer.kind)
        self.send_header("Content-Length", str(len(answer.body)))
        for name, value in HEADERS.items():
            self.send_header(name, value)
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body)

    def _say(self, code: int, text: str) -> None:
        kind = "text/plain; charset=utf-8"
        self._reply(Answer(body=f"{text}\n".encode(), code=code, kind=kind))

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """http.server's own refusals, without its text, which quotes the request."""
        self.close_connection = True
        self._say(405 if code == 501 else code, "That is no request this page understands.")

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: what is asked is nobody else's business."""
