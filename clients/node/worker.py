"""A warm process that answers one message after the other with the installed ClientApp.

It has no network connection of ours, only a pipe: a message goes in, a reply comes out.  It is
told which folder to work on by this machine, never by the coordinator: what a message's run says
about its configuration is left out.  It is ended when a round takes too long or too much memory,
and it ends when its parent does.
"""

import ctypes
import multiprocessing
import os
import signal
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from flwr.app import Context, Message, RecordDict

from shared.errors import PolicyRefusal, RunError
from shared.sessions import resident_mib

_NICE = 10
_END_S = 2.0
_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a round may take.

    Args:
        round_s: seconds.
        memory_mib: resident memory of the worker; None: no limit.
    """

    round_s: float
    memory_mib: int | None = None


class Worker:
    """One child process.

    Args:
        folder: the platform's private folder.
        threads: of its computation.
    """

    def __init__(self, folder: Path, *, threads: int | None) -> None:
        self.folder, self.threads = folder, threads
        spawn = multiprocessing.get_context("spawn")
        self._pipe, theirs = spawn.Pipe()
        self._process = spawn.Process(
            target=_serve, args=(theirs, str(folder), threads, os.getpid()), daemon=True
        )
        self._process.start()
        theirs.close()
        self._begun = 0.0

    @property
    def pid(self) -> int:
        """Its process number."""
        return self._process.pid or 0

    @property
    def alive(self) -> bool:
        """Whether it can be asked."""
        return self._process.is_alive()

    def ask(self, message: Message, *, run_id: int, node_id: int) -> None:
        """Hand it a message; `answer` has the reply.

        Raises:
            RunError: it has died.
        """
        self._begun = time.monotonic()
        try:
            self._pipe.send((message, run_id, node_id))
        except (BrokenPipeError, OSError) as error:
            raise self._dead() from error

    def answer(self, limits: Limits, wait_s: float) -> Message | None:
        """The reply, if it comes within `wait_s`; None: not yet.

        Raises:
            PolicyRefusal: the round takes more time or memory than permitted.  End the worker.
            RunError: it has died.
        """
        try:
            if self._pipe.poll(wait_s):
                reply = self._pipe.recv()
                if not isinstance(reply, Message):
                    raise self._dead()
                return reply
        except (EOFError, OSError) as error:
            raise self._dead() from error
        if time.monotonic() - self._begun > limits.round_s:
            raise _over("max_round_s", f"{limits.round_s:g}", "more seconds")
        used = resident_mib(self.pid)
        if limits.memory_mib is not None and used > limits.memory_mib:
            raise _over("max_memory_mib", f"{limits.memory_mib}", f"{used:.0f}")
        return None

    def end(self) -> None:
        """End it at once; nothing of it is left."""
        self._pipe.close()
        if self._process.is_alive():
            self._process.kill()
        self._process.join(_END_S)

    def _dead(self) -> RunError:
        self._process.join(_END_S)
        return RunError(
            expected="a worker that answers",
            got=f"its end, with exit code {self._process.exitcode}",
            where="worker",
            remedy="See log/executor.log; the next message gets a new worker.",
        )


def _over(setting: str, limit: str, got: str) -> PolicyRefusal:
    return PolicyRefusal(
        expected=f"{setting} at most {limit}",
        got=got,
        where=f"policy, {setting}",
        remedy="The round was ended; the partner can permit more.",
    )


def _serve(pipe: Connection, folder: str, threads: int | None, parent: int) -> None:
    """The child's life: import once, then answer until the pipe closes."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.nice(_NICE)
    import torch
    from flwr.supercore.task_identity import TaskIdentity

    import shared.training  # noqa: F401 - warm is with what a round takes
    from clients.app import app
    from shared.operations.logs import start_logging

    start_logging()
    config: dict[str, bool | float | int | str] = {"platform-folder": folder}
    if threads is not None:
        torch.set_num_threads(threads)
        config["threads"] = threads
    while True:
        try:
            message, run_id, node_id = pipe.recv()
        except EOFError:
            return
        TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = run_id, node_id, 1
        context = Context(
            run_id=run_id, node_id=node_id, node_config=config, state=RecordDict(), run_config={}
        )
        pipe.send(app(message, context))
