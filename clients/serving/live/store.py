"""What happens between two snapshots, in one SQLite file: events, new items, what users allow.

Guarantees:
1. What `post`, `put_items`, `delete_items`, `set_consent` and `erase` have returned for is on disk,
   through a kill of the process and a loss of power.
2. Users are pseudonyms here; no raw id is ever stored, and none is in an error.
3. What `erase` has removed is in no file of the store when it returns.  (Flash and file systems
   may keep a copy: encrypt the disk.)
4. Nothing is kept of users who have opted out from then on.

Safe to be used from many threads.  One process serves; others may read, take up opt-outs and
erase, and each sees at once what the others did.
"""

from collections.abc import Container, Sequence
from pathlib import Path

from clients.serving.answers import Consent, Deleted, NewItem, Put
from clients.serving.live.choices import Choices
from clients.serving.live.database import Database
from clients.serving.live.events import Events, Posting
from clients.serving.live.items import Items
from clients.serving.live.rows import LiveEvent
from clients.serving.live.schema import CHANGES, SCHEMA, VERSION

__all__ = ["FILE", "Live", "LiveEvent", "Posting"]

FILE = "live.db"


class Live:
    """See the module.

    Args:
        path: of the file; made if it is not there, changed if an older release made it.

    Raises:
        RunError: the file is damaged, or of a newer version.
        StorageError: the disk refused.  Both hold for every method, too.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._database = Database(path, schema=SCHEMA, version=VERSION, changes=CHANGES)
        self._events = Events(self._database)
        self._items = Items(self._database)
        self._choices = Choices(self._database)

    @classmethod
    def open(cls, path: Path) -> "Live":
        """The store at `path`."""
        return cls(path)

    def post(self, events: Sequence[LiveEvent]) -> int:
        """`keep`, for those who only want to know how many were accepted."""
        return self.keep(events).accepted

    def keep(self, events: Sequence[LiveEvent]) -> Posting:
        """Keep events in one transaction.  The same (pseudonym, item, time) again counts once."""
        return self._events.keep(events)

    def history(self, pseudonym: str, most: int) -> list[LiveEvent]:
        """A user's newest events, at most `most`, oldest first by (time, order of arrival)."""
        return self._events.history(pseudonym, most)

    def users(self) -> list[str]:
        """Everybody with an event here."""
        return self._events.users()

    def changed_users(self, since_seq: int) -> tuple[list[str], int]:
        """(who has new events since, the number to ask with next time); begin with 0.

        Who was erased is not among them: see `opted_out`.
        """
        return self._events.changed_users(since_seq)

    def histories_since(self, since_seq: int, most: int) -> tuple[dict[str, list[str]], int]:
        """(item ids of the `history` of each of the `changed_users`, the number to ask with next
        time), in one query.
        """
        return self._events.histories_since(since_seq, most)

    def dropped_before(self) -> float:
        """Events of times before have been dropped (`prune`); minus infinity at first."""
        return self._events.dropped_before()

    def counts(self, since: float, until: float) -> dict[str, int]:
        """item id -> events with since <= time < until, but of those who have opted out."""
        return self._events.counts(since, until)

    def newest(self) -> float | None:
        """Time of the newest event."""
        return self._events.newest()

    def events(self) -> int:
        """How many there are."""
        return self._events.count()

    def prune(self, before: float) -> int:
        """Drop events with time < `before`, which the platform's own log has; how many."""
        return self._events.prune(before)

    def put_items(self, items: Sequence[NewItem]) -> Put:
        """Add items, or change those whose content is another, in one transaction."""
        return self._items.put(items)

    def delete_items(self, item_ids: Sequence[str], known: Container[str]) -> Deleted:
        """Note that items are not offered until they are put again, in one transaction.

        Args:
            known: ids of the catalogue; what was put is known too.
        """
        return self._items.delete(item_ids, known)

    def deleted_items(self) -> list[str]:
        """What is not offered, the first deleted first."""
        return self._items.deleted()

    def item_changes(self) -> int:
        """A number that rises whenever an item is put or deleted."""
        return self._items.count()

    def items_after(self, seq: int) -> tuple[list[NewItem], int]:
        """(items added or changed since, the number to ask with next time); begin with 0."""
        return self._items.after(seq)

    def consent(self, pseudonym: str) -> Consent:
        """What a user allows; the default where nothing was said."""
        return self._choices.of(pseudonym)

    def set_consent(
        self, pseudonym: str, *, learning: bool | None = None, similar_users: bool | None = None
    ) -> Consent:
        """Keep what a user allows; see `clients.serving.live.consent` for what else belongs to it.

        Raises:
            ConsentError: the user was erased, and is to be learned from again.
        """
        return self._choices.set(pseudonym, learning=learning, similar_users=similar_users)

    def opted_out(self) -> frozenset[str]:
        """Who may be neither learned from nor named; the erased are among them."""
        return self._choices.opted_out()

    def opted_in(self) -> frozenset[str]:
        """Who may be found by others."""
        return self._choices.opted_in()

    def erased(self) -> frozenset[str]:
        """Whose tombstones there are."""
        return self._choices.erased()

    def pending(self) -> list[str]:
        """Who has opted out, or was erased, and is perhaps still trained on; the first first."""
        return self._choices.pending()

    def taken_up(self, pseudonym: str) -> None:
        """The user is in nothing that is trained on any more."""
        self._choices.mark(pseudonym, pending=False)

    def take_up_again(self, pseudonym: str) -> None:
        """Make the opt-out of a user pending once more; nothing for who has not opted out."""
        self._choices.mark(pseudonym, pending=True)

    def erase(self, *pseudonyms: str) -> int:
        """Users' events and choices are overwritten; how many events there were.

        Tombstones stay: they count as opted out for ever, and later events are refused.

        Raises:
            StorageError: what was deleted may still be readable in a file; do it again.
        """
        return self._choices.erase(*pseudonyms)

    def close(self) -> None:
        """Let go of the file."""
        self._database.close()
