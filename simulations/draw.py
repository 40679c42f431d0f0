"""Some of every platform's users, drawn so that a smaller share lies inside a larger one."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clients.prepare import without
from clients.splits import Split


@dataclass(frozen=True, kw_only=True)
class Draw:
    """Which users take part.

    Draws of one seed are nested: what a larger share adds is users, and nobody is exchanged.

    Args:
        share: of the users, in (0, 1]; rounded up, so that nobody's platform is empty.
        seed: of the order in which users are taken, each platform's its own.
    """

    share: float
    seed: int

    def rows(self, name: str, users: int) -> NDArray[np.int64]:
        """Ascending row numbers of those drawn of `users` users of platform `name`."""
        order = np.random.default_rng([self.seed, *name.encode()]).permutation(users)
        return np.sort(order[: math.ceil(self.share * users)])

    def of(self, name: str, cut: Split) -> Split:
        """The part of a platform's users that is drawn."""
        rows = self.rows(name, len(cut))
        left_out = np.ones(len(cut), dtype=np.bool_)
        left_out[rows] = False
        gone = {cut.train.users[int(row)] for row in np.flatnonzero(left_out)}
        return Split(
            train=without(cut.train, gone),
            validation=cut.validation[rows],
            test=cut.test[rows],
            dropped=cut.dropped,
        )
