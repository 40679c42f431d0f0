"""Runs the installed ServerApp for one run folder: a process of its own that may die at any time.

`python -m server.running.conductor DIR RUN PORT`.  Each start submits a new Flower run, whose
bundle names this version and holds no code, claims its ServerApp task, and trains from the newest
checkpoint.  Nothing is kept in Flower: what was asked and not answered is asked again, the same
request.

What it is at is told in DIR/state/conductor.json, for status, measures and the terminal.
"""

import logging
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from server.rounds.log import Event
from server.running.runs import Run, publish
from server.running.shortfall import SHORT, PartnersLost, require_quorum
from server.running.superlink import SuperLink
from server.tracking.tracker import Tracking, tracking_of
from shared.errors import FedInterestError, QuorumError, RunError, StorageError
from shared.files import write_json
from shared.operations.logs import event, start_logging

STATE = "conductor.json"
DONE, LOST, DRAINED = 0, 75, 143
FINAL = frozenset({DONE, 2, 4, 5, 6, 8, 9, RunError.exit_code})
"""Exit codes after which starting it again changes nothing: finished, or a person must look."""

log = logging.getLogger("fedinterest.server.conductor")


class Drained(BaseException):
    """Asked to end, and nothing is half done."""


@dataclass
class Told:
    """What the run is at, kept in a file.

    Args:
        path: of the file.
        run: its name.
        drain: set once the process was asked to end.
    """

    path: Path
    run: str
    drain: bool = False
    values: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.values = {"run": self.run, "pid": os.getpid(), "since": time.time(), "retries": 0}
        self.now("connecting", 0, 0)

    def now(self, phase: str, round_: int, rounds: int, message: str = "") -> None:
        """Say that the run is at `phase`."""
        self.values |= {"phase": phase, "round": round_, "message": message, "at": time.time()}
        if rounds:
            self.values["rounds"] = rounds
        write_json(self.path, self.values)

    def hear(self, happened: Event) -> None:
        """An event of the training.

        Raises:
            Drained: the process was asked to end, and a round was just put on disk.
        """
        kind, round_, rounds = happened.kind, happened.round, happened.rounds
        if kind == "retry":
            self.values["retries"] += 1
            self.now("retrying", round_, rounds, happened.message)
            event(
                log, "retry", logging.WARNING, run=self.run, round=round_, reason=happened.message
            )
        elif kind in ("setup", "resume", "round"):
            following = min(round_ + 1, rounds)
            self.now("training", following, rounds)
            line = happened.line
            event(log, kind, run=self.run, round=round_, rounds=rounds, seconds=line.get("seconds"))
            for name, entry in line.get("platforms", {}).items():
                if not entry["answered"]:
                    event(
                        log,
                        "left out",
                        logging.WARNING,
                        platform=name,
                        round=round_,
                        outcome=entry["outcome"],
                        reason=entry["reason"],
                    )
        if self.drain:
            raise Drained

    def asked_to_end(self, *_: object) -> None:
        """For SIGTERM: at once while nothing is asked of anybody, else after the round in hand."""
        self.drain = True
        if self.values["phase"] in ("connecting", "setting up"):
            raise Drained


def conduct(
    run: Run, link: SuperLink, told: Told, tracking: Tracking, watch: Callable[[], None]
) -> dict[str, Any]:
    """Train `run` to its end over a SuperLink that is up.

    Args:
        watch: called about once a second until the last round is done; what it raises ends the run.

    Returns:
        What came of it, see `server.running.runs.publish`.

    Raises:
        LinkLost: the SuperLink is gone.
        QuorumError: too few platforms answered, several times.
        RunError, StorageError, ConfigError: see `server.app.train`.
    """
    from flwr.common.constant import SubStatus
    from flwr.common.serde import run_from_proto
    from flwr.proto.runtime_pb2 import PullTaskInputRequest, PushTaskOutputRequest
    from flwr.supercore.task_identity import TaskIdentity

    from server.app import train
    from server.rounds.log import listening
    from server.running.control import Control

    def hear(happened: Event) -> None:
        if happened.kind in ("round", "resume") and happened.round >= happened.rounds:
            grid.watch = lambda: None  # nobody's update is needed any more
        tracking.hear(happened)  # first: the other may end this process
        told.hear(happened)

    control = Control(link)
    if stopped := control.stop_runs():
        event(log, "stopped runs", restarts=stopped)
    number = control.start_run()
    grid = control.claim(number)
    grid.watch = watch
    try:
        found = grid.runtime.PullTaskInput(PullTaskInputRequest())
        TaskIdentity.task_id, TaskIdentity.run_id = found.task_id, found.run.run_id
        TaskIdentity.node_id = found.context.node_id
        grid.set_run(run_from_proto(found.run))
        grid.keep_alive()
        told.now("setting up", 0, run.settings.training.rounds)
        with listening(hear):
            train(run.path, grid)
        grid.runtime.PushTaskOutput(PushTaskOutputRequest(sub_status=SubStatus.COMPLETED))
    except BaseException:
        _quietly(lambda: control.stop_run(number))
        raise
    finally:
        grid.close()
        control.close()
    result = publish(run)
    told.now("finished", run.settings.training.rounds, run.settings.training.rounds)
    return result


def _quietly(work: Callable[[], None]) -> None:
    """Do what is only good manners: a SuperLink that is gone has no run to stop."""
    try:
        work()
    except FedInterestError as error:
        log.warning("%s", error)


def main(arguments: list[str] | None = None) -> int:
    """Conduct; the exit code."""
    folder, name, port = sys.argv[1:] if arguments is None else arguments
    from server.running.grid import (
        LinkLost,  # Flower, which opens a log of its own when it is imported
    )
    from server.settings import ServerFolder

    start_logging()
    place = ServerFolder(Path(folder))
    told = Told(place.state / STATE, name)
    signal.signal(signal.SIGTERM, told.asked_to_end)
    signal.signal(signal.SIGINT, told.asked_to_end)
    try:
        run = Run(place.runs / name)
        tracking = tracking_of(place.settings.tracking, run.path)
        watch = partial(require_quorum, place, run, run.settings)
        watch()
        result = conduct(run, SuperLink(place.superlink, int(port)), told, tracking, watch)
    except Drained:
        event(log, "drained", run=name)
        return DRAINED
    except LinkLost as error:
        told.now("connecting", 0, 0, str(error))
        log.warning("%s", error)
        return LOST
    except FedInterestError as error:
        waits = isinstance(error, QuorumError | StorageError)
        told.now("waiting" if waits else "failed", told.values["round"], 0, str(error))
        log.error("%s", error)
        return SHORT if isinstance(error, PartnersLost) else error.exit_code
    event(log, "finished", run=name, sha256=result["adapter_sha256"], rounds=result["rounds"])
    return DONE


if __name__ == "__main__":
    sys.exit(main())
