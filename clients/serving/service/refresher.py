"""Looks for a newer snapshot every few seconds, and says whether there is anything to answer with.

A trouble is logged when it begins and when it is another one; the old snapshot answers on.
"""

import logging
import threading
from collections.abc import Callable

from clients.serving.engine import Answers
from clients.serving.service.measures import Tally
from shared.errors import FedInterestError
from shared.operations.logs import event

log = logging.getLogger("fedinterest.serving")


class Refresher:
    """A thread that looks, until `stop`.

    Args:
        answers: take up a newer snapshot by themselves when told to `reload`.
        every_s: how often.
        tally: counts reloads.
        say: hears whether there is something to answer with, at the start and after every look.
    """

    def __init__(
        self, answers: Answers, *, every_s: float, tally: Tally, say: Callable[[bool], None]
    ) -> None:
        self._answers, self._every_s, self._tally, self._say = answers, every_s, tally, say
        self.ready = False
        self._trouble = ""
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._work, name="refresh", daemon=True)

    def start(self) -> None:
        """Say how it is now, and begin to look."""
        self._judge()
        self._thread.start()

    def stop(self) -> None:
        """Look no more."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join(timeout=60)

    def _work(self) -> None:
        while not self._stopped.wait(self._every_s):
            self.look()

    def look(self) -> None:
        """Once."""
        try:
            found = self._answers.reload()
        # Whatever is wrong with a new snapshot, the old one answers on and the next may be sound.
        except Exception as error:  # noqa: BLE001
            self._tally.reload_failures += 1
            self._tell(error)
        else:
            self._trouble = ""
            if found.changed:
                self._tally.reloads += 1
                event(log, "reloaded", version=found.snapshot, round=found.round)
        if not self._stopped.is_set():
            self._judge()

    def _judge(self) -> None:
        try:
            self._answers.status()
            self.ready = True
        except FedInterestError:
            self.ready = False
        self._say(self.ready)

    def _tell(self, error: Exception) -> None:
        ours = isinstance(error, FedInterestError)
        trouble = str(error) if ours else type(error).__name__
        if trouble != self._trouble:
            self._trouble = trouble
            kind = type(error).__name__
            event(log, "reload failed", logging.WARNING, kind=kind, reason=trouble)
