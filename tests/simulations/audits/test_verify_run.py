"""The record of a run of the real platforms and the real coordinator."""

import json
import random
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from clients.platform import Platform
from clients.platform_record import PlatformRecord
from server.rounds import checkpoint as checkpoints
from shared.adapters import adapter_sha256, save_peft
from shared.catalogue import Catalogue
from shared.config.federation import FederationSettings
from shared.events import Sequences
from shared.transparency.envelope import Envelope
from shared.transparency.statement import COORDINATOR
from shared.whitening import Whitening
from simulations.audits.evidence import ADAPTER, FEDERATION, SUMMARY
from simulations.audits.verify import render, verify
from simulations.engines.inprocess import run_inprocess
from tests.simulations.audits.made_logs import RATE, STEPS
from tests.simulations.audits.made_record import SOURCE

ITEMS, WIDTH, USERS = 20, 8, 40


def real_run(folder: Path, *, epsilon: float = 8.0) -> None:
    settings = {
        "platforms": {
            name: {"population": USERS, "events": SOURCE, "items": SOURCE}
            for name in ("shop", "films")
        },
        "model": {"rank": 8, "layers": 2},
        "privacy": {"sample_rate": RATE, "steps_per_round": STEPS, "epsilon": epsilon},
        "training": {"rounds": 3},
        "server": {"round_timeout_s": 5},
    }
    folder.mkdir(parents=True)
    loaded = FederationSettings.load(settings, where="test")
    values = {**settings, "privacy": {**settings["privacy"]}}
    if epsilon == float("inf"):
        values["privacy"]["epsilon"] = "inf"
    (folder / FEDERATION).write_text(json.dumps(values))
    for number, name in enumerate(loaded.platforms):
        rng = np.random.default_rng(number)
        lengths = rng.integers(2, 9, USERS)
        titles = tuple(f"{name} {row}" for row in range(ITEMS))
        record = PlatformRecord(
            name=name,
            kind=name,
            population=USERS,
            epsilon=epsilon,
            delta=loaded.privacy.delta_for(USERS),
            noise_multiplier=1.5 if epsilon == 8.0 else 0.0,
            steps=6,
            sample_rate=RATE,
            clip_norm=loaded.privacy.clip_norm,
            model=loaded.model,
            ledger=f"../../ledger/{name}.jsonl",
            journals="../../record",
        )
        Platform.create(
            folder / "platforms" / name,
            record,
            Catalogue(ids=titles, texts=titles, titles=titles, categories=((),) * ITEMS),
            rng.normal(size=(ITEMS, 2, WIDTH)).astype(np.float32),
            Sequences(
                users=tuple(f"u{user}" for user in range(USERS)),
                items=rng.integers(0, ITEMS, lengths.sum()).astype(np.int32),
                offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
            ),
        )
    run_inprocess(folder)
    publish(folder, loaded, values)


def publish(folder: Path, settings: FederationSettings, values: dict[str, Any]) -> None:
    """The adapter, and what of a summary the record speaks of."""
    last = checkpoints.latest(folder / "checkpoints")
    assert last is not None
    base = {"encoder": "", "whitening": Whitening.from_arrays(last.base).sha256}
    save_peft(folder / "adapter", last.adapter, settings.model, WIDTH, base)
    private = settings.privacy.private
    facts = {}
    for name in settings.platforms:
        record = Platform.open(folder / "platforms" / name).record
        facts[name] = {
            "steps": 3 * STEPS,
            "sample_rate": RATE,
            "noise_multiplier": record.noise_multiplier,
            "clip_norm": record.clip_norm if private else None,
            "delta": record.delta,
        }
    summary = {
        "rounds": 3,
        "adapter_sha256": adapter_sha256(last.adapter),
        "private": private,
        "settings": values,
        "platforms": facts,
    }
    (folder / SUMMARY).write_text(json.dumps(summary))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("real") / "run"
    real_run(folder)
    return folder


def test_a_real_run_verifies_without_its_private_folders(run: Path, tmp_path: Path) -> None:
    result = verify(run)
    assert result["findings"] == []
    assert result["ok"]
    assert result["rounds"] == 3
    assert {name: log["entries"] for name, log in result["logs"].items()} == {
        "shop": 3,
        "films": 3,
        COORDINATOR: 4,
    }
    for name in ("shop", "films"):
        key = Platform.open(run / "platforms" / name).key
        assert result["logs"][name]["key"] == key.public.id
    handed = tmp_path / "handed"
    shutil.copytree(run, handed, ignore=shutil.ignore_patterns("platforms", "*.key"))
    assert {**verify(handed), "seconds": 0} == {**result, "seconds": 0}


def test_no_private_number_and_no_secret_is_in_the_record(run: Path) -> None:
    """The very bytes: no user count, no key, no pseudonym, and the fields that were agreed on."""
    for path in (run / "record").glob("*.jsonl"):
        for line in path.read_bytes().splitlines():
            payload = Envelope.from_bytes(line, "").payload
            predicate = json.loads(payload)["predicate"]
            expected = PLATFORM_FIELDS if path.stem != COORDINATOR else COORDINATOR_FIELDS
            assert set(predicate) == expected
    for secret in (*run.rglob("signing.key"), run / "coordinator.key", *run.rglob("*.secret")):
        assert secret.stat().st_mode & 0o077 == 0
        for path in (run / "record").iterdir():
            content = path.read_bytes()
            assert secret.read_bytes() not in content
            assert secret.read_bytes().hex().encode() not in content


PLATFORM_FIELDS = {
    *("platform", "index", "root", "round", "request", "adapter_in", "update", "base", "encoder"),
    *("code", "policy", "steps", "sample_rate", "noise_multiplier", "clip_norm"),
    *("epsilon", "delta", "guarantee", "noise", "charge"),
}
COORDINATOR_FIELDS = {
    *("index", "root", "round", "request", "settings", "base", "adapter_in", "adapter_out"),
    *("code", "line", "steps", "sample_rate", "clip_norm", "private", "guarantee", "platforms"),
}


def test_a_run_without_privacy_leaves_a_record_that_says_so(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    real_run(folder, epsilon=float("inf"))
    result = verify(folder)
    assert result["findings"] == []
    assert result["private"] is False
    for path in (folder / "record").glob("*.jsonl"):
        for line in path.read_bytes().splitlines():
            assert b'"guarantee":"NOT PRIVATE"' in Envelope.from_bytes(line, "").payload
    console = Console(width=200)
    with console.capture() as captured:
        render(result, console)
    assert "NOT PRIVATE" in captured.get()


@pytest.mark.parametrize("path", [ADAPTER, "ledger/shop.jsonl"])
def test_edits_on_disk(run: Path, tmp_path: Path, path: str) -> None:
    folder = tmp_path / "run"
    shutil.copytree(run, folder)
    rng = random.Random(path)
    content = (folder / path).read_bytes()
    start = 8 + int.from_bytes(content[:8], "little") if path.startswith("adapter") else 0
    for _ in range(20):
        spoilt = bytearray(content)
        spoilt[rng.randrange(start, len(content) - 4 * WIDTH * WIDTH)] ^= 1 << rng.randrange(8)
        (folder / path).write_bytes(spoilt)
        assert path in {one["log"] for one in verify(folder)["findings"]}
    (folder / path).unlink()
    assert path in {one["log"] for one in verify(folder)["findings"]}
    (folder / path).write_bytes(content)
    assert verify(folder)["ok"]
