"""HTTP/1.1 on loopback, for what is open to this machine alone: the JSON gateway and the page.

1. Connections are counted, and a request has one time and one size.  `http.server` alone gives
   every single read its timeout, so that a byte now and then keeps a thread for ever; here a whole
   request has one, which begins with its first byte.
2. Loopback is open to every page in a browser of this machine: the Host header must be a name of
   loopback with this port (no DNS rebinding), and a foreign Origin is none of ours.
3. A body has one length, known before it is read, and one type.
4. Nothing of a request is logged.

What is answered, and how a refusal looks, is the heir's affair.
"""

import io
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from clients.serving.service.settings import is_loopback, split_address
from shared.errors import ConfigError

IDLE_S, REQUEST_S, WRITE_S = 30.0, 5.0, 10.0
_HEADER_BYTES = 64 * 1024
_DIGITS = 12


class RequestReader(io.RawIOBase):
    """The receiving side of a socket.

    Args:
        connection: the socket.
        idle_s: how long to wait for a request's first byte.
        request_s: how long all of a request may take from then on.
        most_bytes: of one request, with its headers.

    Raises:
        TimeoutError: of every read; too slow.
        ConnectionError: of every read; gone, or too much.
    """

    def __init__(
        self, connection: socket.socket, *, idle_s: float, request_s: float, most_bytes: int
    ) -> None:
        self._connection, self._idle_s, self._request_s = connection, idle_s, request_s
        self._most = most_bytes
        self.begin()

    def begin(self) -> None:
        """Another request is waited for."""
        self._deadline: float | None = None
        self._read = 0

    def readable(self) -> bool:
        """Yes."""
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """What has come, at most as much as fits."""
        left = self._idle_s if self._deadline is None else self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("too slow")
        if self._read > self._most:
            raise ConnectionAbortedError("too much")
        self._connection.settimeout(left)
        count = self._connection.recv_into(buffer)
        if self._deadline is None:
            self._deadline = time.monotonic() + self._request_s
        self._read += count
        return count


class LoopbackServer(ThreadingHTTPServer):
    """A thread for each connection, of which there are at most `connections`."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(
        self, host: str, port: int, handler: type["LoopbackHandler"], *, connections: int
    ) -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._connections = threading.BoundedSemaphore(connections)
        super().__init__((host, port), handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        """A thread for it, or its end where there are too many."""
        if not self._connections.acquire(blocking=False):
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """The thread's life."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._connections.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Nothing: who hangs up or is too slow is not news, and a trace may hold anything."""


class Unread(Exception):
    """A body that was not read, after which the connection ends.

    Args:
        what: the header that is wrong, or "size" where the body is too large.
    """

    def __init__(self, what: str) -> None:
        self.what = what


class LoopbackHandler(BaseHTTPRequestHandler):
    """A connection.

    Args (of the class; each server has an heir with its own):
        idle_s, request_s: how long to wait for a request, and for all of it.
        max_bytes: of a body.
        kind: its content type.
    """

    idle_s, request_s = IDLE_S, REQUEST_S
    max_bytes: int
    kind: str

    protocol_version = "HTTP/1.1"
    server_version, sys_version = "fedinterest", ""
    disable_nagle_algorithm = True
    connection: socket.socket

    def setup(self) -> None:
        """Read through a `RequestReader`."""
        super().setup()
        self.rfile.close()
        self._reader = RequestReader(
            self.connection,
            idle_s=self.idle_s,
            request_s=self.request_s,
            most_bytes=self.max_bytes + _HEADER_BYTES,
        )
        self.rfile = io.BufferedReader(self._reader)

    def handle_one_request(self) -> None:
        """One, or the end."""
        self._reader.begin()
        try:
            super().handle_one_request()
        except (OSError, ValueError):
            self.close_connection = True

    @property
    def port(self) -> int:
        """Where the server listens."""
        port: int = self.server.server_address[1]  # type: ignore[assignment, index]
        return port

    def foreign(self) -> str:
        """The header by which a request is none of ours, and the connection ends; "" where all
        is well.
        """
        hosts = self.headers.get_all("Host") or []
        if len(hosts) != 1 or not self._is_here(hosts[0]):
            self.close_connection = True
            return "Host"
        if self.headers.get("Origin") not in (None, f"http://{hosts[0]}"):
            self.close_connection = True
            return "Origin"
        return ""

    def body(self) -> bytes:
        """All of the body.

        Raises:
            Unread: it is not what is taken here.
            OSError: the other side is gone, or too slow.
        """
        self.close_connection, keep = True, self.close_connection
        if self.headers.get("Transfer-Encoding") is not None:
            raise Unread("Transfer-Encoding")
        lengths = self.headers.get_all("Content-Length") or []
        if len(lengths) != 1 or not (lengths[0].isascii() and lengths[0].isdigit()):
            raise Unread("Content-Length")
        if len(lengths[0]) > _DIGITS or int(lengths[0]) > self.max_bytes:
            raise Unread("size")
        if self.headers.get_content_type() != self.kind:
            raise Unread("Content-Type")
        body = self.rfile.read(int(lengths[0]))
        if len(body) < int(lengths[0]):
            raise ConnectionResetError
        self.close_connection = keep
        return body

    def head(self, code: int, headers: dict[str, str]) -> None:
        """Send the head of an answer."""
        self.connection.settimeout(WRITE_S)
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name, value)
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: what is asked is nobody else's business."""

    def _is_here(self, host: str) -> bool:
        try:
            name, port = split_address(host)
        except ConfigError:
            return False
        return is_loopback(name) and port == self.port
