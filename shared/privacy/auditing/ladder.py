"""Noise multipliers that bounds are told in: a ladder of rungs 0.4 % apart.

A bound that says "at most this much noise" is moved up to the next rung, which makes it weaker by
0.5 % at most and never false, and lets a thousand simulated audits share their accounting.
"""

import math
from functools import lru_cache

from shared.privacy import accountant
from shared.privacy.accountant import MIN_NOISE_MULTIPLIER, Charge

_STEP = math.log(1.004)
LOWEST = math.ceil(math.log(MIN_NOISE_MULTIPLIER) / _STEP)
"""The accountant's least noise; a bound of less noise is told as this."""


def noise_at(rung: int) -> float:
    """The noise multiplier of a rung."""
    return math.exp(rung * _STEP)


def rung_over(noise_multiplier: float) -> int:
    """The lowest rung at or over `noise_multiplier`."""
    return max(LOWEST, math.ceil(math.log(noise_multiplier) / _STEP - 1e-9))


def faintest(rate: float, steps: int) -> int:
    """A rung where nothing is left to see: all steps together shift a Gaussian by about 0.01."""
    return rung_over(100 * max(1.0, rate * math.sqrt(steps)))


@lru_cache(maxsize=4096)
def epsilon_at(rung: int, rate: float, steps: int, delta: float) -> float:
    """Epsilon of `steps` Poisson-sampled Gaussian steps; 0.0 from `faintest` on."""
    if rung >= faintest(rate, steps):
        return 0.0
    return accountant.epsilon([Charge(rate, noise_at(rung), steps)], delta)
