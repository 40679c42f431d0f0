import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from shared.errors import DataError
from simulations.bench.quality import statistics
from simulations.bench.quality.statistics import (
    compare,
    generator,
    interval,
    mean_interval,
    over_seeds,
    resampled_means,
    sign_flip_p_value,
)


def _scipy(samples: tuple[np.ndarray, ...], statistic: object, paired: bool) -> tuple[float, ...]:
    found = stats.bootstrap(
        samples,
        statistic,
        paired=paired,
        vectorized=True,
        n_resamples=700,
        confidence_level=0.9,
        method="percentile",
        rng=generator(4, 0),
    )
    return tuple(found.confidence_interval)


def _ndcg_like(rng: np.random.Generator, users: int) -> np.ndarray:
    ranks = rng.integers(0, 30, users)
    return np.where(ranks < 10, 1 / np.log2(ranks + 2), 0)


def test_exactly_scipys_interval_of_a_mean() -> None:
    values = _ndcg_like(np.random.default_rng(0), 41)
    ours = mean_interval([values], seed=4, resamples=700, level=0.9)
    assert ours.value == pytest.approx(values.mean(), abs=1e-15)
    expected = _scipy((values,), np.mean, False)
    assert (ours.low, ours.high) == pytest.approx(expected, abs=1e-12)


def test_exactly_scipys_intervals_of_a_pair() -> None:
    rng = np.random.default_rng(1)
    one, other = _ndcg_like(rng, 38) + 0.1, _ndcg_like(rng, 38) + 0.2
    ours = compare([one], [other], seed=4, resamples=700, level=0.9)

    def ratio(a: np.ndarray, b: np.ndarray, axis: int) -> np.ndarray:
        return a.mean(axis=axis) / b.mean(axis=axis)

    def difference(a: np.ndarray, b: np.ndarray, axis: int) -> np.ndarray:
        return a.mean(axis=axis) - b.mean(axis=axis)

    for found, statistic in ((ours.ratio, ratio), (ours.difference, difference)):
        expected = _scipy((one, other), statistic, True)
        assert (found.low, found.high) == pytest.approx(expected, abs=1e-12)
    assert ours.ratio.value == pytest.approx(one.mean() / other.mean())
    assert ours.difference.value == pytest.approx((one - other).mean())


def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(2).random((33, 3))
    whole = resampled_means(values, np.random.default_rng(9), resamples=50)
    monkeypatch.setattr(statistics, "_AT_ONCE", 100)
    assert resampled_means(values, np.random.default_rng(9), resamples=50) == pytest.approx(whole)


def test_intervals_cover() -> None:
    """Of 400 simulated benchmarks of two platforms, 95 % intervals hold the truth in 95 %."""
    rng = np.random.default_rng(3)
    held = 0
    for seed in range(400):
        one, other = rng.random(150), 3 * rng.random(100)
        found = mean_interval([one, other], seed=seed, resamples=400)
        held += found.low <= 1.0 <= found.high
    # binomial(400, .945) is within 364 to 391 with probability .997
    assert 364 <= held <= 391


def test_a_small_platform_counts_as_much() -> None:
    found = mean_interval([np.full(1000, 1.0), np.full(10, 3.0)], seed=0, resamples=50)
    assert (found.value, found.low, found.high) == pytest.approx((2, 2, 2))
    wide = mean_interval([np.zeros(1000), np.tile([0.0, 2.0], 5)], seed=0, resamples=2000)
    assert wide.high - wide.low == pytest.approx(2 * 1.96 * np.sqrt(1 / 10) / 2, rel=0.12)


def test_pairing_narrows() -> None:
    rng = np.random.default_rng(4)
    base = rng.random(300)
    ours = base * 1.1 + 0.001 * rng.standard_normal(300)
    paired = compare([ours], [base], seed=1).ratio
    assert paired.low > 1.098
    assert paired.high < 1.102


def test_ratio_to_nothing() -> None:
    nothing = compare([np.array([0.0, 1.0])], [np.zeros(2)], seed=0, resamples=20)
    assert nothing.ratio.value == np.inf
    rare = np.zeros(40)
    rare[0] = 1
    found = compare([np.ones(40)], [rare], seed=0, resamples=200).ratio
    assert (found.value, found.high) == (40, np.inf)
    assert 0 < found.low < 40


