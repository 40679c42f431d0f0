"""A lower bound on epsilon from one training run, true of any mechanism whatever it does inside.

Steinke, Nasr and Jagielski 2023, "Privacy Auditing with One (1) Training Run" (arXiv 2305.08846).
Of M canaries, each in or out by a fair coin, an attacker guesses r and abstains from the others.
Under (epsilon, delta)-DP (add or remove one), theorem 5.2:

    P[at least v right] <= beta + 2 M delta alpha
    beta  = P[B >= v],  B ~ Binomial(r, 1 / (1 + exp(-epsilon)))
    alpha = max over i = 1..M of P[v > B >= v - i] / i

The bound is the largest epsilon at which what was seen is still less likely than 1 - confidence.
No other assumption: not on the noise, the sampling, or how scores were made, as long as the guesses
use nothing but the releases and what does not depend on the coins.
"""

import math
from functools import lru_cache

import numpy as np
from scipy import stats

_HIGHEST = 64.0


def p_value(canaries: int, guesses: int, correct: int, epsilon: float, delta: float) -> float:
    """Upper bound on P[at least `correct` of `guesses` right] under (epsilon, delta)-DP.

    Args:
        canaries: M, of which the attacker guessed `guesses` and got `correct` right.
    """
    if correct <= 0:
        return 1.0
    chance = 1 / (1 + math.exp(-epsilon))
    beta = float(stats.binom.sf(correct - 1, guesses, chance))
    # for i > correct the numerator grows no more, so the maximum is at or before it
    behind = np.arange(1, correct + 1)
    near = np.cumsum(stats.binom.pmf(correct - behind, guesses, chance))
    alpha = float((near / behind).max())
    return min(1.0, beta + 2 * canaries * delta * alpha)


@lru_cache(maxsize=4096)
def epsilon_bound(
    canaries: int, guesses: int, correct: int, delta: float, confidence: float
) -> float:
    """Largest epsilon that `correct` right guesses rule out; 0.0 if they rule out nothing.

    P[result > true epsilon] <= 1 - confidence, for guesses whose number was fixed beforehand.
    """
    allowed = 1 - confidence
    if p_value(canaries, guesses, correct, 0.0, delta) >= allowed:
        return 0.0
    refuted, possible = 0.0, _HIGHEST  # the p-value rises with epsilon
    while possible - refuted > 1e-6:
        middle = (refuted + possible) / 2
        if p_value(canaries, guesses, correct, middle, delta) < allowed:
            refuted = middle
        else:
            possible = middle
    return refuted
