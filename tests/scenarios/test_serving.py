"""A data scientist serves a platform of a run: `fedinterest-client serve`, asked through gRPC."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from clients.serving.answers import PostedEvent, Who
from clients.serving.service.client import ServingClient
from shared.errors import ConsentError
from tests.clients.serving.conftest import SECRET, deliver, made_platform

PLACES = ("--address", "127.0.0.1:0", "--json-address", "127.0.0.1:0")
FEDERATION = """{"platforms": {"shop": {"population": 100, "events": {"path": "x"},
"items": {"path": "x"}}, "films": {"population": 100, "events": {"path": "x"},
"items": {"path": "x"}}}}"""


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "run" / "platforms" / "shop"
    platform = made_platform(folder)
    deliver(platform, 3)
    (folder / "pseudonym.secret").write_bytes(SECRET)
    (tmp_path / "run" / "federation.json").write_text(FEDERATION)
    return folder


def started(folder: Path) -> tuple["subprocess.Popen[str]", str]:
    """The service, once it says where it can be reached."""
    process = subprocess.Popen(
        [sys.executable, "-m", "clients.cli", "serve", str(folder), *PLACES],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert process.stdout is not None
    for line in process.stdout:
        if found := re.match(r"gRPC http://(\S+)", line):
            return process, found[1]
    raise AssertionError(f"it ended: {process.wait()}")


def test_it_answers_survives_a_kill_and_takes_up_a_new_adapter(run: Path) -> None:
    process, address = started(run)
    try:
        with ServingClient(address, deadline_s=10) as client:
            assert client.status().round == 3
            first = client.recommend(Who(user_id="u3"), k=5)
            assert len(first.items) == 5
            seen = first.items[0].item.item_id
            assert client.post_events([PostedEvent(user_id="u3", item_id=seen)]).accepted == 1
            assert not client.set_consent("u5", learning=False).learning
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert process.stdout is not None
        process.stdout.close()

        began = time.monotonic()
        process, address = started(run)
        assert time.monotonic() - began < 60  # what was made is found, not made again
        with ServingClient(address, deadline_s=10) as client:
            found = client.recommend(Who(user_id="u3"), k=60)
            assert seen not in {one.item.item_id for one in found.items}
            with pytest.raises(ConsentError):
                client.recommend(Who(user_id="u5"))
            from clients.platform import Platform

            deliver(Platform.open(run), 4, seed=9)
            end = time.monotonic() + 60
            while client.status().round != 4:  # it looks by itself
                assert time.monotonic() < end
                time.sleep(0.2)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()
