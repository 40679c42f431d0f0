"""Who a user is to the service: pseudonym, history, and what they allow."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clients.serving.answers import Who
from clients.serving.live.store import Live
from clients.serving.snapshot.snapshot import Snapshot
from clients.sources.pseudonyms import pseudonym
from shared.errors import ConfigError, ConsentError, UnknownError


@dataclass(frozen=True)
class People:
    """The users of one platform.

    Args:
        live: posted events and consent.
        secret: the platform's, that pseudonyms are keyed with.
    """

    live: Live
    secret: bytes

    def name(self, user_id: str) -> str:
        """The pseudonym of a raw id."""
        if not user_id.strip():
            raise ConfigError(expected="a user's id", got="an empty one", where="user_id")
        return pseudonym(self.secret, user_id.strip())

    def history(self, snapshot: Snapshot, who: Who) -> NDArray[np.int64]:
        """(L,) catalogue rows, oldest first, each once: by the log, then by what was posted.

        Raises:
            UnknownError: no such user, or an item that is not in the catalogue.
            ConsentError: the user has opted out.
            ConfigError: neither a user nor a history, or both.
        """
        if (who.user_id is None) == (who.item_ids is None):
            raise ConfigError(expected="a user or a history", got="neither or both", where="who")
        if who.item_ids is not None:
            return rows_of(snapshot, who.item_ids)
        return self.rows(snapshot, self.permitted(who.user_id or ""))

    def permitted(self, user_id: str) -> str:
        """The pseudonym of a user who has not opted out.

        Raises:
            ConsentError: the user has.
        """
        name = self.name(user_id)
        if name in self.live.opted_out():
            raise ConsentError(
                expected="a user who allows it", got="one who has opted out", where="user_id"
            )
        return name

    def rows(self, snapshot: Snapshot, name: str) -> NDArray[np.int64]:
        """The history of a pseudonym.

        Raises:
            UnknownError: nobody has it.
        """
        posted = self.live.history(name, snapshot.meta.history_length)
        known = merged(snapshot, name, [one.item_id for one in posted])
        if not len(known):
            raise UnknownError(
                expected="a user with events on this platform", got="none", where="user_id"
            )
        return known


def merged(snapshot: Snapshot, name: str, posted: Sequence[str]) -> NDArray[np.int64]:
    """(L,) the history of a pseudonym, oldest first, each row once: by the snapshot, and then by
    the items that were posted, of which those that are gone are left out.
    """
    number = snapshot.number_of.get(name)
    own = snapshot.sequences[number] if number is not None else np.zeros(0, np.int64)
    known: list[int] = snapshot.current(own).tolist()
    row_of = snapshot.catalogue.row_of
    known += [row for item in posted if (row := row_of.get(item)) is not None]
    return np.array(list(dict.fromkeys(known)), np.int64)


def rows_of(snapshot: Snapshot, item_ids: tuple[str, ...]) -> NDArray[np.int64]:
    """Catalogue rows, each once.

    Raises:
        UnknownError: items that are not in the catalogue; how many.
    """
    row_of = snapshot.catalogue.row_of
    unknown = [item for item in item_ids if item not in row_of]
    if unknown:
        raise UnknownError(
            expected="items of the catalogue",
            got=f"{len(unknown)} others",  # which, would say something of a history
            where="item_id",
        )
    return np.array(list(dict.fromkeys(row_of[item] for item in item_ids)), np.int64)
