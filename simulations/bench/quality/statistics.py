"""How sure a figure is: bootstrap intervals over users, paired comparisons, several seeds.

Shape legend: `U` users, `K` columns (a system's measure each), `R` resamples, `S` seeds.
A stratum is a platform; a figure over several strata is the unweighted mean of their means, and
users are drawn within each of them.

Rules:
1. Users are drawn with replacement, each with all its columns: what is compared is compared on
   the same users (paired), and one drawing serves every system and measure.
2. Intervals are percentile intervals (Efron and Tibshirani, 1993, chapter 13).  They speak of
   other users from the same platforms, not of other training runs: for these see `over_seeds`.
3. The test of a difference flips the signs of the users' differences (Fisher's randomisation
   test): under the null hypothesis which system is which is a coin toss for every user.
   p = (1 + flips at least as extreme) / (1 + flips) (Phipson and Smyth, 2010), two-sided.

`scipy.stats.bootstrap` and `permutation_test` say the same for a single stratum (the tests hold
them side by side), but draw anew for every statistic: minutes where this takes seconds.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shared.bootstrap import LEVEL as LEVEL
from shared.bootstrap import RESAMPLES as RESAMPLES
from shared.bootstrap import Interval as Interval
from shared.bootstrap import interval as interval
from shared.bootstrap import resampled_means as resampled_means
from shared.errors import DataError

Array = NDArray[np.float64]

FLIPS = 9999

_AT_ONCE = 2_000_000  # entries of a chunk of draws: 16 MB each in a few temporaries
_BITS_PER_BINOMIAL = 20  # a binomial takes as long as this many coins


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One system against another, on the same users.

    Args:
        difference: mean of the one minus mean of the other.
        ratio: mean of the one over mean of the other.
        p_value: of the sign-flip test that there is no difference.
    """

    difference: Interval
    ratio: Interval
    p_value: float


def ratios(ours: Array, base: Array) -> Array:
    """ours / base, infinite where only the base is 0 and NaN where both are."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.divide(ours, base)


def stratified(
    strata: Sequence[Array], *, seed: int, resamples: int = RESAMPLES
) -> tuple[Array, Array]:
    """Means over users and then strata, and the same of resamples: (K,) and (R, K).

    Args:
        strata: (U, K) each, U may differ.
    """
    drawn = [
        resampled_means(values, generator(seed, number), resamples=resamples)
        for number, values in enumerate(strata)
    ]
    means = [values.mean(axis=0) for values in strata]
    return np.mean(means, axis=0), np.mean(drawn, axis=0)


def mean_interval(
    strata: Sequence[Array], *, seed: int, resamples: int = RESAMPLES, level: float = LEVEL
) -> Interval:
    """Unweighted mean over strata of per-user figures, (U,) each, with its interval."""
    means, drawn = stratified([v[:, None] for v in strata], seed=seed, resamples=resamples)
    return interval(means[0], drawn[:, 0], level)


def compare(
    ours: Sequence[Array],
    base: Sequence[Array],
    *,
    seed: int,
    resamples: int = RESAMPLES,
    flips: int = FLIPS,
    level: float = LEVEL,
) -> Comparison:
    """Compare two systems on the same users.

    Args:
        ours, base: a (U,) array per stratum, users in the same order.

    Raises:
        DataError: they are not of the same users.
    """
    if [len(values) for values in ours] != [len(values) for values in base]:
        raise DataError(
            expected="the same users for both systems",
            got=f"{[len(v) for v in ours]} and {[len(v) for v in base]} users",
            where="compare",
        )
    pairs = [np.stack(pair, axis=1) for pair in zip(ours, base, strict=True)]
    means, drawn = stratified(pairs, seed=seed, resamples=resamples)
    differences = [pair[:, 0] - pair[:, 1] for pair in pairs]
    p_value = sign_flip_p_value(differences, seed=seed, flips=flips)
    return comparison(means, drawn, p_value, level)


def comparison(means: Array, drawn: Array, p_value: float, level: float = LEVEL) -> Comparison:
    """Put a comparison together from (2,) means, ours first, and their (R, 2) resamples."""
    ratio = ratios(means[:1], means[1:])[0]
    return Comparison(
        difference=interval(means[0] - means[1], drawn[:, 0] - drawn[:, 1], level),
        ratio=interval(ratio, ratios(drawn[:, 0], drawn[:, 1]), level),
        p_value=p_value,
    )


def sign_flip_p_value(differences: Sequence[Array], *, seed: int, flips: int = FLIPS) -> float:
    """Two-sided p-value that the unweighted mean over strata of the mean differences is 0.

    Args:
        differences: (U,) each, paired differences of the users of a stratum.

    Users without a difference change nothing, and users with differences of the same size are
    flipped together: their signs' sum is a binomial.
    """
    weighted = np.concatenate([d / (len(d) * len(differences)) for d in differences])
    observed = abs(weighted.sum())
    sizes = np.abs(weighted[weighted != 0])
    if not len(sizes):
        return 1.0
    rng = generator(seed, len(differences))
    scale = sizes.max()
    distinct, counts = np.unique(np.round(sizes / scale, 12), return_counts=True)
    if len(distinct) * _BITS_PER_BINOMIAL < len(sizes):
        flipped = _binomial_sums(distinct * scale, counts, flips, rng)
    else:
        flipped = _coin_sums(sizes, flips, rng)
    extreme = int((np.abs(flipped) >= observed - 1e-9 * sizes.sum() / np.sqrt(len(sizes))).sum())
    return (1 + extreme) / (1 + flips)


def over_seeds(values: Array) -> tuple[Array, float | None]:
    """Per-user means over seeds, and the standard deviation of the seeds' own means.

    Args:
        values: (S, U), one row per training seed.

    Returns:
        (U,) means, and the sample standard deviation (S - 1), None for a single seed.
    """
    return values.mean(axis=0), seed_stddev(values.mean(axis=1))


def seed_stddev(means: Array) -> float | None:
    """Sample standard deviation of (S,) figures of one seed each; None where S is 1."""
    return float(means.std(ddof=1)) if len(means) > 1 else None


def generator(seed: int, stream: int) -> np.random.Generator:
    """The generator of a stratum: independent of its neighbours', the same in every comparison."""
    return np.random.default_rng([seed, stream])


def _binomial_sums(
    sizes: Array, counts: NDArray[np.int64], flips: int, rng: np.random.Generator
) -> Array:
    """(flips,) sums of randomly signed sizes, `counts` users of each."""
    sums = np.empty(flips)
    rows = max(1, _AT_ONCE // len(sizes))
    for start in range(0, flips, rows):
        count = min(rows, flips - start)
        plus = rng.binomial(counts, 0.5, (count, len(counts)))
        sums[start : start + count] = (2.0 * plus - counts) @ sizes
    return sums


def _coin_sums(sizes: Array, flips: int, rng: np.random.Generator) -> Array:
    """(flips,) sums of randomly signed sizes, a coin for each."""
    sums = np.empty(flips)
    rows = max(1, _AT_ONCE // len(sizes))
    width = -(-len(sizes) // 8)
    for start in range(0, flips, rows):
        count = min(rows, flips - start)
        coins = rng.integers(0, 256, (count, width), dtype=np.uint8)
        bits = np.unpackbits(coins, axis=1, count=len(sizes))
        sums[start : start + count] = bits.astype(np.float64) @ sizes
    return 2 * sums - sizes.sum()
