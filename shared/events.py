"""The one schema every platform's log is turned into, and the sequences the model reads.

An event is (user_id, item_id, action, time).  `user_id` is already a keyed pseudonym here: raw
ids never pass the door of `clients.sources`.  Shapes: U users, N events, V items.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from shared.errors import DataError
from shared.files import replacing

EVENT_COLUMNS = ("user_id", "item_id", "action", "time")


@dataclass(frozen=True, kw_only=True)
class Sequences:
    """Every user's items in order of time, oldest first, packed without padding.

    Args:
        users: U pseudonyms, distinct.
        items: (N,) int32 catalogue rows, all users one after the other.
        offsets: (U + 1,) int64; user u owns `items[offsets[u]:offsets[u + 1]]`.

    Raises:
        DataError: the offsets do not describe `items` and `users`.
    """

    users: tuple[str, ...]
    items: NDArray[np.int32]
    offsets: NDArray[np.int64]

    def __post_init__(self) -> None:
        fits = (
            len(self.offsets) == len(self.users) + 1
            and self.offsets[0] == 0
            and self.offsets[-1] == len(self.items)
            and bool(np.all(np.diff(self.offsets) >= 0))
        )
        if not fits:
            raise DataError(
                expected="offsets rising from 0 to the number of events, one per user and one more",
                got=f"{len(self.offsets)} offsets for {len(self.users)} users, "
                f"{len(self.items)} events",
                where="sequences",
            )

    def __len__(self) -> int:
        return len(self.users)

    def __getitem__(self, user: int) -> NDArray[np.int32]:
        """The items of user number `user` (a view), oldest first."""
        return self.items[self.offsets[user] : self.offsets[user + 1]]

    def save(self, path: Path) -> None:
        """Write them to `path` (.npz), replacing it atomically.

        Raises:
            StorageError: the disk refused.
        """
        with replacing(path) as temporary, open(temporary, "wb") as file:
            np.savez(
                file,
                users=np.array(self.users, dtype=np.str_),
                items=self.items,
                offsets=self.offsets,
            )

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what `save` wrote.

        Raises:
            OSError, ValueError, KeyError: it is not there, or not whole.
            DataError: see the class.
        """
        with np.load(path, allow_pickle=False) as found:
            return cls(
                users=tuple(found["users"].tolist()),
                items=found["items"],
                offsets=found["offsets"],
            )

    @property
    def lengths(self) -> NDArray[np.int64]:
        """(U,) events per user."""
        return np.diff(self.offsets)
