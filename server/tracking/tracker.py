"""Hands a run's rounds to experiment trackers, which can do it no harm.

Rules:
1. What is tracked is made from rounds.jsonl alone (`server.tracking.point`), whose rounds are on
   disk before anybody hears of them.  Nothing else, so a tracker has no state of its own to lose:
   whenever it begins, or begins again, it compares its store with the lines and writes what is
   missing.  A round is in a store once.
2. A tracker that fails is named in one warning and training goes on; it is tried again after
   `PAUSE_S`, and at the end.  Whoever wants to track and has no tracker installed is told at the
   start, and nothing is begun.
3. Nobody is asked for anything: a tracker writes files, or to the address the operator chose.
"""

import importlib.util
import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from server.rounds.log import Event, RoundLog
from server.settings import SETTINGS, TrackingSettings
from server.tracking.point import Point, point_of
from shared.errors import ConfigError, FedInterestError

TENSORBOARD = "tensorboard"
PAUSE_S = 60.0

log = logging.getLogger("fedinterest.server.tracking")


class Tracker(Protocol):
    """A store of points."""

    name: str

    def write(self, points: Sequence[Point], *, finished: bool) -> None:
        """Bring the store in step with `points`.

        Args:
            points: all rounds so far, in order.
            finished: there will be no others.

        Raises:
            Exception: whatever the store raises; the next call begins with a look at what is there.
        """
        ...


class Guarded:
    """A tracker that does not raise.

    Args:
        tracker: the one that may.
        clock: seconds, for the pause after a failure.
    """

    def __init__(self, tracker: Tracker, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._tracker, self._clock = tracker, clock
        self._warned = False
        self._again_at = float("-inf")

    def write(self, points: Sequence[Point], *, finished: bool = False) -> None:
        """As `Tracker.write`, unless it failed a moment ago."""
        if not finished and self._clock() < self._again_at:
            return
        try:
            self._tracker.write(points, finished=finished)
        except Exception as error:  # noqa: BLE001 - a stranger's code, and training must go on
            self._again_at = self._clock() + PAUSE_S
            if not self._warned:
                self._warned = True
                log.warning(
                    "%s cannot be written: %s; training goes on, it is tried again",
                    self._tracker.name,
                    _why(error),
                )


class Tracking:
    """Listens to a run and hands its rounds to trackers.

    Args:
        run: the run folder.
        trackers: whom to tell.
        clock: seconds, for the pause after a failure.
    """

    def __init__(
        self,
        run: Path,
        trackers: Sequence[Tracker],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._log = RoundLog(run / "rounds.jsonl")
        self._trackers = [Guarded(one, clock=clock) for one in trackers]

    def hear(self, happened: Event) -> None:
        """An event of the training; a retry is not in rounds.jsonl and so is not tracked."""
        if not self._trackers or happened.kind not in ("setup", "resume", "round", "done"):
            return
        try:
            points = [point_of(line) for line in self._log.lines()]
        except (
            FedInterestError,
            OSError,
            ValueError,
            KeyError,
            TypeError,
            AttributeError,
        ) as error:
            # Whoever trains reads the same file, and says what is wrong with it.
            log.warning("rounds.jsonl cannot be tracked: %s", _why(error))
            return
        for tracker in self._trackers:
            tracker.write(points, finished=happened.kind == "done")


def tracking_of(settings: TrackingSettings, run: Path) -> Tracking:
    """What `settings` ask for, for the run in folder `run`: TensorBoard's files in RUN/tensorboard.

    Raises:
        ConfigError: a tracker is not installed.
    """
    require(settings)
    trackers: list[Tracker] = []
    if settings.tensorboard:
        from server.tracking.tensorboard import TensorBoardTracker

        trackers.append(TensorBoardTracker(run / TENSORBOARD))
    if settings.mlflow:
        from server.tracking.mlflow import MlflowTracker

        trackers.append(MlflowTracker(settings.mlflow, run))
    return Tracking(run, trackers)


def require(settings: TrackingSettings, *, where: str = SETTINGS) -> None:
    """Whether what `settings` ask for is installed; nothing is imported.

    Raises:
        ConfigError: it is not.
    """
    for name, wanted in (("tensorboard", settings.tensorboard), ("mlflow", bool(settings.mlflow))):
        if wanted and importlib.util.find_spec(name) is None:
            raise ConfigError(
                expected=f"{name} to track with",
                got=f"no module {name}",
                where=where,
                remedy=f"Install it with: pip install 'fedinterest[{name}]'.",
            )


def _why(error: Exception) -> str:
    """What may be logged: a stranger's message may hold an address with a password in it."""
    if isinstance(error, FedInterestError):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return type(error).__name__
