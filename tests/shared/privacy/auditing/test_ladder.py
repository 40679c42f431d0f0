"""Rungs: never less noise than asked for, and half a per cent more at most."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.privacy.accountant import MIN_NOISE_MULTIPLIER, Charge, epsilon
from shared.privacy.auditing.ladder import LOWEST, epsilon_at, faintest, noise_at, rung_over


@given(noise=st.floats(MIN_NOISE_MULTIPLIER, 1e4))
def test_the_next_rung_is_at_or_over(noise: float) -> None:
    assert noise * (1 - 1e-9) <= noise_at(rung_over(noise)) <= noise * 1.004 * (1 + 1e-9)


def test_rungs_are_their_own() -> None:
    for rung in (LOWEST, -100, 0, 7, 1000):
        assert rung_over(noise_at(rung)) == rung
    assert rung_over(1e-9) == LOWEST


def test_epsilon_is_the_accountants() -> None:
    expected = epsilon([Charge(0.5, noise_at(100), 8)], 1e-4)
    assert epsilon_at(100, 0.5, 8, 1e-4) == expected
    assert epsilon_at(101, 0.5, 8, 1e-4) == pytest.approx(expected, rel=0.01)


def test_where_nothing_is_left_to_see_epsilon_is_nothing() -> None:
    last = faintest(0.5, 24)
    assert noise_at(last) == pytest.approx(100 * 0.5 * math.sqrt(24), rel=0.005)
    assert epsilon_at(last, 0.5, 24, 1e-4) == 0.0
    assert epsilon([Charge(0.5, noise_at(last), 24)], 1e-4) < 0.03
