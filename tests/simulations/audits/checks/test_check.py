"""P-values put together, and the list of checks."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from simulations.audits.checks import CHECKS, VAGUE, Cause
from simulations.audits.checks.check import P_VALUE, together, two_sided

COVERED = {"sampling", "adjacency", "noise", "clipping", "accounting", "release"}


def test_together_is_sidak_s() -> None:
    assert together([0.3]) == pytest.approx(0.3)
    assert together([0.5, 0.9]) == pytest.approx(0.75)
    assert together([1e-12, 1.0, 1.0]) == pytest.approx(3e-12)  # where 1 - p is 1 in floats


@given(st.lists(st.floats(0, 1), min_size=1, max_size=6))
def test_together_lies_between_the_least_and_bonferroni(p_values: list[float]) -> None:
    found = together(p_values)
    assert min(p_values) - 1e-12 <= found <= min(1.0, len(p_values) * min(p_values)) + 1e-12


def test_together_keeps_uniform_tests_uniform() -> None:
    drawn = np.random.default_rng(0).uniform(size=(4000, 4))
    found = [together(list(row)) for row in drawn]
    assert stats.kstest(found, "uniform").pvalue > 1e-3


def test_two_sided_of_a_continuous_value() -> None:
    assert two_sided(0.01, 0.99) == pytest.approx(0.02)
    assert two_sided(0.5, 0.5) == 1.0


def test_the_checks_cover_every_assumption_and_have_names_of_their_own() -> None:
    assert len({check.name for check in CHECKS}) == len(CHECKS)
    assert {what for check in CHECKS for what in check.covers} == COVERED


def test_false_alarms_are_rarer_than_one_in_a_thousand_runs() -> None:
    """Each check makes at most five tests at P_VALUE."""
    assert 5 * len(CHECKS) * P_VALUE < 1e-3 / 100
    assert set(VAGUE) < set(Cause)
