"""Trade-off curves against the exact ones of Gaussian mechanisms."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from shared.privacy.auditing.tradeoff import Tradeoff, sampled_gaussian

CHANCES = (1e-4, 1e-2, 0.1, 0.3, 0.5, 0.8, 0.99)


@pytest.mark.parametrize(("noise", "steps"), [(1.0, 1), (3.0, 4), (5.0, 24)])
def test_without_sampling_it_is_the_gaussian_curve(noise: float, steps: int) -> None:
    """Dong et al. 2019, section 2.3: power of the best test is Phi(Phi^-1(x) + mu)."""
    curve = sampled_gaussian(1.0, noise, steps)
    for x in CHANCES:
        exact = stats.norm.cdf(stats.norm.ppf(x) + math.sqrt(steps) / noise)
        assert exact <= curve.blow_up(x) <= exact + 2e-3


@pytest.mark.parametrize("noise", [0.7, 1.5])
def test_one_sampled_step_is_the_better_of_the_two_best_tests(noise: float) -> None:
    """Neyman-Pearson: the likelihood ratio of mixture and Gaussian rises, so tests are tails."""
    curve = sampled_gaussian(0.5, noise, 1)
    for threshold in np.linspace(-2, 3, 11):
        without = stats.norm.sf(threshold, scale=noise)
        with_ = 0.5 * without + 0.5 * stats.norm.sf(threshold - 1, scale=noise)
        assert with_ <= curve.blow_up(without) + 1e-12
        assert 1 - without <= curve.blow_up(1 - with_) + 1e-12
    # and one of them reaches the curve
    x = float(stats.norm.sf(1.5, scale=noise))
    reached = 0.5 * x + 0.5 * float(stats.norm.sf(0.5, scale=noise))
    assert curve.blow_up(x) == pytest.approx(reached, abs=3e-3)


PURE = Tradeoff(np.array([1.0]), np.array([0.0]))


def test_pure_privacy_has_two_lines() -> None:
    assert PURE.blow_up(0.1) == pytest.approx(0.1 * math.e)
    assert PURE.blow_up(0.9) == pytest.approx(1 - 0.1 / math.e)
    assert PURE.blow_up(1.0) == 1.0


@settings(deadline=None)  # the first of each curve composes it
@given(x=st.floats(1e-6, 1 - 1e-6), noise=st.sampled_from([1.0, 2.0]))
def test_the_inverse_is_one(x: float, noise: float) -> None:
    for curve in (PURE, sampled_gaussian(0.5, noise, 8)):
        up = curve.blow_up(x)
        assert x <= up <= 1
        back = curve.inverse(up)
        assert back <= x + 1e-9
        assert curve.blow_up(back) >= up - 1e-9
