"""The calls as JSON over HTTP/1.1 on loopback, for curl and for what speaks no gRPC.

POST /v1/recommend, /v1/similar_items, ...    a request in protobuf's JSON; its reply likewise
POST /v1/audience                             newline-delimited JSON, one member a line
GET  /v1/status

Rules:
1. It answers with the very servicer of gRPC: same checks, same statuses, as HTTP codes (those of
   google.rpc.Code) with a JSON body: {"error": {"code", "status", "message", ...}}.
2. The rules of `loopback`; and a request must say `Content-Type: application/json`, which no
   foreign page can without being permitted, and nobody is permitted: no CORS.
"""

import json
import logging
import threading
import time
from collections.abc import Iterator

from google.protobuf import json_format
from google.protobuf.message import Message

from clients.serving.service.calls import CALLS, Call
from clients.serving.service.loopback import (
    IDLE_S,
    REQUEST_S,
    WRITE_S,
    LoopbackHandler,
    LoopbackServer,
    Unread,
)
from clients.serving.service.parsing import parsed
from clients.serving.service.servicer import Servicer
from clients.serving.service.settings import ServingSettings, joined, split_address
from clients.serving.service.status import Code, Refused, refused, stopping, unreadable
from shared.errors import ConfigError, FedInterestError

PATHS = {f"/v1/{call.path}": call for call in CALLS.values()}
STATUS = "/v1/status"
MAX_CONNECTIONS = 64
_POLL_S = 0.01
log = logging.getLogger("fedinterest.serving")

HTTP_CODES = {
    Code.INVALID_ARGUMENT: 400,
    Code.FAILED_PRECONDITION: 400,
    Code.PERMISSION_DENIED: 403,
    Code.NOT_FOUND: 404,
    Code.RESOURCE_EXHAUSTED: 429,
    Code.CANCELLED: 499,
    Code.INTERNAL: 500,
    Code.UNIMPLEMENTED: 501,
    Code.UNAVAILABLE: 503,
    Code.DEADLINE_EXCEEDED: 504,
}


class Gateway:
    """The gateway on its port, until `stop`.

    Args:
        servicer: answers.
        settings: address and limits.
        idle_s, request_s: how long to wait for a request, and for all of it.

    Raises:
        ConfigError: the address cannot be listened on.
    """

    def __init__(
        self,
        servicer: Servicer,
        settings: ServingSettings,
        *,
        idle_s: float = IDLE_S,
        request_s: float = REQUEST_S,
    ) -> None:
        host, port = split_address(settings.json_address)
        self.host = joined(host, 0).rpartition(":")[0].strip("[]")
        places = threading.BoundedSemaphore(settings.threads)

        class Bound(_Handler):
            pass

        Bound.servicer, Bound.gateway, Bound.places = servicer, self, places
        Bound.max_bytes, Bound.idle_s, Bound.request_s = (
            settings.max_message_bytes,
            idle_s,
            request_s,
        )
        self.draining = False
        self._lock = threading.Lock()
        self.busy = 0
        try:
            self._server = LoopbackServer(self.host, port, Bound, connections=MAX_CONNECTIONS)
        except OSError as error:
            raise ConfigError(
                expected="an address that is free to listen on",
                got=f"{joined(self.host, port)}: {error.strerror}",
                where="serving.json_address",
                remedy='Give another one, port 0 for any, or "" for no gateway.',
            ) from error
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.1}, name="gateway"
        )
        self._thread.daemon = True
        self._thread.start()

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._server.server_address[1])

    @property
    def address(self) -> str:
        """Likewise, with the host."""
        return joined(self.host, self.port)

    def stop(self, grace_s: float) -> bool:
        """No new requests; those that are being answered have `grace_s`.

        Returns:
            Whether all of them were answered.
        """
        self.draining = True
        self._server.shutdown()
        self._thread.join()
        until = time.monotonic() + grace_s
        while self.busy and time.monotonic() < until:
            time.sleep(_POLL_S)
        self._server.server_close()
        return not self.busy

    def count(self, change: int) -> None:
        """Requests that are being answered."""
        with self._lock:
            self.busy += change


