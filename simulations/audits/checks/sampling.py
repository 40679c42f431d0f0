"""Is the batch a Poisson sample with the public rate?

Every user's gradient points its own way, so that the (bare) sum of a step says who was in it.
Over many steps: nobody's coin changes when a user joins; users and steps have the spread of
independent coins, not more (the same users again) and not less (shuffled or fixed batches); a small
platform's batch is empty as often as it must be, and a batch over the mean as often as under it;
the coins fall with the rate that is charged.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from simulations.audits.checks.check import P_VALUE, Cause, Check, Outcome, together, two_sided
from simulations.audits.checks.probe import Floats, gradients, people, plan, trace

USERS, STEPS, RATE = 100, 32, 0.3
FEW, FEW_STEPS, FEW_RATE = 3, 12, 0.05
_MICRO_BATCH = 16
_RATE = 1e-4  # so small that gradients stay what they were at the first step


def members(
    histories: list[list[int]], terms: Floats, steps: int, rate: float, seed: int
) -> NDArray[np.bool_] | None:
    """(steps, users) who took part, read from the sums; None where they are no sums of users.

    Args:
        terms: (users, D * R) their gradients.
    """
    asked = plan(
        steps=steps,
        sample_rate=rate,
        learning_rate=_RATE,
        noise_multiplier=1e-9,
        micro_batch=_MICRO_BATCH,
    )
    sums = trace(histories, asked, seed).sums
    found = np.linalg.lstsq(terms.T, sums.T, rcond=None)[0].T
    rest = np.linalg.norm(sums - found @ terms, axis=1)
    if (rest > 0.1 * np.linalg.norm(sums, axis=1) + 1e-3).any():
        return None
    # A share of its own for each step: denominators may be wrong, and are for others to judge.
    whole = np.abs(found).max(axis=1, keepdims=True)
    present: NDArray[np.bool_] = (found > 0.03 * whole) & (whole > 1e-2)
    return present


def check(seed: int) -> Outcome:
    """See the module."""
    histories = people(USERS + 1, seed)
    terms = gradients(histories, seed)
    joined = members(histories, terms, STEPS // 4, RATE, seed)
    before = members(histories[:USERS], terms[:USERS], STEPS, RATE, seed)
    small = members(histories[:FEW], terms[:FEW], FEW_STEPS, FEW_RATE, seed)
    if joined is None or before is None or small is None:
        return Outcome(Cause.UNREADABLE, detail="sums are not made of users' gradients")
    common = min(len(joined), len(before))
    if (joined[:common, :USERS] != before[:common]).any():
        return Outcome(Cause.NOT_POISSON, detail="a user who joined changed others' coins")
    steps, users = before.shape
    rate = before.mean()
    spread = max(rate * (1 - rate), 1e-12)
    by_user = _chi2(((before.sum(0) - steps * rate) ** 2).sum() / (steps * spread), users - 1)
    by_step = _chi2(((before.sum(1) - users * rate) ** 2).sum() / (users * spread), steps - 1)
    empty = _binomial(int((~small.any(1)).sum()), len(small), (1 - FEW_RATE) ** FEW)
    tossed = _binomial(int(before.sum()), before.size, RATE)
    more = stats.binom.sf(int(users * RATE), users, RATE)
    over = _binomial(int((before.sum(1) > users * RATE).sum()), steps, float(more))
    p_value = together([by_user, by_step, empty, tossed, over])
    detail = f"{before.size} coins, rate {rate:.4f} for {RATE}"
    if min(by_user, by_step) < P_VALUE:
        return Outcome(Cause.NOT_POISSON, p_value, detail)
    if tossed < P_VALUE:
        return Outcome(Cause.WRONG_RATE, p_value, detail)
    for value, what in ((empty, "batches are never empty"), (over, "no batch is over the mean")):
        if value < P_VALUE:
            return Outcome(Cause.NOT_POISSON, p_value, what)
    return Outcome(None, p_value, detail)


def _chi2(statistic: float, degrees: int) -> float:
    return two_sided(stats.chi2.cdf(statistic, degrees), stats.chi2.sf(statistic, degrees))


def _binomial(count: int, of: int, chance: float) -> float:
    return two_sided(stats.binom.cdf(count, of, chance), stats.binom.sf(count - 1, of, chance))


CHECK = Check("sampling", ("sampling",), check)
