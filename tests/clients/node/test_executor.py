"""The real SuperLink and SuperNode, our executor, and what happens to bundles, good and bad."""

import io
import json
import os
import re
import signal
import threading
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from flwr.app import ConfigRecord, Message, RecordDict
from flwr.common.serde import run_from_proto
from flwr.proto.control_pb2 import StartRunRequest
from flwr.proto.fab_pb2 import Fab
from flwr.proto.runtime_pb2 import PullTaskInputRequest
from flwr.supercore.task_identity import TaskIdentity

from clients.home import Home
from clients.node import supernode
from clients.node.control import pause, resume
from clients.node.refusals import Refusals
from clients.node.up import free_port, listens
from server.running.control import Control
from server.running.superlink import SuperLink
from shared.files import sha256
from shared.protocol import CATALOGUE_QUERY, CatalogueReply, Refusal, kind_of
from tests.clients.partners import environment, python, running, wait_for

HOSTILE = """
import glob, os
from flwr.app import ConfigRecord, RecordDict, Message
from flwr.clientapp import ClientApp
app = ClientApp()
open("{mark}", "w").write("ran")

@app.query("catalogue")
def steal(message, context):
    rows = open("{events}").read()
    return Message(RecordDict({{"loot": ConfigRecord({{"rows": rows}})}}), reply_to=message)
"""
TOML = """[project]
name = "fedinterest"
version = "0.1.0"
dependencies = []

[tool.flwr.app]
publisher = "fedinterest"

[tool.flwr.app.components]
serverapp = "app:app"
clientapp = "app:app"
"""


@contextmanager
def node(home: Home, link: SuperLink, *, executor: bool = True) -> Iterator[dict[str, int]]:
    """A real SuperNode of `home`, straight to the SuperLink, and our executor beside it."""
    port, state, log = free_port(), home.folder.state, home.folder.log
    command = supernode.command(
        sidecar=link.address,
        certificate=link.certificate,
        key=home.keys.node_key,
        port=port,
        secret=home.keys.executor_secret,
    )
    around = supernode.environment(environment(), home=state / "flwr", node=state / "node_id")
    with running(command, around, log / "supernode.log") as flower:
        wait_for(lambda: listens(port), "the SuperNode's start", log)
        pids = {"supernode": flower.pid, "port": port}
        if not executor:
            yield pids
            return
        program = python("clients.node.executor", str(home.folder.path), f"127.0.0.1:{port}")
        with running(program, around, log / "executor.log") as ours:
            yield {**pids, "executor": ours.pid}


def hostile_bundle(folder: Path, home: Home) -> bytes:
    code = HOSTILE.format(mark=folder / "mark", events=home.settings.events.path)
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("pyproject.toml", TOML)
        archive.writestr("app.py", code)
    return content.getvalue()


def ask(control: Control, run: int, logs: Path, kind: str = CATALOGUE_QUERY) -> RecordDict:
    """The answer of the only node of a run to a message without content to speak of."""
    TaskIdentity.run_id, TaskIdentity.task_id, TaskIdentity.node_id = run, 1, 1
    grid = control.claim(run)
    try:
        found = grid.runtime.PullTaskInput(PullTaskInputRequest())
        grid.set_run(run_from_proto(found.run))
        nodes = wait_for(lambda: list(grid.get_node_ids()), "a node", logs)
        content = RecordDict({"fedinterest": ConfigRecord({"kind": "catalogue-query"})})
        (reply,) = grid.send_and_receive([Message(content, nodes[0], kind)], timeout=60)
        assert not reply.has_error(), reply.error
        return reply.content
    finally:
        grid.close()
        control.stop_run(run)


def permit(home: Home, line: str) -> None:
    """Change the limit of a round in client.toml, which is read afresh for every message."""
    text = re.sub(r"max_round_s = \S+", line, home.folder.toml.read_text())
    home.folder.toml.write_text(text)


def worker_of(executor: int) -> int:
    """The process number of an executor's worker."""
    children = Path(f"/proc/{executor}/task/{executor}/children").read_text().split()
    (found,) = [
        int(one) for one in children if b"spawn_main" in Path(f"/proc/{one}/cmdline").read_bytes()
    ]
    return found


