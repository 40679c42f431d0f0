"""Checks of the installed privacy code, as black boxes: none knows how the code is written.

They are in the order in which they name a cause.  A fault may trip several: what spoils the batch
spoils every sum after it.  So the first that can name what it saw is believed, and later ones may
take for granted what earlier ones have tested.
"""

from simulations.audits.checks import (
    bits,
    choice,
    clipping,
    empty_batch,
    epsilon,
    later_steps,
    ledger,
    neighbours,
    noise,
    promise,
    public_inputs,
    reply,
    sampling,
    secrets,
    silence,
    start,
    streams,
    weights,
)
from simulations.audits.checks.check import Cause, Check, Outcome

CHECKS: tuple[Check, ...] = tuple(
    module.CHECK
    for module in (
        later_steps,
        sampling,
        neighbours,
        clipping,
        empty_batch,
        streams,
        noise,
        bits,
        choice,
        public_inputs,
        secrets,
        weights,
        epsilon,
        ledger,
        promise,
        reply,
        start,
        silence,
    )
)

VAGUE = (Cause.UNREADABLE, Cause.RAISED)
"""Causes that say only that something is wrong: any other check's word counts for more."""

__all__ = ["CHECKS", "VAGUE", "Cause", "Check", "Outcome"]