class _Handler(LoopbackHandler):
    servicer: Servicer
    gateway: Gateway
    places: threading.BoundedSemaphore
    kind = "application/json"

    def do_POST(self) -> None:
        self._answer(PATHS.get(self.path), reading=True)

    def do_GET(self) -> None:
        self._answer(PATHS[STATUS] if self.path == STATUS else None, reading=False)

    def _answer(self, call: Call | None, *, reading: bool) -> None:
        # Counted before it is looked at, so that an end in order waits for it.
        self.gateway.count(1)
        try:
            self._admit()
            body = self._read_body() if reading else b"{}"
            if call is None:
                known = self.path in PATHS
                raise _NotHere(405 if known else 404, "POST" if known else "")
            request = parsed(body, call)
            if not self.places.acquire(timeout=self.request_s):
                raise Refused(Code.RESOURCE_EXHAUSTED, "too many calls at once", {})
            try:
                if call.streams:
                    self._stream(self.servicer.replies(call, request, _no_deadline))
                else:
                    self._send(200, _json(self.servicer.reply(call, request, _no_deadline)))
            finally:
                self.places.release()
        except _NotHere as error:
            self._fail(unreadable("a path of the protocol", where="path"), error.code, error.allow)
        except Refused as error:
            self._fail(error, HTTP_CODES[error.code])
        except FedInterestError as error:
            self._fail(refused(error), 400)
        finally:
            self.gateway.count(-1)

    def _admit(self) -> None:
        """Rule 2."""
        if self.gateway.draining:
            self.close_connection = True
            raise stopping()
        if header := self.foreign():
            raise _denied(header, f"localhost:{self.port}" if header == "Host" else "none")

    def _read_body(self) -> bytes:
        try:
            return self.body()
        except Unread as error:
            if error.what == "size":
                text = f"the body is larger than {self.max_bytes} bytes"
                raise Refused(Code.RESOURCE_EXHAUSTED, text, {}) from error
            wanted = {"Transfer-Encoding": "Content-Length", "Content-Length": "one number"}
            raise unreadable(wanted.get(error.what, self.kind), where=error.what) from error

    def _stream(self, replies: Iterator[Message]) -> None:
        first = next(replies, None)  # so that an error before it has its own HTTP code
        self._head(200, "application/x-ndjson", {"Transfer-Encoding": "chunked"})
        try:
            if first is not None:
                self._chunk(_json(first))
            for reply in replies:
                self._chunk(_json(reply))
        except Refused as error:
            self._chunk(_error(error, HTTP_CODES[error.code]))
        self.wfile.write(b"0\r\n\r\n")

    def _chunk(self, data: bytes) -> None:
        self.connection.settimeout(WRITE_S)
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))

    def _fail(self, error: Refused, code: int, allow: str = "") -> None:
        self._send(code, _error(error, code), {"Allow": allow} if allow else {})

    def _send(self, code: int, body: bytes, more: dict[str, str] | None = None) -> None:
        self._head(code, "application/json", {"Content-Length": str(len(body)), **(more or {})})
        if self.command != "HEAD":
            self.wfile.write(body)

    def _head(self, code: int, kind: str, more: dict[str, str]) -> None:
        always = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
        self.head(code, {"Content-Type": kind, **always, **more})

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """http.server's own refusals: as JSON, without its text, which quotes the request."""
        self.close_connection = True
        if code == 501:
            error = Refused(Code.UNIMPLEMENTED, "expected GET or POST", {})
        else:
            error = unreadable("an HTTP/1.1 request")
        self._fail(error, code)


class _NotHere(Exception):
    def __init__(self, code: int, allow: str) -> None:
        self.code, self.allow = code, allow


def _no_deadline() -> None:
    return None


def _denied(header: str, expected: str) -> Refused:
    text = f"expected {header}: {expected}, got another (rebinding and foreign pages are refused)"
    return Refused(Code.PERMISSION_DENIED, text, {})


def _json(message: Message) -> bytes:
    text = json_format.MessageToJson(
        message, indent=None, always_print_fields_with_no_presence=True, ensure_ascii=False
    )
    return text.encode() + b"\n"


def _error(error: Refused, code: int) -> bytes:
    body = {"code": code, "status": error.code.name, "message": error.text, **error.fields}
    return json.dumps({"error": body}, ensure_ascii=False).encode() + b"\n"
