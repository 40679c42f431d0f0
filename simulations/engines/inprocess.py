"""Flower's Grid without a network: every message is answered in this process, one after the other.

The apps are the real ones and cannot tell the difference.  Ctrl-C is raised where it happens, in
the middle of a platform's training, and leaves a run that can be resumed.
"""

import logging
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from flwr.app import Context, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid
from flwr.supercore.run import Run
from flwr.supercore.task_identity import TaskIdentity

from clients.app import app as client_app
from server.app import app as server_app
from server.rounds.log import Event, Listener, listening, tell
from shared.config.federation import run_federation
from shared.errors import RunError
from shared.protocol import TRAIN

_SERVER_NODE = 1  # Flower's SuperLink
_FIRST_NODE = 1001


class InProcessGrid(Grid):
    """Nodes that are platforms' folders; a message is answered the moment it is pushed.

    Args:
        app: the ClientApp.
        platforms: name -> private folder, in the order they are asked.
        run_folder: the run's, given to the apps as `run-folder`.
        threads: torch threads of a platform's work: part of what makes results equal bit for bit.
    """

    def __init__(
        self, app: ClientApp, platforms: Mapping[str, Path], *, run_folder: Path, threads: int
    ) -> None:
        self._app = app
        self._run = Run.create_empty(run_id=secrets.randbits(48))
        TaskIdentity.run_id, TaskIdentity.task_id = self._run.run_id, 1
        TaskIdentity.node_id = _SERVER_NODE
        self._names = {_FIRST_NODE + i: name for i, name in enumerate(platforms)}
        self._contexts = {
            node: self._context(
                node,
                run_folder,
                {
                    "platform-folder": str(platforms[name]),
                    "partition-id": node - _FIRST_NODE,
                    "num-partitions": len(platforms),
                    "threads": threads,
                },
            )
            for node, name in self._names.items()
        }
        self._replies: dict[str, Message] = {}

    def _context(
        self, node: int, run_folder: Path, config: dict[str, bool | float | int | str]
    ) -> Context:
        return Context(
            run_id=self._run.run_id,
            node_id=node,
            node_config=config,
            state=RecordDict(),
            run_config={"run-folder": str(run_folder)},
        )

    def server_context(self, run_folder: Path) -> Context:
        """The context the ServerApp runs in."""
        return self._context(_SERVER_NODE, run_folder, {})

    def set_run(self, run: Run) -> None:
        """Flower's interface; the run is this grid's own."""
        self._run = run

    @property
    def run(self) -> Run:
        """The run."""
        return self._run

    def create_message(
        self,
        content: RecordDict,
        message_type: str,
        dst_node_id: int,
        group_id: str,
        ttl: float | None = None,
    ) -> Message:
        """Flower's interface; `Message(...)` is the newer way."""
        return Message(content, dst_node_id, message_type, ttl=ttl, group_id=group_id)

    def get_node_ids(self) -> Iterable[int]:
        """All nodes: nobody is ever away."""
        return list(self._names)

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Answer every message now."""
        waiting = list(messages)
        for message in waiting:
            if message.metadata.dst_node_id not in self._names:
                raise RunError(
                    expected=f"a node among {list(self._names)}",
                    got=str(message.metadata.dst_node_id),
                    where="in-process grid",
                )
            message.metadata.__dict__["_message_id"] = secrets.token_hex(16)  # as Flower's do
        for reply in self._execute_all(waiting):
            self._replies[reply.metadata.reply_to_message_id] = reply
        return [message.metadata.message_id for message in waiting]

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """The replies to `message_ids`, each once."""
        return [self._replies.pop(key) for key in list(message_ids) if key in self._replies]

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterable[Message]:
        """Answer every message; `timeout` is not kept: work in this process is not cut short."""
        return self.pull_messages(self.push_messages(messages))

    def _execute_all(self, messages: Sequence[Message]) -> Iterable[Message]:
        for message in messages:
            self._announce("asked", message)
            yield self._app(message, self._contexts[message.metadata.dst_node_id])
            self._announce("answered", message)

    def _announce(self, kind: str, message: Message) -> None:
        if message.metadata.message_type == TRAIN:
            tell(
                Event(
                    kind=kind,  # type: ignore[arg-type]
                    round=int(message.metadata.group_id or 0),
                    rounds=0,
                    platform=self._names[message.metadata.dst_node_id],
                )
            )


def platform_folders(run_folder: Path, platforms: Iterable[str]) -> dict[str, Path]:
    """Where a simulated run keeps each platform's private folder."""
    return {name: run_folder / "platforms" / name for name in platforms}


def run_inprocess(
    run_folder: Path, platforms: Sequence[str] | None = None, on_event: Listener | None = None
) -> None:
    """Train the federation of `run_folder` in this process, resuming what is there.

    Args:
        platforms: those to take part, in order; None means all of federation.json.
        on_event: hears what happens, on this thread.

    Raises:
        RunError, QuorumError, StorageError: see `server.app.train`.
    """
    settings = run_federation(run_folder)
    grid = InProcessGrid(
        client_app,
        platform_folders(run_folder, platforms or settings.platforms),
        run_folder=run_folder,
        threads=settings.speed.threads or torch.get_num_threads(),
    )
    serve(grid, run_folder, on_event)


def serve(grid: InProcessGrid, run_folder: Path, on_event: Listener | None) -> None:
    """Run the real ServerApp over `grid`."""
    with quiet_flower(), listening(on_event):
        server_app(grid, grid.server_context(run_folder))


@contextmanager
def quiet_flower() -> Iterator[None]:
    """Let Flower log errors only."""
    logger = logging.getLogger("flwr")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
