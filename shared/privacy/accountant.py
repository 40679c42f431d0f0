"""What a sequence of DP-SGD steps costs: (epsilon, delta) for one user, added, removed or replaced.

Mechanism accounted for: Poisson sampling with a public rate, a sum in which a user counts for at
most clip_norm, Gaussian noise of stddev noise_multiplier * clip_norm, adaptively composed.
What is promised, calibrated and charged is add or remove; replace-one is there for auditors.

- Reported number: privacy loss distributions (PLD; Koskela et al. 2020, "connect the dots" of
  Doroshenko et al. 2022) from `dp-accounting`, pessimistic: an upper bound.
- Cross-check: Opacus' privacy random variables (PRV; Gopi et al. 2021).  Where every user takes
  part (sample_rate 1) the exact Gaussian formula (Balle & Wang 2018, theorem 8) stands in; where
  PRV cannot answer (small noise, too fine a mesh) PLD must at least not exceed the Rényi bound.
- GDP's central-limit epsilon is never used: it understates by up to 25 %.

Cost: below a second for usual settings; results are cached for the life of the process.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Literal

from shared.errors import AccountantError
from shared.privacy.second_opinion import GRID_ERROR, Opinion, second_opinion

# At run time only where a loss distribution is made: dp-accounting takes a second to import, and
# most programs only read what was spent.
if TYPE_CHECKING:
    from dp_accounting.pld.privacy_loss_distribution import PrivacyLossDistribution

MIN_NOISE_MULTIPLIER = 0.2
"""Below this epsilon is in the hundreds, the accountants crawl, and no promise is left to make."""

_FINEST_GRID = 1e-5
_TICK = 1e-3
_MAX_NOISE_MULTIPLIER = 1e5

_Key = tuple[tuple[float, float, int], ...]

Relation = Literal["add_remove", "replace_one"]
"""When two data sets are neighbours.

- add_remove: one has one user more.
- replace_one: one user is another one, with other events; their own sum moves by up to
  2 * clip_norm.  Accounted for by the pair q N(-1, s^2) + (1-q) N(0, s^2) against
  q N(1, s^2) + (1-q) N(0, s^2), in units of clip_norm (dp-accounting, `AdjacencyType.REPLACE`).

That pair is tight, not only an upper bound: two users with opposite gradients of full norm attain
it, and no other two are worse.  Why: let g and g' be their clipped gradients and h = g - g'.  For
t >= 1 the hockey-stick divergence of the step with g from the step with g' is
q E[(1 - a X - b Y)^+] with a = (t-1)(1-q)/q, b = t, X = exp(-U - |g|^2/2s^2),
Y = exp(-V - |h|^2/2s^2) and (U, V) a centred normal with covariances |g|^2, |h|^2, g.h over s^2: a
basket option.  Its payoff has no negative second derivative in (X, Y), so it grows with each of
the three; they are at most 1, 4 and 2, all at once for g = -g' of norm 1.  By symmetry the same
holds for t < 1, by joint convexity for any other users' data, and under adaptive composition by
Zhu et al. 2022, theorem 10.  Schuchardt et al. 2024 treat such mixtures in general.
"""

_RELATIONS: dict[Relation, str] = {
    "add_remove": "ADD_OR_REMOVE_ONE",
    "replace_one": "REPLACE_ONE",
}
"""Names of dp-accounting's `NeighboringRelation`."""


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


def epsilon(charges: Sequence[Charge], delta: float, relation: Relation = "add_remove") -> float:
    """Upper bound on epsilon at `delta` after all `charges`; 0.0 after none.

    The grid is chosen so that the bound is never below, and within 0.1 % (in practice 0.01 %) of,
    what a grid of 1e-5 gives (beyond epsilon 50, where nothing is promised, up to rounding of
    about 1e-7 of it).  The order of the charges and how they are split do not change a bit
    of the result.

    Raises:
        AccountantError: `delta` outside (0, 1), or so small that the PLD's truncated tails
            (1e-15) would swallow it.
    """
    _check_delta(delta)
    key = _key(charges)
    return _epsilon(key, float(delta), _grid(key), relation) if key else 0.0


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


def composed_epsilon(
    platforms: Sequence[Sequence[Charge]], delta: float, relation: Relation = "add_remove"
) -> float:
    """Epsilon at `delta` for a person who is a user of every one of `platforms`."""
    return epsilon([charge for charges in platforms for charge in charges], delta, relation)


