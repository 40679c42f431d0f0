"""Answers what the SuperNode receives, with the installed ClientApp and nothing else.

Flower's own executor writes the run's bundle to disk and imports it: whoever starts a run decides
what code a platform runs.  This one takes a bundle for a name: its hash is on the partner's list,
or the message is refused.  No byte of a bundle is stored, unpacked or imported.

For every message: `Gate.admit`, a warm `Worker`, `Gate.release`, and the answer goes back.  An
error on the way is a Refusal, recorded in state/refusals.jsonl.  An answer is never held back for
longer than a round may take, because a SuperNode asks for nothing while it waits for one.
"""

import logging
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from flwr.app import Message, RecordDict

from clients.forget import idle
from clients.node.gate import Gate
from clients.node.pace import Pace
from clients.node.refusals import Refusals
from clients.node.runtime import Asked, RuntimeApi, Task
from clients.node.worker import Limits, Worker
from clients.policy import Policy
from shared.errors import (
    BudgetExhausted,
    FedInterestError,
    PolicyRefusal,
    ProtocolError,
    RunError,
)
from shared.files import write_json
from shared.protocol import TRAIN, Refusal, TrainReply, answered_in, kind_of

POLL_S = 0.05
_BEAT_S = 1.0
_TOLD = (PolicyRefusal, ProtocolError, BudgetExhausted)
"""Errors whose text speaks of the request and the policy, not of the platform's files."""

log = logging.getLogger("fedinterest.executor")


@dataclass
class Counts:
    """What the executor has done since it began; numbers only, for status and metrics."""

    messages: int = 0
    trained: int = 0
    refused: int = 0
    workers: int = 0
    lost: int = 0
    sent_bytes: int = 0
    last_round: int = 0
    last_round_s: float = 0.0
    last_answer: float = 0.0
    busy: int = 0


