"""Known ways to break the guarantee: each a small patch of the real code, to be caught."""

from simulations.audits.faults import (
    accounting,
    choices,
    clipping,
    denominators,
    losses,
    noise,
    release,
    sampling,
    secrets,
)
from simulations.audits.faults.fault import Fault, Swap, placebo, planted

FAULTS: tuple[Fault, ...] = tuple(
    fault
    for module in (
        sampling,
        losses,
        clipping,
        denominators,
        noise,
        secrets,
        choices,
        accounting,
        release,
    )
    for fault in module.FAULTS
)

__all__ = ["FAULTS", "Fault", "Swap", "placebo", "planted"]
