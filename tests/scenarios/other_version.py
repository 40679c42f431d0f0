"""A federation whose coordinator and one platform run different versions of this code.

    python other_version.py RUN OTHER PLATFORM

trains the federation of the run folder RUN with the coordinator (and all platforms but PLATFORM) of
the code on PYTHONPATH, in this process, and PLATFORM with the code in the folder OTHER, in a child.
Only what every version has is used: Flower's apps, and the in-process grid.
"""

import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any


class Child:
    """The ClientApp of other code, behind a pipe."""

    def __init__(self, code: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, __file__, "--answer"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": code},
            cwd=code,
        )

    def __call__(self, message: Any, context: Any) -> Any:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        pickle.dump((message, context), self.process.stdin)
        self.process.stdin.flush()
        return pickle.load(self.process.stdout)

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(30)


def answer() -> None:
    from flwr.supercore.task_identity import TaskIdentity

    channel = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what is printed must not get among the answers
    from clients.app import app

    while True:
        try:
            message, context = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        TaskIdentity.run_id, TaskIdentity.task_id = context.run_id, 1
        TaskIdentity.node_id = context.node_id
        pickle.dump(app(message, context), channel)
        channel.flush()


def main(run: Path, other: str, platform: str) -> None:
    import shared
    from clients.app import app
    from server.app import train
    from shared.config.federation import run_federation
    from simulations.engines.inprocess import InProcessGrid, platform_folders

    print("coordinator's code:", Path(shared.__file__).parents[1])
    child = Child(other)

    def either(message: Any, context: Any) -> Any:
        folder = Path(str(context.node_config["platform-folder"]))
        return child(message, context) if folder.name == platform else app(message, context)

    settings = run_federation(run)
    grid = InProcessGrid(
        either,  # type: ignore[arg-type]
        platform_folders(run, settings.platforms),
        run_folder=run,
        threads=1,
    )
    train(run, grid)
    child.close()


if __name__ == "__main__":
    if sys.argv[1] == "--answer":
        answer()
    else:
        main(Path(sys.argv[1]), *sys.argv[2:])
