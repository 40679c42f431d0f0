"""The same apps through Flower's own Ray backend: platforms train in actors, side by side.

`flwr.simulation.run_simulation` is deprecated, cannot hand a run config to the apps, and does not
come back from Ctrl-C while its server thread waits for replies.  This grid drives the backend
under it (`RayBackend`: Flower's actors and actor pool) from the thread the ServerApp runs on.
"""

import logging
import os
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from flwr.app import Error, Message
from flwr.clientapp import ClientApp

from clients.app import app as client_app
from server.rounds.log import Listener
from shared.config.federation import run_federation
from shared.errors import ConfigError
from simulations.engines.inprocess import (
    InProcessGrid,
    platform_folders,
    quiet_flower,
    serve,
)

if TYPE_CHECKING:
    from flwr.server.superlink.fleet.vce.backend.raybackend import RayBackend

log = logging.getLogger("fedinterest.engine")

_ROOT = Path(__file__).resolve().parents[2]
_FAILED = 0  # Flower's ErrorCode.UNKNOWN
_RAY_ENVIRONMENT = {
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # the coming default; without it Ray warns
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
}


def _load_client_app() -> ClientApp:
    return client_app


class RayGrid(InProcessGrid):
    """An InProcessGrid whose messages are answered by the actors of a RayBackend.

    Everything happens on the calling thread, so that Ctrl-C is raised here at once: a thread that
    waits for an actor does not come back once Ray has been shut down.
    """

    backend: "RayBackend"

    def _execute_all(self, messages: Sequence[Message]) -> Iterable[Message]:
        import ray

        pool = self.backend.pool
        if pool is None:
            raise ConfigError(expected="a Ray backend with actors", got="none", where="--engine")
        waiting = deque(messages)
        running: dict[Any, Message] = {}
        while waiting or running:
            while waiting and pool.is_actor_available():
                message = waiting.popleft()
                self._announce("asked", message)
                running[self._submit(message)] = message
            done, _ = ray.wait(list(running), num_returns=1)
            for future in done:
                message = running.pop(future)
                yield self._reply(future, message)
                self._announce("answered", message)

    def _submit(self, message: Message) -> Any:
        context = self._contexts[message.metadata.dst_node_id]
        job: Any = (self.backend.app_fn, message, str(message.metadata.dst_node_id), context)
        return self.backend.pool.submit(  # type: ignore[union-attr]
            lambda actor, app, content, node, state: actor.run.remote(app, content, node, state),
            job,
        )

    def _reply(self, future: Any, message: Message) -> Message:
        import ray.exceptions

        pool = self.backend.pool
        try:
            return pool.fetch_result_and_return_actor_to_pool(future)[0]  # type: ignore[union-attr]
        except ray.exceptions.RayError as error:  # whatever it was, this platform failed
            log.warning("a platform's actor failed: %s", type(error).__name__)
            pool._future_to_actor.pop(future, None)  # type: ignore[union-attr]
            pool.pool.append(pool.create_actor_fn())  # type: ignore[union-attr]
            return Message(Error(_FAILED, type(error).__name__), reply_to=message)

    def close(self) -> None:
        """End the actors and Ray."""
        self.backend.terminate()


def run_ray(
    run_folder: Path, platforms: Sequence[str] | None = None, on_event: Listener | None = None
) -> None:
    """As `run_inprocess`, and with the same result bit for bit, in Ray actors.

    Raises:
        ConfigError: Ray is not installed.
        RunError, QuorumError, StorageError: see `server.app.train`.
    """
    settings = run_federation(run_folder)
    threads = settings.speed.threads or torch.get_num_threads()
    folders = platform_folders(run_folder, platforms or settings.platforms)
    with quiet_flower(), _ray_environment():
        grid = RayGrid(client_app, folders, run_folder=run_folder, threads=threads)
        grid.backend = start_backend(threads, _load_client_app)
        try:
            serve(grid, run_folder, on_event)
        finally:
            grid.close()


def start_backend(threads: int, load: Callable[[], ClientApp]) -> "RayBackend":
    """A RayBackend with an actor for every `threads` of the machine's processors.

    Raises:
        ConfigError: Ray is not installed.
    """
    try:
        from flwr.server.superlink.fleet.vce.backend.raybackend import RayBackend
    except ImportError as error:
        raise ConfigError(
            expected="Ray for --engine ray",
            got="no module ray",
            where="--engine",
            remedy="Install it with: pip install 'fedinterest[ray]'.",
        ) from error
    cpus = max(os.cpu_count() or 1, threads)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Ray's own, about its own
        backend = RayBackend(
            {
                "init_args": {
                    "num_cpus": cpus,
                    "logging_level": logging.ERROR,
                    "log_to_driver": False,
                },
                "client_resources": {"num_cpus": threads, "num_gpus": 0.0},
            }
        )
        backend.build(load)
    return backend


@contextmanager
def _ray_environment() -> Iterator[None]:
    """Ray's settings, and a path on which its workers find this project; undone afterwards."""
    names = [*_RAY_ENVIRONMENT, "PYTHONPATH", "PYTHONBREAKPOINT"]  # the last is set by Ray
    before = {name: os.environ.get(name) for name in names}
    for name, value in _RAY_ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    paths = [str(_ROOT), *filter(None, [before["PYTHONPATH"]])]
    os.environ["PYTHONPATH"] = os.pathsep.join(paths)
    try:
        yield
    finally:
        for name, old in before.items():
            if old is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = old
