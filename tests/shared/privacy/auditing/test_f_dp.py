"""The f-DP bound: against its recursion as printed, and against mechanisms that are known."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from shared.privacy.accountant import Charge, epsilon
from shared.privacy.auditing import one_run
from shared.privacy.auditing.f_dp import epsilon_bound, refuted, refuted_rung
from shared.privacy.auditing.ladder import noise_at
from shared.privacy.auditing.tradeoff import Tradeoff, sampled_gaussian

GAME = {"rate": 0.5, "steps": 24, "delta": 1e-4, "confidence": 0.95}


def pure(level: float) -> Tradeoff:
    return Tradeoff(np.array([level]), np.array([0.0]))


def plain(curve: Tradeoff, canaries: int, guesses: int, correct: int, allowed: float) -> bool:
    """Algorithm 3 of Mahloujifar et al. as printed, for coins (k = 2), arrays and all."""
    h, r = np.zeros(correct + 1), np.zeros(correct + 1)
    r[correct] = allowed * correct / canaries
    h[correct] = allowed * (guesses - correct) / canaries
    for i in range(correct - 1, -1, -1):
        h[i] = max(h[i + 1], curve.inverse(r[i + 1]))
        r[i] = r[i + 1] + i / (guesses - i) * (h[i] - h[i + 1])
    return bool(r[0] + h[0] > guesses / canaries)


@given(
    guesses=st.integers(2, 60),
    spare=st.integers(0, 40),
    wrong=st.integers(0, 30),
    allowed=st.floats(0.001, 0.9),
    level=st.floats(0.1, 4),
)
def test_it_is_the_algorithm(
    guesses: int, spare: int, wrong: int, allowed: float, level: float
) -> None:
    correct = max(0, guesses - wrong)
    game = (pure(level), guesses + spare, guesses, correct, allowed)
    assert refuted(*game) is plain(*game)


@given(
    canaries=st.integers(2, 80),
    wrong=st.integers(0, 60),
    level=st.floats(0.05, 4),
    spare=st.integers(0, 30),
)
def test_what_randomised_response_really_does_is_never_refuted(
    canaries: int, wrong: int, level: float, spare: int
) -> None:
    """Coins told truthfully with probability e^level / (1 + e^level), the best there is."""
    correct = max(1, canaries - wrong)
    chance = math.exp(level) / (1 + math.exp(level))
    really = float(stats.binom.sf(correct - 1, canaries, chance))
    if 0 < really < 1:
        assert not refuted(pure(level), canaries + spare, canaries, correct, really * (1 - 1e-9))


def test_what_a_gaussian_mechanism_really_does_is_not_refuted_and_thrice_its_noise_is() -> None:
    """Guesses on all of 400 canaries, each right with probability Phi(mu / 2), by themselves."""
    curve, faint = (sampled_gaussian(1.0, noise, 1) for noise in (1.0, 3.0))
    law = stats.binom(400, stats.norm.cdf(0.5))
    usual = int(law.median())
    assert refuted(faint, 400, 400, usual, 0.05)
    for correct in range(usual, int(law.isf(1e-6))):
        assert not refuted(curve, 400, 400, correct, float(law.sf(correct - 1)))


def test_bounds_as_they_were() -> None:
    assert epsilon_bound(1000, 160, 155, **GAME) == pytest.approx(3.81, abs=0.05)
    assert epsilon_bound(1000, 160, 111, **GAME) == pytest.approx(0.65, abs=0.02)
    assert epsilon_bound(1000, 160, 80, **GAME) == 0.0


def test_knowing_the_mechanism_sharpens_the_bound() -> None:
    counts = (111, 140, 155)
    found = [epsilon_bound(1000, 160, right, **GAME) for right in counts]
    assert found == sorted(found)
    for right, sharper in zip(counts, found, strict=True):
        assert sharper > one_run.epsilon_bound(1000, 160, right, 1e-4, 0.95)


def test_noise_is_never_told_as_less_than_was_possible() -> None:
    """The bound's noise is refuted; a rung less noise is not, so no bound is needlessly weak."""
    rung = refuted_rung(200, 32, 31, rate=0.5, steps=4, confidence=0.95)
    assert rung is not None
    for one, expected in ((rung, True), (rung - 1, False)):
        curve = sampled_gaussian(0.5, noise_at(one), 4)
        assert refuted(curve, 200, 32, 31, 0.05) is expected
    told = epsilon_bound(200, 32, 31, rate=0.5, steps=4, delta=1e-4, confidence=0.95)
    assert told == epsilon([Charge(0.5, noise_at(rung), 4)], 1e-4)
