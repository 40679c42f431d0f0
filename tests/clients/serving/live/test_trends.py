"""Trends against SciPy's test, by simulation, and by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chi2_contingency

from clients.serving.answers import Trend
from clients.serving.live.trends import ALPHA, FEWEST, trends

COUNTS = st.dictionaries(st.sampled_from("abcdef"), st.integers(0, 500), max_size=6)


def told(found: tuple[tuple[Trend, ...], tuple[Trend, ...]]) -> list[Trend]:
    return [*found[0], *found[1]]


def signs(found: tuple[Trend, ...], sign: int) -> list[tuple[str, float]]:
    return [(one.label, sign * one.z) for one in found]


@pytest.mark.parametrize(
    ("events", "before", "total", "total_before"),
    [(400, 300, 1000, 1000), (30, 10, 200, 200), (90, 2000, 100, 9000), (0, 60, 500, 600)],
)
def test_z_is_that_of_scipy(events: int, before: int, total: int, total_before: int) -> None:
    """The square of z is the chi-square of the 2 x 2 table with Yates' correction."""
    table = [[events, before], [total - events, total_before - before]]
    expected = chi2_contingency(table, correction=True)
    found = trends({"a": events, "b": total - events}, {"a": before, "b": total_before - before}, 5)
    (a,) = [one for one in told(found) if one.label == "a"]
    (b,) = [one for one in told(found) if one.label == "b"]
    assert a.z**2 == pytest.approx(expected.statistic, rel=1e-9)
    assert b.z == pytest.approx(-a.z)
    assert (a.z > 0) == (events / total > before / total_before)


def test_a_small_case_by_hand() -> None:
    rising, falling = trends({"a": 30, "b": 70}, {"a": 10, "b": 90}, 5)
    (a,), (b,) = rising, falling
    assert (a.label, a.events, a.before) == ("a", 30, 10)
    assert a.change == pytest.approx((30.5 / 101) / (10.5 / 101))
    assert a.z == pytest.approx((0.2 - 0.01) / np.sqrt(0.2 * 0.8 * 0.02))
    assert (b.label, b.z) == ("b", pytest.approx(-a.z))


def test_what_is_told_holds_by_adjusted_p_values() -> None:
    """Holm the other way round: p-values of SciPy, adjusted, held against 5 %."""
    rng = np.random.default_rng(1)
    some = 0
    for _ in range(100):
        now = dict(zip("abcdef", rng.integers(50, 90, 6).tolist(), strict=True))
        before = dict(zip("abcdef", rng.integers(50, 90, 6).tolist(), strict=True))
        total, total_before = sum(now.values()), sum(before.values())
        tests = []
        for label in now:
            table = [[now[label], before[label]]]
            table += [[total - now[label], total_before - before[label]]]
            tests.append((chi2_contingency(table, correction=True).pvalue, label))
        adjusted, largest = {}, 0.0
        for place, (p, label) in enumerate(sorted(tests)):
            largest = max(largest, min(1.0, (6 - place) * p))
            adjusted[label] = largest
        expected = {label for label, p in adjusted.items() if p <= ALPHA}
        assert {one.label for one in told(trends(now, before, 6))} == expected
        some += 0 < len(expected) < 6
    assert some > 10


def test_noise_is_told_in_at_most_one_call_of_twenty() -> None:
    rng = np.random.default_rng(0)
    shares = rng.dirichlet(np.ones(30))
    labels = [f"l{number}" for number in range(30)]
    calls, wrong = 2000, 0
    for _ in range(calls):
        now, before = rng.multinomial(900, shares), rng.multinomial(2500, shares)
        found = trends(
            dict(zip(labels, now.tolist(), strict=True)),
            dict(zip(labels, before.tolist(), strict=True)),
            5,
        )
        wrong += any(found)
    assert 0 < wrong / calls <= ALPHA


def test_a_real_change_is_found_among_many() -> None:
    same = {f"l{number}": 100 for number in range(50)}
    rising, falling = trends({**same, "new": 60}, {**same, "gone": 60}, 5)
    assert [one.label for one in rising] == ["new"]
    assert [one.label for one in falling] == ["gone"]
    assert rising[0].change == pytest.approx(121.0)
    many = {**same, **{f"n{number}": 60 for number in range(8)}}
    assert len(trends(many, same, 5)[0]) == 5


@given(COUNTS, COUNTS, st.integers(1, 9))
def test_rules(now: dict[str, int], before: dict[str, int], k: int) -> None:
    rising, falling = trends(now, before, k)
    assert len(rising) <= k
    assert len(falling) <= k
    every = sum(now.values()) + sum(before.values())
    for one in (*rising, *falling):
        assert (one.events, one.before) == (now.get(one.label, 0), before.get(one.label, 0))
        smaller = min(sum(now.values()), sum(before.values()))
        assert (one.events + one.before) * smaller / every >= FEWEST - 1e-9
        assert np.isfinite([one.z, one.change]).all()
    assert all(one.z > 1.95 and one.change > 1 for one in rising)
    assert all(one.z < -1.95 and one.change < 1 for one in falling)
    assert [abs(one.z) for one in rising] == sorted((abs(one.z) for one in rising), reverse=True)
    # Turned around in time, what rose has fallen.
    back, forth = trends(before, now, k)
    assert signs(forth, -1) == signs(rising, 1)
    assert signs(back, -1) == signs(falling, 1)
    assert not any(trends(now, {}, k))
    assert not any(trends(now, now, k))
