"""Do the released numbers lie on a grid that the noise alone decides?

A float that was added to another one shows in its low-order bits at which exponent the other lay
(Mironov 2012).  With denominators that are powers of two the released numbers are the noised sums,
exactly, and each must be a multiple of the power of two at or under 2**-16 of the noise's stddev.
"""

import math

import numpy as np

from simulations.audits.checks.check import Cause, Check, Outcome
from simulations.audits.checks.probe import people, plan, trace


def check(seed: int) -> Outcome:
    """See the module."""
    asked = plan(noise_multiplier=0.7, clip_norm=1.0, population=64, learning_rate=64.0)
    found = trace(people(6, seed), asked, seed).sums[0]
    stddev = asked.noise_multiplier * asked.clip_norm
    grid = math.ldexp(1.0, math.floor(math.log2(stddev)) - 16)
    off = float((found != np.round(found / grid) * grid).mean())
    if off:
        return Outcome(Cause.NOISE_BITS, detail=f"{off:.0%} of the numbers lie off the grid")
    return Outcome()


CHECK = Check("low-order bits", ("noise",), check)
