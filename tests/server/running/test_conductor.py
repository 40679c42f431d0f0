"""A real SuperLink and SuperNodes, the conductor in a process of its own; toy platforms answer."""

import json
import os
import signal
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from server.membership.enrolment import init
from server.membership.partners import Partner, Partners
from server.rounds.log import RoundLog
from server.running.conductor import DRAINED, FINAL, STATE
from server.running.control import Control
from server.running.grid import LinkLost
from server.running.runs import Run, next_run
from server.running.superlink import SuperLink, free_port
from server.settings import ServerFolder
from shared.certificates import new_node_key, public_pem
from shared.processes import Child, Supervisor
from shared.transparency.keys import SigningKey

NAMES = ("films", "news", "shop")
ROOT = Path(__file__).resolve().parents[3]
SETTINGS = """
[privacy]
sample_rate = 0.1
steps_per_round = 2
[training]
rounds = 3
[server]
round_timeout_s = {timeout_s}
"""


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


@dataclass
class Deployment:
    """A coordinator without its gateway, and its partners, all under one supervisor."""

    path: Path
    timeout_s: int = 120
    slow_s: float = 0.0
    more: str = ""
    pids: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.folder = init(self.path, name="toys", address="127.0.0.1:9443", now=datetime.now(UTC))
        toml = self.path / "server.toml"
        head = toml.read_text().partition("# --- what every user")[0]
        toml.write_text(head + SETTINGS.format(timeout_s=self.timeout_s) + self.more)
        self.folder = ServerFolder(self.path)
        self.link = SuperLink(self.folder.superlink, free_port())
        self.link.prepare()
        self.keys: dict[str, str] = {}
        for name in NAMES:
            self.enrol(name)

    def enrol(self, name: str) -> None:
        from cryptography.hazmat.primitives.serialization import (
            Encoding,
            NoEncryption,
            PrivateFormat,
        )

        key = new_node_key()
        path = self.path / f"{name}.key"
        path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
        path.chmod(0o600)
        self.keys[name] = public_pem(key.public_key())
        partner = Partner(
            name=name,
            kind="toy",
            population=100,
            serial="01",
            not_after="2030-01-01T00:00:00+00:00",
            node_key_pem=self.keys[name],
            statement_key=SigningKey.unsafe(0, name).public.hex,
        )
        Partners(self.path).add(partner)

    def superlink(self) -> Child:
        return Child(
            name="superlink",
            command=self.link.command(),
            env=environment() | self.link.environment(),
            log_path=self.path / "log" / "superlink.log",
            ready=self.up,
            ready_timeout_s=120,
        )

    def up(self) -> bool:
        if not self.link.ready():
            return False
        control = Control(self.link)
        control.admit(self.keys)
        control.close()
        return True

    def node(self, name: str) -> Child:
        folder = self.path / "nodes" / name
        return Child(
            name=name,
            command=[
                *(sys.executable, str(Path(__file__).with_name("toy_node.py"))),
                *(name, str(folder), self.link.address, str(self.link.certificate)),
                *(str(self.path / f"{name}.key"), str(free_port()), str(self.slow_s)),
            ],
            env=environment(),
            log_path=self.path / "log" / f"{name}.log",
            grace_s=1,
        )

    def conductor(self, run: Run) -> Child:
        return Child(
            name="conductor",
            command=[
                *(sys.executable, "-m", "server.running.conductor"),
                *(str(self.path), run.name, str(self.link.port)),
            ],
            env=environment(),
            log_path=self.path / "log" / "conductor.jsonl",
            final=FINAL,
        )

    def logs(self) -> str:
        return "\n".join(
            f"== {log.name}\n{log.read_text()[-2500:]}"
            for log in sorted((self.path / "log").glob("*.log*"))
            + sorted((self.path / "log").glob("*.jsonl"))
        )


def run_to_end(
    place: Deployment, children: list[Child], each: Callable[[Supervisor], None] | None = None
) -> Supervisor:
    """Supervise until the conductor ends; what it left is looked at by the caller."""
    supervisor = Supervisor(children, place.path / "state" / "processes.json")
    deadline = time.monotonic() + 120
    try:
        while (code := supervisor.poll()) is None:
            if each is not None:
                each(supervisor)
            if time.monotonic() > deadline or max(supervisor.restarts.values()) > 5:
                pytest.fail(f"not done in time: {supervisor.states}\n{place.logs()}")
            time.sleep(0.05)
    finally:
        supervisor.stop()
    assert code == 0, place.logs()
    return supervisor


@pytest.fixture
def expected(federation: Any) -> list[str]:
    """The adapters of the same toys in one process."""
    federation.write(server__round_timeout_s=5)
    federation.run()
    return [str(line["adapter_sha256"]) for line in federation.lines()]


def adapters(run: Run) -> list[str]:
    return [line["adapter_sha256"] for line in RoundLog(run.path / "rounds.jsonl").lines()]


