"""Does a later step take each user as the first step did, whatever the steps before it held?

Everybody takes part in every step (a rate of 1), and the learning rate is so small that gradients
stay what they were. So all steps' sums should be the same. A user who counts more from step to step
is a sum that was not cleared; who counts otherwise is a bound that followed the gradients of an
earlier step. A bound that nobody reaches comes first: whatever it moves to shows. Who is missing
from a step is for the sampling check.
"""

import numpy as np

from simulations.audits.checks.check import Cause, Check, Outcome
from simulations.audits.checks.probe import gradients, people, plan, shares, trace

USERS, STEPS = 8, 3
_RATE = 1e-4
_WIDE = 50.0
_TOLERANCE = 1e-2


def check(seed: int) -> Outcome:
    """See the module."""
    histories = people(USERS, seed)
    terms = gradients(histories, seed)
    middle = float(np.median(np.linalg.norm(terms, axis=1)))
    for clip_norm in (_WIDE, middle):
        asked = plan(steps=STEPS, learning_rate=_RATE, clip_norm=clip_norm)
        read = [shares(one, terms) for one in trace(histories, asked, seed).sums]
        if len(read) < 2 or max(rest for _, rest in read) > 0.1:
            return Outcome()  # no sums of users: others know better why
        found = np.stack([users for users, _ in read])
        present = (found > 0.03 * found.max()).all(axis=0)
        ratio = (found[:, present] / found[0, present])[1:]
        if ratio.size and clip_norm == _WIDE and (ratio > 1.5).all():
            detail = f"users count {ratio[0].mean():.2f} times in step 2"
            return Outcome(Cause.CARRIED, detail=detail)
        if (np.abs(ratio - 1) > _TOLERANCE).any():
            detail = f"in later steps {ratio.min():.3f} of what it was"
            return Outcome(Cause.CLIPPING_DEPENDS, detail=detail)
    return Outcome()


CHECK = Check("later steps", ("clipping", "adjacency"), check)
