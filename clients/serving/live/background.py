"""Takes up opt-outs while the service answers: in a process of its own, because it takes torch.

One at a time; whoever asks meanwhile is served by one more.  If it fails, nothing is lost: the
opt-out stays pending (`Status` counts them), it is tried again by itself after a while, at the next
opt-out, and by whoever trains next.
"""

import logging
import os
import subprocess
import sys
import threading
from pathlib import Path

from shared.operations.logs import event

log = logging.getLogger("fedinterest.serving")

FIRST_PAUSE_S, LONGEST_PAUSE_S = 30.0, 3600.0


def pause_s(failures: int, first_s: float = FIRST_PAUSE_S) -> float:
    """How long to wait after so many failures in a row: twice as long every time, an hour at most.

    Args:
        failures: 1 or more.
    """
    return min(first_s * 2.0 ** min(failures - 1, 30), LONGEST_PAUSE_S)


class Background:
    """One partner's.

    Args:
        home: DIR.
        first_pause_s: after the first failure.
    """

    def __init__(self, home: Path, *, first_pause_s: float = FIRST_PAUSE_S) -> None:
        self._home, self._first_pause_s = home, first_pause_s
        self._turn = threading.Condition()
        self._asked = self._alive = self._stopped = self._trying = False
        self._process: subprocess.Popen[str] | None = None

    def ask(self) -> None:
        """Take up what is pending, soon; returns at once."""
        with self._turn:
            if self._stopped:
                return
            self._asked = True
            if not self._alive:
                self._alive = True
                threading.Thread(target=self._work, name="take-up", daemon=True).start()
            self._turn.notify_all()

    def wait(self, timeout_s: float) -> bool:
        """Whether all that was asked for has been tried, at the latest after `timeout_s`."""
        with self._turn:
            return self._turn.wait_for(lambda: not (self._asked or self._trying), timeout_s)

    def stop(self) -> None:
        """End; what is not done stays pending."""
        with self._turn:
            self._stopped, self._asked = True, False
            if self._process is not None:
                self._process.kill()
            self._turn.notify_all()
            self._turn.wait_for(lambda: not self._alive, 10.0)

    def _work(self) -> None:
        failures = 0
        while True:
            with self._turn:
                if failures and not self._asked:
                    self._turn.wait_for(
                        lambda: self._asked or self._stopped,
                        pause_s(failures, self._first_pause_s),
                    )
                if self._stopped or not (self._asked or failures):
                    self._alive = False
                    self._turn.notify_all()
                    return
                self._asked, self._trying = False, True
            reason = self._tried()
            if reason and not self._stopped:
                event(log, "opt-out pending", logging.WARNING, reason=reason)
            elif failures and not reason:
                event(log, "opt-outs taken up")
            failures = failures + 1 if reason else 0
            with self._turn:
                self._process, self._trying = None, False
                self._turn.notify_all()

    def _tried(self) -> str:
        """Once; why it failed, "" where it did not."""
        try:
            with self._turn:
                if self._stopped:
                    return "stopped"
                process = self._process = subprocess.Popen(
                    [sys.executable, "-m", "clients.serving.live.training", str(self._home)],
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.PIPE,
                    text=True,
                    env={**os.environ, "OMP_NUM_THREADS": "1"},  # beside a service that answers
                )
            _, said = process.communicate()
        except OSError as error:  # no memory, no process to be had
            return error.strerror or type(error).__name__
        lines = said.strip().splitlines() or [f"exit code {process.returncode}"]
        return lines[-1][:300] if process.returncode else ""
