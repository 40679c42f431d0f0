"""Independent accountants: published numbers, exact formulas, and that a fault shows."""

import math
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate
from scipy.stats import norm

from shared.errors import AccountantError
from shared.privacy import accountant
from shared.privacy.accountant import Charge, course
from simulations.audits.accountants import (
    ACCOUNTANTS,
    answers,
    disagreements,
    gaussian_epsilon,
    warm_up,
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
    found = answers([Charge(*constants)], delta)
    assert found["pld"].epsilon == pytest.approx(pld, rel=1e-4)
    assert found["prv"].high == pytest.approx(prv, abs=1e-3)
    assert found["rdp"].epsilon == pytest.approx(rdp, rel=2e-2)
    assert found["rdp"].epsilon >= rdp * (1 - 1e-3)  # fewer orders: never tighter
    assert found["exact"].epsilon is None
    assert disagreements(found) == []


def test_every_user_every_step_is_exact_in_both_relations() -> None:
    for relation, mu in (("add_remove", 1.0), ("replace_one", 2.0)):
        found = answers([Charge(1.0, 4.0, 16)], 1e-5, relation)
        exact, pld, rdp = (found[name].epsilon for name in ("exact", "pld", "rdp"))
        assert exact == gaussian_epsilon(mu, 1e-5)
        assert exact <= pld <= exact * 1.001
        assert pld < rdp < exact * 1.1
        assert found["prv"].epsilon is None
        assert disagreements(found) == []


@pytest.mark.parametrize("mu", [0.05, 0.7, 1.0, 3.0, 9.0])
@pytest.mark.parametrize("delta", [1e-2, 1e-6])
def test_gaussian_epsilon_is_where_the_divergence_is_delta(mu: float, delta: float) -> None:
    eps = gaussian_epsilon(mu, delta)
    if eps == 0:
        assert norm.cdf(mu / 2) - norm.cdf(-mu / 2) <= delta
        return
    edge = eps / mu + mu / 2
    got, _ = integrate.quad(
        lambda x: norm.pdf(x, mu) - math.exp(eps) * norm.pdf(x), edge, edge + 40, epsabs=1e-15
    )
    assert got == pytest.approx(delta, rel=1e-5)


def test_gaussian_epsilon_pins_and_refuses() -> None:
    assert gaussian_epsilon(1.0, 1e-5) == pytest.approx(4.3771781, abs=1e-7)
    assert gaussian_epsilon(2.0, 1e-5) == pytest.approx(9.9972561, abs=1e-7)
    assert gaussian_epsilon(1e-9, 1e-5) == 0.0
    for mu, delta in ((0.0, 1e-5), (1.0, 0.0), (math.nan, 1e-5), (1.0, 1.0)):
        with pytest.raises(AccountantError):
            gaussian_epsilon(mu, delta)


def test_who_cannot_answer_says_why() -> None:
    found = answers([Charge(0.05, 0.25, 3)], 1e-5)
    assert found["prv"].epsilon is None
    assert "0.3" in found["prv"].note
    assert found["rdp"].epsilon > found["pld"].epsilon
    assert disagreements(found) == []
    swapped = answers([Charge(0.5, 2.0, 4)], 1e-5, "replace_one")
    assert {name for name, one in swapped.items() if one.epsilon is None} == {
        "prv",
        "rdp",
        "exact",
    }
    assert all(one.note for one in swapped.values())
    assert swapped["prv"].cell() == {"epsilon": None, "note": swapped["prv"].note}
    huge = answers([Charge(0.9, 1.0, 20_000)], 1e-5)
    assert "mesh" in huge["prv"].note


def test_nothing_spent_costs_nothing() -> None:
    found = answers([], 1e-5)
    assert {one.epsilon for one in found.values()} == {0.0}
    assert tuple(found) == ACCOUNTANTS
    assert disagreements(found) == []


@pytest.mark.parametrize("factor", [0.75, 0.995, 1.005, 1.25])
@pytest.mark.parametrize("charges", [[Charge(0.1, 1.0, 100)], [Charge(1.0, 2.0, 4)]])
def test_a_wrong_accountant_is_contradicted(
    monkeypatch: pytest.MonkeyPatch, charges: list[Charge], factor: float
) -> None:
    honest = accountant.epsilon(charges, 1e-5)
    monkeypatch.setattr(accountant, "epsilon", lambda *_: honest * factor)
    assert disagreements(answers(charges, 1e-5))


def test_a_bound_above_renyi_is_contradicted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accountant, "epsilon", lambda *_: 60.0)
    (said,) = disagreements(answers([Charge(0.05, 0.25, 3)], 1e-5))
    assert "Rényi" in said


@settings(max_examples=6, deadline=None)
@given(rate=st.floats(0.02, 0.95), noise=st.floats(0.7, 8.0), steps=st.integers(1, 60))
def test_honest_accountants_agree(rate: float, noise: float, steps: int) -> None:
    found = answers([Charge(rate, noise, steps), Charge(0.5, 2.0, 3)], 1e-5)
    assert disagreements(found) == []


def test_a_platform_is_recomputed_within_a_second() -> None:
    """A whole default run (48 rounds), in processor time: the machine may be busy."""
    warm_up()
    charges = [Charge(0.5, 1.987, 48)]
    start = time.process_time()
    answers(charges, 1.1e-4)
    answers(charges, 1.1e-4, "replace_one")
    course([[Charge(0.5, 1.987)]] * 48, 1.1e-4)
    assert time.process_time() - start < 1.0
