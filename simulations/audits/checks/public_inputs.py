"""Do a platform's answers change when a user joins from whom there is nothing to learn?

Under one seed the whole of `Platform.train` is repeated on neighbouring data: the user who joins
has a single event, so no loss, but would be seen by any statistic of private data in the item
vectors, in a weight, or in what is added to the update.  What the catalogue's moments say must not
change either.

A row of zeros more in a matrix product may change the rounding of a float32 sum, and then a number
now and then lies at the next point of the noise's grid: about 5e-7 of an update's length.  What is
smaller than twenty of these is no finding.
"""

import numpy as np

from simulations.audits.checks.check import Cause, Check, Outcome
from simulations.audits.checks.site import (
    ITEMS,
    folders,
    histories,
    noised,
    request,
    site,
)

USERS = 10
ROUNDING = 1e-5


def check(seed: int) -> Outcome:
    """See the module."""
    new = ITEMS - 1  # an item that nobody else has met
    people = [[item % new for item in history] for history in histories(USERS, seed)]
    joined = [*people, [new]]
    with folders() as folder:
        platforms = [
            site(folder / str(number), data, unsafe_seed=seed)
            for number, data in enumerate((people, people, joined))
        ]
        before, after = platforms[0].moments(), platforms[2].moments()
        asked = request()
        one, again, other = noised(platforms, asked)
    if (one != again).any():
        return Outcome(Cause.UNREADABLE, detail="the same secret gives two different updates")
    alike = np.array_equal(before.mean, after.mean) and before.count == after.count
    if not alike or not np.array_equal(before.covariance, after.covariance):
        return Outcome(Cause.PRIVATE_STATISTICS, detail="moments of the catalogue read users")
    length = max(float(np.linalg.norm(one)), 1e-30)
    change = float(np.linalg.norm(other - one)) / length
    if change < ROUNDING:
        return Outcome()
    ratio = float(one @ other) / length**2
    beyond = float(np.linalg.norm(other - ratio * one)) / length
    if beyond < 0.05 * change:
        return Outcome(Cause.DENOMINATOR, detail=f"the update is {ratio:.4f} times what it was")
    return Outcome(
        Cause.PRIVATE_STATISTICS,
        detail=f"the update moved by {change:.2g} of itself",
    )


CHECK = Check("public inputs", ("adjacency", "release"), check)
