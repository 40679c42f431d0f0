"""Trends against SciPy's test, and by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chi2_contingency

from clients.serving.live.trends import FEWEST, compared

COUNTS = st.dictionaries(st.sampled_from("abcdef"), st.integers(0, 500), max_size=6)


def test_z_is_that_of_two_proportions() -> None:
    """The square of z is the chi-square of the 2 x 2 table without a correction; the half that is
    added to each count moves it little here.
    """
    rising, falling = compared({"a": 400, "b": 600}, {"a": 300, "b": 700}, 5)
    table = [[400, 300], [600, 700]]
    expected = chi2_contingency(table, correction=False).statistic
    assert [one.label for one in rising + falling] == ["a", "b"]
    assert rising[0].z ** 2 == pytest.approx(expected, rel=0.01)
    assert rising[0].change == pytest.approx(400.5 / 1001 / (300.5 / 1001))


@given(COUNTS, COUNTS)
def test_rules(now: dict[str, int], before: dict[str, int]) -> None:
    rising, falling = compared(now, before, 4)
    back, forth = compared(before, now, 99)
    told = {one.label for one in (*rising, *falling)}
    assert all(now.get(label, 0) + before.get(label, 0) >= FEWEST for label in told)
    assert all(one.z > 0 and one.change > 1 for one in rising)
    assert all(one.z < 0 and one.change < 1 for one in falling)
    assert all(np.isfinite([one.z, one.change]).all() for one in (*rising, *falling))
    assert {one.label for one in rising} <= {one.label for one in forth}
    assert {one.label for one in falling} <= {one.label for one in back}
    assert not any(compared(now, {}, 9))
