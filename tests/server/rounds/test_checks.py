"""Each rule of server.rounds.checks, broken alone."""

import numpy as np
import pytest

from server.rounds.checks import check_statement, check_update
from shared.errors import UpdateRejected
from shared.protocol import PROTOCOL_VERSION, TrainReply, TrainRequest, update_sha256
from shared.transparency.envelope import STATEMENT, TREE_HEAD, Envelope
from shared.transparency.keys import SigningKey
from shared.transparency.statement import Charge, CoordinatorRound, PlatformRound

REQUEST = TrainRequest(
    round=4,
    adapter={"b": np.zeros((2, 2), np.float32), "a": np.zeros(3, np.float32)},
    trained=["b", "a"],
    base={},
    settings={"steps": 1, "sample_rate": 0.5, "clip_norm": 2.0},
)


def reply(**changes: object) -> TrainReply:
    values = {
        "platform": "films",
        "round": 4,
        "request_digest": REQUEST.digest,
        "update": {
            "b": np.array([[3, 0], [0, 0]], np.float32),
            "a": np.array([0, 4, 0], np.float32),
        },
        "constants": {},
    }
    return TrainReply(**{**values, **changes})  # type: ignore[arg-type]


def check(update: TrainReply, limit: float = 5.0) -> float:
    return check_update(update, request=REQUEST, platform="films", max_update_norm=limit)


def test_a_good_update_passes_with_its_norm() -> None:
    assert check(reply()) == 5.0  # 3-4-5, at the limit


GOOD = reply().update


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"platform": "shop"}, "expected an update from films, got 'shop'"),
        ({"round": 3}, "expected an update for round 4, got round 3"),
        ({"request_digest": "0" * 64}, "digest"),
        ({"update": {"b": GOOD["b"]}}, "names"),
        ({"update": {**GOOD, "c": GOOD["a"]}}, "names"),
        ({"update": {"a": GOOD["a"], "b": GOOD["b"]}}, "names"),
        ({"update": {**GOOD, "a": np.zeros(4, np.float32)}}, r"expected shape \(3,\), got \(4,\)"),
        ({"update": {**GOOD, "a": np.zeros((3, 1), np.float32)}}, "shape"),
        ({"update": {**GOOD, "a": np.zeros(3)}}, "expected float32, got float64"),
        ({"update": {**GOOD, "a": np.array([0, np.nan, 0], np.float32)}}, "finite"),
        ({"update": {**GOOD, "a": np.array([0, -np.inf, 0], np.float32)}}, "finite"),
        ({"update": {**GOOD, "a": np.full(3, 1e38, np.float32)}}, "L2 norm of at most 5"),
        ({"update": {**GOOD, "a": np.array([0, 4.001, 0], np.float32)}}, "norm"),
    ],
)
def test_a_bad_update_is_rejected_with_the_reason(changes: dict[str, object], match: str) -> None:
    with pytest.raises(UpdateRejected, match=match):
        check(reply(**changes))


# --- rule 5; each of the statement's fields is broken alone in test_strategy.py ------------------

KEY = SigningKey.unsafe(0, "films")
CONSTANTS = {"steps": 1, "noise_multiplier": 1.0, "clip_norm": 2.0, "sample_rate": 0.5}


ROUND = CoordinatorRound(
    index=0,
    round=0,
    request=None,
    adapter_in=None,
    steps=1,
    sample_rate=0.5,
    clip_norm=2.0,
    private=True,
    platforms={},
    **dict.fromkeys(("root", "settings", "base", "adapter_out", "code", "line"), "0" * 64),
)


def release(**changes: object) -> PlatformRound:
    values = {
        "platform": "films",
        "index": 0,
        "root": "0" * 64,
        "round": 4,
        "request": REQUEST.digest,
        "adapter_in": "a" * 64,
        "update": update_sha256(GOOD, PROTOCOL_VERSION),
        "base": "b" * 64,
        "encoder": "",
        "code": "1" * 64,
        "policy": "2" * 64,
        **CONSTANTS,
        "epsilon": 8.0,
        "delta": 1e-3,
        "unsafe_seed": False,
        "charge": Charge(first=0, entries=1, head="3" * 64),
    }
    return PlatformRound(**{**values, **changes})  # type: ignore[arg-type]


def check_signed(envelope: Envelope | None, constants: dict[str, object] = CONSTANTS) -> None:
    check_statement(
        reply(envelope=envelope, constants=constants),
        request=REQUEST,
        key=KEY.public,
        adapter_in="a" * 64,
        base="b" * 64,
    )


def test_a_statement_of_this_update_passes() -> None:
    check_signed(Envelope.signed(STATEMENT, release().to_payload(), KEY))


@pytest.mark.parametrize(
    ("envelope", "match"),
    [
        (None, "a signed statement, got none"),
        (Envelope.signed(TREE_HEAD, release().to_payload(), KEY), "another signature"),
        (Envelope.signed(STATEMENT, b"{}", KEY), "a round's statement"),
        (Envelope.signed(STATEMENT, b"rubbish", KEY), "canonical"),
        (Envelope.signed(STATEMENT, release(sample_rate=0.25).to_payload(), KEY), "sample_rate"),
        (Envelope.signed(STATEMENT, release(clip_norm=1.0).to_payload(), KEY), "clip_norm"),
        (Envelope.signed(STATEMENT, ROUND.to_payload(), KEY), "a platform's statement"),
    ],
)
def test_another_statement_is_rejected(envelope: Envelope | None, match: str) -> None:
    if envelope is not None and envelope.kind == TREE_HEAD:  # arrives as what it is not
        envelope = Envelope(STATEMENT, envelope.payload, envelope.key_id, envelope.signature)
    with pytest.raises(UpdateRejected, match=match):
        check_signed(envelope)


def test_more_steps_than_were_asked_for_are_rejected() -> None:
    envelope = Envelope.signed(STATEMENT, release(steps=2).to_payload(), KEY)
    with pytest.raises(UpdateRejected, match="steps"):
        check_signed(envelope, {**CONSTANTS, "steps": 2})


@pytest.mark.parametrize("name", list(CONSTANTS))
def test_constants_are_those_of_the_statement_even_where_they_were_asked_for(name: str) -> None:
    """What was asked for does not hide what the reply itself claims."""
    signed = Envelope.signed(STATEMENT, release().to_payload(), KEY)
    with pytest.raises(UpdateRejected, match=f"a statement of this update's {name}"):
        check_signed(signed, {**CONSTANTS, name: CONSTANTS[name] * 2})
