"""All bounds of a game together."""

from dataclasses import replace

import numpy as np
import pytest

from shared.errors import DataError
from shared.privacy.accountant import Charge, epsilon
from shared.privacy.auditing.bounds import NAMES, all_bounds
from shared.privacy.auditing.game import Rules, simulated

RULES = Rules(canaries=1000, rounds=24, steps=1, rate=0.5, noise_multiplier=1.502, delta=1.1e-4)
"""The demo's largest platform at epsilon 8, with a thousand canaries."""
TRUE = epsilon([Charge(0.5, 1.502, 24)], 1.1e-4)


def test_each_says_what_it_rests_on() -> None:
    found = all_bounds(RULES, simulated(RULES, np.random.default_rng(0)), 0.95)
    assert tuple(one.name for one in found) == NAMES
    assert [one.kind for one in found] == ["proven", "assumption-based", "estimate", "estimate"]
    assert {one.confidence for one in found} == {0.95}
    proven, *others = (set(one.assumes) for one in found)
    assert proven == {"canaries are in by independent fair coins"}
    assert all(any("Poisson sampling" in word for word in words) for words in others)
    assert "the sampling coins are known" in others[1]
    assert "the sampling coins are known" not in others[2]


def test_estimates_of_several_steps_a_round_say_so() -> None:
    rules = replace(RULES, canaries=60, rounds=4, steps=2)
    found = all_bounds(rules, simulated(rules, np.random.default_rng(0)), 0.95)
    told = [
        "gradients of a round's later steps are like those of its first" in one.assumes
        for one in found
    ]
    assert told == [False, False, True, True]


def test_more_assumptions_tell_more_and_none_tells_too_much() -> None:
    one_run, f_dp, known, unknown = all_bounds(
        RULES, simulated(RULES, np.random.default_rng(0)), 0.95
    )
    assert 0.25 * TRUE < one_run.epsilon < f_dp.epsilon < unknown.epsilon < TRUE
    assert 0.9 * TRUE < known.epsilon < TRUE


def test_more_confidence_tells_less() -> None:
    game = simulated(RULES, np.random.default_rng(1))
    usual, surer = (all_bounds(RULES, game, confidence) for confidence in (0.95, 0.9999))
    for one, other in zip(usual, surer, strict=True):
        assert other.epsilon < one.epsilon


def test_half_the_noise_is_more_than_was_promised() -> None:
    game = simulated(RULES, np.random.default_rng(2), noise_multiplier=0.751)
    found = {one.name: one.epsilon for one in all_bounds(RULES, game, 0.9999)}
    assert found[NAMES[2]] > 1.5 * TRUE
    assert found[NAMES[3]] > 1.5 * TRUE


def test_coins_that_all_fell_alike_are_too_few() -> None:
    game = simulated(RULES, np.random.default_rng(3))
    with pytest.raises(DataError, match="two canaries in"):
        all_bounds(RULES, replace(game, members=np.zeros(1000, bool)), 0.95)
