"""What a sequence of DP-SGD steps costs: (epsilon, delta) for one user, add or remove.

Mechanism accounted for: Poisson sampling with a public rate, a sum in which a user counts for at
most clip_norm, Gaussian noise of stddev noise_multiplier * clip_norm, adaptively composed.

- Reported number: privacy loss distributions (PLD; Koskela et al. 2020, "connect the dots" of
  Doroshenko et al. 2022) from `dp-accounting`, pessimistic: an upper bound.
- Cross-check: Opacus' privacy random variables (PRV; Gopi et al. 2021).  Where every user takes
  part (sample_rate 1) the exact Gaussian formula (Balle & Wang 2018, theorem 8) stands in; where
  PRV cannot answer (small noise, too fine a mesh) PLD must at least not exceed the Rényi bound.
- GDP's central-limit epsilon is never used: it understates by up to 25 %.

Cost: below a second for usual settings; results are cached for the life of the process.
"""

import math
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from dp_accounting.pld import privacy_loss_distribution as pld
from dp_accounting.privacy_accountant import NeighboringRelation
from scipy import optimize, special

from shared.errors import AccountantError

MIN_NOISE_MULTIPLIER = 0.2
"""Below this epsilon is in the hundreds, the accountants crawl, and no promise is left to make."""

_MAX_GAP = 0.02
_PRV_MIN_NOISE = 0.3
_PRV_MAX_POINTS = 2**23
_GRID_ERROR = 5e-5
_TICK = 1e-3
_MAX_NOISE_MULTIPLIER = 1e5

_Key = tuple[tuple[float, float, int], ...]


@dataclass(frozen=True)
class Charge:
    """`steps` DP-SGD steps with the same public constants.

    Args:
        sample_rate: probability with which each user takes part in a step, in (0, 1].
        noise_multiplier: noise stddev over clip_norm, at least `MIN_NOISE_MULTIPLIER`.
        steps: how many, at least 1.
    """

    sample_rate: float
    noise_multiplier: float
    steps: int = 1

    def __post_init__(self) -> None:
        if not 0 < self.sample_rate <= 1:
            raise _refused("0 < sample_rate <= 1", self.sample_rate, "sample_rate")
        if not MIN_NOISE_MULTIPLIER <= self.noise_multiplier <= _MAX_NOISE_MULTIPLIER:
            raise _refused(
                f"{MIN_NOISE_MULTIPLIER} <= noise_multiplier <= {_MAX_NOISE_MULTIPLIER:g}",
                self.noise_multiplier,
                "noise_multiplier",
            )
        if isinstance(self.steps, bool) or not isinstance(self.steps, int) or self.steps < 1:
            raise _refused("steps >= 1, whole", self.steps, "steps")


def merged(charges: Iterable[Charge]) -> list[Charge]:
    """The same spending with equal constants counted together, in a canonical order."""
    counts: Counter[tuple[float, float]] = Counter()
    for charge in charges:
        counts[float(charge.sample_rate), float(charge.noise_multiplier)] += charge.steps
    return [Charge(rate, noise, steps) for (rate, noise), steps in sorted(counts.items())]


def epsilon(charges: Sequence[Charge], delta: float) -> float:
    """Upper bound on epsilon at `delta` after all `charges`; 0.0 after none.

    The grid is chosen so that the bound lies within 0.1 % (in practice 0.01 %) of what a grid of
    1e-5 gives.  The order of the charges and how they are split do not change a bit of the result.

    Raises:
        AccountantError: `delta` outside (0, 1), or so small that the PLD's truncated tails
            (1e-15) would swallow it.
    """
    _check_delta(delta)
    key = _key(charges)
    return _epsilon(key, float(delta), _grid(key)) if key else 0.0


def checked_epsilon(charges: Sequence[Charge], delta: float) -> float:
    """`epsilon`, after a second, independent accountant agreed.

    - PRV: PLD must lie between PRV's certified lower and upper bound (each 0.01 from its
      estimate), at most 0.02 under the upper one, and within 2 % of the estimate where epsilon is
      under 1, because there 0.02 would say nothing (never closer than 0.002).
    - sample_rate 1 throughout: within 0.1 % of the exact Gaussian formula.
    - Noise multipliers under 0.3, mixtures with sample_rate 1, and meshes over 8 million points:
      PRV hangs, fails or does not apply.  PLD must stay at or under the (looser) Rényi bound.

    Raises:
        AccountantError: the two disagree.  Do not release anything on either number.
    """
    reported = epsilon(charges, delta)
    if reported > 0:
        opinion = _second_opinion(_key(charges), float(delta))
        if not opinion.allows(reported):
            raise AccountantError(
                expected=f"accountants that agree (PLD says epsilon {reported:.5f})",
                got=f"{opinion.name}: {opinion.estimate:.5f}",
                where="privacy accounting",
                remedy="One of them has a bug: keep both numbers, and do not train on either.",
            )
    return reported


