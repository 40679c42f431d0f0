"""Reads of one HTTP connection, bounded in time and size.

`http.server` alone gives every single read its timeout, so that a byte now and then keeps a thread
for ever.  Here a whole request has one: it begins with the request's first byte.
"""

import io
import socket
import time


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