@pytest.mark.usefixtures("nginx")
def test_a_run_over_real_links_gives_what_one_process_gives(
    tmp_path: Path, expected: list[str]
) -> None:
    tracking = f"[tracking]\ntensorboard = true\nmlflow = 'file:{tmp_path}/mlruns'\n"
    place = Deployment(tmp_path / "coordinator", more=tracking)
    run = next_run(place.folder)
    assert run is not None
    nodes = [place.node(name) for name in NAMES]
    run_to_end(place, [place.superlink(), *nodes, place.conductor(run)])
    assert adapters(run) == expected
    assert run.finished is not None
    assert run.finished["adapter_sha256"] == expected[-1]
    assert (run.path / "adapter" / "adapter_model.safetensors").is_file()
    assert json.loads((place.path / "state" / STATE).read_text())["phase"] == "finished"
    seconds = [line["seconds"] for line in RoundLog(run.path / "rounds.jsonl").lines()[1:]]
    print("seconds of the rounds:", seconds)
    assert next_run(place.folder) is None  # nothing has changed: nobody spends again
    # what was tracked on the way
    board = EventAccumulator(str(run.path / "tensorboard")).Reload()
    tracked = [(one.step, round(one.value, 3)) for one in board.Scalars("round/seconds")]
    assert tracked[1:] == list(enumerate(seconds, 1))
    (metric,) = (tmp_path / "mlruns").glob("*/*/metrics/round/seconds")
    assert len(metric.read_text().splitlines()) == 4
    log = (place.path / "log" / "conductor.jsonl").read_text().splitlines()
    assert {json.loads(line)["level"] for line in log} == {"info"}


@pytest.mark.usefixtures("nginx")
def test_without_its_tracker_a_run_is_not_begun(tmp_path: Path) -> None:
    place = Deployment(tmp_path / "coordinator", more="[tracking]\ntensorboard = true\n")
    run = next_run(place.folder)
    assert run is not None
    code = (
        "import sys; sys.modules['tensorboard'] = None;"
        "from server.running.conductor import main; sys.exit(main(sys.argv[1:]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(place.path), run.name, str(place.link.port)],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode in FINAL
    told = json.loads((place.path / "state" / STATE).read_text())
    assert told["phase"] == "failed"
    assert "pip install 'fedinterest[tensorboard]'" in told["message"]
    assert "fedinterest[tensorboard]" in done.stderr
    assert not (run.path / "rounds.jsonl").exists()


@pytest.mark.slow
@pytest.mark.parametrize("victim", ["superlink", "conductor", "films"])
def test_whoever_is_killed_the_run_ends_as_if_nobody_had_been(
    tmp_path: Path, expected: list[str], victim: str
) -> None:
    place = Deployment(tmp_path / "coordinator", slow_s=1.0)
    run = next_run(place.folder)
    assert run is not None
    killed: list[float] = []

    def kill(supervisor: Supervisor) -> None:
        """In the middle of round 2, while the platforms are at work."""
        lines = RoundLog(run.path / "rounds.jsonl").lines()
        if not killed and len(lines) == 2 and (pid := supervisor.pid(victim)):
            time.sleep(0.5)
            os.kill(pid, signal.SIGKILL)
            killed.append(time.monotonic())

    nodes = [place.node(name) for name in NAMES]
    supervisor = run_to_end(place, [place.superlink(), *nodes, place.conductor(run)], kill)
    assert killed
    assert supervisor.restarts[victim] >= 1
    assert adapters(run) == expected
    print(f"{victim}: {time.monotonic() - killed[0]:.1f} s from the kill to the end")


@pytest.mark.slow
def test_asked_to_end_it_finishes_the_round_in_hand(tmp_path: Path, expected: list[str]) -> None:
    place = Deployment(tmp_path / "coordinator", slow_s=1.0)
    run = next_run(place.folder)
    assert run is not None
    children = [place.superlink(), *(place.node(name) for name in NAMES), place.conductor(run)]
    supervisor = Supervisor(children, place.path / "state" / "processes.json")
    log = RoundLog(run.path / "rounds.jsonl")
    deadline = time.monotonic() + 120
    try:
        while len(log.lines()) < 2:
            assert supervisor.poll() is None, place.logs()
            assert time.monotonic() < deadline, place.logs()
            time.sleep(0.05)
        time.sleep(0.5)
        os.kill(supervisor.pid("conductor") or 0, signal.SIGTERM)
        while supervisor.states["conductor"] == "ready":
            supervisor.poll()
            time.sleep(0.05)
        assert supervisor.exit_codes["conductor"] == DRAINED
        assert adapters(run) == expected[:3]
        assert run.finished is None
    finally:
        supervisor.stop()


@pytest.mark.usefixtures("nginx")
def test_only_the_owner_gives_orders(tmp_path: Path) -> None:
    place = Deployment(tmp_path / "coordinator")
    supervisor = Supervisor([place.superlink()], place.path / "state" / "processes.json")
    deadline = time.monotonic() + 100
    try:
        while not supervisor.all_ready:
            assert supervisor.poll() is None, place.logs()
            assert time.monotonic() < deadline, place.logs()
            time.sleep(0.05)
        context = ssl.create_default_context(cafile=str(place.link.certificate))
        for path, code in {
            "/v1/control/start-run": 403,
            "/v1/control/register-node": 403,
            "/docs": 404,
            "/openapi.json": 404,
            "/v1/runtime/acquire-task": 401,
            "/v1/fleet/pull-messages": 401,
        }.items():
            url = f"https://{place.link.address}{path}"
            kind = {"content-type": "application/protobuf"}
            request = urllib.request.Request(url, data=b"", headers=kind)
            with pytest.raises(urllib.error.HTTPError) as caught:
                urllib.request.urlopen(request, timeout=10, context=context)
            assert (path, caught.value.code) == (path, code)
            caught.value.close()
        control = Control(place.link)
        assert control.admit(place.keys) == ([], 0)  # all are known already
        del place.keys["shop"]
        assert control.admit(place.keys) == ([], 1)
        first = control.start_run()
        assert control.stop_runs() == 1
        with pytest.raises(LinkLost):
            control.claim(first)
        control.close()
    finally:
        supervisor.stop()
