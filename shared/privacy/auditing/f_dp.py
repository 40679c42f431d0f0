"""The one-run bound, sharpened by what is known of the mechanism: its whole trade-off curve.

Mahloujifar, Melis and Chaudhuri 2024, "Auditing f-Differential Privacy in One Run" (arXiv
2410.22235).  An attacker makes r guesses on M canaries; p_i is the probability of exactly i right.
Turning one canary's coin turns one right guess wrong; averaged over canaries, f-DP (with its
concave blow-up function) therefore gives for every threshold t

    sum over i >= t of (i / M) p_i  <=  blow_up( sum over i >= t of ((r - i + 1) / M) p_(i-1) )

If P[at least c right] were tau or more, these would force more probability below c than there is:
`refuted` follows them down from c (their algorithm for games with abstention).

The bound supposes that the mechanism is a Poisson-sampled Gaussian with the public rate and number
of steps and an unknown noise: the smallest noise is sought that is not refuted.  That family is an
assumption; within it the confidence is proven.
"""

from functools import lru_cache

from shared.privacy.auditing.ladder import LOWEST, epsilon_at, faintest, noise_at
from shared.privacy.auditing.tradeoff import Tradeoff, sampled_gaussian


def refuted(curve: Tradeoff, canaries: int, guesses: int, correct: int, allowed: float) -> bool:
    """Whether P[at least `correct` of `guesses` right] < `allowed` for whatever is f-DP by `curve`.

    Args:
        canaries: M >= guesses >= correct.
        allowed: tau, in (0, 1).
    """
    right = allowed * correct / canaries
    wrong = allowed * (guesses - correct) / canaries
    for below in range(correct - 1, -1, -1):
        least = curve.inverse(right)
        if least <= wrong:
            break  # nothing more is forced, here and further down
        right += below / (guesses - below) * (least - wrong)
        wrong = least
        if right + wrong > guesses / canaries:
            return True
    return right + wrong > guesses / canaries


@lru_cache(maxsize=4096)
def refuted_rung(
    canaries: int, guesses: int, correct: int, *, rate: float, steps: int, confidence: float
) -> int | None:
    """The lowest rung (see `ladder`) whose noise `correct` right guesses refute; None if none."""

    def refutes(rung: int) -> bool:
        curve = sampled_gaussian(rate, noise_at(rung), steps)
        return refuted(curve, canaries, guesses, correct, 1 - confidence)

    out = faintest(rate, steps)
    if not refutes(out):
        return None
    possible = LOWEST - 1  # more noise is refuted more easily
    while out - possible > 1:
        middle = (possible + out) // 2
        if refutes(middle):
            out = middle
        else:
            possible = middle
    return out


def epsilon_bound(
    canaries: int,
    guesses: int,
    correct: int,
    *,
    rate: float,
    steps: int,
    delta: float,
    confidence: float,
) -> float:
    """Epsilon at `delta` of the least noise that `correct` right guesses refute; 0.0 if none.

    P[result > true epsilon] <= 1 - confidence, if the mechanism is of the family.
    """
    rung = refuted_rung(canaries, guesses, correct, rate=rate, steps=steps, confidence=confidence)
    return 0.0 if rung is None else epsilon_at(rung, rate, steps, delta)
