"""How sure a mean is: percentile intervals from users drawn with replacement.

Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13.

Shape legend: `U` users, `K` columns (a measure each), `R` resamples.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shared.errors import DataError

Array = NDArray[np.float64]

RESAMPLES = 2000
LEVEL = 0.95

_AT_ONCE = 2_000_000  # entries of a chunk of draws: 16 MB each in a few temporaries


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A figure and its interval; infinite or NaN where a ratio has nothing to stand on."""

    value: float
    low: float
    high: float


def resampled_means(
    values: Array, rng: np.random.Generator, *, resamples: int = RESAMPLES
) -> Array:
    """Means of each column over users drawn with replacement.

    Args:
        values: (U, K), U > 0.
        rng: draws (resamples, U) user numbers.

    Returns:
        (R, K).  Memory is bounded; time is about R U (1 + K / 60) x 10 ns.
    """
    users = len(values)
    if not users:
        raise DataError(expected="at least one user", got="none", where="bootstrap")
    rows = max(1, _AT_ONCE // users)
    means = np.empty((resamples, values.shape[1]))
    for start in range(0, resamples, rows):
        count = min(rows, resamples - start)
        drawn = rng.integers(0, users, (count, users))
        drawn += np.arange(count)[:, None] * users
        times = np.bincount(drawn.ravel(), minlength=count * users).reshape(count, users)
        means[start : start + count] = times.astype(np.float64) @ values
    return means / users


def interval(value: float, resampled: Array, level: float = LEVEL) -> Interval:
    """Percentile interval of a figure from its (R,) resampled twins."""
    tail = 100 * (1 - level) / 2
    if np.isfinite(resampled).all():
        low, high = np.percentile(resampled, [tail, 100 - tail])
    elif np.isnan(resampled).any():
        low = high = np.nan
    else:  # interpolation between infinities is not a number
        low = np.percentile(resampled, tail, method="lower")
        high = np.percentile(resampled, 100 - tail, method="higher")
    return Interval(value=float(value), low=float(low), high=float(high))
