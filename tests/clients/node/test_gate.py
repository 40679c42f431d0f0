"""Every rule for what comes in and goes out, against real messages and a real platform."""

from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import ConfigRecord, Message, RecordDict
from flwr.supercore.task_identity import TaskIdentity

from clients.home import Home
from clients.joining.rehearsal import request_for
from clients.node.gate import Gate
from clients.node.runtime import Asked
from clients.platform import Platform
from shared.bundle import bundle_sha256
from shared.errors import LedgerError, PolicyRefusal, ProtocolError
from shared.protocol import (
    CATALOGUE_QUERY,
    TRAIN,
    CatalogueReply,
    Refusal,
    TrainReply,
    TrainRequest,
)


class Clock:
    def __init__(self) -> None:
        self.now = datetime(2026, 11, 25, 12, 0)

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def gate(home: Home, clock: Clock) -> Gate:
    made = home.gate()
    made.now = clock
    return made


def task(content: RecordDict | None = None, kind: str = CATALOGUE_QUERY, **changes: Any) -> Asked:
    TaskIdentity.run_id, TaskIdentity.task_id, TaskIdentity.node_id = 1, 1, 1
    if content is None:
        content = RecordDict({"fedinterest": ConfigRecord({"kind": "catalogue-query"})})
    values: dict[str, Any] = {"bundle_sha256": bundle_sha256(), "agent": False, **changes}
    return Asked(message=Message(content, 5, kind), run_id=1, node_id=5, **values)


def request_of(home: Home, round_: int = 1) -> TrainRequest:
    platform = Platform.open(home.folder.platform)
    made = request_for(platform, home.enrolment().federation)
    return TrainRequest(**{**vars(made), "round": round_}) if round_ != 1 else made


def training(home: Home, round_: int = 1) -> Asked:
    return task(request_of(home, round_).to_records(), TRAIN)


def trained(home: Home, round_: int = 1) -> RecordDict:
    return Platform.open(home.folder.platform).train(request_of(home, round_)).to_records()


def permit(home: Home, *lines: str) -> None:
    text = home.folder.toml.read_text()
    home.folder.toml.write_text(text.replace("[policy]\n", "[policy]\n" + "\n".join(lines) + "\n"))


def test_what_is_right_comes_in_and_goes_out(home: Home, gate: Gate) -> None:
    policy = gate.admit(task())
    assert policy.threads == 1
    moments = Platform.open(home.folder.platform).moments()
    reply = CatalogueReply(
        platform="shop", count=moments.count, mean=moments.mean, covariance=moments.covariance,
        key=home.keys.signing.public.hex,
    )  # fmt: skip
    assert gate.release(task(), reply.to_records(), policy) is None
    gate.admit(training(home))
    assert gate.release(training(home), trained(home), policy) is None
    assert gate.anchor.marks()["shop.jsonl"].lines == 3


@pytest.mark.parametrize(
    ("changes", "error", "match"),
    [
        ({"bundle_sha256": "ab" * 32}, PolicyRefusal, "allowed_bundles"),
        ({"agent": True}, ProtocolError, "AgentApp"),
        ({"kind": "evaluate"}, ProtocolError, "'evaluate'"),
        ({"kind": "query.events"}, ProtocolError, r"'query\.events'"),
        ({"kind": "train"}, ProtocolError, "message"),  # without a request in it
    ],
)
def test_what_does_not_come_in(
    gate: Gate, changes: dict[str, Any], error: type[Exception], match: str
) -> None:
    with pytest.raises(error, match=match):
        gate.admit(task(**changes))


def test_paused(home: Home, gate: Gate) -> None:
    home.paused.write_text("")
    with pytest.raises(PolicyRefusal, match="paused"):
        gate.admit(task())
    home.paused.unlink()
    gate.admit(task())


def test_hours_bind_training_only(home: Home, gate: Gate, clock: Clock) -> None:
    permit(home, 'windows = ["22:00-06:00"]')
    gate.admit(task())
    with pytest.raises(PolicyRefusal, match="windows 22:00-06:00, got 12:00"):
        gate.admit(training(home))
    clock.now = datetime(2026, 11, 25, 23, 0)
    gate.admit(training(home))


def test_rounds_a_day(home: Home, gate: Gate, clock: Clock) -> None:
    permit(home, "max_rounds_a_day = 1")
    policy = gate.admit(training(home))
    gate.release(training(home), trained(home), policy)
    gate.admit(training(home))  # the same request again is no further round
    with pytest.raises(PolicyRefusal, match="max_rounds_a_day at most 1, got 2"):
        gate.admit(training(home, 2))
    clock.now = datetime(2026, 11, 26, 0, 0)
    gate.admit(training(home, 2))


def test_all_runs_together(home: Home, gate: Gate) -> None:
    permit(home, "max_epsilon_total = 7.9")  # this run alone may come to just under 8
    gate.admit(task())
    with pytest.raises(PolicyRefusal, match=r"max_epsilon_total at most 7\.9, got 7\.9"):
        gate.admit(training(home))


def test_a_restored_ledger_trains_nothing(home: Home, gate: Gate) -> None:
    policy = gate.admit(training(home))
    gate.release(training(home), trained(home), policy)
    for path in home.folder.ledgers.glob("shop.jsonl*"):
        path.unlink()
    gate.admit(task())  # what is public is still told
    with pytest.raises(LedgerError, match="no ledger"):
        gate.admit(training(home))


def test_nothing_else_goes_out(home: Home, gate: Gate) -> None:
    policy, asked = gate.admit(training(home)), training(home)
    loot = RecordDict({"loot": ConfigRecord({"rows": "c5,s1"})})
    with pytest.raises(ProtocolError):
        gate.release(asked, loot, policy)
    extra = trained(home)
    extra["metrics"] = ConfigRecord({"loss": 0.5})
    with pytest.raises(ProtocolError):
        gate.release(asked, extra, policy)
    reply = TrainReply.from_records(trained(home))
    other = TrainReply(**{**vars(reply), "platform": "films"})
    with pytest.raises(ProtocolError, match="another name"):
        gate.release(asked, other.to_records(), policy)
    small = policy.model_copy(update={"max_update_bytes": 100})
    with pytest.raises(PolicyRefusal, match="max_update_bytes"):
        gate.release(asked, trained(home), small)
    assert not (home.folder.state / "rounds.json").exists()


def test_a_refusal_goes_out_and_is_known(home: Home, gate: Gate) -> None:
    policy = gate.admit(task())
    refusal = Refusal(platform="shop", code=8, kind="PolicyRefusal", message="expected a, got b")
    assert gate.release(task(), refusal.to_records(), policy) == refusal


def test_the_anchor_is_there_before_the_answer_goes(home: Home, gate: Gate, tmp_path: Path) -> None:
    policy = gate.admit(training(home))
    reply = trained(home)
    assert gate.anchor.marks() == {}
    gate.anchor.path.parent.mkdir(parents=True, exist_ok=True)
    gate.anchor.path.write_text("damaged")
    with pytest.raises(LedgerError):
        gate.release(training(home), reply, policy)
    update = TrainReply.from_records(reply).update
    assert all(np.isfinite(value).all() for value in update.values())
