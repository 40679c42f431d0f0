"""A partner's machine in one process: the real SuperNode, and a toy platform that answers.

`python toy_node.py NAME FOLDER SUPERLINK CERTIFICATE KEY PORT [SLOW_S]`; FOLDER holds the node's
number and Flower's home.  The executor is a thread of this process, with the app of conftest.py.
"""

import os
import runpy
import sys
import threading
import time
from pathlib import Path

from flwr.app import Context, RecordDict
from flwr.supernode.cli.flower_supernode import flower_supernode  # noqa: F401  all of it, at once

from clients.node import supernode
from clients.node.runtime import RuntimeApi

TOYS = runpy.run_path(str(Path(__file__).parents[1] / "conftest.py"))


def execute(name: str, folder: Path, port: int, slow_s: float) -> None:
    app = TOYS["ToyFederation"](folder).app()
    api = RuntimeApi(f"127.0.0.1:{port}", (folder / "secret").read_bytes())
    while True:
        task = api.claim()
        if task is None:
            time.sleep(0.05)
            continue
        with task:
            asked = task.pull()
            if str(asked.message.metadata.message_type) == "train":
                time.sleep(slow_s)
            context = Context(
                run_id=asked.run_id,
                node_id=asked.node_id,
                node_config={"platform-folder": f"/platforms/{name}"},
                state=RecordDict(),
                run_config={},
            )
            task.push(asked, app(asked.message, context))


def main() -> None:
    name, folder, superlink, certificate, key, port, *more = sys.argv[1:]
    home = Path(folder)
    home.mkdir(parents=True, exist_ok=True)
    (home / "secret").write_text("s" * 64)
    (home / "secret").chmod(0o600)
    os.environ["FEDINTEREST_NODE_FILE"] = str(home / "node_id")
    os.environ["FLWR_HOME"] = str(home / "home")
    slow_s = float(more[0]) if more else 0.0
    work = threading.Thread(target=execute, args=(name, home, int(port), slow_s), daemon=True)
    work.start()

    command = supernode.command(
        sidecar=superlink,
        certificate=Path(certificate),
        key=Path(key),
        port=int(port),
        secret=home / "secret",
    )
    sys.argv = command[command.index("clients.node.supernode") :]
    supernode.main()


if __name__ == "__main__":
    main()
