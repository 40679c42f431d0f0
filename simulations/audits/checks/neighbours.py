"""Does a user change the sum by their own clipped gradient, and by nothing else?

Neighbouring data sets under one secret (the idea of Cebere et al. 2026, arXiv 2602.17454: replay
the same randomness, and compare what reaches the noise).  Three questions, in this order:

1. Without clipping, is the sum the sum of what each user's own loss asks for?  What is in it
   beyond that comes from losses that read other users.
2. Does it stay so when users with nothing to learn from join?  A common factor is a denominator
   that counts users; factors that differ are a clipping bound that looks at all of them.
3. With clipping, is the sum the sum over users of what each adds alone, however the users are
   cut into micro-batches?
"""

import numpy as np

from simulations.audits.checks.check import Cause, Check, Outcome
from simulations.audits.checks.probe import gradients, people, plan, shares, total

USERS = 8
_TOLERANCE = 1e-3


def check(seed: int) -> Outcome:
    """See the module."""
    histories: list[list[int]] = people(USERS, seed)
    terms = gradients(histories, seed)
    for joined in (0, 5):
        found, rest = shares(total([*histories, *([[]] * joined)], plan(), seed), terms)
        if rest > _TOLERANCE:
            return Outcome(
                Cause.LOSS_READS_OTHERS, detail=f"{rest:.1%} of the sum is of no user's own loss"
            )
        if np.abs(found - 1).max() > _TOLERANCE:
            common = np.ptp(found) < _TOLERANCE * np.abs(found).max()
            cause = Cause.DENOMINATOR if common else Cause.CLIPPING_DEPENDS
            return Outcome(
                cause, detail=f"users count {found.min():.3f} to {found.max():.3f} times"
            )
    bound = 0.5 * float(np.linalg.norm(terms, axis=1).min())
    for micro_batch in (3, 64):
        asked = plan(clip_norm=bound, micro_batch=micro_batch)
        alone = sum(total([history], asked, seed) for history in histories)
        gap = float(np.linalg.norm(total(histories, asked, seed) - alone))
        if gap > _TOLERANCE * bound:
            return Outcome(
                Cause.CLIPPING_DEPENDS, detail=f"{gap / bound:.3f} clip_norm is of no user alone"
            )
    return Outcome()


CHECK = Check("neighbours", ("adjacency", "clipping"), check)
