"""What is put on record about a round: in-toto Statements (v1) with predicates of our own.

A platform states each of its releases (`PlatformRound`), the coordinator each round
(`CoordinatorRound`).  Rules:
1. Only public constants, hashes of what was sent, and names.  No counts of users or events, no
   losses, no norms, no text of errors: parsing refuses every field that is not listed here.
2. A statement says where in its log it stands: its number, and the tree's root over all before it.
   So whoever has one statement can tell whether the log before it is still the same.
3. One statement has one text (canonical JSON).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from shared.transparency.canonical import canonical, parse
from shared.transparency.fields import (
    ANSWER_FIELDS,
    CHARGE_FIELDS,
    COORDINATOR_FIELDS,
    PLATFORM_FIELDS,
    check,
    not_a_statement,
)

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PLATFORM_ROUND = "urn:fedinterest:record:platform-round:v1"
COORDINATOR_ROUND = "urn:fedinterest:record:coordinator-round:v1"
COORDINATOR = "coordinator"
"""Name of the coordinator's log; no platform may be called so."""

GUARANTEE = "user-level differential privacy, add or remove one user"
NOT_PRIVATE = "NOT PRIVATE"
_NOISE = {False: "operating system", True: "UNSAFE SEED"}
OUTCOMES = ("accepted", "rejected", "refused", "absent")


@dataclass(frozen=True, kw_only=True)
class Charge:
    """Where in the platform's ledger a release was paid for.

    Args:
        first: number of the ledger's charge for the release's first step, from 0.
        entries: charges in the ledger when the release was made.
        head: hash of the ledger's last line then: it fixes the whole ledger up to there.
    """

    first: int
    entries: int
    head: str


@dataclass(frozen=True, kw_only=True)
class PlatformRound:
    """One release of one platform.

    Args:
        platform: who.
        index, root: its place in the platform's log; rule 2.
        round, request: what was answered, and the request's digest.
        adapter_in: SHA-256 of the adapter it started from.
        update: SHA-256 of the update as it travels.
        base: SHA-256 of the whitening; `encoder`: identity of the text encoder, "" if not known.
        code, policy: SHA-256 of the source that ran, and of the partner's policy.
        steps, sample_rate, noise_multiplier, clip_norm: of the DP-SGD steps.
        epsilon, delta: the promise for the whole run; infinite epsilon: none.
        unsafe_seed: the noise can be recomputed by whoever knows a number.
        charge: None without privacy.
    """

    platform: str
    index: int
    root: str
    round: int
    request: str
    adapter_in: str
    update: str
    base: str
    encoder: str
    code: str
    policy: str
    steps: int
    sample_rate: float
    noise_multiplier: float
    clip_norm: float
    epsilon: float
    delta: float
    unsafe_seed: bool
    charge: Charge | None

    @property
    def private(self) -> bool:
        """Whether there is a guarantee."""
        return self.charge is not None

    def to_payload(self) -> bytes:
        """The statement's one text."""
        predicate = {
            **{name: getattr(self, name) for name in PLATFORM_FIELDS if name != "epsilon"},
            "epsilon": self.epsilon if math.isfinite(self.epsilon) else "inf",
            "guarantee": GUARANTEE if self.private else NOT_PRIVATE,
            "noise": _NOISE[self.unsafe_seed],
            "charge": None if self.charge is None else dict(vars(self.charge)),
        }
        return _statement(PLATFORM_ROUND, "update", self.update, predicate)


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What the coordinator made of one platform in a round.

    Args:
        outcome: one of `OUTCOMES`.
        weight: public aggregation weight.
        key: the platform's public key, once known.
        envelope: leaf hash of the platform's own signed statement, if it came.
    """

    outcome: str
    weight: float
    key: str | None
    envelope: str | None


@dataclass(frozen=True, kw_only=True)
class CoordinatorRound:
    """One round of the coordinator; round 0 is the set-up, which has no request.

    Args:
        index, root: its place in the coordinator's log.
        round, request: the round, and the digest of the request; None at the set-up.
        settings: SHA-256 of the federation's settings.
        base: SHA-256 of the whitening.
        adapter_in, adapter_out: SHA-256 of the adapter before (None at the set-up) and after.
        code: SHA-256 of the coordinator's source.
        line: SHA-256 of the round's line in rounds.jsonl, as it was first written.
        steps, sample_rate, clip_norm, private: what every platform was asked for.
        platforms: name -> what became of it.
    """

    index: int
    root: str
    round: int
    request: str | None
    settings: str
    base: str
    adapter_in: str | None
    adapter_out: str
    code: str
    line: str
    steps: int
    sample_rate: float
    clip_norm: float
    private: bool
    platforms: Mapping[str, Answer]

    def to_payload(self) -> bytes:
        """The statement's one text."""
        predicate = {
            **{name: getattr(self, name) for name in COORDINATOR_FIELDS},
            "guarantee": GUARANTEE if self.private else NOT_PRIVATE,
            "platforms": {name: dict(vars(answer)) for name, answer in self.platforms.items()},
        }
        return _statement(COORDINATOR_ROUND, "adapter", self.adapter_out, predicate)


