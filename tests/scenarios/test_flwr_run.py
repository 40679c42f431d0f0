"""The real thing once: `flwr run`, a SuperLink, two SuperNodes, each app in a process of its own.

What comes out is what the in-process engine gives, bit for bit.
"""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clients.platform import Platform
from clients.platform_record import PlatformRecord
from server.rounds.log import RoundLog
from shared.catalogue import Catalogue
from shared.config.federation import FederationSettings
from shared.events import Sequences
from simulations.engines.inprocess import run_inprocess

PROJECT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
WIDTH, ITEMS, USERS = 16, 40, 60
SETTINGS = {
    "platforms": {
        name: {"population": USERS, "events": {"path": "gone"}, "items": {"path": "gone"}}
        for name in ("shop", "films")
    },
    "model": {"rank": 8, "layers": 2},
    "privacy": {"sample_rate": 0.3, "steps_per_round": 2},
    "training": {"rounds": 2, "learning_rate": 2.0},
    "server": {"round_timeout_s": 120},
    "speed": {"threads": 1},
}
TIMEOUT_S = 240.0


def make_run(folder: Path) -> Path:
    """Two small platforms with random tastes, and repeatable noise."""
    folder.mkdir()
    (folder / "federation.json").write_text(json.dumps(SETTINGS))
    settings = FederationSettings.load(SETTINGS, where="test")
    for number, name in enumerate(settings.platforms):
        rng = np.random.default_rng(number)
        lengths = rng.integers(2, 9, USERS)
        titles = tuple(f"{name} item {row}" for row in range(ITEMS))
        record = PlatformRecord(
            name=name,
            kind=name,
            population=USERS,
            epsilon=8.0,
            delta=settings.privacy.delta_for(USERS),
            noise_multiplier=1.5,
            steps=4,
            sample_rate=settings.privacy.sample_rate,
            clip_norm=settings.privacy.clip_norm,
            model=settings.model,
            unsafe_seed=7,
        )
        catalogue = Catalogue(ids=titles, texts=titles, titles=titles, categories=((),) * ITEMS)
        sequences = Sequences(
            users=tuple(f"u{user}" for user in range(USERS)),
            items=rng.integers(0, ITEMS, lengths.sum()).astype(np.int32),
            offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        )
        vectors = rng.normal(size=(ITEMS, 2, WIDTH)).astype(np.float32)
        Platform.create(folder / "platforms" / name, record, catalogue, vectors, sequences)
    return folder


def free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


@contextmanager
def running(command: list[str], environment: dict[str, str], log: Path) -> Iterator[None]:
    """A process that is ended with the block, and with it those it started."""
    with log.open("wb") as out:
        process = subprocess.Popen(
            command, env=environment, stdout=out, stderr=out, start_new_session=True
        )
        try:
            yield
        finally:
            process.terminate()
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def wait_for(condition: Any, what: str, logs: Path) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while not condition():
        if time.monotonic() > deadline:
            tails = [f"== {log.name}\n{log.read_text()[-3000:]}" for log in logs.glob("*.log")]
            pytest.fail(f"{what} did not happen in {TIMEOUT_S:g} s\n" + "\n".join(tails))
        time.sleep(0.2)


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_flwr_run_gives_what_the_simulation_gives(tmp_path: Path) -> None:
    simulated, deployed = make_run(tmp_path / "simulated"), make_run(tmp_path / "deployed")
    run_inprocess(simulated)
    expected = [line["adapter_sha256"] for line in RoundLog(simulated / "rounds.jsonl").lines()]

    home = tmp_path / "home"
    home.mkdir()
    link, *nodes = free_ports(3)
    (home / "config.toml").write_text(
        f'[superlink]\ndefault = "here"\n'
        f'[superlink.here]\naddress = "127.0.0.1:{link}"\ninsecure = true\n'
    )
    environment = {
        **os.environ,
        "FLWR_HOME": str(home),
        "FLWR_TELEMETRY_ENABLED": "0",
        "FLWR_DISABLE_UPDATE_CHECK": "1",
        "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
        "OMP_NUM_THREADS": "1",
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
    }
    log = RoundLog(deployed / "rounds.jsonl")
    with ExitStack() as stack:
        superlink = [str(BIN / "flower-superlink"), "--insecure", "--port", str(link)]
        superlink.append("--disable-runtime-dependency-installation")
        stack.enter_context(running(superlink, environment, tmp_path / "superlink.log"))
        wait_for(lambda: listens(link), "the SuperLink's start", tmp_path)
        for name, port in zip(SETTINGS["platforms"], nodes, strict=True):
            folder = deployed / "platforms" / name
            supernode = [
                str(BIN / "flower-supernode"),
                "--insecure",
                "--superlink",
                f"127.0.0.1:{link}",
                "--port",
                str(port),
                "--node-config",
                f'platform-folder="{folder}" threads=1',
            ]
            stack.enter_context(running(supernode, environment, tmp_path / f"{name}.log"))
        command = [str(BIN / "flwr"), "run", str(PROJECT), "here", "--format", "json"]
        command += ["--run-config", f'run-folder="{deployed}"']
        started = subprocess.run(
            command,
            env=environment,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
        assert started.returncode == 0, started.stdout + started.stderr
        assert json.loads(started.stdout)["success"] is True
        wait_for(lambda: len(log.lines()) == 3, "the last round", tmp_path)
    assert [line["adapter_sha256"] for line in log.lines()] == expected
    assert len(set(expected)) == 3
