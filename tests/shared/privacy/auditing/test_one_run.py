"""The one-run bound against plain formulas, and against mechanisms whose epsilon is known."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from shared.privacy.auditing.one_run import epsilon_bound, p_value

DELTA = 1e-4


def plain(canaries: int, guesses: int, correct: int, epsilon: float, delta: float) -> float:
    """Theorem 5.2 of Steinke et al. as it reads, i over all of 1..M."""
    chance = math.exp(epsilon) / (math.exp(epsilon) + 1)

    def mass(number: int) -> float:
        if not 0 <= number <= guesses:
            return 0.0
        ways = math.comb(guesses, number)
        return ways * chance**number * (1 - chance) ** (guesses - number)

    beta = sum(mass(number) for number in range(correct, guesses + 1))
    alpha = max(
        sum(mass(number) for number in range(correct - i, correct)) / i
        for i in range(1, canaries + 1)
    )
    return min(1.0, beta + 2 * canaries * delta * alpha)


@given(
    guesses=st.integers(1, 25),
    spare=st.integers(0, 15),
    wrong=st.integers(0, 25),
    epsilon=st.floats(0, 5),
    delta=st.sampled_from([0.0, 1e-5, 1e-3]),
)
def test_the_p_value_is_the_theorem(
    guesses: int, spare: int, wrong: int, epsilon: float, delta: float
) -> None:
    correct = max(0, guesses - wrong)
    expected = plain(guesses + spare, guesses, correct, epsilon, delta)
    assert p_value(guesses + spare, guesses, correct, epsilon, delta) == pytest.approx(
        expected, rel=1e-9, abs=1e-14
    )


@given(
    guesses=st.integers(5, 100),
    wrong=st.integers(0, 20),
    lower=st.floats(0, 4),
    more=st.floats(0, 4),
)
def test_more_privacy_loss_makes_right_guesses_less_surprising(
    guesses: int, wrong: int, lower: float, more: float
) -> None:
    correct = max(0, guesses - wrong)
    low, high = (p_value(200, guesses, correct, e, DELTA) for e in (lower, lower + more))
    assert low <= high + 1e-12


@pytest.mark.parametrize(("guesses", "correct"), [(100, 90), (40, 40), (500, 300)])
def test_without_delta_it_is_the_clopper_pearson_limit_of_a_coin(
    guesses: int, correct: int
) -> None:
    """A right guess has probability e^eps / (1 + e^eps) at most: Steinke et al., theorem 3.1."""
    limit = stats.binomtest(correct, guesses, alternative="greater").proportion_ci(0.95).low
    expected = math.log(limit / (1 - limit))
    assert epsilon_bound(1000, guesses, correct, 0.0, 0.95) == pytest.approx(expected, abs=2e-6)


def test_it_holds_for_randomised_response_and_is_not_far_below() -> None:
    """Each coin is told truthfully with probability e / (1 + e): (1, 0)-DP and no better."""
    rng = np.random.default_rng(0)
    right = rng.binomial(1000, math.e / (1 + math.e), size=2000)
    found = np.array([epsilon_bound(1000, 1000, int(one), 0.0, 0.95) for one in right])
    assert 0.03 < (found > 1).mean() <= 0.055  # exact: 5 % less what is whole in a count
    assert 0.85 < np.median(found) < 0.92


def test_a_delta_costs() -> None:
    pure, paid = (epsilon_bound(1000, 160, 155, delta, 0.95) for delta in (0.0, DELTA))
    assert pure == pytest.approx(2.6731, abs=1e-3)
    assert paid == pytest.approx(2.5982, abs=1e-3)


def test_guessing_by_chance_says_nothing() -> None:
    assert epsilon_bound(1000, 160, 80, DELTA, 0.95) == 0.0
    assert epsilon_bound(1000, 160, 0, DELTA, 0.95) == 0.0
    # all right, at so much delta that it could be nothing else
    assert epsilon_bound(1000, 20, 20, 0.1, 0.95) == 0.0
