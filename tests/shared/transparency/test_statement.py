"""Statements: what they say survives, and nothing else may be said."""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.errors import ProtocolError
from shared.transparency.canonical import canonical
from shared.transparency.statement import (
    Answer,
    Charge,
    CoordinatorRound,
    PlatformRound,
    Statement,
    parse_statement,
)

HASH = st.binary(min_size=32, max_size=32).map(bytes.hex)
COUNT = st.integers(0, 10**9)
NUMBER = st.floats(0, 1e9)
RELEASES = (
    st.builds(
        PlatformRound,
        platform=st.text("abc-_9", min_size=1, max_size=64),
        index=COUNT,
        root=HASH,
        round=COUNT,
        request=HASH,
        adapter_in=HASH,
        update=HASH,
        base=HASH,
        encoder=HASH | st.just(""),
        code=HASH,
        policy=HASH,
        steps=COUNT,
        sample_rate=NUMBER,
        noise_multiplier=NUMBER,
        clip_norm=NUMBER,
        epsilon=st.floats(1e-3, 1e3),
        delta=NUMBER,
        unsafe_seed=st.booleans(),
        charge=st.builds(Charge, first=COUNT, entries=COUNT, head=HASH),
    )
    | st.none()
)
ANSWERS = st.builds(
    Answer,
    outcome=st.sampled_from(["accepted", "rejected", "refused", "absent"]),
    weight=NUMBER,
    key=HASH | st.none(),
    envelope=HASH | st.none(),
)


def a_release(**changes: Any) -> PlatformRound:
    values = {
        "platform": "films",
        "index": 2,
        "root": "0" * 64,
        "round": 3,
        "request": "1" * 64,
        "adapter_in": "2" * 64,
        "update": "3" * 64,
        "base": "4" * 64,
        "encoder": "5" * 64,
        "code": "6" * 64,
        "policy": "7" * 64,
        "steps": 1,
        "sample_rate": 0.5,
        "noise_multiplier": 0.712,
        "clip_norm": 2.0,
        "epsilon": 8.0,
        "delta": 1e-5,
        "unsafe_seed": False,
        "charge": Charge(first=2, entries=3, head="8" * 64),
    }
    return PlatformRound(**{**values, **changes})


def a_round(**changes: Any) -> CoordinatorRound:
    values = {
        "index": 3,
        "root": "0" * 64,
        "round": 3,
        "request": "1" * 64,
        "settings": "9" * 64,
        "base": "4" * 64,
        "adapter_in": "2" * 64,
        "adapter_out": "a" * 64,
        "code": "6" * 64,
        "line": "b" * 64,
        "steps": 1,
        "sample_rate": 0.5,
        "clip_norm": 2.0,
        "private": True,
        "platforms": {
            "films": Answer(outcome="accepted", weight=1.5, key="c" * 64, envelope="d" * 64),
            "shop": Answer(outcome="absent", weight=1.0, key=None, envelope=None),
        },
    }
    return CoordinatorRound(**{**values, **changes})


@given(RELEASES)
@settings(max_examples=60, deadline=None)
def test_a_platform_s_statement_survives(release: PlatformRound | None) -> None:
    release = release or a_release(epsilon=math.inf, charge=None)
    assert parse_statement(release.to_payload()) == release
    assert release.private is (release.charge is not None)


@given(st.dictionaries(st.text("abc", min_size=1), ANSWERS), st.booleans())
@settings(max_examples=60, deadline=None)
def test_the_coordinator_s_statement_survives(platforms: dict[str, Answer], private: bool) -> None:
    for said in (
        a_round(platforms=platforms, private=private),
        a_round(platforms=platforms, round=0, request=None, adapter_in=None),
    ):
        assert parse_statement(said.to_payload()) == said


