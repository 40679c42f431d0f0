"""Runs, caches and disks that break: found out, said, and nothing lost."""

import errno
import json
import logging
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shared.adapters import load_peft
from shared.errors import AdapterError
from simulations.audits.verify import verify

SAME = ("--rounds", 2, "--seed", 1)
"""What every run here is simulated with, so that they may be compared."""


def hash_of(run: Path) -> str:
    return str(json.loads((run / "summary.json").read_text())["adapter_sha256"])


@pytest.fixture(scope="module")
def finished(shared_place, warm) -> Path:
    """The folder of one run, for the tests that spoil what a run leaves."""
    process = warm.start(shared_place, "simulate", shared_place.toml, *SAME, "--out", "run")
    assert warm.wait(process) == 0, (shared_place.folder / "stderr.txt").read_text()
    return shared_place.folder


@pytest.fixture
def spoilt(finished: Path, place) -> Any:
    """`place` with a copy of the finished run and its cache."""
    shutil.copytree(finished / "run", place.folder / "run")
    shutil.copytree(finished / "cache", place.cache)
    for name in ("summary.json", "report.html"):
        (place.folder / "run" / name).unlink()
    return place


def test_nan_in_the_newest_checkpoint_goes_back_one(spoilt, finished, caplog) -> None:
    newest = spoilt.folder / "run" / "checkpoints" / "round-000002.safetensors"
    content = bytearray(newest.read_bytes())
    content[-4:] = np.float32("nan").tobytes()
    newest.write_bytes(content)
    result = spoilt.call("simulate", "--out", spoilt.folder / "run", "--resume")
    assert result.exit_code == 0, result.stderr
    assert "passed over" in caplog.text
    assert hash_of(spoilt.folder / "run") == hash_of(finished / "run")
    result = verify(spoilt.folder / "run")
    assert result["findings"] == []
    assert result["notes"] == ["round 2 was done again at entry 3"]


def test_every_checkpoint_damaged(spoilt) -> None:
    for path in (spoilt.folder / "run" / "checkpoints").glob("*.safetensors"):
        path.write_bytes(path.read_bytes()[:-9])
    spoilt.refused(10, "3 damaged", more=("--resume",))


def test_a_damaged_ledger_is_not_trained_on(spoilt) -> None:
    ledger = spoilt.folder / "run" / "ledger" / "shop.jsonl"
    content = ledger.read_bytes()
    ledger.write_bytes(content.replace(b'"round":1', b'"round":2', 1).replace(b"0.5", b"0.1", 1))
    assert ledger.read_bytes() != content
    spoilt.refused(9, "shop.jsonl", more=("--resume",))


def test_a_damaged_record_is_not_gone_on_with(spoilt) -> None:
    """Neither by the coordinator, whose log it is, nor by a platform that would add to its own."""
    run = spoilt.folder / "run"
    log = run / "record" / "coordinator.jsonl"
    content = log.read_bytes()
    log.write_bytes(content.replace(b'"sig":"', b'"sig":"A', 1))
    spoilt.refused(10, "coordinator.jsonl, entry 0", more=("--resume",))
    log.write_bytes(content)
    (run / "checkpoints" / "round-000002.safetensors").unlink()
    (run / "record" / "shop.jsonl").unlink()
    spoilt.refused(7, "shop: RunError", more=("--resume",))


@pytest.mark.parametrize(
    ("path", "old", "new", "where"),
    [
        ("record/shop.jsonl", b'"sig":"', b'"sig":"A', ("shop", 0, None)),
        ("record/coordinator.jsonl.head", b'"last":', b'"lost":', ("coordinator", None, None)),
        ("rounds.jsonl", b'"steps": 2', b'"steps": 1', ("rounds.jsonl", 1, 1)),
        ("ledger/films.jsonl", b'"step":1', b'"step":0', ("ledger/films.jsonl", 2, None)),
        ("summary.json", b'"rounds": 2', b'"rounds": 3', ("summary.json", None, 2)),
        (
            "federation.json",
            b'"clip_norm": 2.0',
            b'"clip_norm": 1.0',
            ("federation.json", None, None),
        ),
    ],
)
def test_an_edit_is_found_by_the_command_line(
    finished, place, path: str, old: bytes, new: bytes, where: tuple[Any, ...]
) -> None:
    run = place.folder / "run"
    shutil.copytree(finished / "run", run)
    clean = place.call("audit", "verify", run, "--json")
    assert clean.exit_code == 0, clean.stdout
    assert json.loads(clean.stdout)["ok"] is True
    content = (run / path).read_bytes()
    assert old in content
    (run / path).write_bytes(content.replace(old, new, 1))
    found = place.call("audit", "verify", run, "--json")
    assert found.exit_code == 12
    places = [
        (one["log"], one["entry"], one["round"]) for one in json.loads(found.stdout)["findings"]
    ]
    assert where in places
    assert json.loads((run / "audit" / "verify.json").read_text())["ok"] is False
    assert "FOUND" in place.call("audit", "verify", run).stdout


def test_a_corrupt_cache_is_encoded_again(spoilt, caplog) -> None:
    files = {path: path.read_bytes() for path in spoilt.cache.glob("*.npy")}
    assert len(files) == 3
    for path, content in files.items():
        path.write_bytes(content[:200] + b"?" + content[201:])
    shutil.rmtree(spoilt.folder / "run")
    caplog.set_level(logging.WARNING)
    result = spoilt.simulate("run", "--rounds", 1)
    assert result.exit_code == 0, result.stderr
    assert caplog.text.count("Encoding the items again") == 3
    assert {path: path.read_bytes() for path in spoilt.cache.glob("*.npy")} == files


def test_an_adapter_for_another_base_model(finished) -> None:
    adapter = finished / "run" / "adapter"
    with pytest.raises(AdapterError, match="an adapter for encoder 0123") as caught:
        load_peft(adapter, base={"encoder": "0123"})
    assert caught.value.exit_code == 6
    assert "base model it was trained on" in str(caught.value)
    load_peft(adapter, base={})


@pytest.fixture(scope="module")
def writes(shared_place) -> int:
    """How often a run with an empty cache waits for the disk."""
    real, calls = os.fsync, [0]

    def fsync(descriptor: int) -> None:
        calls[0] += 1
        real(descriptor)

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FEDINTEREST_CACHE", str(shared_place.folder / "another cache"))
        patch.setattr(os, "fsync", fsync)
        assert shared_place.simulate("counted", *SAME).exit_code == 0
    return calls[0]


@pytest.mark.parametrize("share", [0.05, 0.3, 0.5, 0.7, 0.85])
def test_a_full_disk(share: float, finished, writes, place, monkeypatch) -> None:
    """In preparation, in training and after it; with space again, the run goes on."""
    real, calls, full = os.fsync, [0], [max(5, int(writes * share))]

    def fsync(descriptor: int) -> None:
        calls[0] += 1
        if full[0] and calls[0] >= full[0]:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    place.refused(11, "disk", "full", "Free some space", more=SAME)
    full[0] = 0
    result = place.call("simulate", "--out", place.folder / "run", "--resume")
    assert result.exit_code == 0, result.stderr
    assert hash_of(place.folder / "run") == hash_of(finished / "run")