def composed_epsilon(platforms: Sequence[Sequence[Charge]], delta: float) -> float:
    """Epsilon at `delta` for a person who is a user of every one of `platforms`."""
    return epsilon([charge for charges in platforms for charge in charges], delta)


@lru_cache(maxsize=256)
def calibrate(epsilon: float, delta: float, sample_rate: float, steps: int) -> float:
    """The smallest noise_multiplier (a multiple of 0.001) that keeps `steps` within `epsilon`.

    Searches on a coarse grid first, whose bound is never too low, and finishes on the grid of
    `epsilon()`: epsilon([Charge(sample_rate, result, steps)], delta) <= `epsilon` holds exactly.

    Raises:
        AccountantError: no noise_multiplier up to 1e5 suffices, or an argument is out of range.
    """
    _check_delta(delta)
    if not 0 < epsilon < math.inf:
        raise _refused("0 < epsilon < inf", epsilon, "epsilon")

    def spent(ticks: int, coarser: int = 1) -> float:
        key = _key([Charge(sample_rate, round(ticks * _TICK, 3), steps)])
        return _epsilon(key, float(delta), _grid(key) * coarser)

    # Advanced composition, as a place to start looking; any would do.
    start = sample_rate * math.sqrt(2 * steps * math.log(1 / delta)) / epsilon
    near, slope = _solve(lambda ticks: spent(ticks, 8), epsilon, start / _TICK)
    near = _within(near * (spent(near) / epsilon) ** (-1 / slope))
    ticks = _smallest(spent, epsilon, near)
    if spent(ticks) > epsilon:
        raise AccountantError(
            expected=f"an epsilon that noise_multiplier {_MAX_NOISE_MULTIPLIER:g} can give",
            got=f"epsilon = {epsilon}",
            where="privacy.epsilon",
            remedy="Raise epsilon, or lower sample_rate or the number of steps.",
        )
    return round(ticks * _TICK, 3)


def _solve(spent: Callable[[int], float], target: float, start: float) -> tuple[int, float]:
    """About the tick where spent(tick) = target, and d log spent / d log tick there (negative).

    Secant steps on logarithms, where epsilon is nearly a straight line.
    """
    here, slope = _within(start), -1.0
    cost = spent(here)
    for _ in range(12):
        there = _within(here * (target / max(cost, target * 1e-3)) ** (1 / slope))
        if there == here:
            break
        cost_there = spent(there)
        if cost > 0 and cost_there > 0 and cost != cost_there:
            slope = math.log(cost_there / cost) / math.log(there / here)
            slope = min(max(slope, -8.0), -0.3)
        here, cost = there, cost_there
        if abs(cost / target - 1) < 1e-3:
            break
    return here, slope


def _smallest(spent: Callable[[int], float], target: float, start: int) -> int:
    """The smallest tick with spent(tick) <= target, galloping from `start`; `spent` falls.

    The last tick there is when none will do.
    """
    down = spent(start) <= target
    here, stride = start, 1
    while True:
        there = _within(here + (-stride if down else stride))
        if there == here:
            return here
        if (spent(there) <= target) != down:
            break
        here, stride = there, stride * 2
    too_little, enough = (there, here) if down else (here, there)
    while enough - too_little > 1:
        middle = (too_little + enough) // 2
        if spent(middle) <= target:
            enough = middle
        else:
            too_little = middle
    return enough


def _within(ticks: float) -> int:
    """The nearest tick that is a permitted noise multiplier."""
    floor, ceiling = MIN_NOISE_MULTIPLIER / _TICK, _MAX_NOISE_MULTIPLIER / _TICK
    return round(min(max(ticks, floor), ceiling))


def _key(charges: Iterable[Charge]) -> _Key:
    return tuple((c.sample_rate, c.noise_multiplier, c.steps) for c in merged(charges))


def _grid(key: _Key) -> float:
    """Discretisation interval, a power of two, from the narrowest single step.

    A grid of width w adds about w**2 / 6 to a step's variance s**2, and so w**2 / (12 s**2) to
    epsilon, relatively, whatever the number of steps; s is at most the chi-square distance and
    at most that of the unsampled Gaussian.  Powers of two let the caches meet.
    """
    spreads = [
        min(rate * math.sqrt(math.expm1(min(noise**-2, 50.0))), 1 / noise) for rate, noise, _ in key
    ]
    return 2.0 ** math.floor(math.log2(min(1e-3, min(spreads) * math.sqrt(12 * _GRID_ERROR))))


