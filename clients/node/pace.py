"""How often to look for work: often while there is some, seldom when there has been none.

A round asks a partner every few seconds, and each look that comes too late adds to it; a partner
that waits for weeks should cost no processor.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

BUSY_S, IDLE_S = 0.05, 0.5
AWAKE_S = 60.0
"""So long after the last work it is looked for often."""


@dataclass
class Pace:
    """A waiter.

    Args:
        clock, wait: of time; tests have their own.
    """

    clock: Callable[[], float] = time.monotonic
    wait: Callable[[float], None] = time.sleep
    _last: float = float("-inf")

    def worked(self) -> None:
        """There was something to do."""
        self._last = self.clock()

    @property
    def between(self) -> float:
        """Seconds between two looks."""
        return BUSY_S if self.clock() - self._last < AWAKE_S else IDLE_S

    def sleep(self, seconds: float = float("inf")) -> None:
        """Wait until the next look, and no longer than `seconds`."""
        self.wait(min(seconds, self.between))
