"""`fedinterest-client ui`: the page, until told to stop."""

import os
import sys
import tempfile
import threading
import webbrowser
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path

from markupsafe import Markup

from clients.serving.ui.http import PageServer
from clients.serving.ui.opened import Opened
from clients.serving.ui.pages import Pages
from shared.errors import ConfigError, FedInterestError
from shared.operations.stopping import stopping

POLL_S = 0.1


def run(
    folder: Path,
    *,
    port: int = 0,
    browser: bool = True,
    stopped: Callable[[], bool] | None = None,
) -> int:
    """Show what lies in `folder` until SIGTERM or Ctrl-C; the exit code.

    Args:
        port: 0 picks a free one.
        browser: open the page in one, where there is a screen.
        stopped: ends it too; for callers that do not use signals.

    Raises:
        RunError: it is neither a partner's folder nor a simulated platform's.
        ConfigError: the port cannot be listened on.
    """
    if not 0 <= port <= 65535:
        raise ConfigError(expected="a port from 0 to 65535", got=str(port), where="--port")
    with stopping() as told:
        opened = Opened(folder, making=_making)
        pages = Pages(opened)
        server = PageServer(pages, port)
        try:
            print(server.address)
            print(_state(opened))
            print(
                "For you on this machine only: the address is its key. Ctrl-C ends it.", flush=True
            )
            # A daemon: a question that is being worked out must not keep the program from ending.
            threading.Thread(target=pages.warm, name="warm", daemon=True).start()
            with _shown(server.address) if browser else nullcontext():
                while not (told.is_set() or (stopped is not None and stopped())):
                    told.wait(POLL_S)
        finally:
            server.stop()
            opened.close()
    return 0


def _making() -> None:
    print("making a snapshot of what the platform has: seconds to minutes", file=sys.stderr)


def _state(opened: Opened) -> str:
    try:
        status = opened.desk().engine.status()
    except FedInterestError as error:
        return f"Nothing to show yet: {error}"
    model = f"round {status.round}" if status.round else "the frozen model"
    return f"{status.platform}, {model}: {status.items:,} items, {status.users:,} users"


@contextmanager
def _shown(address: str) -> Iterator[None]:
    """Open a browser by way of a file that only its owner may read: a browser's arguments can be
    read by every user of the machine, and the address is the key.
    """
    screen = sys.platform == "darwin" or any(
        os.environ.get(n) for n in ("DISPLAY", "WAYLAND_DISPLAY")
    )
    if not screen:
        yield
        return
    with tempfile.TemporaryDirectory(prefix="fedinterest-ui-") as place:  # made with 0700
        path = Path(place, "open.html")
        path.write_text(
            Markup(
                '<!doctype html><meta name="referrer" content="no-referrer">'
                '<meta http-equiv="refresh" content="0; url={0}">'
                '<title>fedinterest</title><a href="{0}">Open the page</a>'
            ).format(address),
            encoding="utf-8",
        )
        with suppress(webbrowser.Error, OSError):
            webbrowser.open(path.as_uri())
        yield
