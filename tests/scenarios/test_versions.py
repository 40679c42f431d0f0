"""Coordinator and partners need not be updated in the same hour.

The other version is the real one: the last commit that spoke the protocol before this one, taken
from the repository's own history.
"""

import io
import os
import subprocess
import sys
import tarfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from clients.delivered import read_delivered
from server.rounds import checkpoint as checkpoints
from server.rounds.log import RoundLog
from shared.protocol import OLDEST_VERSION, PROTOCOL_VERSION
from tests.scenarios.test_flwr_run import make_run

PROJECT = Path(__file__).resolve().parents[2]
HARNESS = Path(__file__).with_name("other_version.py")
CODE = ("shared", "clients", "server", "simulations", "pyproject.toml")
PREVIOUS = "420ad30"
"""The last commit that spoke version 5."""


@pytest.fixture(scope="module")
def previous(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The code of the version before."""
    found = subprocess.run(
        ["git", "-C", str(PROJECT), "archive", PREVIOUS, *CODE],
        capture_output=True,
        check=False,
    )
    if found.returncode:
        pytest.skip(f"the repository's history has no commit {PREVIOUS}: a shallow clone")
    folder = tmp_path_factory.mktemp("previous")
    with tarfile.open(fileobj=io.BytesIO(found.stdout)) as archive:
        archive.extractall(folder, filter="data")
    text = (folder / "shared" / "protocol" / "head.py").read_text()
    assert f"PROTOCOL_VERSION = {OLDEST_VERSION}\n" in text
    return folder


def federation(run: Path, coordinator: Path, other: Path) -> str:
    """Train with films on `other` and all else on `coordinator`; the adapter's hash."""
    found = subprocess.run(
        [sys.executable, str(HARNESS), str(run), str(other), "films"],
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
        cwd=coordinator,
        env={**os.environ, "PYTHONPATH": str(coordinator), "HF_HUB_OFFLINE": "1"},
    )
    assert found.returncode == 0, found.stderr
    assert f"coordinator's code: {coordinator}" in found.stdout
    line = RoundLog(run / "rounds.jsonl").lines()[-1]
    assert line["round"] == 2
    assert all(entry["answered"] for entry in line["platforms"].values())
    return str(line["adapter_sha256"])


def test_one_version_step_in_either_direction(previous: Path, tmp_path: Path) -> None:
    """An updated coordinator with a partner that is not, and the other way round; the adapter is
    the one that everybody would have made on the older version.
    """
    pairs = {
        "partner behind": (PROJECT, previous),
        "coordinator behind": (previous, PROJECT),
        "both behind": (previous, previous),
    }
    with ThreadPoolExecutor(len(pairs)) as pool:  # most of it is programs that start
        done = {
            name: pool.submit(federation, make_run(tmp_path / name), *pair)
            for name, pair in pairs.items()
        }
    hashes = {name: one.result() for name, one in done.items()}
    assert len(set(hashes.values())) == 1, hashes
    for name in pairs:
        run = tmp_path / name
        last = checkpoints.latest(run / "checkpoints")
        assert last is not None
        for platform in ("shop", "films"):
            delivered = read_delivered(run / "platforms" / platform)
            assert delivered is not None
            assert delivered.round == last.round
    assert PROTOCOL_VERSION - OLDEST_VERSION == 1
