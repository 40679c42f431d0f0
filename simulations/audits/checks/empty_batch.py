"""Is there noise when nobody is in the batch, and when nobody is on the platform?

As much as when everybody is: how much that must be is for the noise's own check.
"""

import numpy as np

from simulations.audits.checks.check import Cause, Check, Outcome
from simulations.audits.checks.probe import Histories, people, plan, trace

STEPS = 3


def check(seed: int) -> Outcome:
    """See the module."""
    full = _least([[1], [2], [3]], 1.0, seed)
    # With one user and a rate of 1e-9 the batch of a platform with users is empty as well.
    for empty in (_least([], 1.0, seed), _least(people(1, seed), 1e-9, seed)):
        if empty < 0.5 * full:
            return Outcome(Cause.EMPTY_BATCH, detail=f"{empty:.2g} of the noise of a full batch")
    return Outcome()


def _least(histories: Histories, rate: float, seed: int) -> float:
    """Size of the noise in the step that has least."""
    # The denominator is the rate's, so it must not become too small for the weights.
    asked = plan(
        steps=STEPS, noise_multiplier=1.0, clip_norm=1.0, sample_rate=rate, population=10**9
    )
    sums = trace(histories, asked, seed).sums
    return float(np.sqrt(np.square(sums).mean(axis=1)).min()) if len(sums) else 0.0


CHECK = Check("empty batch", ("noise", "sampling"), check)
