"""Each limit of a partner's policy, and what is said when it is crossed."""

import json
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest

from clients.policy import FILE, Policy
from shared.bundle import bundle_sha256
from shared.errors import ConfigError, PolicyRefusal
from shared.protocol import TrainRequest

SETTINGS = {"steps": 10, "sample_rate": 0.1, "clip_norm": 1.0, "private": True}


def request_(**changes: object) -> TrainRequest:
    base = {"whitening": np.eye(2, dtype=np.float32)}
    settings = {key: value for key, value in {**SETTINGS, **changes}.items() if value is not None}
    return TrainRequest(round=1, adapter={}, trained=[], base=base, settings=settings)  # type: ignore[arg-type]


def test_the_default_permits_a_well_formed_run() -> None:
    Policy().check(request_(), epsilon=8.0, noise_multiplier=0.7)
    Policy().check(request_(private=False), epsilon=float("inf"), noise_multiplier=0.0)


@pytest.mark.parametrize(
    ("limit", "asked", "match"),
    [
        ({"max_steps_per_round": 9}, {}, r"expected steps 1 to 9, got 10 \(policy, steps\)"),
        ({}, {"steps": 0}, "steps"),
        ({}, {"steps": None}, "expected steps a number, got nothing"),
        ({}, {"steps": True}, "got bool"),
        ({"max_sample_rate": 0.05}, {}, "expected sample_rate in .0, 0.05., got 0.1"),
        ({}, {"sample_rate": 0.0}, "sample_rate"),
        ({}, {"sample_rate": 1.5}, "sample_rate"),
        ({"max_clip_norm": 0.5}, {}, "clip_norm"),
        ({"min_clip_norm": 2.0}, {}, "clip_norm"),
        ({}, {"clip_norm": 0.0}, "clip_norm"),
        ({}, {"clip_norm": "1"}, "got str"),
        ({"allowed_base": ["00"]}, {}, "expected base one of 1 permitted SHA-256s"),
        ({"max_epsilon": 8.0}, {"private": False}, "expected private true, got false"),
    ],
)
def test_a_request_beyond_the_policy(
    limit: dict[str, object], asked: dict[str, object], match: str
) -> None:
    with pytest.raises(PolicyRefusal, match=match) as caught:
        Policy.load(limit, where="test").check(request_(**asked))
    assert caught.value.exit_code == 8


def test_limits_are_inclusive() -> None:
    asked = request_()
    limits = Policy(
        max_epsilon=8.0,
        min_noise_multiplier=0.7,
        min_clip_norm=1.0,
        max_clip_norm=1.0,
        max_steps_per_round=10,
        max_sample_rate=0.1,
        allowed_base=[asked.base_sha256],
    )
    limits.check(asked, epsilon=8.0, noise_multiplier=0.7)
    with pytest.raises(PolicyRefusal, match=r"epsilon at most 8.0, got 8.01"):
        limits.check(asked, epsilon=8.01)
    with pytest.raises(PolicyRefusal, match=r"noise_multiplier at least 0.7, got 0.69"):
        limits.check(asked, noise_multiplier=0.69)
    for nan in ({"epsilon": float("nan")}, {"noise_multiplier": float("nan")}):
        with pytest.raises(PolicyRefusal):
            limits.check(asked, **nan)


def test_the_file_is_read(tmp_path: Path) -> None:
    assert Policy.read(tmp_path) == Policy()
    (tmp_path / FILE).write_text(json.dumps({"max_steps_per_round": 3}))
    assert Policy.read(tmp_path).max_steps_per_round == 3


@pytest.mark.parametrize("text", ["", "[]", '{"max_epsilonn": 3}', '{"max_epsilon": -1}', "\xff"])
def test_a_policy_that_cannot_be_read_permits_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / FILE).write_bytes(text.encode("latin-1"))
    with pytest.raises(ConfigError):
        Policy.read(tmp_path)


def at(hour: int, minute: int = 0) -> datetime:
    return datetime(2026, 11, 25, hour, minute)


def test_only_listed_bundles() -> None:
    Policy().check_bundle(bundle_sha256())
    with pytest.raises(PolicyRefusal, match=r"allowed_bundles of 1 permitted.*got 00 "):
        Policy().check_bundle("00")
    Policy(allowed_bundles=["00", "11"]).check_bundle("11")
    with pytest.raises(PolicyRefusal):
        Policy(allowed_bundles=["00"]).check_bundle(bundle_sha256())
    with pytest.raises(PolicyRefusal):
        Policy(allowed_bundles=[]).check_bundle(bundle_sha256())


@pytest.mark.parametrize(
    ("windows", "inside", "outside"),
    [
        (["08:00-17:30"], [(8, 0), (17, 29)], [(7, 59), (17, 30), (0, 0)]),
        (["22:00-06:00"], [(22, 0), (0, 0), (5, 59)], [(6, 0), (21, 59)]),
        (["01:00-02:00", "03:00-04:00"], [(1, 0), (3, 59)], [(2, 0), (2, 59)]),
        ([], [(0, 0), (12, 0)], []),
        (["05:00-05:00"], [(5, 0), (4, 59)], []),  # the whole day
    ],
)
def test_hours(
    windows: list[str], inside: list[tuple[int, int]], outside: list[tuple[int, int]]
) -> None:
    policy = Policy(windows=windows)
    for moment in inside:
        policy.check_day(at(*moment), 0)
    for moment in outside:
        with pytest.raises(PolicyRefusal, match="windows"):
            policy.check_day(at(*moment), 0)


@pytest.mark.parametrize("window", ["22-6", "25:00-06:00", "22:00", "22:60-23:00", ""])
def test_hours_that_are_none(window: str) -> None:
    with pytest.raises(ConfigError, match="22:00-06:00"):
        Policy.load({"windows": [window]}, where="test")


def test_rounds_total_and_size() -> None:
    policy = Policy(max_rounds_a_day=2, max_epsilon_total=10.0, max_update_bytes=100)
    policy.check_day(at(1), 1)
    with pytest.raises(PolicyRefusal, match="max_rounds_a_day at most 2, got 3"):
        policy.check_day(at(1), 2)
    policy.check_total(10.0)
    for epsilon in (10.01, float("inf"), float("nan")):
        with pytest.raises(PolicyRefusal, match="max_epsilon_total"):
            policy.check_total(epsilon)
    policy.check_size(100)
    with pytest.raises(PolicyRefusal, match="max_update_bytes at most 100, got 101"):
        policy.check_size(101)