class Executor:
    """One platform's.

    Args:
        api: of the SuperNode.
        gate: what comes in and goes out.
        refusals: where they are recorded.
        folder: the platform's private folder.
        state: folder with the lock that keeps `forget` away while a message is answered.
        name: the platform's.
        changed: hears the counts whenever they change.
        before_training: called under that lock before a round is begun; what it raises is refused.
    """

    def __init__(
        self,
        api: RuntimeApi,
        gate: Gate,
        refusals: Refusals,
        *,
        folder: Path,
        state: Path,
        name: str,
        changed: Callable[[Counts], None] | None = None,
        before_training: Callable[[], None] = lambda: None,
    ) -> None:
        self._api, self._gate, self._refusals = api, gate, refusals
        self._folder, self._state, self._name = folder, state, name
        self._changed = changed or (lambda _: None)
        self._before_training = before_training
        self._worker: Worker | None = None
        self.counts = Counts()

    def run(self, stop: Callable[[], bool]) -> None:
        """Answer messages until `stop()`."""
        try:
            with suppress(FedInterestError):  # the first message will say what is wrong
                self._warm(self._gate.policy())
            pace = Pace()
            pace.worked()
            while not stop():
                if self.step(stop):
                    pace.worked()
                else:
                    pace.sleep()
        finally:
            self.close()

    def step(self, stop: Callable[[], bool] = lambda: False) -> bool:
        """Answer one message; False where none is waiting."""
        task = self._api.claim()
        if task is None:
            return False
        with task:
            try:
                asked = task.pull()
            except RunError as error:
                log.warning("a message was lost: %s", error)
                return True
            self._tell(messages=1, busy=1)
            try:
                with idle(self._state):
                    reply = self._answer(task, asked, stop)
                if reply is not None and not stop():
                    task.push(asked, reply)
                    self._tell(last_answer=time.time())
            except RunError as error:
                log.warning("an answer was lost: %s", error)
                self._tell(lost=1)
            finally:
                self._tell(busy=-1)
        return True

    def close(self) -> None:
        """End the worker."""
        if self._worker is not None:
            self._worker.end()
            self._worker = None

    def _answer(self, task: Task, asked: Asked, stop: Callable[[], bool]) -> Message | None:
        """The reply to a message; None where nobody waits for it any more."""
        kind = str(asked.message.metadata.message_type)[:100]
        try:
            policy = self._gate.admit(asked)
            if kind == TRAIN:
                self._before_training()
            began = time.monotonic()
            reply = self._worked(task, asked, policy, stop)
            if reply is None:
                return None
            refusal = self._gate.release(asked, reply.content, policy)
            if refusal is not None:
                self._refusals.note_answer(refusal, message=kind, run=asked.run_id)
                self._tell(refused=1)
            elif kind_of(reply.content) == "train-reply":
                self._tell(
                    trained=1,
                    last_round=TrainReply.from_records(reply.content).round,
                    last_round_s=time.monotonic() - began,
                )
            return Message(reply.content, reply_to=asked.message)
        except FedInterestError as error:
            log.warning("%s refuses: %s", self._name, error)
            with suppress(FedInterestError):  # a full disk must not cost the answer too
                self._refusals.note(error, message=kind, run=asked.run_id)
            self._tell(refused=1)
            content = self._refused(error, answered_in(asked.message.content))
            return Message(content, reply_to=asked.message)

    def _worked(
        self, task: Task, asked: Asked, policy: Policy, stop: Callable[[], bool]
    ) -> Message | None:
        worker = self._warm(policy)
        limits = Limits(round_s=policy.max_round_s, memory_mib=policy.max_memory_mib)
        beat = time.monotonic()
        try:
            worker.ask(asked.message, run_id=asked.run_id, node_id=asked.node_id)
            while (reply := worker.answer(limits, POLL_S)) is None:
                if stop() or self._gate.paused.exists():
                    self.close()
                    if stop():
                        return None
                    raise PolicyRefusal(
                        expected="a platform that takes part",
                        got="one that its operator has paused",
                        where="policy, pause",
                    )
                if time.monotonic() - beat > _BEAT_S:
                    beat = time.monotonic()
                    if not task.alive():  # the SuperNode was restarted
                        self.close()
                        self._tell(lost=1)
                        return None
        except FedInterestError:
            self.close()
            raise
        if not reply.has_content():
            raise RunError(expected="an answer", got="a Flower error", where="worker")
        return reply

    def _warm(self, policy: Policy) -> Worker:
        worker = self._worker
        if worker is None or not worker.alive or worker.threads != policy.threads:
            self.close()
            worker = self._worker = Worker(self._folder, threads=policy.threads)
            self._tell(workers=1)
        return worker

    def _refused(self, error: FedInterestError, version: int) -> RecordDict:
        public = isinstance(error, _TOLD)
        refusal = Refusal.of(error, platform=self._name, public=public, version=version)
        return refusal.to_records()

    def _tell(self, **changes: float) -> None:
        for name, value in changes.items():
            added = name in ("messages", "trained", "refused", "workers", "lost", "busy")
            setattr(self.counts, name, getattr(self.counts, name) + value if added else value)
        self._changed(self.counts)


def main(arguments: list[str] | None = None) -> None:
    """The executor as a program: `python -m clients.node.executor DIR host:port`."""
    import sys

    from clients.home import Home
    from clients.serving.live.training import before_training
    from shared.operations.logs import start_logging

    path, address = sys.argv[1:] if arguments is None else arguments
    start_logging()
    stopped: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda signum, _frame: stopped.append(signum))
    home = Home.open(Path(path))
    status = home.folder.state / "executor.json"
    executor = Executor(
        RuntimeApi(address, home.keys.executor_secret.read_bytes()),
        home.gate(),
        Refusals(home.folder.state / "refusals.jsonl"),
        folder=home.folder.platform,
        state=home.folder.state,
        name=home.name,
        changed=lambda counts: write_json(status, vars(counts)),
        before_training=lambda: before_training(home),
    )
    executor.run(lambda: bool(stopped))


if __name__ == "__main__":
    main()