def test_the_text_of_a_statement() -> None:
    """Written out once, so that other implementations can follow it."""
    assert json.loads(a_release().to_payload()) == {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": "update", "digest": {"sha256": "3" * 64}}],
        "predicateType": "urn:fedinterest:record:platform-round:v1",
        "predicate": {
            "platform": "films",
            "index": 2,
            "root": "0" * 64,
            "round": 3,
            "request": "1" * 64,
            "adapter_in": "2" * 64,
            "update": "3" * 64,
            "base": "4" * 64,
            "encoder": "5" * 64,
            "code": "6" * 64,
            "policy": "7" * 64,
            "steps": 1,
            "sample_rate": 0.5,
            "noise_multiplier": 0.712,
            "clip_norm": 2.0,
            "epsilon": 8.0,
            "delta": 1e-5,
            "guarantee": "user-level differential privacy, add or remove one user",
            "noise": "operating system",
            "charge": {"first": 2, "entries": 3, "head": "8" * 64},
        },
    }
    assert len(a_release().to_payload()) < 1300
    seeded = json.loads(a_release(unsafe_seed=True).to_payload())["predicate"]
    assert seeded["noise"] == "UNSAFE SEED"
    bare = json.loads(a_release(epsilon=math.inf, charge=None).to_payload())["predicate"]
    assert (bare["epsilon"], bare["guarantee"], bare["charge"]) == ("inf", "NOT PRIVATE", None)


def put(*path: str | int, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(values: dict[str, Any]) -> None:
        target: Any = values
        for key in path[:-1]:
            target = target[key]
        target[path[-1]] = value

    return change


PREDICATE = ("predicate",)


@pytest.mark.parametrize(
    ("said", "change"),
    [
        (a_release(), put("predicate", "users", value=120)),
        (a_release(), put("predicate", "loss", value=0.1)),
        (a_release(), put("more", value=1)),
        (a_release(), put("_type", value="https://in-toto.io/Statement/v0.1")),
        (a_release(), put("predicateType", value="urn:other")),
        (a_release(), put("subject", value=[])),
        (a_release(), put("subject", 0, "digest", "sha256", value="0" * 64)),
        (a_release(), put("subject", 0, "digest", "sha512", value="0" * 64)),
        (a_release(), put("predicate", value=[])),
        (a_release(), put("predicate", "steps", value=1.0)),
        (a_release(), put("predicate", "steps", value=True)),
        (a_release(), put("predicate", "steps", value=-1)),
        (a_release(), put("predicate", "clip_norm", value=2)),
        (a_release(), put("predicate", "root", value="0" * 63)),
        (a_release(), put("predicate", "root", value="G" * 64)),
        (a_release(), put("predicate", "platform", value="")),
        (a_release(), put("predicate", "epsilon", value="inf")),
        (a_release(), put("predicate", "epsilon", value=0.0)),
        (a_release(), put("predicate", "guarantee", value="NOT PRIVATE")),
        (a_release(), put("predicate", "guarantee", value="perfect")),
        (a_release(), put("predicate", "noise", value="none")),
        (a_release(), put("predicate", "charge", value=None)),
        (a_release(), put("predicate", "charge", "users", value=3)),
        (a_release(), put("predicate", "charge", value=[])),
        (a_round(), put("predicate", "platforms", "films", "outcome", value="praised")),
        (a_round(), put("predicate", "platforms", "films", "users", value=3)),
        (a_round(), put("predicate", "platforms", value=[])),
        (a_round(), put("predicate", "request", value=None)),
        (a_round(), put("predicate", "round", value=0)),
        (a_round(), put("predicate", "private", value=False)),
        (a_round(), put("predicate", "update_norm", value=0.3)),
    ],
)
def test_what_may_not_be_said(said: Statement, change: Callable[[dict[str, Any]], None]) -> None:
    values = json.loads(said.to_payload())
    change(values)
    with pytest.raises(ProtocolError):
        parse_statement(canonical(values))


@pytest.mark.parametrize("payload", [b"", b"[]", b"{}", b"nul", b'{"a":NaN}', b"\xff"])
def test_what_is_no_statement(payload: bytes) -> None:
    with pytest.raises(ProtocolError):
        parse_statement(payload)


def test_one_statement_has_one_text() -> None:
    payload = a_release().to_payload()
    with pytest.raises(ProtocolError, match="canonical"):
        parse_statement(payload.replace(b":", b": ", 1))
    with pytest.raises(ProtocolError, match="canonical"):
        parse_statement(payload.replace(b'"steps":1', b'"steps":2,"steps":1'))
    assert parse_statement(payload.replace(b":", b": ", 1), exact=False) == a_release()
    assert replace(a_release(), steps=2).to_payload() != payload
