"""Has every purpose of a step its own random stream?

A noise stream that sampling reads too is noise that the batch tells about.  A real round is handed
a secret that keeps the head of each stream it opens: no stream may serve two purposes, nor be
opened twice in a step.  (The same stream in two steps is for the checks of sampling and noise.)
"""

from dataclasses import dataclass, field
from itertools import combinations

import numpy as np

from shared.privacy.randomness import RoundSecret, Stream
from simulations.audits.checks.check import Cause, Check, Outcome
from simulations.audits.checks.probe import Floats, people, plan, secret, trace


@dataclass(frozen=True)
class Watched(RoundSecret):
    """A round's secret that remembers what is drawn first from each stream it opens."""

    opened: list[tuple[str, int, Floats]] = field(default_factory=list)

    def stream(self, purpose: str, step: int) -> Stream:
        """See `RoundSecret.stream`."""
        self.opened.append((purpose, step, super().stream(purpose, step).uniform(64)))
        return super().stream(purpose, step)


def check(seed: int) -> Outcome:
    """See the module."""
    plain = secret(seed)
    root = Watched(key=plain.key, charge_key=plain.charge_key, unsafe=True)
    trace(people(6, seed), plan(steps=2, noise_multiplier=1.0, negatives=8), seed, root=root)
    for (one, first, head), (other, second, tail) in combinations(root.opened, 2):
        if (one != other or first == second) and np.intersect1d(head, tail).size:
            return Outcome(Cause.STREAMS_SHARED, detail=f"{one} and {other}, of {first}, {second}")
    return Outcome()


CHECK = Check("streams", ("noise", "sampling"), check)