def test_good_and_hostile_bundles(home: Home, superlink: SuperLink, control: Control) -> None:
    control.admit({home.name: home.keys.node_public()})
    bad, logs = hostile_bundle(home.folder.path.parent, home), home.folder.log
    refusals = Refusals(home.folder.state / "refusals.jsonl")
    with node(home, superlink):
        reply = CatalogueReply.from_records(ask(control, control.start_run(), logs))
        assert reply.platform == "shop"
        assert reply.key == home.keys.signing.public.hex
        assert refusals.lines() == []

        started = control._orders.StartRun(StartRunRequest(fab=Fab(content=bad)))
        refusal = Refusal.from_records(ask(control, started.run_id, logs))
        assert (refusal.platform, refusal.kind, refusal.code) == ("shop", "PolicyRefusal", 8)
        assert sha256(bad) in refusal.message
        (line,) = refusals.lines()
        assert line["kind"] == "PolicyRefusal"
        assert line["setting"] == "allowed_bundles"
        assert line["asked"] == sha256(bad)

        # The next good one is answered as if nothing had been.
        before = time.monotonic()
        assert kind_of(ask(control, control.start_run(), logs)) == "catalogue-reply"
        assert time.monotonic() - before < 10

        pause(home.folder)
        refusal = Refusal.from_records(ask(control, control.start_run(), logs))
        assert "paused" in refusal.message
        resume(home.folder)
        refusal = Refusal.from_records(ask(control, control.start_run(), logs, "query.events"))
        assert refusal.kind == "ProtocolError"
        assert kind_of(ask(control, control.start_run(), logs)) == "catalogue-reply"
        assert [one["setting"] for one in refusals.lines()] == [
            "allowed_bundles",
            "pause",
            "message",
        ]

    assert not (home.folder.path.parent / "mark").exists()
    inside = [path for path in home.folder.path.rglob("*") if path.is_file()]
    assert [path for path in inside if bad[:200] in path.read_bytes()] == []
    assert [path for path in inside if path.name == "app.py"] == []


@pytest.mark.slow
def test_limits_and_deaths(home: Home, superlink: SuperLink, control: Control) -> None:
    """A round that takes too long is ended, a worker that dies is replaced, and a SuperNode that
    was killed comes back at once, where Flower's own would be refused for a minute."""
    control.admit({home.name: home.keys.node_public()})
    logs, refusals = home.folder.log, Refusals(home.folder.state / "refusals.jsonl")
    with node(home, superlink) as pids:
        assert kind_of(ask(control, control.start_run(), logs)) == "catalogue-reply"
        permit(home, "max_round_s = 1.0")
        os.kill(worker_of(pids["executor"]), signal.SIGSTOP)
        refusal = Refusal.from_records(ask(control, control.start_run(), logs))
        assert (refusal.kind, refusal.code) == ("PolicyRefusal", 8)
        assert "max_round_s" in refusal.message
        permit(home, "max_round_s = 60.0")
        assert kind_of(ask(control, control.start_run(), logs)) == "catalogue-reply"

        dying = worker_of(pids["executor"])
        os.kill(dying, signal.SIGSTOP)

        def kill_when_busy() -> None:
            counts = home.folder.state / "executor.json"
            wait_for(lambda: json.loads(counts.read_text())["busy"], "a message", logs)
            time.sleep(0.5)
            os.kill(dying, signal.SIGKILL)

        killer = threading.Thread(target=kill_when_busy)
        killer.start()
        refusal = Refusal.from_records(ask(control, control.start_run(), logs))
        killer.join()
        assert refusal.kind == "RunError"
        assert refusal.message == "the reason is in the platform's own log"
        assert [one["kind"] for one in refusals.lines()] == ["PolicyRefusal", "RunError"]
        os.kill(pids["supernode"], signal.SIGKILL)
    with node(home, superlink):
        assert kind_of(ask(control, control.start_run(), logs)) == "catalogue-reply"
    assert "Exit Code: 305" not in (logs / "supernode.log").read_text()
