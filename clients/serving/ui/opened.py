"""The engine behind the page, from the moment there is something to answer with.

It is opened in process, beside a service that may be running on the same folder: snapshots are
immutable, and of the live store there is one writer and any number of readers.  Items that were put
or deleted there are seen at the next look; texts are read as the service reads them.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from clients.serving.answering import Engine
from clients.serving.live.store import Live
from clients.serving.start import CLIENT, PLATFORM, Served
from clients.serving.state_cache import StateCache
from clients.serving.texts import Texts
from clients.serving.ui.earlier import Before, note
from shared.errors import FedInterestError

REFRESH_S = 10.0


@dataclass(frozen=True)
class Desk:
    """What a view works with.

    Args:
        served: the folders.
        live: posted events and consent.
        engine: answers.
        before: what today's model is compared with.
    """

    served: Served
    live: Live
    engine: Engine
    before: Before


class Opened:
    """See the module.

    Args:
        folder: a partner's folder, or a simulated platform's.
        refresh_s: how often a newer snapshot is looked for.
        making: is told before a snapshot is made, which takes a while.

    Raises:
        RunError: it is neither.
    """

    def __init__(
        self,
        folder: Path,
        *,
        refresh_s: float = REFRESH_S,
        making: Callable[[], None] = lambda: None,
    ) -> None:
        path = folder.expanduser().resolve()
        if not any((path / name).is_file() for name in (CLIENT, PLATFORM)):
            Served.at(path)  # which says what is wrong
        self.path, self._refresh_s, self._making = path, refresh_s, making
        self._lock = threading.Lock()
        self._desk: Desk | None = None
        self._looked = 0.0

    def desk(self) -> Desk:
        """What to work with now.

        Raises:
            FedInterestError: nothing is prepared, or it cannot be read; asked again, it is looked
                for again.
        """
        with self._lock:
            if self._desk is None:
                self._desk = self._open()
                self._looked = time.monotonic()
            elif time.monotonic() - self._looked >= self._refresh_s:
                self._looked = time.monotonic()
                self._desk = self._renewed(self._desk)
            return self._desk

    def close(self) -> None:
        """Let go of the files."""
        with self._lock:
            if self._desk is not None:
                self._desk.live.close()
                self._desk = None

    def _open(self) -> Desk:
        served = Served.at(self.path)
        served.look_again()
        live = Live(served.serving / "live.db")
        try:
            texts = Texts(
                live,
                StateCache(served.serving / "texts.db"),
                served.encoders,
                no_texts=served.no_texts,
            )
            engine = Engine(
                partial(served.newest, self._making),
                live,
                served.secret,
                blocked_items=served.settings.blocked_items,
                blocked_categories=served.settings.blocked_categories,
                texts=texts,
            )
            before = note(served.serving / "ui", engine.loaded.stock.base)
        except BaseException:
            live.close()
            raise
        return Desk(served, live, engine, before)

    def _renewed(self, desk: Desk) -> Desk:
        try:
            if not desk.engine.reload().changed:
                return desk
        except FedInterestError:
            return desk  # what is open answers on, as the service does
        before = note(desk.served.serving / "ui", desk.engine.loaded.stock.base)
        return Desk(desk.served, desk.live, desk.engine, before)
