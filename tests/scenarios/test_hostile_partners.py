"""One partner of three misbehaves in every round, through a real gateway and a real SuperLink.

What the others learn is what it would have been without it.  What is refused before a message
reaches the coordinator (strangers, revoked and expired certificates, another's identity, garbage,
slow and oversized bodies) is in tests/server/membership/test_gateway.py, with a real nginx.
"""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from clients.released import Released
from server.rounds import checkpoint as checkpoints
from server.rounds.aggregation import mean_update
from shared.adapters import adapter_sha256
from shared.config.federation import PublicSettings
from shared.privacy.record import read_ledger
from tests.scenarios.deployed import PROJECT, Place, change, tiny_federation

pytestmark = pytest.mark.usefixtures("nginx")

LATE_S, TIMEOUT_S = 16.0, 8
REASONS = {
    1: "finite numbers",
    2: "L2 norm of at most",
    3: "shape",
    4: "tensors",
    5: "an update for round 5, got round 4",
    6: "an update for round 6, got round 1",
    7: "an update from news, got 'shop'",
    8: "an answer to request",
    9: "signed with key",
    10: "ProtocolError",
    11: "bytes|no answer|Flower error|shape",
    12: "statement of this update's clip_norm",
    13: "statement of this update's update",
    14: "InternalError|RunError|no answer",
    15: "no answer|Flower error",
}
ROUNDS = len(REASONS) + 4
"""In the last rounds the partner behaves, once it has woken up."""


@pytest.fixture
def place(tmp_path: Path):  # type: ignore[no-untyped-def]
    made = Place(tmp_path)
    yield made
    made.end()


def hostile_code(folder: Path) -> Path:
    """The client as this partner has rewritten it."""
    for part in ("shared", "clients"):
        shutil.copytree(PROJECT / part, folder / part, ignore=shutil.ignore_patterns("*.pyc"))
    path = folder / "clients" / "platform.py"
    misdeeds = Path(__file__).with_name("misdeeds.py").read_text()
    path.write_text(f"{path.read_text()}\n\nLATE_S = {LATE_S}\n{misdeeds}")
    return folder


@pytest.mark.slow
def test_one_of_three_misbehaves_in_every_round(place: Place) -> None:
    tiny_federation(place, rounds=ROUNDS)
    change(
        place.folder / "coordinator" / "server.toml",
        (r"^# min_platforms = 2 ", "min_platforms = 2 "),
        (r"^round_timeout_s = 60 ", f"round_timeout_s = {TIMEOUT_S} "),
    )
    # The coordinator last: two are enough for it, and it must not begin without the third.
    place.env["PYTHONPATH"] = str(hostile_code(place.folder / "rewritten"))
    place.start("fedinterest-client up news")
    place.env["PYTHONPATH"] = str(PROJECT)
    place.start("fedinterest-client up shop")
    place.start("fedinterest-client up films")
    place.until("fedinterest-client status news", "supernode", seconds=120)
    place.start("fedinterest-server up coordinator")
    place.wait_for_round(ROUNDS, seconds=400)

    lines = place.lines()[1:]
    told = {line["round"]: line["platforms"] for line in lines}
    for round_, expected in REASONS.items():
        news = told[round_]["news"]
        assert not news["answered"], f"round {round_}"
        assert re.search(expected, news["reason"]), f"round {round_}: {news['reason']}"
    for name in ("shop", "films"):
        assert all(platforms[name]["answered"] for platforms in told.values())
        ledger = read_ledger(next((place.folder / name / "ledger").glob("*.jsonl")))
        assert len(ledger.entries) == 2 * ROUNDS  # each step paid for once
    # nothing is held against it once it behaves
    assert told[ROUNDS]["news"]["answered"]

    # The adapter is the mean of what the honest ones sent, round by round, and of nothing else.
    run = place.folder / "coordinator" / "runs" / "0001"
    values = json.loads((run / "federation.json").read_text())
    settings = PublicSettings.published(values, where="test")
    last = checkpoints.latest(run / "checkpoints")
    assert last is not None
    adapter = {name: np.zeros_like(value) for name, value in last.adapter.items()}
    for line in lines:
        sent = {
            name: Released(place.folder / name / "platform" / "released").update(line["round"])
            for name, entry in line["platforms"].items()
            if entry["answered"]
        }
        weights = {name: settings.platforms[name].public_weight for name in sent}
        for key, value in mean_update(sent, weights).items():
            adapter[key] = (adapter[key] + value).astype(np.float32)
        assert adapter_sha256(adapter) == line["adapter_sha256"], f"round {line['round']}"
