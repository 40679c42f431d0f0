"""The game an audit plays: canary users are in by a coin toss, an attacker watches every release.

1. Each of M canary users is in the training data with probability 1/2, independently.
2. In each of R rounds a platform releases a sum in which a user who takes part counts for
   clip_norm at most, under Gaussian noise; a user who is in takes part in each of the round's
   steps with probability `rate` (Poisson sampling).
3. The attacker has one number per round and canary: how far the release points in the canary's
   direction, in standard deviations of the promised noise.  From these numbers it scores how much
   rather the canary is in than out.

`simulated` plays the game on paper, with canaries at right angles and the noise as promised: what
the coverage of the bounds is measured on.

Shapes: `R` rounds, `M` canaries.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

from shared.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class Rules:
    """Public constants of a game.

    Args:
        canaries: M, at least 2.
        rounds: R, at least 1.
        steps: DP-SGD steps in a round.
        rate: probability with which a user takes part in a step.
        noise_multiplier: as promised; noise stddev of a step over clip_norm.
        delta: of the promise.

    Raises:
        ConfigError: a number is out of range.
    """

    canaries: int
    rounds: int
    steps: int
    rate: float
    noise_multiplier: float
    delta: float

    def __post_init__(self) -> None:
        for name, lowest in (("canaries", 2), ("rounds", 1), ("steps", 1)):
            if getattr(self, name) < lowest:
                raise ConfigError(
                    expected=f"{name} >= {lowest}", got=str(getattr(self, name)), where="audit"
                )

    @property
    def shift(self) -> float:
        """How far one step in which a canary takes part moves its number: at most this."""
        return 1 / (self.noise_multiplier * math.sqrt(self.steps))


@dataclass(frozen=True)
class Filter:
    """Each round's release through one filter: the sum of the canaries' directions by `contrast`.

    Args:
        met: (R,) inner products of filter and release, in standard deviations of promised noise.
        reach: (R,) what `met` is for a signal of 1 without noise.
        spread: (R,) squared norms of the filters: variance of `met`, for noise as promised.
    """

    met: NDArray[np.float64]
    reach: NDArray[np.float64]
    spread: NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Played:
    """What came of a game.

    Args:
        members: (M,) bool, which canaries were in.
        taken: (R, M) steps of the round in which the canary took part; 0 for one that was out.
        seen: (R, M) the attacker's numbers.
        scores: (M,) the attacker's scores, from all of its numbers and from no secret.
        matched: the releases through the filter that knows `taken`.
    """

    members: NDArray[np.bool_]
    taken: NDArray[np.int64]
    seen: NDArray[np.float64]
    scores: NDArray[np.float64]
    matched: Filter


def contrast(taken: NDArray[np.int64], steps: int) -> NDArray[np.float64]:
    """(R, M) how much each canary's direction counts in a round's matched filter.

    What is left of the release when all other users' sums are taken out is known to be
    signal * sum of `taken` * direction, plus noise, so the directions summed like that are the best
    filter there is.  With several steps a round the others' sums are known at the round's first
    weights only; what they have in common with all canaries is then kept out.
    """
    level = taken.mean(axis=-1, keepdims=True) if steps > 1 else 0.0
    return np.asarray(taken - level, np.float64)


def likelihood_ratios(
    seen: NDArray[np.float64], shift: NDArray[np.float64] | float, rate: float, steps: int
) -> NDArray[np.float64]:
    """log p(seen | in) / p(seen | out), elementwise: the most powerful score there is.

    In: N(k * shift, 1) with k ~ Binomial(steps, rate); out: N(0, 1).  Their sum over rounds is the
    privacy loss of the Poisson-sampled Gaussian mechanism itself (Koskela et al. 2020), so by the
    Neyman-Pearson lemma no score over Gaussian numbers separates better.

    Args:
        seen: (R, M).
        shift: (R, M) or a number: what one step adds.
    """
    count = np.arange(steps + 1)
    chance = stats.binom.logpmf(count, steps, rate)
    jump = np.multiply.outer(count, np.asarray(shift))
    if np.ndim(shift) == 0:
        jump = jump[:, None, None]
    ratios: NDArray[np.float64] = special.logsumexp(
        chance[:, None, None] + jump * seen - jump**2 / 2, axis=0
    )
    return ratios


def simulated(
    rules: Rules, rng: np.random.Generator, *, noise_multiplier: float | None = None
) -> Played:
    """One game on paper.

    Args:
        noise_multiplier: the mechanism's real one, if it is not as promised; the attacker still
            believes the promise.
    """
    shape = rules.rounds, rules.canaries
    members = rng.random(rules.canaries) < 0.5
    taken = rng.binomial(rules.steps, rules.rate, shape) * members
    real = 1.0 if noise_multiplier is None else noise_multiplier / rules.noise_multiplier
    seen = rng.normal(scale=real, size=shape) + taken * rules.shift
    scores = likelihood_ratios(seen, rules.shift, rules.rate, rules.steps).sum(axis=0)
    against = contrast(taken, rules.steps)
    matched = Filter(
        met=(against * seen).sum(axis=1),
        reach=(against * taken).sum(axis=1),
        spread=(against**2).sum(axis=1),
    )
    return Played(members=members, taken=taken, seen=seen, scores=scores, matched=matched)
