"""What an epsilon rests on: each missing check is named, and none is taken on trust."""

import json
from pathlib import Path
from typing import Any

import pytest

from shared.privacy.ledger import Ledger
from shared.privacy.record import read_ledger
from shared.transparency.statement import Charge, PlatformRound
from simulations.audits.assumptions import (
    Assumption,
    CodeAudit,
    assume,
    only_secrecy_missing,
)
from simulations.audits.spending import Spending, read_json

CODE = "c" * 64
TOPICS = ("sampling", "adjacency", "noise", "clipping", "accounting")
VERIFIED = {"ok": True, "rounds": 1, "findings": []}


def audit(**failed: bool) -> CodeAudit:
    checks = tuple(
        {"name": f"check of {topic}", "ok": not failed.get(topic), "covers": frozenset({topic})}
        for topic in TOPICS
    )
    return CodeAudit(CODE, checks)


def statement(**changes: Any) -> PlatformRound:
    values: dict[str, Any] = {
        "platform": "shop",
        "index": 0,
        "root": "0" * 64,
        "round": 1,
        "request": "1" * 64,
        "adapter_in": "2" * 64,
        "update": "3" * 64,
        "base": "4" * 64,
        "encoder": "",
        "code": CODE,
        "policy": "5" * 64,
        "steps": 1,
        "sample_rate": 0.5,
        "noise_multiplier": 2.0,
        "clip_norm": 2.0,
        "epsilon": 8.0,
        "delta": 1e-5,
        "unsafe_seed": False,
        "charge": Charge(first=0, entries=1, head="6" * 64),
    }
    return PlatformRound(**(values | changes))


@pytest.fixture
def run(tmp_path: Path) -> Path:
    with Ledger.open(tmp_path / "shop.jsonl", platform="shop", epsilon=8.0, delta=1e-5) as ledger:
        ledger.charge(1, 0, "7" * 64, 0.5, 2.0)
    (tmp_path / "run.json").write_text(json.dumps({"seed": None}))
    return tmp_path


def spent(run: Path, **changes: Any) -> dict[str, Spending]:
    promise = json.loads((run / "shop.jsonl").read_text().splitlines()[0])
    return {
        "shop": Spending(
            platform="shop",
            ledger=read_ledger(run / "shop.jsonl"),
            unit=promise["unit"],
            adjacency=promise["adjacency"],
            statements=(statement(**changes),),
        )
    }


def missing(rows: list[Assumption]) -> list[str]:
    return [row.name for row in rows if not row.checked]


def test_all_checked(run: Path) -> None:
    rows = assume(run, spent(run), verified=VERIFIED, audit=audit())
    assert [row.name for row in rows] == [
        "record",
        "sampling",
        "clipping",
        "adjacency",
        "secure noise",
        "accounting",
    ]
    assert missing(rows) == []
    assert all(row.evidence and not row.remedy for row in rows)


@pytest.mark.parametrize(
    ("topic", "name"),
    [(topic, "secure noise" if topic == "noise" else topic) for topic in TOPICS],
)
def test_a_failed_or_absent_check_of_the_code_is_named(run: Path, topic: str, name: str) -> None:
    failed = assume(run, spent(run), verified=VERIFIED, audit=audit(**{topic: True}))
    assert missing(failed) == [name]
    row = next(row for row in failed if row.name == name)
    assert f"check of {topic}" in row.evidence
    fewer = CodeAudit(CODE, tuple(c for c in audit().checks if topic not in c["covers"]))
    assert missing(assume(run, spent(run), verified=VERIFIED, audit=fewer)) == [name]


def test_without_an_audit_of_the_code_nothing_of_it_is_checked(run: Path) -> None:
    rows = assume(run, spent(run), verified=VERIFIED, audit=CodeAudit())
    assert missing(rows) == ["sampling", "clipping", "adjacency", "secure noise", "accounting"]
    assert {row.remedy for row in rows if not row.checked} == {"fedinterest audit code"}


def test_an_audit_of_other_code_does_not_count(run: Path) -> None:
    rows = assume(run, spent(run, code="d" * 64), verified=VERIFIED, audit=audit())
    assert missing(rows) == ["sampling", "clipping", "adjacency", "secure noise", "accounting"]
    assert "d" * 12 in rows[1].evidence


def test_a_record_that_does_not_verify(run: Path) -> None:
    finding = {"log": "shop", "what": "entry 3 was altered"}
    bad = {"ok": False, "rounds": 1, "findings": [finding]}
    rows = assume(run, spent(run), verified=bad, audit=audit())
    assert missing(rows) == ["record"]
    assert "entry 3 was altered" in rows[0].evidence


def test_another_adjacency(run: Path) -> None:
    found = spent(run)
    odd = {"shop": Spending(**{**vars(found["shop"]), "adjacency": "replace one event"})}
    rows = assume(run, odd, verified=VERIFIED, audit=audit())
    assert missing(rows) == ["adjacency"]
    assert "replace one event" in rows[3].evidence
    assert missing(assume(run, {}, verified=VERIFIED, audit=audit())) == [
        "sampling",
        "clipping",
        "adjacency",
        "secure noise",
        "accounting",
    ]


@pytest.mark.parametrize("where", ["run.json", "statement", "platform.json", "nowhere"])
def test_noise_that_can_be_recomputed(run: Path, where: str) -> None:
    """A seed is found wherever it is told, even where somebody took it out of the others."""
    if where == "run.json":
        (run / "run.json").write_text(json.dumps({"seed": 0}))
    if where == "nowhere":
        (run / "run.json").unlink()
    if where == "platform.json":
        (run / "platforms" / "shop").mkdir(parents=True)
        (run / "platforms" / "shop" / where).write_text(json.dumps({"unsafe_seed": 0}))
    found = spent(run, unsafe_seed=where == "statement")
    rows = assume(run, found, verified=VERIFIED, audit=audit())
    assert missing(rows) == ["secure noise"]
    assert only_secrecy_missing(rows, found, audit())
    both = assume(run, found, verified=VERIFIED, audit=audit(noise=True))
    assert missing(both) == ["secure noise"]
    assert "check of noise" in both[4].evidence
    assert not only_secrecy_missing(both, found, audit(noise=True))


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"checks": 3, "codes": {"platform": "x"}}', '{"checks": []}']
)
def test_a_spoilt_audit_is_none(tmp_path: Path, content: str) -> None:
    (tmp_path / "audit-code.json").write_text(content)
    assert CodeAudit.read(tmp_path) == CodeAudit()
    assert CodeAudit.read(tmp_path / "nowhere") == CodeAudit()
    assert read_json(tmp_path / "nowhere.json") is None
