"""Partners with tiny data and a random encoder, and a real SuperLink for them to talk to."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from clients.home import Home
from server.running.control import Control
from server.running.superlink import SuperLink
from server.running.superlink import free_port as superlink_port
from tests.clients.partners import (
    PROJECT,
    TINY,
    enrolled,
    new_home,
    no_progress,
    running,
    wait_for,
)


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Logs, catalogues and an encoder of three platforms; not to be changed."""
    folder = tmp_path_factory.mktemp("world") / "federation"
    TINY["write_federation"](folder)
    return folder


@pytest.fixture
def surroundings(
    world: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FEDINTEREST_CACHE", str(world / "cache"))
    monkeypatch.setenv("FEDINTEREST_UNSAFE", "1")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@pytest.fixture
def home(tmp_path: Path, world: Path, surroundings: None) -> Home:
    """A partner, enrolled and prepared."""
    made = new_home(tmp_path / "shop", world)
    enrolled(made, world)
    made.prepare(no_progress)
    return made


@pytest.fixture(scope="session")
def superlink(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SuperLink]:
    """A real SuperLink."""
    folder = tmp_path_factory.mktemp("superlink")
    link = SuperLink(folder, superlink_port())
    link.prepare()
    environment = {**link.environment(), "PYTHONPATH": str(PROJECT)}
    with running(link.command(), environment, folder / "superlink.log"):
        wait_for(link.ready, "the SuperLink's start", folder)
        yield link


@pytest.fixture
def control(superlink: SuperLink) -> Iterator[Control]:
    """Orders to it."""
    made = Control(superlink)
    try:
        yield made
    finally:
        made.close()
