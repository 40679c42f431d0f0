"""What the service tells Prometheus: calls, times, which model answers.  Nothing of anybody.

Labels are names of calls and statuses; no measure counts users or events.
"""

import os
import threading
import time
from collections import Counter
from collections.abc import Callable

from clients.serving.engine import Answers
from shared.errors import FedInterestError
from shared.operations.metrics import Metric, Metrics, Value
from shared.sessions import resident_mib

WITHIN_S = (0.001, 0.002, 0.005, 0.01, 0.015, 0.025, 0.05, 0.1, 0.25, 1.0)
_P = "fedinterest_serving_"

DESCRIBED = (
    Metric(f"{_P}start_time_seconds", "gauge", "When the service was started, since 1970."),
    Metric(f"{_P}ready", "gauge", "1 while there is a model to answer with."),
    Metric(f"{_P}draining", "gauge", "1 while the service ends."),
    Metric(f"{_P}in_flight", "gauge", "Calls that are being answered."),
    Metric(f"{_P}calls_total", "counter", "Calls that ended, by status.", ("call", "status")),
    Metric(f"{_P}call_seconds_total", "counter", "Time spent on calls.", ("call",)),
    Metric(
        f"{_P}calls_within_total", "counter", "Calls that took at most so long.", ("call", "within")
    ),
    Metric(f"{_P}reloads_total", "counter", "Times another snapshot was taken up."),
    Metric(f"{_P}reload_failures_total", "counter", "Times looking for one failed."),
    Metric(f"{_P}round", "gauge", "Round of the adapter that answers; 0 is the frozen model."),
    Metric(f"{_P}items", "gauge", "Items that can be recommended."),
    Metric(f"{_P}search_exact", "gauge", "1 while the search is exact."),
    Metric(f"{_P}snapshot_loaded_seconds", "gauge", "When the snapshot was loaded, since 1970."),
    Metric(f"{_P}memory_mib", "gauge", "Resident memory of the service."),
)


class Tally:
    """Counts calls; safe to be used by many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.in_flight = 0
        self.reloads = self.reload_failures = 0
        self.ended: Counter[tuple[str, ...]] = Counter()
        self.seconds: Counter[tuple[str, ...]] = Counter()
        self.within: Counter[tuple[str, ...]] = Counter()

    def begin(self) -> None:
        """A call has come."""
        with self._lock:
            self.in_flight += 1

    def end(self, call: str, status: str, seconds: float) -> None:
        """It is answered, with this status, after so long."""
        with self._lock:
            self.in_flight -= 1
            self.ended[call, status] += 1
            self.seconds[(call,)] += seconds  # type: ignore[assignment]
            for bound in WITHIN_S:
                if seconds <= bound:
                    self.within[call, f"{bound:g}"] += 1

    def copies(self) -> dict[str, Value]:
        """The counts as they are now, by measure."""
        with self._lock:
            return {
                "in_flight": float(self.in_flight),
                "calls_total": dict(self.ended),
                "call_seconds_total": dict(self.seconds),
                "calls_within_total": dict(self.within),
                "reloads_total": float(self.reloads),
                "reload_failures_total": float(self.reload_failures),
            }


class Measures:
    """The measures of one service.

    Args:
        answers: what is served.
        tally: of its calls.
        ready, draining: as they are when asked.
    """

    def __init__(
        self,
        answers: Answers,
        tally: Tally,
        *,
        ready: Callable[[], bool],
        draining: Callable[[], bool],
    ) -> None:
        self._answers, self._tally = answers, tally
        self._ready, self._draining = ready, draining
        self._started = time.time()
        self._metrics = Metrics(DESCRIBED, self.read)

    def text(self) -> bytes:
        """What a scrape gets."""
        return self._metrics.text()

    def read(self) -> dict[str, Value]:
        """All values as they are now; what cannot be told is left out."""
        found = {
            "start_time_seconds": self._started,
            "ready": float(self._ready()),
            "draining": float(self._draining()),
            "memory_mib": resident_mib(os.getpid()),
            **self._tally.copies(),
        }
        try:
            status = self._answers.status()
        except FedInterestError:
            pass  # nothing is served yet, which `ready` says
        else:
            found |= {
                "round": float(status.round),
                "items": float(status.items),
                "search_exact": float(status.exact),
                "snapshot_loaded_seconds": status.loaded,
            }
        return {f"{_P}{name}": value for name, value in found.items()}
