"""The whole service as a process: from its start to SIGTERM, under load."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest

from clients.serving.service.serve import serve
from clients.serving.wire import serving_pb2 as pb
from clients.serving.wire.serving_pb2_grpc import ServingStub
from shared.errors import ConfigError
from tests.clients.serving.service.world import World, settings

ROOT = Path(__file__).resolve().parents[4]
PROGRAM = """
import json, sys
from pathlib import Path
from clients.serving.service.serve import serve
from clients.serving.wire import serving_pb2 as pb
from clients.serving.wire.serving_pb2_grpc import ServingStub
from tests.clients.serving.service.world import World, settings

folder = Path(sys.argv[1])

def started(places):
    (folder / "new").write_text(json.dumps(vars(places)))
    (folder / "new").rename(folder / "places.json")

world = World(pause_s=float(sys.argv[2]))
sys.exit(serve(world, settings(grace_s=20), log_path=folder / "log.jsonl", started=started))
"""


@contextmanager
def process(
    folder: Path, pause_s: float
) -> Iterator[tuple[subprocess.Popen[bytes], dict[str, str]]]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", PROGRAM, str(folder), str(pause_s)]
    with open(folder / "output", "wb") as output:
        child = subprocess.Popen(
            command, env=environment, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT
        )
    try:
        places = folder / "places.json"
        end = time.monotonic() + 60
        while not places.exists():
            assert child.poll() is None, (folder / "output").read_text()
            assert time.monotonic() < end
            time.sleep(0.02)
        yield child, json.loads(places.read_text())
    finally:
        child.kill()
        child.wait()


def lines(folder: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def test_sigterm_under_load_loses_no_call_that_was_taken_in(tmp_path: Path) -> None:
    """Every call is answered, or is told UNAVAILABLE: none is cut off, none is INTERNAL."""
    with process(tmp_path, 0.02) as (child, places):
        answered: list[int] = []
        refused: list[str] = []

        def ask() -> None:
            with grpc.insecure_channel(places["grpc"], [("grpc.enable_retries", 0)]) as channel:
                stub = ServingStub(channel)
                try:
                    while True:
                        found = stub.Recommend(pb.RecommendRequest(user_id="ann"), timeout=60)
                        answered.append(len(found.items))
                except grpc.RpcError as error:
                    refused.append(error.code().name)

        threads = [threading.Thread(target=ask) for _ in range(4)]
        for one in threads:
            one.start()
        end = time.monotonic() + 60
        while len(answered) < 20:
            assert time.monotonic() < end
            time.sleep(0.01)
        child.send_signal(signal.SIGTERM)
        assert child.wait(timeout=60) == 0
        for one in threads:
            one.join(timeout=60)
    assert set(answered) == {10}
    assert refused == ["UNAVAILABLE"] * 4
    assert [one["event"] for one in lines(tmp_path)] == ["serving", "stopping", "stopped"]
    assert lines(tmp_path)[-1]["outcome"] == "all answered"
    assert (tmp_path / "output").read_text() == ""


def test_nothing_that_answers_needs_torch(tmp_path: Path) -> None:
    """Memory and the time of a start are requirements; the tree below must stay light."""
    code = (
        "import sys, clients.serving.service.serve, clients.serving.service.client; "
        "import clients.serving.answering, clients.serving.texts; "
        "heavy = ('torch', 'transformers', 'polars', 'flwr', 'scipy', 'cryptography'); "
        "print([name for name in heavy if name in sys.modules])"
    )
    found = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert found.stdout == "[]\n"


def test_addresses_that_cannot_be_used_end_it_before_it_begins(tmp_path: Path) -> None:
    with process(tmp_path, 0.0) as (_, places), pytest.raises(ConfigError, match="operations_port"):
        serve(
            World(),
            settings(operations_port=places["operations"]),
            log_path=tmp_path / "second.jsonl",
        )
    # What had begun has ended: its threads are gone.
    names = [one.name for one in threading.enumerate()]
    assert not [one for one in names if one in ("gateway", "refresh", "operations")]