Statement = PlatformRound | CoordinatorRound


def parse_statement(payload: bytes, *, exact: bool = True) -> Statement:
    """The statement that `payload` is the text of; see `parse` for `exact`.

    Raises:
        ProtocolError: it is none, or has one field too many, too few or out of range.
    """
    values = parse(payload, "statement", exact=exact)
    try:
        (subject,) = values.pop("subject")
        kind, predicate = values.pop("predicateType"), values.pop("predicate")
        if values != {"_type": STATEMENT_TYPE}:
            raise not_a_statement("an in-toto statement, version 1", "another")
        if kind == PLATFORM_ROUND:
            found: Statement = _platform_round(predicate)
            said = {"name": "update", "digest": {"sha256": predicate["update"]}}
        elif kind == COORDINATOR_ROUND:
            found = _coordinator_round(predicate)
            said = {"name": "adapter", "digest": {"sha256": predicate["adapter_out"]}}
        else:
            raise not_a_statement("a round's predicate", "another")
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise not_a_statement("a round's statement", type(error).__name__) from error
    if subject != said:
        raise not_a_statement("the subject that the predicate speaks of", "another")
    return found


def _platform_round(values: dict[str, Any]) -> PlatformRound:
    check(values, PLATFORM_FIELDS, "guarantee", "noise", "charge")
    epsilon = math.inf if values["epsilon"] == "inf" else values["epsilon"]
    charge = values["charge"]
    if charge is not None:
        check(charge, CHARGE_FIELDS)
        charge = Charge(**charge)
    unsafe = values["noise"] == _NOISE[True]
    private = values["guarantee"] == GUARANTEE
    sound = (
        values["noise"] in _NOISE.values()
        and values["guarantee"] in (GUARANTEE, NOT_PRIVATE)
        and private == (charge is not None) == math.isfinite(epsilon)
        and epsilon > 0
    )
    if not sound:
        raise not_a_statement("a guarantee, or NOT PRIVATE and no charge", "a contradiction")
    plain = {name: values[name] for name in PLATFORM_FIELDS if name != "epsilon"}
    return PlatformRound(**plain, epsilon=epsilon, unsafe_seed=unsafe, charge=charge)


def _coordinator_round(values: dict[str, Any]) -> CoordinatorRound:
    check(values, COORDINATOR_FIELDS, "guarantee", "platforms")
    platforms = {}
    for name, answer in values["platforms"].items():
        check(answer, ANSWER_FIELDS)
        if answer["outcome"] not in OUTCOMES:
            raise not_a_statement(f"one of {OUTCOMES}", "another outcome")
        platforms[name] = Answer(**answer)
    private = values["private"]
    if values["guarantee"] != (GUARANTEE if private else NOT_PRIVATE):
        raise not_a_statement("a guarantee, or NOT PRIVATE", "a contradiction")
    bare = {values["round"] == 0, values["request"] is None, values["adapter_in"] is None}
    if len(bare) != 1:
        raise not_a_statement("a request and an adapter, but for the set-up", "a contradiction")
    plain = {name: values[name] for name in COORDINATOR_FIELDS}
    return CoordinatorRound(**plain, platforms=platforms)


def _statement(kind: str, name: str, digest: str, predicate: dict[str, Any]) -> bytes:
    return canonical(
        {
            "_type": STATEMENT_TYPE,
            "subject": [{"name": name, "digest": {"sha256": digest}}],
            "predicateType": kind,
            "predicate": predicate,
        }
    )
