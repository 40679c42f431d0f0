"""Updates as they were noised, before a platform cuts them to the two bits a number that travel.

The promise is the noise's.  What travels is made of the noised update alone and says less, so an
auditor who hears more tests the promise harder, and a faulty noise is seen at its own scale.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from clients import platform
from shared.protocol import TrainReply, travelling
from shared.protocol.updates import Update


class Overheard:
    """What the platforms of this process noised while `overhearing` lasted."""

    def __init__(self) -> None:
        self._updates: list[Update] = []

    def hear(self, update: Update, version: int) -> Update:
        """In the place of `travelling`, which it calls."""
        self._updates.append(update)
        return travelling(update, version)

    def of(self, reply: TrainReply) -> Update | None:
        """What `reply` was made of; it is forgotten with all that came before it.

        None where the platform sends anything else: then it is judged by what it sends.
        """
        for place, update in enumerate(self._updates):
            sent = travelling(update, reply.version)
            if sent.keys() == reply.update.keys() and all(
                np.array_equal(value, reply.update[name]) for name, value in sent.items()
            ):
                del self._updates[: place + 1]
                return update
        return None


@contextmanager
def overhearing() -> Iterator[Overheard]:
    """Hear what the platforms of this process noise from here on."""
    found, installed = Overheard(), platform.travelling
    setattr(platform, "travelling", found.hear)  # noqa: B010 - a patch
    try:
        yield found
    finally:
        setattr(platform, "travelling", installed)  # noqa: B010
