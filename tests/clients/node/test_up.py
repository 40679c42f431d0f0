"""One partner from nothing to its last round, and what an operator does on the way.

The real thing: gateway, SuperLink and conductor of a coordinator, and this partner's own programs.
"""

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from clients.node.up import free_port
from shared.privacy.ledger import read_ledger
from shared.processes import read_status
from shared.sessions import started_at
from tests.clients.partners import PROJECT, running, wait_for

ROUNDS = 30
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("nginx")]


@dataclass
class Stage:
    folder: Path
    world: Path
    environment: dict[str, str] = field(default_factory=dict)

    def call(self, *arguments: object, code: int = 0) -> Any:
        """A command to its end; its JSON."""
        done = subprocess.run(
            [sys.executable, "-P", "-m", *map(str, arguments), "--json"],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=240,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return json.loads(done.stdout) if done.stdout else {}

    def lines(self) -> list[dict[str, Any]]:
        """The coordinator's log of rounds."""
        path = self.folder / "coordinator" / "runs" / "0001" / "rounds.jsonl"
        return (
            [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []
        )

    def processes(self) -> dict[str, Any]:
        """What runs, as the supervisor says."""
        return read_status(self.folder / "shop" / "state" / "processes.json") or {}

    @property
    def up(self) -> list[str]:
        return [sys.executable, "-P", "-m", "clients.cli", "up", "shop"]


@pytest.fixture
def stage(tmp_path: Path, world: Path) -> Iterator[Stage]:
    """A coordinator that waits for one partner."""
    made = Stage(
        tmp_path,
        world,
        {
            **os.environ,
            "PYTHONPATH": str(PROJECT),
            "OMP_NUM_THREADS": "1",
            "HF_HUB_OFFLINE": "1",
            "FEDINTEREST_CACHE": str(tmp_path / "cache"),
            "XDG_STATE_HOME": str(tmp_path / "xdg"),
        },
    )
    made.call("server.cli", "init", "coordinator", "--address", f"localhost:{free_port()}")
    toml = tmp_path / "coordinator" / "server.toml"
    text = re.sub(r"partners = 2 +#", "partners = 1 #", toml.read_text())
    text = text.replace(
        '# encoder = "embedded"',
        f'encoder = "{world / "encoder"}"\nrank = 8\nlayers = 2\nhistory_length = 10\n# ',
    )
    toml.write_text(re.sub(r"# rounds = \d+", f"rounds = {ROUNDS}\n#", text))
    with running(
        [sys.executable, "-P", "-m", "server.cli", "up", "coordinator"],
        {**made.environment, "PWD": str(tmp_path)},
        tmp_path / "coordinator.log",
        cwd=tmp_path,
    ):
        yield made


def test_a_partner_from_nothing(stage: Stage) -> None:
    folder, logs = stage.folder / "shop", stage.folder
    made = stage.call(
        *("clients.cli", "init", "shop", "--events", stage.world / "shop.csv"),
        *("--items", stage.world / "shop-items.csv", "--population", 200, "--yes"),
    )
    assert made["columns"] == {
        **{"user": "customer", "item": "sku", "time": "at"},
        **{"item_id": "sku", "title": "name", "category": "shelf"},
    }
    toml = folder / "client.toml"
    toml.write_text(toml.read_text().replace("[policy]\n", "[policy]\nthreads = 1\n"))
    refused = stage.call("clients.cli", "check", "shop", "--no-rehearsal", code=10)
    assert [one["name"] for one in refused["checks"] if one["status"] == "failed"] == ["enrolment"]
    stage.call("server.cli", "enrol", "shop", "shop/request.json", "--dir", "coordinator")
    stage.call("clients.cli", "check", "shop", "--enrolment", "shop.enrolment.json", "--offline")

    def checked() -> Any:  # the coordinator may still be starting
        done = subprocess.run(
            [*stage.up[:4], "check", "shop", "--json", "--no-rehearsal"],
            cwd=stage.folder,
            env=stage.environment,
            capture_output=True,
            text=True,
        )
        found = json.loads(done.stdout)
        return found if found["ok"] else None

    found = wait_for(checked, "a coordinator that passes the check", logs)
    assert len(found["checks"]) >= 25

    with running(stage.up, stage.environment, logs / "up.log", cwd=stage.folder):
        wait_for(lambda: len(stage.lines()) >= 3, "three rounds", logs)
        port = json.loads((folder / "state" / "operations.json").read_text())["port"]
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
            metrics = answer.read().decode()
        assert "fedinterest_client_ledger_sound 1.0" in metrics
        assert "customer" not in metrics
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=10) as answer:
            assert json.loads(answer.read())["ready"]
        status = stage.call("clients.cli", "status", "shop")
        assert status["running"]
        assert status["budget"]["runs"][0]["spent_epsilon"] > 0

        # An executor that dies in the middle costs a moment, and nothing twice.
        os.kill(stage.processes()["children"]["executor"]["pid"], signal.SIGKILL)
        before = len(stage.lines())
        wait_for(lambda: len(stage.lines()) >= before + 2, "rounds after a death", logs, 120)

        children = stage.processes()["children"]
        supervisor = stage.processes()["pid"]
        began = time.monotonic()
        stopped = stage.call("clients.cli", "stop", "shop")
        assert stopped["stopped"]
        assert stopped["seconds"] < 5
        assert time.monotonic() - began < 8  # with the command's own start, on a busy machine
        assert [name for name, one in children.items() if started_at(one["pid"])] == []
        assert started_at(supervisor) == 0
        rounds = len(stage.lines())
        time.sleep(2)
        assert len(stage.lines()) == rounds
    assert not stage.call("clients.cli", "stop", "shop")["stopped"]

    ledger = read_ledger(folder / "ledger" / "shop.jsonl")
    # Every round that the coordinator has was paid for, once; its first line is about round 0.
    charged = [entry.round for entry in ledger.entries]
    assert rounds - 1 <= len(charged) <= rounds
    assert charged == list(range(1, len(charged) + 1))
    budget = stage.call("clients.cli", "budget", "shop")
    assert budget["total_epsilon"] == budget["runs"][0]["spent_epsilon"] < 8

    # A user goes, and the supervisor is killed and started again: training goes on.
    receipt = stage.call("clients.cli", "forget", "c5", "--dir", "shop")
    assert receipt["found"]
    with running(stage.up, stage.environment, logs / "up.log", cwd=stage.folder) as process:
        wait_for(lambda: len(stage.lines()) > rounds, "rounds after a stop", logs, 120)
        process.kill()
    with running(stage.up, stage.environment, logs / "up.log", cwd=stage.folder):
        now = len(stage.lines())
        wait_for(lambda: len(stage.lines()) > now + 1, "rounds after a kill", logs, 120)
        stage.call("clients.cli", "stop", "shop")
    refusals = folder / "state" / "refusals.jsonl"
    assert not refusals.exists() or "PolicyRefusal" not in refusals.read_text()
