"""The ClientApp's wiring: which folder it works on, what it answers, and what it never says."""

import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from flwr.app import Context, Message, RecordDict
from flwr.supercore.task_identity import TaskIdentity

import clients.app as client_module
from shared.errors import (
    BudgetExhausted,
    ConfigError,
    DataError,
    ProtocolError,
    RunError,
)
from shared.protocol import (
    CATALOGUE_QUERY,
    TRAIN,
    CatalogueReply,
    Refusal,
    TrainReply,
    TrainRequest,
)
from shared.transparency.keys import SigningKey
from shared.whitening import CatalogueMoments


@dataclass
class FakePlatform:
    """Answers at once; `trouble` is raised instead."""

    name: str
    trouble: BaseException | None = None

    @property
    def key(self) -> SigningKey:
        return SigningKey.unsafe(0, self.name)

    def moments(self) -> CatalogueMoments:
        return CatalogueMoments(count=5, mean=np.zeros(2), covariance=np.eye(2))

    def train(self, request: TrainRequest) -> TrainReply:
        if self.trouble is not None:
            raise self.trouble
        return TrainReply(
            platform=self.name,
            round=request.round,
            request_digest=request.digest,
            update=request.adapter,
            constants={
                "steps": 1,
                "noise_multiplier": 1.0,
                "clip_norm": 1.0,
                "sample_rate": 0.5,
            },
        )


class Opener:
    """In the place of the open platforms: remembers what it was asked to open."""

    def __init__(self) -> None:
        self.opened: list[Path] = []
        self.trouble: BaseException | None = None

    def open(self, folder: Path) -> FakePlatform:
        self.opened.append(folder)
        return FakePlatform(f"platform-{folder.name}", self.trouble)


@pytest.fixture
def opener(monkeypatch: pytest.MonkeyPatch) -> Opener:
    made = Opener()
    monkeypatch.setattr(client_module, "_platforms", made)
    TaskIdentity.run_id, TaskIdentity.task_id, TaskIdentity.node_id = 1, 1, 1
    return made


def context(node: dict[str, Any], run: dict[str, Any] | None = None) -> Context:
    return Context(run_id=1, node_id=2, node_config=node, state=RecordDict(), run_config=run or {})


def a_request() -> TrainRequest:
    return TrainRequest(
        round=2,
        adapter={"b": np.ones(3, np.float32)},
        trained=["b"],
        base={"whitening": np.eye(2, dtype=np.float32)},
        settings={"steps": 1, "sample_rate": 0.5, "clip_norm": 1.0},
    )


def ask(kind: str, content: RecordDict, where: Context) -> RecordDict:
    message = Message(content, 2, kind)
    reply = client_module.app(message, where)
    assert not reply.has_error()
    assert reply.metadata.dst_node_id == 1
    return reply.content


def test_train_and_catalogue_answer_for_the_folder_of_the_node(
    opener: Opener, tmp_path: Path
) -> None:
    where = context({"platform-folder": str(tmp_path / "films")}, {"run-folder": "/elsewhere"})
    request = a_request()
    reply = TrainReply.from_records(ask(TRAIN, request.to_records(), where))
    assert (reply.platform, reply.round, reply.request_digest) == (
        "platform-films",
        2,
        request.digest,
    )
    catalogue = CatalogueReply.from_records(ask(CATALOGUE_QUERY, RecordDict(), where))
    assert (catalogue.platform, catalogue.count) == ("platform-films", 5)
    assert opener.opened == [tmp_path / "films"] * 2


def test_a_partition_is_the_platform_at_its_place_in_the_federation(
    opener: Opener, tmp_path: Path
) -> None:
    (tmp_path / "federation.json").write_text(json.dumps({"platforms": {"zoo": {}, "art": {}}}))
    for number, name in [(0, "zoo"), (1, "art")]:
        where = context({"partition-id": number}, {"run-folder": str(tmp_path)})
        assert client_module.platform_folder(where) == tmp_path / "platforms" / name
    for number in (2, -1, "x"):
        where = context({"partition-id": number}, {"run-folder": str(tmp_path)})
        with pytest.raises(RunError, match="platform number"):
            client_module.platform_folder(where)
    with pytest.raises(RunError):
        client_module.platform_folder(
            context({"partition-id": 0}, {"run-folder": str(tmp_path / "no")})
        )
    with pytest.raises(ConfigError, match="platform-folder"):
        client_module.platform_folder(context({}, {"run-folder": str(tmp_path)}))
    with pytest.raises(ConfigError, match="platform-folder"):
        client_module.platform_folder(context({"partition-id": 0}))


def test_an_error_about_the_request_is_told(opener: Opener, tmp_path: Path) -> None:
    opener.trouble = BudgetExhausted(expected="epsilon at most 8", got="8.02", where="ledger")
    where = context({"platform-folder": str(tmp_path)})
    refusal = Refusal.from_records(ask(TRAIN, a_request().to_records(), where))
    assert (refusal.code, refusal.kind) == (8, "BudgetExhausted")
    assert "epsilon at most 8" in refusal.message
    junk = Refusal.from_records(ask(TRAIN, RecordDict(), where))
    assert (junk.code, junk.kind) == (7, "ProtocolError")


@pytest.mark.parametrize(
    ("trouble", "kind", "code"),
    [
        (DataError(expected="users", got="3 users", where="/home/anna/log.csv"), "DataError", 4),
        (KeyError("anna@example.org"), "InternalError", 1),
        (MemoryError(), "InternalError", 1),
    ],
)
def test_an_error_about_the_platform_is_not(
    opener: Opener,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    trouble: Exception,
    kind: str,
    code: int,
) -> None:
    """Neither a count, nor a path, nor whatever an unforeseen exception carries."""
    opener.trouble = trouble
    where = context({"platform-folder": str(tmp_path)})
    with caplog.at_level(logging.WARNING):
        records = ask(TRAIN, a_request().to_records(), where)
    refusal = Refusal.from_records(records)
    assert (refusal.kind, refusal.code) == (kind, code)
    assert "anna" not in str(records)
    assert "3 users" not in str(records)
    assert type(trouble).__name__ in caplog.text or "3 users" in caplog.text  # it is in our log


def test_ctrl_c_is_not_an_answer(opener: Opener, tmp_path: Path) -> None:
    opener.trouble = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        ask(TRAIN, a_request().to_records(), context({"platform-folder": str(tmp_path)}))


def test_the_policy_comes_before_training(opener: Opener, tmp_path: Path) -> None:
    (tmp_path / "policy.json").write_text('{"max_sample_rate": 0.1}')
    opener.trouble = ProtocolError(expected="no training", got="some", where="test")
    where = context({"platform-folder": str(tmp_path)})
    refusal = Refusal.from_records(ask(TRAIN, a_request().to_records(), where))
    assert refusal.kind == "PolicyRefusal"
    assert "expected sample_rate in (0, 0.1], got 0.5" in refusal.message


def test_threads_are_the_node_s(opener: Opener, tmp_path: Path) -> None:
    before = torch.get_num_threads()
    try:
        where = context({"platform-folder": str(tmp_path), "threads": before + 1})
        ask(CATALOGUE_QUERY, RecordDict(), where)
        assert torch.get_num_threads() == before + 1
    finally:
        torch.set_num_threads(before)
