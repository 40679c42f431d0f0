"""The independent accountant, against published reference numbers and another library's formula."""

import dp_accounting
import pytest

from simulations.audits.checks import independent

# PLD by dp-accounting at a fine discretisation: (sample_rate, noise_multiplier, steps, delta)
REFERENCE = {
    (0.01, 1.0, 1000, 1e-5): 1.8282,
    (0.01, 0.6, 1000, 1e-5): 7.4336,
    (0.02, 0.8, 2000, 1e-5): 9.1427,
    (0.1, 1.0, 100, 1e-5): 7.0466,
    (0.05, 2.0, 5000, 1e-6): 10.354,
}


@pytest.mark.parametrize("case", REFERENCE)
def test_it_agrees_with_reference_numbers(case: tuple[float, float, int, float]) -> None:
    assert independent.epsilon(*case) == pytest.approx(REFERENCE[case], rel=4e-3)


@pytest.mark.parametrize(("noise", "delta"), [(0.8, 1e-5), (3.0, 1e-6), (20.0, 1e-3)])
def test_without_sampling_it_is_the_exact_formula(noise: float, delta: float) -> None:
    exact = dp_accounting.get_epsilon_gaussian(noise, delta)
    assert independent.epsilon(1.0, noise, 1, delta) == pytest.approx(exact, rel=1e-6, abs=1e-9)
    four = independent.epsilon(1.0, 2 * noise, 4, delta)
    assert four == pytest.approx(exact, rel=1e-6, abs=1e-9)


def test_wrong_accounting_is_told_from_right() -> None:
    case = (0.01, 0.6, 1000, 1e-5)
    truth = independent.epsilon(*case)
    assert independent.one_direction(*case, "remove") == truth
    assert independent.one_direction(*case, "add") < 0.5 * truth
    assert independent.central_limit(*case) < 0.8 * truth  # understated by a quarter
