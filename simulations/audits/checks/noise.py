"""Is there noise in every number of every step, Gaussian, fresh, and of the scale accounted for?

Users with nothing to learn from add zero, so what a step adds is its noise alone, micro-batches and
all.  A block of the default size (384 x 192) over 10 steps gives 737,280 numbers, whose mean square
has a standard error of 0.16 %: noise that is 1 % short (2 % in the square) is 12 of these away.
"""

import numpy as np
from scipy import stats

from shared.config.training import ModelSettings
from shared.model import InterestModel
from simulations.audits.checks.check import P_VALUE, Cause, Check, Outcome, together, two_sided
from simulations.audits.checks.probe import Floats, Trace, ground, plan, trace

WIDTH, RANK, STEPS = 384, 192, 10
SETTINGS = ModelSettings(rank=RANK, layers=1)
NOISE_MULTIPLIER, CLIP_NORM = 0.8, 1.75
USERS, MICRO_BATCH = 12, 4
_BINS, _EDGE = 64, 4.0


def noise_of(seed: int, steps: int = STEPS) -> Floats:
    """(steps, 73728) the noise of each step, in units of what is accounted for."""
    asked = plan(
        trained=InterestModel(SETTINGS, WIDTH).names[0],
        steps=steps,
        noise_multiplier=NOISE_MULTIPLIER,
        clip_norm=CLIP_NORM,
        micro_batch=MICRO_BATCH,
        negatives=4,
    )
    public = ground(seed, items=4, width=WIDTH, layers=1)
    seen: Trace = trace([[]] * USERS, asked, seed, public, SETTINGS)
    return seen.sums / (NOISE_MULTIPLIER * CLIP_NORM)


def scale_p_value(noise: Floats) -> float:
    """Chi-square of all numbers: their squares must add up to how many they are."""
    statistic = float(np.square(noise).sum())
    size = noise.size
    return two_sided(stats.chi2.cdf(statistic, size), stats.chi2.sf(statistic, size))


def check(seed: int) -> Outcome:
    """See the module."""
    noise = noise_of(seed)
    if not len(noise):
        return Outcome(Cause.UNREADABLE, detail="no step was taken")
    blank = float((np.abs(noise) < 1e-3).mean(axis=1).max())  # 0.0008 of a normal's numbers
    if blank > 0.3:
        return Outcome(Cause.NOISE_MISSING, detail=f"{blank:.0%} of a step's numbers")
    size = float(np.sqrt(np.square(noise).mean()))
    normed = noise / size
    repeated = together([_between_steps(normed), *_within_steps(normed)])
    shape, scale = _shape(normed), scale_p_value(noise)
    p_value = together([repeated, shape, scale])
    detail = f"{noise.size} numbers, scale {size:.4f}"
    for value, cause in (
        (repeated, Cause.NOISE_REPEATED),
        (shape, Cause.NOISE_SHAPE),
        (scale, Cause.NOISE_SCALE),
    ):
        if value < P_VALUE:
            return Outcome(cause, p_value, detail)
    return Outcome(None, p_value, detail)


def _between_steps(noise: Floats) -> float:
    """Correlations of all pairs of steps: their squares are chi-square."""
    pairs = np.triu_indices(len(noise), 1)
    if not len(pairs[0]):
        return 1.0
    found = (noise @ noise.T)[pairs] / np.sqrt(noise.shape[1])
    statistic = float(np.square(found).sum())
    return two_sided(stats.chi2.cdf(statistic, found.size), stats.chi2.sf(statistic, found.size))


def _within_steps(noise: Floats) -> tuple[float, float]:
    """Sums over each row and each column of the block: too large if numbers are used again."""
    blocks = noise.reshape(-1, WIDTH, RANK)
    found = []
    for axis in (1, 2):
        sums = blocks.sum(axis=axis) / np.sqrt(blocks.shape[axis])
        statistic = float(np.square(sums).sum())
        found.append(
            two_sided(stats.chi2.cdf(statistic, sums.size), stats.chi2.sf(statistic, sums.size))
        )
    return found[0], found[1]


def _shape(noise: Floats) -> float:
    """Chi-square of how many numbers fall into each of 64 bins, and beyond 4."""
    edges = np.linspace(-_EDGE, _EDGE, _BINS + 1)
    seen, _ = np.histogram(noise, bins=_BINS, range=(-_EDGE, _EDGE))
    seen = np.append(seen, noise.size - seen.sum())
    expected = np.diff(stats.norm.cdf(edges))
    expected = np.append(expected, 1 - expected.sum()) * noise.size
    statistic = float((np.square(seen - expected) / expected).sum())
    degrees = _BINS - 1  # one of the 65 for the total, one for the scale that was divided out
    return two_sided(stats.chi2.cdf(statistic, degrees), stats.chi2.sf(statistic, degrees))


CHECK = Check("noise", ("noise",), check)
