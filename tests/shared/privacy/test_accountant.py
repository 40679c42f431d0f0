"""The accountant against published numbers, other accountants and exact formulas."""

import math
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.errors import AccountantError
from shared.privacy import accountant
from shared.privacy.accountant import (
    Charge,
    calibrate,
    checked_epsilon,
    composed_epsilon,
    epsilon,
    merged,
)

# (sample_rate, noise_multiplier, steps, delta): PLD, PRV upper bound, RDP; measured beforehand.
REFERENCE = [
    ((0.01, 1.0, 1000, 1e-5), 1.8282, 1.8384, 2.1014),
    ((0.01, 0.6, 1000, 1e-5), 7.4336, 7.4442, 8.68),
    ((0.02, 0.8, 2000, 1e-5), 9.1427, 9.1532, 10.08),
    ((0.1, 1.0, 100, 1e-5), 7.0466, 7.0571, 7.90),
    ((0.05, 2.0, 5000, 1e-6), 10.354, 10.364, 11.04),
]


@pytest.mark.parametrize(("terms", "pld", "prv", "rdp"), REFERENCE)
def test_reference_values(
    terms: tuple[float, float, int, float], pld: float, prv: float, rdp: float
) -> None:
    *constants, delta = terms
    charges = [Charge(*constants)]
    got = checked_epsilon(charges, delta)
    assert got == pytest.approx(pld, rel=1e-4)
    opinion = accountant._second_opinion(accountant._key(charges), delta)
    assert opinion.name == "PRV"
    assert opinion.estimate + 0.01 == pytest.approx(prv, abs=1e-3)
    assert got < opinion.estimate + 0.02
    assert got < rdp


# Recorded with value_discretization_interval=1e-5, which takes minutes.
FINE_GRID = [
    ((0.01, 1.0, 1000, 1e-5), 1.8282367363),
    ((0.1, 1.0, 100, 1e-5), 7.0466026216),
    ((0.05, 0.8, 100, 1e-5), 5.7412431565),
    ((0.05, 20.0, 100, 1e-5), 0.0755755721),
    ((1.0, 50.0, 100, 1e-5), 0.7255217728),
    ((0.05, 2.0, 5000, 1e-6), 10.3540300411),
]


@pytest.mark.parametrize(("terms", "fine"), FINE_GRID)
def test_grid_is_an_upper_bound_within_a_thousandth(
    terms: tuple[float, float, int, float], fine: float
) -> None:
    *constants, delta = terms
    got = epsilon([Charge(*constants)], delta)
    assert fine * (1 - 1e-9) <= got <= fine * 1.001


def test_every_user_every_step_is_the_exact_gaussian() -> None:
    # One Gaussian of noise 1, delta 1e-5: 4.3776 (Balle & Wang's formula, solved by hand).
    assert accountant._gaussian_epsilon(1.0, 1e-5) == pytest.approx(4.37718, abs=1e-4)
    assert checked_epsilon([Charge(1.0, 2.0, 4)], 1e-5) == pytest.approx(4.37718, rel=1e-3)


def test_delta_at_epsilon_from_first_principles() -> None:
    """One subsampled step: integrate the hockey-stick divergence directly, both directions."""
    rate, noise, delta = 0.1, 0.8, 1e-4
    eps = epsilon([Charge(rate, noise)], delta)
    points, width = 200_001, 24.0
    step = width / (points - 1)
    remove = add = 0.0
    for i in range(points):
        x = -width / 2 + i * step
        without = math.exp(-(x**2) / (2 * noise**2))
        with_user = (1 - rate) * without + rate * math.exp(-((x - 1) ** 2) / (2 * noise**2))
        remove += max(0.0, with_user - math.exp(eps) * without)
        add += max(0.0, without - math.exp(eps) * with_user)
    scale = step / (noise * math.sqrt(2 * math.pi))
    assert max(remove, add) * scale == pytest.approx(delta, rel=1e-3)


def test_order_and_splitting_do_not_matter() -> None:
    whole = [Charge(0.05, 1.0, 30), Charge(0.02, 2.0, 10)]
    split = [Charge(0.02, 2.0, 4), *[Charge(0.05, 1.0)] * 30, Charge(0.02, 2.0, 6)]
    assert merged(split) == merged(whole) == sorted(whole, key=lambda c: c.sample_rate)
    assert epsilon(split, 1e-5) == epsilon(whole, 1e-5)


