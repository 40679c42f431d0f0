"""The accountant against published numbers, other accountants and exact formulas."""

import math
import time
from typing import Any

import numpy as np
import pytest
from dp_accounting.pld import privacy_loss_distribution as pld
from dp_accounting.privacy_accountant import NeighboringRelation
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from shared.errors import AccountantError
from shared.privacy import accountant
from shared.privacy.accountant import (
    Charge,
    Relation,
    calibrate,
    checked_epsilon,
    composed_epsilon,
    course,
    epsilon,
    merged,
)
from shared.privacy.second_opinion import gaussian_epsilon, prv_opinion

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
    assert gaussian_epsilon(1.0, 1e-5) == pytest.approx(4.37718, abs=1e-4)
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

    assert prv_opinion(Failing(), 1e-5, slack=5e-5) is None


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


# --- Replace one, the finest grid, and the course of a run ---


# (charges), delta, relation: recorded with value_discretization_interval=1e-5 (7 to 40 s each).
FINER = [
    ([(0.5, 2.0, 48)], 1e-4, "add_remove", 8.107921935436327),
    ([(0.5, 2.0, 48)], 1e-4, "replace_one", 17.487264005242004),
    ([(0.5, 0.781, 4)], 1.394e-4, "add_remove", 7.995259593707163),
    ([(0.5, 0.781, 4)], 1.394e-4, "replace_one", 10.615087616937714),
    ([(0.01, 1.0, 1000)], 1e-5, "replace_one", 2.843440443212311),
    ([(0.1, 1.0, 100)], 1e-5, "replace_one", 10.516380136215023),
    ([(1.0, 4.0, 16)], 1e-5, "replace_one", 9.997256147798513),
    ([(0.5, 2.0, 10), (0.1, 1.0, 20)], 1e-5, "add_remove", 5.183126829637916),
    ([(0.5, 2.0, 10), (0.1, 1.0, 20)], 1e-5, "replace_one", 8.817543558849543),
    ([(0.0059, 4.196, 61)], 1e-6, "add_remove", 0.04006922770774068),
    # Steps so quiet that a finer grid would be tighter: 1e-5 it is, to the last bit.
    ([(0.001, 10.0, 100)], 1e-6, "add_remove", 0.002769987001383057),
    ([(0.01, 30.0, 50)], 1e-6, "replace_one", 0.014922259523949205),
]


@pytest.mark.parametrize(("charges", "delta", "relation", "fine"), FINER)
def test_never_below_and_at_most_a_thousandth_above_pld_at_1e_5(
    charges: list[tuple[float, float, int]], delta: float, relation: Relation, fine: float
) -> None:
    got = epsilon([Charge(*one) for one in charges], delta, relation)
    assert fine * (1 - 1e-12) <= got <= fine * 1.001


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(
    rate=st.floats(0.001, 1.0),
    noise=st.floats(1.0, 10.0),
    steps=st.integers(1, 100),
    relation=st.sampled_from(["add_remove", "replace_one"]),
)
def test_never_below_pld_at_1e_5_anywhere(
    rate: float, noise: float, steps: int, relation: Relation
) -> None:
    single = pld.from_gaussian_mechanism(
        noise,
        sampling_prob=rate,
        value_discretization_interval=1e-5,
        neighboring_relation=NeighboringRelation[accountant._RELATIONS[relation]],
    )
    fine = single.self_compose(steps).get_epsilon_for_delta(1e-5)
    got = epsilon([Charge(rate, noise, steps)], 1e-5, relation)
    # beyond 50 nothing is promised any more, and rounding in the composition shows at 1e-7
    assert fine * (1 - (1e-9 if fine <= 50 else 1e-6)) <= got <= fine * 1.001


def test_replacing_in_every_step_is_a_gaussian_of_twice_the_shift() -> None:
    for noise, steps in ((4.0, 16), (3.0, 1), (10.0, 40)):
        exact = gaussian_epsilon(4 * steps / noise**2, 1e-5)
        got = epsilon([Charge(1.0, noise, steps)], 1e-5, "replace_one")
        assert exact <= got <= exact * 1.001


def test_replace_one_from_first_principles() -> None:
    """One subsampled step: integrate the hockey-stick divergence of the pair directly."""
    rate, noise, delta = 0.3, 0.9, 1e-4
    eps = epsilon([Charge(rate, noise)], delta, "replace_one")
    x = np.linspace(-14, 14, 400_001)
    plain, left, right = (norm.pdf(x, shift, noise) for shift in (0, -1, 1))
    ours, theirs = (rate * one + (1 - rate) * plain for one in (left, right))
    got = np.maximum(0, ours - math.exp(eps) * theirs).sum() * (x[1] - x[0])
    assert got == pytest.approx(delta, rel=1e-3)


@settings(max_examples=60, deadline=None)
@given(
    one=st.tuples(st.floats(0, 1), st.floats(0, 2 * math.pi)),
    other=st.tuples(st.floats(0, 1), st.floats(0, 2 * math.pi)),
    rate=st.sampled_from([0.05, 0.3, 0.9]),
    noise=st.sampled_from([0.6, 1.0, 3.0]),
    eps=st.sampled_from([0.0, 0.3, 1.0, 3.0]),
)
def test_no_two_users_are_worse_than_opposite_ones(
    one: tuple[float, float], other: tuple[float, float], rate: float, noise: float, eps: float
) -> None:
    """What `Relation` proves, by quadrature in the plane of the two gradients."""

    def divergence(g: tuple[float, float], h: tuple[float, float]) -> float:
        axis = np.linspace(-1 - 7 * noise, 1 + 7 * noise, 241)
        x, y = np.meshgrid(axis, axis)

        def density(a: float, b: float) -> Any:
            return np.exp(-((x - a) ** 2 + (y - b) ** 2) / (2 * noise**2))

        plain = (1 - rate) * density(0, 0)
        ours, theirs = plain + rate * density(*g), plain + rate * density(*h)
        area = (axis[1] - axis[0]) ** 2 / (2 * math.pi * noise**2)
        return float(np.maximum(0, ours - math.exp(eps) * theirs).sum() * area)

    def at(polar: tuple[float, float]) -> tuple[float, float]:
        return polar[0] * math.cos(polar[1]), polar[0] * math.sin(polar[1])

    assert divergence(at(one), at(other)) <= divergence((1, 0), (-1, 0)) + 2e-3