def test_interval_is_of_percentiles() -> None:
    drawn = np.arange(101.0)
    found = interval(50, drawn, level=0.9)
    assert (found.low, found.high) == pytest.approx((5, 95))
    assert np.isnan(interval(0, np.array([0.0, np.nan])).low)


@pytest.mark.parametrize("kind", ["few sizes", "many sizes"])
def test_p_value_against_scipys_exact_one(kind: str) -> None:
    rng = np.random.default_rng(5)
    users = 11
    if kind == "few sizes":
        differences = rng.choice([-1.0, 0.0, 1.0], 300, p=[0.24, 0.44, 0.32])
        differences = np.concatenate([differences, np.zeros(100)])
        plus, minus = (differences > 0).sum(), (differences < 0).sum()
        expected = stats.binomtest(plus, plus + minus).pvalue
    else:
        differences = rng.standard_normal(users) + 0.5
        expected = stats.permutation_test(
            (differences,), np.mean, permutation_type="samples", n_resamples=np.inf
        ).pvalue
    found = sign_flip_p_value([differences], seed=1, flips=40_000)
    assert 0.005 < expected < 0.9
    assert found == pytest.approx(expected, abs=4 * np.sqrt(expected * (1 - expected) / 40_000))


def test_both_ways_to_flip_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(6)
    differences = rng.choice([-0.5, 0.0, 0.25, 0.63, -0.63], 4000) + 0.0
    binomial = sign_flip_p_value([differences[:3000], differences[3000:]], seed=1)
    monkeypatch.setattr(statistics, "_BITS_PER_BINOMIAL", 1e9)
    coins = sign_flip_p_value([differences[:3000], differences[3000:]], seed=1)
    assert binomial == pytest.approx(coins, abs=0.03)


def test_p_value_is_uniform_under_the_null() -> None:
    rng = np.random.default_rng(7)
    found = []
    for seed in range(500):
        pair = rng.exponential(1.0, (2, 70)) + rng.random(70)
        strata = np.split(pair[0] - pair[1], [50])
        found.append(sign_flip_p_value(list(strata), seed=seed, flips=199))
    assert stats.kstest(found, "uniform").pvalue > 0.01


def test_p_value_sees_a_difference_and_none() -> None:
    rng = np.random.default_rng(8)
    base = rng.random(200)
    assert sign_flip_p_value([0.1 + 0.1 * base], seed=0, flips=999) == 0.001
    assert sign_flip_p_value([np.zeros(200)], seed=0) == 1.0
    assert compare([base], [base], seed=0).p_value == 1.0


def test_seeds() -> None:
    means, stddev = over_seeds(np.array([[0.0, 1.0], [1.0, 2.0], [2.0, 6.0]]))
    assert means.tolist() == [1, 3]
    assert stddev == pytest.approx(np.std([0.5, 1.5, 4.0], ddof=1))
    assert over_seeds(np.ones((1, 4)))[1] is None


@settings(max_examples=25, deadline=None)
@given(
    values=st.lists(st.floats(0, 1), min_size=1, max_size=12),
    seed=st.integers(0, 1000),
)
def test_the_interval_lies_in_the_range_of_the_data(values: list[float], seed: int) -> None:
    found = mean_interval([np.array(values)], seed=seed, resamples=60)
    assert min(values) - 1e-12 <= found.low <= found.high <= max(values) + 1e-12


def test_repeatable_and_seeded() -> None:
    values = np.random.default_rng(0).random(50)
    one, again, other = (mean_interval([values], seed=s, resamples=90) for s in (1, 1, 2))
    assert one == again != other


def test_errors() -> None:
    with pytest.raises(DataError, match="at least one user"):
        mean_interval([np.zeros(0)], seed=0)
    with pytest.raises(DataError, match="same users"):
        compare([np.zeros(3)], [np.zeros(4)], seed=0)


def test_large_ones_are_quick() -> None:
    """100,000 users and 2,000 resamples: about 2 s here; a loop over resamples takes minutes."""
    values = np.random.default_rng(0).random((100_000, 2))
    begin = time.process_time()
    drawn = resampled_means(values, np.random.default_rng(0))
    assert time.process_time() - begin < 15
    assert drawn.std(axis=0) == pytest.approx(values.std(axis=0) / np.sqrt(100_000), rel=0.1)
