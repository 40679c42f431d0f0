"""Is the reported epsilon at least what an independent accountant finds?

Where it is less, what it equals names the mistake: one direction of adjacency only, or the
central-limit estimate.  Then the promise: the noise that a platform calibrates must keep the budget
over all steps of the whole run.
"""

from clients import platform_record
from shared.config.privacy import PrivacySettings
from shared.privacy import accountant
from shared.privacy.accountant import Charge
from simulations.audits.checks import independent
from simulations.audits.checks.check import Cause, Check, Outcome

CASES = (
    (0.01, 0.6, 1000, 1e-5),
    (0.5, 2.5, 24, 1e-5),
    (0.5, 1.0, 2, 1e-4),
    (1.0, 5.0, 10, 1e-5),
)
"""(sample_rate, noise_multiplier, steps, delta)"""
_LESS, _MORE = 0.99, 1.02


def check(_seed: int) -> Outcome:
    """See the module."""
    for rate, noise, steps, delta in CASES:
        reported = accountant.epsilon([Charge(rate, noise, steps)], delta)
        truth = independent.epsilon(rate, noise, steps, delta)
        if reported >= _LESS * truth:
            if reported > _MORE * truth:
                return Outcome(Cause.UNREADABLE, detail=f"{reported:.4f}, not {truth:.4f}")
            continue
        detail = f"reported {reported:.4f}, found {truth:.4f} (q {rate}, noise {noise}, {steps})"
        if _near(reported, independent.central_limit(rate, noise, steps, delta)):
            return Outcome(Cause.GDP, detail=detail)
        if rate < 1 and _near(
            reported, independent.one_direction(rate, noise, steps, delta, "add")
        ):
            return Outcome(Cause.ADJACENCY, detail=detail)
        return Outcome(Cause.UNDERSTATED, detail=detail)
    return _promise()


def _promise() -> Outcome:
    privacy = PrivacySettings(epsilon=4.0, sample_rate=0.5, steps_per_round=2)
    rounds = 12
    delta, noise = platform_record.promise(privacy, 1000, rounds)
    spent = independent.epsilon(privacy.sample_rate, noise, rounds * privacy.steps_per_round, delta)
    if spent > privacy.epsilon / _LESS:
        return Outcome(
            Cause.CALIBRATION,
            detail=f"epsilon {spent:.3f} after a run of {privacy.epsilon} promised",
        )
    return Outcome()


def _near(one: float, other: float) -> bool:
    return abs(one - other) <= 0.01 * other


CHECK = Check("epsilon", ("accounting", "adjacency"), check, fast=False)
