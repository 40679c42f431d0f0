"""How often an attack is right at every false positive rate, and what privacy permits.

If a training is (epsilon, delta)-DP, then whatever the attacker computes from its output and
however the threshold is chosen beforehand (Kairouz et al. 2015, arXiv 1311.0776)

    TPR <= min(e^epsilon FPR + delta, 1 - e^-epsilon (1 - delta - FPR))

One pair (epsilon, delta) is the promise.  The mechanism keeps a whole curve of pairs, its privacy
profile; the smallest of their bounds is what is really permitted, and is much lower.

Confidence.  Thresholds are the scores of the non-members, from the largest down.  Given those,
the number of members above is binomial: TPR has a Clopper-Pearson interval.  The FPR of the k-th
largest of n is Beta(k, n - k + 1).  All thresholds are judged at once (Bonferroni over all of
them and both sides), so the verdict holds at every FPR.  Users are taken as independent, which
they are given a training's noise; those of one training share that noise, which moves TPR and
FPR together and so lies along the curve rather than across it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from dp_accounting.pld import privacy_loss_distribution as pld
from dp_accounting.privacy_accountant import NeighboringRelation
from numpy.typing import NDArray
from scipy import stats

from shared.errors import DataError

CONFIDENCE = 0.95
SHOWN = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, *(n / 20 for n in range(2, 20)), 0.98, 0.99, 0.999)
TOLD = (0.001, 0.01, 0.1)
Pairs = Sequence[tuple[float, float]]


def permitted(fpr: NDArray[np.float64], pairs: Pairs) -> NDArray[np.float64]:
    """The largest TPR that every (epsilon, delta) of `pairs` permits at each `fpr`."""
    bound = np.ones_like(fpr)
    for epsilon, delta in pairs:
        rising = math.exp(min(epsilon, 700.0)) * fpr + delta
        falling = 1 - math.exp(-epsilon) * (1 - delta - fpr)
        bound = np.minimum(bound, np.minimum(rising, falling))
    return np.clip(bound, 0.0, 1.0)


@lru_cache(maxsize=16)
def profile(
    sample_rate: float, noise_multiplier: float, steps: int
) -> tuple[tuple[float, float], ...]:
    """Pairs (epsilon, delta) that `steps` Poisson-sampled Gaussian steps keep, add or remove.

    From the same privacy loss distribution as the accountant's (`dp-accounting`, pessimistic).
    """
    loss = pld.from_gaussian_mechanism(
        standard_deviation=noise_multiplier,
        sampling_prob=sample_rate,
        value_discretization_interval=1e-3,
        pessimistic_estimate=True,
        neighboring_relation=NeighboringRelation.ADD_OR_REMOVE_ONE,
    ).self_compose(steps)
    levels = np.concatenate([np.linspace(0, 2, 41), np.linspace(2.25, 20, 72)])
    return tuple((float(level), float(loss.get_delta_for_epsilon(level))) for level in levels)


@dataclass(frozen=True)
class Roc:
    """An attack's curve; one row a threshold, from the strictest.

    Args:
        fpr, tpr: (N,) as counted.
        fpr_high: (N,) upper limits of the FPR, simultaneous.
        low, high: (N,) limits of the TPR, simultaneous.
        auc: area under the curve, ties counted half.
        p: that members do not score higher (Mann and Whitney, one-sided).
        members, others: how many of each.
    """

    fpr: NDArray[np.float64]
    tpr: NDArray[np.float64]
    fpr_high: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    auc: float
    p: float
    members: int
    others: int

    def excess(self, pairs: Pairs) -> float:
        """By how much TPR is above what `pairs` permit, for certain, at most; <= 0 if nowhere."""
        return float((self.low - permitted(self.fpr_high, pairs)).max())

    def epsilon_low(self, delta: float) -> float:
        """The smallest epsilon at `delta` that would permit this curve, for certain."""
        with np.errstate(divide="ignore", invalid="ignore"):
            rising = np.log((self.low - delta) / self.fpr_high)
            falling = np.log((1 - delta - self.fpr_high) / (1 - self.low))
        return float(np.nan_to_num(np.maximum(rising, falling), nan=0.0, posinf=0.0).max(initial=0))

    def told(self) -> dict[str, Any]:
        """As JSON: the curve at `SHOWN` rates, [fpr, tpr, low, high] a row."""
        return {
            "auc": self.auc,
            "p": self.p,
            "roc": [*map(self._at, (0.0, *SHOWN)), [1.0, 1.0, 1.0, 1.0]],
            "tpr_at": {f"{rate:g}": self._at(rate)[1:] for rate in TOLD},
            "members": self.members,
            "others": self.others,
        }

    def _at(self, rate: float) -> list[float]:
        """[rate, tpr, low, high] at the loosest threshold with an FPR of at most `rate`."""
        row = int(np.searchsorted(self.fpr, rate, side="right")) - 1
        return [rate, *(float(part[row]) for part in (self.tpr, self.low, self.high))]


def roc(
    scores: NDArray[np.float64], members: NDArray[np.bool_], confidence: float = CONFIDENCE
) -> Roc:
    """The curve of an attack; larger scores say "member".

    Args:
        scores: any shape.
        members: of the same shape, the truth.
        confidence: of all limits together.

    Raises:
        DataError: no members, or nobody else.
    """
    inside, outside = np.sort(scores[members]), np.sort(scores[~members])[::-1]
    if not len(inside) or not len(outside):
        raise DataError(
            expected="members and others",
            got=f"{len(inside)} and {len(outside)}",
            where="membership attack",
        )
    n, m = len(outside), len(inside)
    above = m - np.searchsorted(inside, outside, side="right")
    false = n - np.searchsorted(outside[::-1], outside, side="right")
    tail = (1 - confidence) / (2 * n)
    place = np.arange(1, n + 1)
    low, high = clopper_pearson(above, m, 2 * tail)
    test = stats.mannwhitneyu(inside, outside, alternative="greater", method="asymptotic")
    return Roc(
        fpr=false / n,
        tpr=above / m,
        fpr_high=stats.beta.ppf(1 - tail, place, n - place + 1),
        low=low,
        high=high,
        auc=float(test.statistic) / (n * m),
        p=float(test.pvalue),
        members=m,
        others=n,
    )


def clopper_pearson(
    hits: NDArray[np.int64], of: int, outside: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Exact limits of a share: each is missed with probability `outside` / 2 at most.

    Clopper and Pearson 1934: quantiles of Beta(k, n - k + 1) and Beta(k + 1, n - k).
    """
    low = np.where(hits > 0, stats.beta.ppf(outside / 2, np.maximum(hits, 1), of - hits + 1), 0.0)
    high = np.where(
        hits < of, stats.beta.ppf(1 - outside / 2, hits + 1, np.maximum(of - hits, 1)), 1.0
    )
    return low, high
