"""White-box estimates: how much signal and how much noise there was, and the epsilon of that.

Andrew et al. 2023, "One-shot Empirical Privacy Estimation for Federated Learning" (arXiv
2302.03098): correlate every observed round with many canaries at once and fit Gaussians.  Nasr et
al. 2023, "Tight Auditing of Differentially Private Machine Learning" (arXiv 2302.07956, section 5):
turn what is seen into the mechanism's own parameter, not straight into epsilon.

A canary's number in a round is N(k m, s^2) with k the steps it took part in.  m / s is all that
differs between mechanisms of this kind, and epsilon is a rising function of it: that of the
Poisson-sampled Gaussian mechanism with noise multiplier s / (m sqrt(steps in a round)), composed
over all steps by the PLD accountant.  So a lower confidence limit for m / s gives one for epsilon.
(A mu-GDP conversion would leave the sampling to a central limit, which understates epsilon here by
up to a quarter.)  It is an estimate: it takes for granted that noise is Gaussian and independent
from round to round, that m and s are the same in all rounds, and the sampling rate.

Two contrasts:
- `by_participation`: the round's release through the filter matched to those who took part in it.
  The auditor knows the sampling coins; the rate enters through the accountant alone.
- `by_membership`: those who were in against those who were out, over all rounds; nobody knows the
  coins, so the contrast is rate * m: it sees a sampling rate that is not as promised.

Shapes: `R` rounds, `M` canaries.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from shared.errors import DataError
from shared.privacy.auditing.game import Filter
from shared.privacy.auditing.ladder import epsilon_at, rung_over


@dataclass(frozen=True)
class Shift:
    """m / s, estimated.

    Args:
        signal, noise: m and s, each estimated.
        error: standard error of their ratio.
    """

    signal: float
    noise: float
    error: float

    @property
    def ratio(self) -> float:
        """m / s."""
        return self.signal / self.noise

    def lower(self, confidence: float) -> float:
        """Lower end of the two-sided interval: exceeded by chance in half of 1 - confidence."""
        return self.ratio - float(stats.norm.isf((1 - confidence) / 2)) * self.error


def by_participation(seen: NDArray[np.float64], taken: NDArray[np.int64], matched: Filter) -> Shift:
    """m from the matched filter, s from what a line through `seen` on `taken` leaves.

    m is least squares over all rounds' releases, every coordinate of them: the best unbiased
    estimate there is (Gauss-Markov), with Var(m) = s^2 sum spread / (sum reach)^2.  s is known to
    1 / sqrt(2 R M), relatively (the delta method on m / s).

    Args:
        seen, taken: (R, M).
        matched: see `Filter`.

    Raises:
        DataError: nobody took part, or everybody always did.
    """
    contrast = taken - taken.mean(axis=1, keepdims=True)
    weight = float((contrast**2).sum())
    free = seen.size - len(seen) - 1
    if weight <= 0 or free < 1:
        raise DataError(
            expected="canaries that took part and canaries that did not",
            got="one kind only",
            where="audit",
            remedy="More canaries or more rounds.",
        )
    own = seen - seen.mean(axis=1, keepdims=True)
    line = float((contrast * own).sum()) / weight
    noise = math.sqrt(float(((own - line * contrast) ** 2).sum()) / free)
    reach = float(matched.reach.sum())
    slope = float(matched.met.sum()) / reach
    return _shift(slope, noise, noise**2 * float(matched.spread.sum()) / reach**2, free)


def by_membership(
    seen: NDArray[np.float64], members: NDArray[np.bool_], expected_steps: float
) -> Shift:
    """Mean of the canaries' sums over rounds, in minus out, for each step they were to take.

    The error is Welch's over canaries, who are independent: the sampling coins are in it.

    Args:
        seen: (R, M).
        members: (M,).
        expected_steps: steps a canary that is in takes part in on average, over all rounds.

    Raises:
        DataError: fewer than two canaries in, or out.
    """
    if min(members.sum(), (~members).sum()) < 2:
        raise DataError(
            expected="at least two canaries in and two out",
            got=f"{int(members.sum())} in, {int((~members).sum())} out",
            where="audit",
            remedy="Insert more canaries.",
        )
    out = seen[:, ~members]
    free = out.size - len(out)
    noise = math.sqrt(float(((out - out.mean(axis=1, keepdims=True)) ** 2).sum()) / free)
    sums = seen.sum(axis=0)
    groups = sums[members], sums[~members]
    slope = float(groups[0].mean() - groups[1].mean()) / expected_steps
    variance = sum(float(group.var(ddof=1)) / len(group) for group in groups)
    return _shift(slope, noise, variance / expected_steps**2, free)


def _shift(slope: float, noise: float, variance: float, free: int) -> Shift:
    if noise <= 0:
        raise DataError(expected="noise in what is released", got="none", where="audit")
    ratio = slope / noise
    return Shift(slope, noise, math.sqrt(variance / noise**2 + ratio**2 / (2 * free)))


def epsilon_of(ratio: float, *, rate: float, steps: int, rounds: int, delta: float) -> float:
    """Epsilon of `rounds` rounds of `steps` sampled steps each, at m / s = `ratio`; see above."""
    if ratio <= 0:
        return 0.0
    rung = rung_over(1 / (ratio * math.sqrt(steps)))
    return epsilon_at(rung, rate, rounds * steps, delta)