@lru_cache(maxsize=32)
def _one_step(rate: float, noise: float, grid: float) -> pld.PrivacyLossDistribution:
    return pld.from_gaussian_mechanism(
        standard_deviation=noise,
        sampling_prob=rate,
        value_discretization_interval=grid,
        pessimistic_estimate=True,
        neighboring_relation=NeighboringRelation.ADD_OR_REMOVE_ONE,
    )


@lru_cache(maxsize=1024)
def _epsilon(key: _Key, delta: float, grid: float) -> float:
    total: pld.PrivacyLossDistribution | None = None
    for rate, noise, steps in key:
        part = _one_step(rate, noise, grid)
        part = part.self_compose(steps) if steps > 1 else part
        total = part if total is None else total.compose(part)
    result = 0.0 if total is None else float(total.get_epsilon_for_delta(delta))
    if not math.isfinite(result):
        raise _refused("a delta above what the accountant truncates (1e-15)", delta, "delta")
    return result


@dataclass(frozen=True)
class _Opinion:
    """What another accountant says: its estimate and where PLD's bound may lie."""

    name: str
    estimate: float
    lowest: float
    highest: float

    def allows(self, reported: float) -> bool:
        return self.lowest <= reported <= self.highest


@lru_cache(maxsize=256)
def _second_opinion(key: _Key, delta: float) -> _Opinion:
    if all(rate == 1 for rate, _, _ in key):
        exact = _gaussian_epsilon(sum(steps / noise**2 for _, noise, steps in key), delta)
        return _Opinion("exact Gaussian formula", exact, exact * 0.999 - 1e-9, exact * 1.001 + 1e-9)
    # Imported here: Opacus takes seconds, and whoever only reads a ledger needs none of it.
    from opacus.accountants import PRVAccountant, RDPAccountant

    history = [(noise, rate, steps) for rate, noise, steps in key]
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")  # "optimal order is the largest alpha": a looser bound
        if all(rate < 1 and noise >= _PRV_MIN_NOISE for rate, noise, _ in key):
            prv = PRVAccountant()
            prv.history = list(history)
            opinion = _prv_opinion(prv, delta)
            if opinion is not None:
                return opinion
        rdp = RDPAccountant()
        rdp.history = list(history)
        bound = float(rdp.get_epsilon(delta))
    return _Opinion("Rényi upper bound", bound, 0.0, bound * (1 + 1e-4) + 1e-9)


def _prv_opinion(prv: Any, delta: float) -> _Opinion | None:
    """PRV's view, or None where it cannot answer.  `prv`: an Opacus PRVAccountant."""
    error, delta_error = _MAX_GAP / 2, delta / 1000
    from opacus.accountants.analysis.prv import PoissonSubsampledGaussianPRV

    steps = [count for _, _, count in prv.history]
    try:
        prvs = [PoissonSubsampledGaussianPRV(rate, noise) for noise, rate, _ in prv.history]
        domain = prv._get_domain(
            prvs=prvs, num_self_compositions=steps, eps_error=error, delta_error=delta_error
        )
        if domain.size > _PRV_MAX_POINTS:
            return None
        lower, estimate, upper = (
            float(value)
            for value in prv._get_dprv(eps_error=error, delta_error=delta_error).compute_epsilon(
                delta, delta_error, error
            )
        )
    except (RuntimeError, ValueError, IndexError, FloatingPointError):
        return None
    if not (math.isfinite(lower) and math.isfinite(upper)):
        return None
    near = max(_MAX_GAP * min(1.0, estimate), _MAX_GAP / 10)
    return _Opinion(
        "PRV",
        estimate,
        lowest=max(lower, upper - _MAX_GAP, estimate - near) - _GRID_ERROR,
        highest=min(upper, estimate + near) + 2 * _GRID_ERROR * max(1.0, estimate),
    )


def _gaussian_epsilon(inverse_variance: float, delta: float) -> float:
    """Exact epsilon of a Gaussian mechanism with sensitivity 1 (Balle & Wang 2018, theorem 8)."""
    root = math.sqrt(inverse_variance)

    def excess(eps: float) -> float:
        upper = special.ndtr(root / 2 - eps / root)
        return float(upper - math.exp(eps + special.log_ndtr(-root / 2 - eps / root))) - delta

    if excess(0.0) <= 0:
        return 0.0
    high = 1.0
    while excess(high) > 0:
        high *= 2
    return float(optimize.brentq(excess, 0.0, high, xtol=1e-12, rtol=1e-12))


def _check_delta(delta: float) -> None:
    if not 0 < delta < 1:
        raise _refused("0 < delta < 1", delta, "delta")


def _refused(expected: str, value: object, name: str) -> AccountantError:
    return AccountantError(expected=expected, got=f"{name} = {value!r}", where=f"privacy.{name}")