def course(stages: Sequence[Sequence[Charge]], delta: float) -> list[float]:
    """Epsilon at `delta` after each of `stages` in turn, add or remove; one number a stage.

    What `epsilon` says of the charges up to there, to ten digits where all constants are equal
    (else at most 0.01 % less: all on the finest grid), and three times as fast, since a stage is
    added to what there is.  It never falls, and the last number is `epsilon` of all.
    """
    _check_delta(delta)
    everything = [charge for stage in stages for charge in stage]
    found = _course(tuple(_key(stage) for stage in stages), float(delta))
    last = epsilon(everything, delta)
    return [*(min(now, last) for now in found[:-1]), last] if found else []


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
    """Discretisation interval, a power of two, from the narrowest single step; never under 1e-5.

    A grid of width w adds about w**2 / 6 to a step's variance s**2, and so w**2 / (12 s**2) to
    epsilon, relatively, whatever the number of steps; s is at most the chi-square distance and
    at most that of the unsampled Gaussian (under replace-one it is about twice that, and the
    grid finer than need be).  Powers of two let the caches meet.  Where a step is so quiet that
    more than 1e-5 would be called for, 1e-5 it is: the bound is then looser, and what it says is
    exactly what is meant by "PLD at 1e-5".
    """
    wanted = min(1e-3, _spread(key) * math.sqrt(12 * GRID_ERROR))
    return max(_FINEST_GRID, 2.0 ** math.floor(math.log2(wanted)))


def _slack(key: _Key) -> float:
    """By which share of itself PLD may exceed the truth on `_grid(key)`, at most."""
    return max(GRID_ERROR, (_grid(key) / _spread(key)) ** 2 / 12)


def _spread(key: _Key) -> float:
    """Standard deviation of the privacy loss in the quietest step, at most."""
    return min(
        min(rate * math.sqrt(math.expm1(min(noise**-2, 50.0))), 1 / noise) for rate, noise, _ in key
    )


@lru_cache(maxsize=64)
def _one_step(
    rate: float, noise: float, grid: float, relation: Relation = "add_remove"
) -> "PrivacyLossDistribution":
    from dp_accounting.pld import privacy_loss_distribution as pld
    from dp_accounting.privacy_accountant import NeighboringRelation

    return pld.from_gaussian_mechanism(
        standard_deviation=noise,
        sampling_prob=rate,
        value_discretization_interval=grid,
        pessimistic_estimate=True,
        neighboring_relation=NeighboringRelation[_RELATIONS[relation]],
    )


@lru_cache(maxsize=1024)
def _epsilon(key: _Key, delta: float, grid: float, relation: Relation = "add_remove") -> float:
    total: PrivacyLossDistribution | None = None
    for rate, noise, steps in key:
        part = _one_step(rate, noise, grid, relation)
        part = part.self_compose(steps) if steps > 1 else part
        total = part if total is None else total.compose(part)
    result = 0.0 if total is None else float(total.get_epsilon_for_delta(delta))
    if not math.isfinite(result):
        raise _refused("a delta above what the accountant truncates (1e-15)", delta, "delta")
    return result


@lru_cache(maxsize=64)
def _course(stages: tuple[_Key, ...], delta: float) -> tuple[float, ...]:
    """Epsilon after each stage, on the grid of all of them."""
    key = _key(Charge(*part) for stage in stages for part in stage)
    grid = _grid(key) if key else 0.0
    total: PrivacyLossDistribution | None = None
    found: list[float] = []
    for stage in stages:
        for rate, noise, steps in stage:
            part = _one_step(rate, noise, grid)
            part = part.self_compose(steps) if steps > 1 else part
            total = part if total is None else total.compose(part)
        now = 0.0 if total is None else float(total.get_epsilon_for_delta(delta))
        found.append(max(now, found[-1]) if found else now)
    return tuple(found)


@lru_cache(maxsize=256)
def _second_opinion(key: _Key, delta: float) -> Opinion:
    return second_opinion(key, delta, slack=_slack(key))


def _check_delta(delta: float) -> None:
    if not 0 < delta < 1:
        raise _refused("0 < delta < 1", delta, "delta")


def _refused(expected: str, value: object, name: str) -> AccountantError:
    return AccountantError(expected=expected, got=f"{name} = {value!r}", where=f"privacy.{name}")
