"""The page's server: HTTP/1.1 on loopback, for the browser of whoever started it.

Rules:
1. Every path begins with a token that is drawn at the start and printed once: other users of the
   machine, and other pages in the browser, do not know it.
2. The rules of `service.loopback`; there is no CORS.
3. What carries a user's id is posted: no address ever holds one.  Nothing is logged.
4. Pages may load their own style and script and nothing else, and stand in no frame.
"""

import hmac
import secrets
import threading

from clients.serving.service.loopback import (
    IDLE_S,
    REQUEST_S,
    LoopbackHandler,
    LoopbackServer,
    Unread,
)
from clients.serving.service.settings import LOOPBACK
from clients.serving.ui.forms import MOST_BYTES, Form
from clients.serving.ui.pages import Answer, Pages
from shared.errors import ConfigError

MAX_CONNECTIONS = 32
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

        Bound.pages, Bound.server_of = pages, self
        Bound.idle_s, Bound.request_s = idle_s, request_s
        try:
            self._server = LoopbackServer(LOOPBACK, port, Bound, connections=MAX_CONNECTIONS)
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


class _Handler(LoopbackHandler):
    pages: Pages
    server_of: PageServer
    max_bytes, kind = MOST_BYTES, FORM

    def do_GET(self) -> None:
        if self._admitted():
            self._reply(self._below(None))

    do_HEAD = do_GET

    def do_POST(self) -> None:
        if not self._admitted():
            return
        body = self._read_body()
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
        if not self.foreign():
            return True
        self._say(403, "Only pages of this server, on this machine, are let in.")
        return False

    def _read_body(self) -> bytes | None:
        """All of the body; None where it is not read, and was answered."""
        try:
            return self.body()
        except Unread as error:
            code, text = {
                "size": (413, f"A form here is at most {MOST_BYTES} bytes."),
                "Content-Type": (415, f"{FORM} is needed."),
            }.get(error.what, (411, "Content-Length is needed."))
        self._say(code, text)
        return None

    def _reply(self, answer: Answer | None) -> None:
        if answer is None:
            self._say(404, "Nothing here. Open the whole address that was printed at the start.")
            return
        length = str(len(answer.body))
        self.head(answer.code, {"Content-Type": answer.kind, "Content-Length": length, **HEADERS})
        if self.command != "HEAD":
            self.wfile.write(answer.body)

    def _say(self, code: int, text: str) -> None:
        kind = "text/plain; charset=utf-8"
        self._reply(Answer(body=f"{text}\n".encode(), code=code, kind=kind))

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """http.server's own refusals, without its text, which quotes the request."""
        self.close_connection = True
        self._say(405 if code == 501 else code, "That is no request this page understands.")
