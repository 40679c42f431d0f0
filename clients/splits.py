"""Leave-last-out: what a system may learn from, choose by, and is judged on.

The last event of a user is the test, the one before it the validation, the rest is training.
Shapes: U users that are kept, N training events.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from shared.errors import DataError
from shared.events import Sequences

MIN_EVENTS = 4
SHORT_HISTORY = "short_history"


@dataclass(frozen=True)
class Split:
    """One platform's users, cut by time.

    Args:
        train: U users, each with at least two events.
        validation: (U,) int32, the item after a user's training events.
        test: (U,) int32, the item after that.
        dropped: users left out, by reason.
    """

    train: Sequences
    validation: NDArray[np.int32]
    test: NDArray[np.int32]
    dropped: dict[str, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.train)

    def histories(self, which: str, start: int, stop: int) -> list[NDArray[np.int32]]:
        """Whole histories of users [start, stop), oldest first: all that precedes the target.

        For "validation" that is the training events; for "test" the validation item as well.
        """
        train = [self.train[user] for user in range(start, stop)]
        if which == "validation":
            return train
        return [
            np.append(items, last)
            for items, last in zip(train, self.validation[start:stop], strict=True)
        ]

    def targets(self, which: str) -> NDArray[np.int32]:
        """(U,) the items to be found."""
        return self.validation if which == "validation" else self.test


def split(sequences: Sequences) -> Split:
    """Cut every user's events; users with fewer than `MIN_EVENTS` are left out and counted.

    Raises:
        DataError: nobody has enough events.
    """
    lengths = sequences.lengths
    kept = np.flatnonzero(lengths >= MIN_EVENTS)
    if not len(kept):
        raise DataError(
            expected=f"at least one user with {MIN_EVENTS} events",
            got=f"none among {len(sequences)} users",
            where="split",
            remedy="Give the platform more of its log, or loosen the cleaning.",
        )
    ends = sequences.offsets[1:][kept]
    sizes = lengths[kept] - 2
    offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    # event number of each training event: its user's first one plus its place
    starts = sequences.offsets[:-1][kept]
    taken = np.repeat(starts - offsets[:-1], sizes) + np.arange(offsets[-1])
    train = Sequences(
        users=tuple(sequences.users[user] for user in kept),
        items=sequences.items[taken],
        offsets=offsets,
    )
    return Split(
        train=train,
        validation=sequences.items[ends - 2].astype(np.int32),
        test=sequences.items[ends - 1].astype(np.int32),
        dropped={SHORT_HISTORY: int(len(lengths) - len(kept))},
    )
