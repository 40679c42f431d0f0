"""White-box estimates: against least squares, and against the truth in games on paper."""

from dataclasses import replace

import numpy as np
import pytest

from shared.errors import DataError
from shared.privacy.accountant import Charge, epsilon
from shared.privacy.auditing.game import Filter, Rules, simulated
from shared.privacy.auditing.gaussian import Shift, by_membership, by_participation, epsilon_of

RULES = Rules(canaries=200, rounds=12, steps=1, rate=0.5, noise_multiplier=2.0, delta=1e-4)


def test_participation_is_least_squares() -> None:
    game = simulated(RULES, np.random.default_rng(0))
    fitted = np.linalg.lstsq(game.taken.reshape(-1, 1), game.seen.ravel(), rcond=None)
    found = by_participation(game.seen, game.taken, game.matched)
    assert found.signal == pytest.approx(float(fitted[0][0]), rel=1e-12)
    dummies = np.repeat(np.eye(12), 200, axis=0)
    design = np.column_stack([game.taken.ravel(), dummies])
    left = np.linalg.lstsq(design, game.seen.ravel(), rcond=None)[1]
    assert found.noise == pytest.approx(float(np.sqrt(left[0] / (2400 - 13))), rel=1e-12)


@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize("real", [2.0, 1.0])
def test_estimates_have_no_bias_and_the_error_they_say(steps: int, real: float) -> None:
    rules = replace(RULES, steps=steps)
    rng, true = np.random.default_rng(4), 1 / (real * np.sqrt(steps))
    scores = []
    for _ in range(400):
        game = simulated(rules, rng, noise_multiplier=real)
        found = (
            by_participation(game.seen, game.taken, game.matched),
            by_membership(game.seen, game.members, rules.rounds * steps * rules.rate),
        )
        scores.append([(one.ratio - true) / one.error for one in found])
    # standard error of a mean of 400 is 0.05, of a standard deviation 0.035
    assert np.abs(np.mean(scores, axis=0)).max() < 0.2
    assert np.abs(np.std(scores, axis=0) - 1).max() < 0.15


def test_a_lower_limit_is_a_normal_quantile_down() -> None:
    shift = Shift(signal=0.5, noise=1.0, error=0.1)
    assert shift.ratio == 0.5
    assert shift.lower(0.95) == pytest.approx(0.5 - 0.1959964)
    assert shift.lower(0.9999) == pytest.approx(0.5 - 0.3890592)


def test_membership_sees_a_sampling_rate_that_participation_does_not() -> None:
    """Everybody takes part in every round, where half of them were promised to."""
    game = simulated(replace(RULES, rate=1.0), np.random.default_rng(5))
    known = by_participation(game.seen, game.taken, game.matched)
    unknown = by_membership(game.seen, game.members, RULES.rounds * RULES.rate)
    assert known.signal == pytest.approx(RULES.shift, abs=0.06)
    assert unknown.signal == pytest.approx(2 * RULES.shift, abs=0.12)


@pytest.mark.parametrize(("steps", "rounds"), [(1, 24), (2, 12)])
def test_epsilon_at_the_true_ratio_is_the_accountants(steps: int, rounds: int) -> None:
    true = epsilon([Charge(0.5, 1.5, 24)], 1e-4)
    ratio = 1 / (1.5 * np.sqrt(steps))
    found = epsilon_of(ratio, rate=0.5, steps=steps, rounds=rounds, delta=1e-4)
    assert 0.99 * true < found <= true
    assert epsilon_of(-0.1, rate=0.5, steps=steps, rounds=rounds, delta=1e-4) == 0.0
    assert epsilon_of(1e-6, rate=0.5, steps=steps, rounds=rounds, delta=1e-4) == 0.0


def test_what_cannot_be_estimated_is_refused() -> None:
    game = simulated(RULES, np.random.default_rng(6))
    nobody = np.zeros_like(game.taken)
    nothing = Filter(*np.zeros((3, RULES.rounds)))
    with pytest.raises(DataError, match="one kind only"):
        by_participation(game.seen, nobody, nothing)
    with pytest.raises(DataError, match="1 in, 199 out"):
        by_membership(game.seen, np.arange(200) == 7, 6.0)
    with pytest.raises(DataError, match="noise in what is released"):
        by_participation(game.taken * 0.5, game.taken, game.matched)