def test_composition_over_platforms() -> None:
    shop, films = [Charge(0.05, 1.0, 20)], [Charge(0.05, 1.0, 30)]
    both = composed_epsilon([shop, films], 1e-5)
    assert both == epsilon([Charge(0.05, 1.0, 50)], 1e-5)
    assert both > max(epsilon(shop, 1e-5), epsilon(films, 1e-5))
    mixed = [Charge(0.05, 1.0, 20), Charge(0.1, 3.0, 20)]
    assert checked_epsilon(mixed, 1e-5) == composed_epsilon([mixed[:1], mixed[1:]], 1e-5)
    assert composed_epsilon([], 1e-5) == epsilon([], 1e-5) == checked_epsilon([], 1e-5) == 0.0


def test_small_noise_is_checked_against_the_renyi_bound() -> None:
    charges = [Charge(0.05, 0.25, 3)]
    opinion = accountant._second_opinion(accountant._key(charges), 1e-5)
    assert opinion.name == "Rényi upper bound"
    assert 0 < checked_epsilon(charges, 1e-5) < opinion.estimate


def test_a_gap_between_accountants_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    charges = [Charge(0.1, 1.0, 100)]
    honest = epsilon(charges, 1e-5)
    for wrong in (honest + 0.03, honest - 0.03, honest * 0.75):
        monkeypatch.setattr(accountant, "epsilon", lambda *_, value=wrong: value)
        with pytest.raises(AccountantError, match="PRV") as error:
            checked_epsilon(charges, 1e-5)
        assert error.value.exit_code == 8


def test_prv_that_fails_falls_back() -> None:
    class Failing:
        history = ((1.0, 0.1, 10),)

        def _get_domain(self, **_: object) -> None:
            raise RuntimeError("Discrete mean differs significantly from continuous mean.")

    assert accountant._prv_opinion(Failing(), 1e-5) is None


@pytest.mark.parametrize(
    ("budget", "delta", "rate", "steps"),
    [(8.0, 1e-5, 0.05, 100), (1.0, 1e-6, 0.05, 200), (2.0, 1e-5, 0.2, 1000), (8.0, 1e-5, 1.0, 100)],
)
def test_calibrate_is_the_smallest_that_suffices(
    budget: float, delta: float, rate: float, steps: int
) -> None:
    noise = calibrate(budget, delta, rate, steps)
    assert noise == round(noise, 3)
    assert epsilon([Charge(rate, noise, steps)], delta) <= budget
    assert epsilon([Charge(rate, round(noise - 0.001, 3), steps)], delta) > budget


def test_calibrate_pins() -> None:
    assert calibrate(8.0, 1e-5, 0.05, 100) == 0.696
    assert calibrate(1e4, 1e-5, 0.05, 1) == accountant.MIN_NOISE_MULTIPLIER
    start = time.perf_counter()
    calibrate(8.0, 1e-5, 0.05, 100)
    assert time.perf_counter() - start < 0.01  # cached


@pytest.mark.parametrize("budget", [0.0, -1.0, math.inf, math.nan, 1e-9])
def test_calibrate_refuses(budget: float) -> None:
    with pytest.raises(AccountantError):
        calibrate(budget, 1e-5, 1.0, 100)


@pytest.mark.parametrize(
    "bad", [(0.0, 1.0, 1), (1.1, 1.0, 1), (0.1, 0.0, 1), (0.1, math.nan, 1), (0.1, 1.0, 0),
            (math.nan, 1.0, 1), (0.1, math.inf, 1), (0.1, 1.0, True)],
)  # fmt: skip
def test_charge_refuses(bad: tuple[float, float, int]) -> None:
    with pytest.raises(AccountantError, match="expected"):
        Charge(*bad)


@pytest.mark.parametrize("delta", [0.0, 1.0, -1e-5, math.nan, 1e-18])
def test_delta_out_of_range(delta: float) -> None:
    with pytest.raises(AccountantError, match="delta"):
        epsilon([Charge(0.1, 1.0, 10)], delta)


@settings(max_examples=6, deadline=None)
@given(
    rate=st.floats(0.01, 0.9),
    noise=st.floats(1.0, 30.0),
    steps=st.integers(1, 300),
    more=st.integers(1, 300),
)
def test_more_steps_cost_more_and_more_noise_costs_less(
    rate: float, noise: float, steps: int, more: int
) -> None:
    now = epsilon([Charge(rate, noise, steps)], 1e-6)
    assert epsilon([Charge(rate, noise, steps + more)], 1e-6) >= now * (1 - 1e-3)
    assert epsilon([Charge(rate, noise * 1.5, steps)], 1e-6) <= now * (1 + 1e-3)
