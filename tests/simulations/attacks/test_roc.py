import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from shared.errors import DataError
from simulations.attacks.roc import clopper_pearson, permitted, profile, roc


def test_the_bound_by_hand() -> None:
    # e^eps = 3: 3 * 0.2 + 0.1 = 0.7 < 1 - 0.7 / 3;  1 - (1 - 0.1 - 0.5) / 3 = 0.8667 < 1.6
    found = permitted(np.array([0.2, 0.5, 1.0]), [(math.log(3), 0.1)])
    np.testing.assert_allclose(found, [0.7, 1 - 0.4 / 3, 1.0])


@given(fpr=st.floats(0, 1), epsilon=st.floats(0, 20), delta=st.floats(1e-9, 0.5))
def test_guessing_blindly_is_always_permitted(fpr: float, epsilon: float, delta: float) -> None:
    assert permitted(np.array([fpr]), [(epsilon, delta)])[0] >= fpr - 1e-12


def test_more_pairs_permit_less() -> None:
    rates = np.linspace(0, 1, 11)
    one, two = [(1.0, 0.01)], [(1.0, 0.01), (0.2, 0.1)]
    assert (permitted(rates, two) <= permitted(rates, one)).all()
    assert (permitted(rates, two) < permitted(rates, one)).any()


@pytest.mark.parametrize(("noise", "steps"), [(1.0, 1), (4.0, 9), (0.8, 2)])
def test_the_profile_gives_the_gaussian_mechanisms_own_curve(noise: float, steps: int) -> None:
    """Without sampling T steps are one Gaussian of mu = sqrt(T) / sigma (Dong et al. 2022)."""
    rates = np.array([0.001, 0.01, 0.1, 0.3, 0.7, 0.95])
    exact = stats.norm.cdf(stats.norm.ppf(rates) + math.sqrt(steps) / noise)
    found = permitted(rates, profile(1.0, noise, steps))
    assert (found >= exact - 1e-9).all()
    np.testing.assert_allclose(found, exact, atol=0.005)


def test_clopper_pearson_as_in_the_tables() -> None:
    low, high = clopper_pearson(np.array([0, 5, 10]), 10, 0.05)
    np.testing.assert_allclose(low, [0.0, 0.18709, 0.69150], atol=1e-5)
    np.testing.assert_allclose(high, [0.30850, 0.81291, 1.0], atol=1e-5)


def test_a_curve_by_hand() -> None:
    found = roc(np.array([3.0, 1.0, 2.0, 0.0]), np.array([True, True, False, False]))
    np.testing.assert_array_equal(found.fpr, [0.0, 0.5])
    np.testing.assert_array_equal(found.tpr, [0.5, 1.0])
    assert found.auc == 0.75
    assert (found.members, found.others) == (2, 2)
    # two thresholds, two sides: each limit at 0.05 / 4; Beta(1, 2) has cdf 1 - (1 - x)^2
    assert found.fpr_high[0] == pytest.approx(1 - math.sqrt(0.0125))
    assert found.low[1] == pytest.approx(math.sqrt(0.0125))


def test_ties_count_for_neither_side() -> None:
    found = roc(np.zeros(20), np.arange(20) < 8)
    assert found.auc == 0.5
    assert (found.tpr == 0).all()
    assert found.excess([(0.0, 0.0)]) <= 0


def test_what_is_told_starts_at_no_false_positive() -> None:
    rng = np.random.default_rng(0)
    members = rng.random(2000) < 0.5
    found = roc(rng.normal(size=2000) + members, members)
    told = found.told()
    first = told["roc"][0]
    assert first[:2] == [0.0, found.tpr[0]]
    assert told["roc"][-1] == [1.0, 1.0, 1.0, 1.0]
    for _, tpr, low, high in told["roc"]:
        assert low <= tpr <= high
    tpr, _, _ = told["tpr_at"]["0.1"]
    assert tpr == pytest.approx(stats.norm.sf(stats.norm.isf(0.1) - 1), abs=0.06)


def responses(
    rng: np.random.Generator, epsilon: float, users: int
) -> tuple[np.ndarray, np.ndarray]:
    """Randomised response: exactly epsilon-DP, and on its bound."""
    members = rng.random(users) < 0.5
    honest = rng.random(users) < math.exp(epsilon) / (1 + math.exp(epsilon))
    return np.where(honest, members, ~members).astype(float), members


def test_a_mechanism_on_its_bound_is_not_accused() -> None:
    rng = np.random.default_rng(1)
    accused = 0
    for _ in range(200):
        scores, members = responses(rng, 1.0, 400)
        scores = scores + rng.random(400) * 0.1  # ties broken: every threshold is another test
        accused += roc(scores, members).excess([(1.0, 0.0)]) > 0
    assert accused <= 10  # 5 % of 200


def test_a_mechanism_above_its_bound_is() -> None:
    scores, members = responses(np.random.default_rng(2), 3.0, 2000)
    found = roc(scores + np.random.default_rng(3).random(2000) * 0.1, members)
    assert found.excess([(1.0, 0.0)]) > 0.1
    assert found.excess([(3.0, 0.0)]) <= 0
    assert 1.5 < found.epsilon_low(0.0) <= 3.0


def test_a_curve_needs_both_sides() -> None:
    with pytest.raises(DataError, match="members and others"):
        roc(np.zeros(3), np.ones(3, dtype=bool))
