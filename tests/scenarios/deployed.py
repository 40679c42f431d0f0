"""A deployment on this machine, played through the command line: real nginx, SuperLink, SuperNodes.

`Place` is a folder with whatever is started in it; `tiny_federation` puts a coordinator and three
partners with small data into one, seeded, so that a simulation must give the same adapter.
"""

import json
import os
import re
import runpy
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from shared.processes import read_status

PROJECT = Path(__file__).parents[2]
PLACES = {"fedinterest-server": "server.cli", "fedinterest-client": "clients.cli"}
STATUS = "fedinterest-server status coordinator"
SEED = 7
POPULATIONS = {"shop": 200, "films": 100, "news": 80}
COLUMNS = {
    "shop": "--events world/shop.csv --items world/shop-items.csv --user customer --category shelf",
    "films": "--events world/films.dat --items world/films-items.jsonl --separator :: "
    "--header user,film,rating,at --item-id id",
    "news": "--events world/news.jsonl --items world/news-items.csv --item-id story",
}


class Place:
    """A folder in which the story is played."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.address = f"localhost:{probe.getsockname()[1]}"
        self.running: list[subprocess.Popen[bytes]] = []
        self.env = {
            **os.environ,
            "PYTHONPATH": str(PROJECT),
            "XDG_STATE_HOME": str(folder / "state"),
            "FEDINTEREST_CACHE": str(folder / "cache"),
            "OMP_NUM_THREADS": "1",
            "FEDINTEREST_UNSAFE": "1",
        }

    def words(self, command: str) -> list[str]:
        first, *rest = command.replace("fed.example.org:9443", self.address).split()
        return [sys.executable, "-m", PLACES.get(first, "simulations.cli"), *rest]

    def call(self, command: str, code: int = 0) -> str:
        done = subprocess.run(
            self.words(command),
            cwd=self.folder,
            env=self.env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=180,
        )
        assert done.returncode == code, f"{command}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def start(self, command: str) -> subprocess.Popen[bytes]:
        log = self.folder / f"{len(self.running)}.log"
        with log.open("wb") as file:
            process = subprocess.Popen(
                self.words(command),
                cwd=self.folder,
                env=self.env,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
            )
        self.running.append(process)
        return process

    def until(self, command: str, words: str, seconds: float = 180) -> str:
        """Ask until the answer has `words`."""
        end = time.monotonic() + seconds
        while True:
            done = subprocess.run(
                self.words(command), cwd=self.folder, env=self.env, capture_output=True, text=True
            )
            if words in done.stdout:
                return done.stdout
            logs = "\n".join(path.read_text() for path in self.folder.glob("*.log"))
            assert time.monotonic() < end, f"{command}: {done.stdout}{done.stderr}\n{logs}"
            time.sleep(0.5)

    def end(self) -> None:
        """End what is still running."""
        for process in self.running:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        for process in self.running:
            process.wait(timeout=150)

    def lines(self) -> list[dict[str, Any]]:
        """Of the first run's rounds.jsonl; the first is the set-up."""
        path = self.folder / "coordinator" / "runs" / "0001" / "rounds.jsonl"
        try:
            return [json.loads(line) for line in path.read_text().splitlines()]
        except FileNotFoundError:
            return []

    def wait_for_round(self, number: int, seconds: float = 180) -> None:
        """Until round `number` is on disk."""
        end = time.monotonic() + seconds
        while len(self.lines()) <= number:
            logs = "\n".join(path.read_text()[-2000:] for path in self.folder.glob("*.log"))
            assert time.monotonic() < end, f"no round {number}: {logs}"
            time.sleep(0.02)

    def pid(self, who: str, program: str) -> int | None:
        """Process number of a program of the coordinator or a partner, while it lives."""
        found = read_status(self.folder / who / "state" / "processes.json")
        children = found["children"] if found else {}
        number = children.get(program, {}).get("pid")
        return None if number is None else int(number)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path)
    yield made
    made.end()


def tiny_federation(place: Place, *, rounds: int) -> None:
    """A coordinator and three enrolled partners, checked, not started."""
    world = place.folder / "world"
    runpy.run_path(str(Path(__file__).with_name("tiny_world.py")))["write_federation"](world)
    place.call("fedinterest-server init coordinator --address fed.example.org:9443 --name tiny")
    change(
        place.folder / "coordinator" / "server.toml",
        (r"^partners = 2 ", "partners = 3 "),
        (r"^# steps_per_round = 1", "steps_per_round = 2"),
        (
            r'^# encoder = "embedded" ',
            f'encoder = "{world / "encoder"}"\nrank = 8\nlayers = 2\nhistory_length = 10 ',
        ),
        (r"^# rounds = 48 ", f"rounds = {rounds} "),
        (r"^round_timeout_s = 600 ", "round_timeout_s = 60 "),
        (r"^# max_attempts = 3", "max_attempts = 10"),
    )
    for name, population in POPULATIONS.items():
        place.call(
            f"fedinterest-client init {name} --kind {name} --population {population} "
            f"{COLUMNS[name]} --yes"
        )
        toml = place.folder / name / "client.toml"
        change(toml, (r"^hold_out = false", "hold_out = true"), (r"^# threads = 2", "threads = 1"))
        toml.write_text(toml.read_text() + f"\n[unsafe]\nseed = {SEED}\n")
        # the statement key follows from the seed, so the request is written anew
        place.call(f"fedinterest-client rotate-keys {name}")
        place.call(f"fedinterest-server enrol {name} {name}/request.json --dir coordinator")
        place.call(
            f"fedinterest-client check {name} --enrolment {name}.enrolment.json --offline "
            "--no-rehearsal"
        )


def simulated(place: Place, *, rounds: int) -> list[str]:
    """The adapter's SHA-256 after each round of a simulation of the same federation."""
    toml = place.folder / "world" / "federation.toml"
    change(toml, (r"^rounds = 4$", f"rounds = {rounds}"))
    text = toml.read_text()
    for name, population in POPULATIONS.items():
        text = text.replace(f'kind = "{name}"', f'kind = "{name}"\npopulation = {population}')
    toml.write_text(text)
    place.call(f"fedinterest simulate world/federation.toml --seed {SEED} --out simulated")
    lines = (place.folder / "simulated" / "rounds.jsonl").read_text().splitlines()
    return [json.loads(line)["adapter_sha256"] for line in lines]


def change(path: Path, *pairs: tuple[str, str]) -> None:
    """Replace lines of a settings file; each must be there."""
    text = path.read_text()
    for pattern, new in pairs:
        text, count = re.subn(pattern, lambda _, new=new: new, text, flags=re.MULTILINE)
        assert count == 1, f"{path}: {pattern} found {count} times"
    path.write_text(text)