def test_replace_one_composed_against_another_accountant() -> None:
    """Opacus' discretisation and composition, fed with the loss of the replace-one pair."""
    from opacus.accountants.analysis import prv

    class Replaced:
        def __init__(self, rate: float, noise: float) -> None:
            self.rate, self.noise = rate, noise

        def cdf(self, t: Any) -> Any:
            # e^t = (c + y) / (c + 1/y) with y = e^(x / s^2) and c as below, solved for x.
            rate, noise = self.rate, self.noise
            c = (1 - rate) / rate * math.exp(0.5 / noise**2)
            x = noise**2 * (np.asarray(t) / 2 + np.arcsinh(c * np.sinh(np.asarray(t) / 2)))
            return rate * norm.cdf(x, 1, noise) + (1 - rate) * norm.cdf(x, 0, noise)

    for rate, noise, steps, delta in ((0.5, 2.0, 48, 1e-4), (0.1, 1.0, 100, 1e-5)):
        domain = prv.Domain.create_aligned(-60.0, 60.0, 2e-4)
        cut = prv.TruncatedPrivacyRandomVariable(Replaced(rate, noise), domain.t_min, domain.t_max)
        composed = prv.compose_heterogeneous([prv.discretize(cut, domain)], [steps])
        low, estimate, high = composed.compute_epsilon(delta, delta / 1000, 0.01)
        got = epsilon([Charge(rate, noise, steps)], delta, "replace_one")
        assert low <= got <= high
        assert got == pytest.approx(estimate, rel=1e-3)


@settings(max_examples=8, deadline=None)
@given(rate=st.floats(0.01, 1.0), noise=st.floats(1.0, 10.0), steps=st.integers(1, 100))
def test_replacing_costs_more_than_removing_and_no_more_than_both_moves(
    rate: float, noise: float, steps: int
) -> None:
    """Group privacy: (e, d) for one removed gives (2 e, (1 + exp e) d) for one replaced."""
    delta = 1e-6
    charges = [Charge(rate, noise, steps)]
    once = epsilon(charges, delta)
    assert epsilon(charges, delta, "replace_one") >= once * (1 - 1e-3)
    both = (1 + math.exp(once)) * delta
    if both < 1:
        assert epsilon(charges, both, "replace_one") <= 2 * once * (1 + 1e-3) + 1e-9


@settings(max_examples=6, deadline=None)
@given(
    charges=st.lists(
        st.builds(Charge, st.floats(0.02, 1.0), st.floats(1.0, 10.0), st.integers(1, 20)),
        min_size=2,
        max_size=4,
    ),
    random=st.randoms(use_true_random=False),
)
def test_composition_costs_at_least_its_largest_part_in_any_order(
    charges: list[Charge], random: Any
) -> None:
    whole = composed_epsilon([[one] for one in charges], 1e-5)
    assert whole >= max(epsilon([one], 1e-5) for one in charges) * (1 - 1e-3)
    random.shuffle(charges)
    assert composed_epsilon([[one] for one in charges], 1e-5) == whole
    swapped = composed_epsilon([charges], 1e-5, "replace_one")
    assert swapped >= whole * (1 - 1e-3)


@settings(max_examples=6, deadline=None)
@given(rate=st.floats(0.02, 0.5), more=st.floats(1.05, 2.0))
def test_a_higher_rate_costs_more(rate: float, more: float) -> None:
    low, high = (epsilon([Charge(each, 2.0, 30)], 1e-5) for each in (rate, rate * more))
    assert low <= high * (1 + 1e-3)


def test_course_is_epsilon_after_each_stage() -> None:
    stages = [[Charge(0.5, 2.0)], [Charge(0.5, 2.0), Charge(0.5, 2.0)], [], [Charge(0.5, 2.0, 3)]]
    expected = [epsilon([Charge(0.5, 2.0, steps)], 1e-4) for steps in (1, 3, 3, 6)]
    got = course(stages, 1e-4)
    assert got == pytest.approx(expected, rel=1e-9)
    assert got[-1] == expected[-1]
    assert course([], 1e-4) == []
    assert course([[], []], 1e-4) == [0.0, 0.0]
    mixed = course([[Charge(0.5, 3.0)], [Charge(0.1, 1.0, 4)]], 1e-4)
    assert mixed[0] == pytest.approx(epsilon([Charge(0.5, 3.0)], 1e-4), rel=1e-4)
    assert mixed[1] == epsilon([Charge(0.5, 3.0), Charge(0.1, 1.0, 4)], 1e-4)


def test_very_quiet_steps_still_pass_their_second_opinion() -> None:
    """Where the grid may not be as fine as they would need, the bound is loose, and no error."""
    assert 0 < checked_epsilon([Charge(1e-4, 1.0, 1000)], 1e-6) < 0.1
