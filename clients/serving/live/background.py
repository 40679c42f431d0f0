"""Takes up opt-outs while the service answers: in a process of its own, because it takes torch.

One at a time; whoever asks meanwhile is served by one more.  If it fails, nothing is lost: the
opt-out stays pending, and whoever trains next takes it up first.
"""

import logging
import os
import subprocess
import sys
import threading
from pathlib import Path

from shared.operations.logs import event

log = logging.getLogger("fedinterest.serving")


class Background:
    """One partner's.

    Args:
        home: DIR.
    """

    def __init__(self, home: Path) -> None:
        self._home = home
        self._turn = threading.Condition()
        self._asked = self._working = self._stopped = False
        self._process: subprocess.Popen[str] | None = None

    def ask(self) -> None:
        """Take up what is pending, soon; returns at once."""
        with self._turn:
            if self._stopped:
                return
            self._asked = True
            if not self._working:
                self._working = True
                threading.Thread(target=self._work, name="take-up", daemon=True).start()

    def wait(self, timeout_s: float) -> bool:
        """Whether all that was asked for has been tried, at the latest after `timeout_s`."""
        with self._turn:
            return self._turn.wait_for(lambda: not self._working, timeout_s)

    def stop(self) -> None:
        """End; what is not done stays pending."""
        with self._turn:
            self._stopped, self._asked = True, False
            if self._process is not None:
                self._process.kill()
        self.wait(10.0)

    def _work(self) -> None:
        while True:
            with self._turn:
                if not self._asked:
                    self._working = False
                    self._turn.notify_all()
                    return
                self._asked = False
                self._process = subprocess.Popen(
                    [sys.executable, "-m", "clients.serving.live.training", str(self._home)],
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.PIPE,
                    text=True,
                    env={**os.environ, "OMP_NUM_THREADS": "1"},  # beside a service that answers
                )
            _, said = self._process.communicate()
            code = self._process.returncode
            with self._turn:
                self._process = None
                if code and not self._stopped:
                    lines = said.strip().splitlines() or [f"exit code {code}"]
                    event(log, "opt-out pending", logging.WARNING, reason=lines[-1][:300])
