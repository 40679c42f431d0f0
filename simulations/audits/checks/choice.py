"""Is what is released the last weights after exactly the steps that were charged?

Stopping when the private loss rises, releasing the best of several weights, or training twice and
keeping the better one are looks at private data that nobody pays for.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from shared.training import Steps
from simulations.audits.checks.check import Cause, Check, Outcome
from simulations.audits.checks.probe import people, plan, trace

STEPS = 6


@contextmanager
def steps_taken() -> Iterator[list[Any]]:
    """Each `Steps` whose `take` is called while this lasts, once for each call."""
    seen: list[Any] = []
    installed = Steps.take

    def take(self: Steps, *args: Any, **kwargs: Any) -> None:
        seen.append(self)
        installed(self, *args, **kwargs)

    Steps.take = take  # type: ignore[method-assign]
    try:
        yield seen
    finally:
        Steps.take = installed  # type: ignore[method-assign]


def check(seed: int) -> Outcome:
    """See the module."""
    for more in range(3):
        # So much noise that the private loss goes up and down.
        asked = plan(steps=STEPS, noise_multiplier=2.0, clip_norm=5.0, learning_rate=4.0)
        with steps_taken() as taken:
            seen = trace(people(12, seed + more), asked, seed + more)
        if len(seen.sums) != STEPS or len(taken) != STEPS:
            return Outcome(
                Cause.CHOICE,
                detail=f"{len(taken)} steps taken and {len(seen.sums)} told, {STEPS} charged",
            )
        gap = float(np.linalg.norm(seen.released - seen.sums.sum(axis=0)))
        if gap > 1e-3 * float(np.linalg.norm(seen.sums)):
            return Outcome(Cause.CHOICE, detail="not the last weights are released")
    return Outcome()


CHECK = Check("choices", ("accounting", "release"), check)
