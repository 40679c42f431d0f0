"""Partners with tiny data and a random encoder, for tests; and processes that end with them."""

import os
import runpy
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from clients.home import Home
from clients.joining.start import Answers, begin
from clients.platform import Platform
from clients.settings import ClientFolder
from clients.sources.pseudonyms import pseudonym
from server.membership.authority import Authority
from shared.bundle import bundle_sha256
from shared.certificates import read_request
from shared.config.federation import PublicSettings
from shared.enrolment import Enrolment, EnrolmentRequest

PROJECT = Path(__file__).resolve().parents[2]
POPULATION = 200
ROUNDS = 3
TINY = runpy.run_path(str(PROJECT / "tests" / "scenarios" / "tiny_world.py"))


def public(world: Path, platform: str = "shop", **changes: Any) -> PublicSettings:
    values: dict[str, Any] = {
        "name": "testers",
        "platforms": {platform: {"kind": "shop", "population": POPULATION}},
        "model": {
            "encoder": str(world / "encoder"),
            "rank": 8,
            "layers": 2,
            "history_length": 10,
        },
        "privacy": {"steps_per_round": 2},
        "training": {"rounds": ROUNDS},
    }
    return PublicSettings.load({**values, **changes}, where="test")


def new_home(folder: Path, world: Path, *, seed: int | None = None, policy: str = "") -> Home:
    """A partner that has not been enrolled."""
    begin(
        ClientFolder.at(folder),
        Answers(
            name="shop",
            kind="shop",
            population=POPULATION,
            events=world / "shop.csv",
            items=world / "shop-items.csv",
            columns={
                "user": "customer",
                "item": "sku",
                "time": "at",
                "item_id": "sku",
                "title": "name",
                "category": "shelf",
            },
            time_unit="iso",
        ),
    )
    toml = folder / "client.toml"
    text = toml.read_text().replace("[policy]\n", f"[policy]\nthreads = 1\n{policy}")
    if seed is not None:
        text += f"\n[unsafe]\nseed = {seed}\n"
    toml.write_text(text)
    home = Home.open(folder)
    home.keys.make()
    return home


def enrolled(home: Home, world: Path, *, gateway: str = "127.0.0.1:1", **changes: Any) -> Enrolment:
    """Enrol a partner with an authority of its own, as a coordinator would."""
    now = datetime.now(UTC)
    authority = Authority.create(home.folder.path.with_name("authority"), "testers", now)
    request = EnrolmentRequest.read(home.folder.request.read_text())
    key = read_request(request.csr_pem, request.name, "test")
    certificate = authority.issue(request.name, key, 30, now)
    made = Enrolment(
        name=home.name,
        gateway=gateway,
        server_name="localhost",
        ca_pem=authority.pem,
        certificate_pem=certificate.public_bytes(Encoding.PEM).decode(),
        federation=public(world, home.name, **changes),
        coordinator_key=home.keys.signing.public.hex,
        bundle_sha256=bundle_sha256(),
    )
    path = home.folder.path / "answer.json"
    path.write_text(made.text())
    return home.enrol(path)


def no_progress(what: str, done: int, total: int) -> None:
    """Say nothing."""


def wait_for(condition: Callable[[], Any], what: str, logs: Path, timeout_s: float = 90.0) -> Any:
    """What `condition` returns once it is true; else the logs."""
    deadline = time.monotonic() + timeout_s
    while not (found := condition()):
        if time.monotonic() > deadline:
            tails = [f"== {log.name}\n{log.read_text()[-3000:]}" for log in logs.rglob("*.log")]
            pytest.fail(f"{what} did not happen in {timeout_s:g} s\n" + "\n".join(tails))
        time.sleep(0.05)
    return found


@contextmanager
def running(
    command: list[str], environment: dict[str, str], log: Path, cwd: Path | None = None
) -> Iterator["subprocess.Popen[bytes]"]:
    """A process that is ended with the block."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as out:
        process = subprocess.Popen(command, env=environment, stdout=out, stderr=out, cwd=cwd)
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(8)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(PROJECT)}


def python(*arguments: str) -> list[str]:
    return [sys.executable, "-P", "-m", *arguments]


def name_of(home: Home, user: str) -> str:
    """The pseudonym of a user."""
    return pseudonym((home.folder.platform / "pseudonym.secret").read_bytes(), user)


def trained_on(home: Home) -> tuple[str, ...]:
    """The pseudonyms of whom the platform's next round would learn from."""
    return Platform.open(home.folder.platform).sequences.users
