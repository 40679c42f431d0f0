"""A user opts out, or in again: in the service at once, in training before the next round.

Opting out, in this order, each step safe to do again after a crash:
1. The live store has it on disk, as pending: from here on the service neither answers for the user
   nor names them, and keeps none of their events.
2. The raw id is on the opt-out list, and the pseudonym on the list of those left out: the log is
   prepared without them, whatever happens to the store.
3. `training.take_up` writes the histories anew, before the next round is answered.
A crash after 1 loses nothing: 2 (but for the raw id, which the store does not know) and 3 are done
from what is pending.

Opting in takes the steps back, so that a crash in between leaves the user out: pending again, off
the lists, then allowed.  The service learns from the user at once, training when the log is next
prepared.

Nothing here waits for a round, or imports torch.
"""

from clients.home import Home
from clients.lists import Lists, raw_id
from clients.receipts import path_of, receipts
from clients.serving.answers import Consent
from clients.serving.live.store import Live
from clients.sources.pseudonyms import pseudonym, pseudonyms
from shared.errors import ConsentError, RunError


def opt_out(home: Home, live: Live, user_id: str) -> Consent:
    """Nothing is learned from a user any more.

    Raises:
        DataError: an empty id.
        RunError: the platform's secret is missing, or a list is damaged.
        StorageError: the disk refused; what of it was done holds, do it again for the rest.
    """
    name = pseudonym(_secret(home), raw_id(user_id))
    allowed = live.set_consent(name, learning=False)
    lists = Lists.of(home)
    with lists.held():
        lists.add(raw_id(user_id))
        lists.leave_out([name])
    return allowed


def opt_in(home: Home, live: Live, user_id: str) -> Consent:
    """A user who has opted out is learned from again; nothing changes for anybody else.

    Raises:
        ConsentError: the user was forgotten.
        DataError, RunError, StorageError: as `opt_out`; the user is left out as before.
    """
    name = pseudonym(_secret(home), raw_id(user_id))
    if path_of(home, name).is_file():
        raise ConsentError(
            expected="a user who was not forgotten",
            got="one who was",
            where="learning",
            remedy="Forgetting is for ever: that is what the receipt says.",
        )
    if (allowed := live.consent(name)).learning:
        return allowed
    lists = Lists.of(home)
    with lists.held():  # whoever takes up what is pending reads it under this lock
        live.take_up_again(name)
        lists.remove(raw_id(user_id))
        lists.let_in(name)
        return live.set_consent(name, learning=True)


def follow(home: Home, live: Live) -> None:
    """Take over from the lists what the store does not know: for the start of a service.

    Who is on the opt-out list is opted out as long as the list says so: it may be kept by hand, or
    by a program of the partner's.  Who opted out here, or was forgotten, stays so even if the store
    was lost.

    Raises:
        SourceError, RunError: a list or a receipt cannot be read.
        StorageError: the store cannot be written.
    """
    lists = Lists.of(home)
    with lists.held():
        listed, left_out = set(pseudonyms(_secret(home), lists.raw())), lists.names()
        out, pending = live.opted_out(), set(live.pending())
        for name in sorted(left_out - out):
            live.set_consent(name, learning=False)
        for name in sorted(listed - left_out - out):
            live.set_consent(name, learning=False)
            live.taken_up(name)  # by the next preparation, like all the list says
        for name in sorted(out - listed - left_out - pending - live.erased()):
            live.set_consent(name, learning=True)
    forgotten = {one.pseudonym for one in receipts(home.folder.receipts)} - live.erased()
    if forgotten:
        live.erase(*sorted(forgotten))


def _secret(home: Home) -> bytes:
    path = home.folder.platform / "pseudonym.secret"
    try:
        return path.read_bytes()
    except OSError as error:
        raise RunError(
            expected="the platform's secret", got=error.strerror or "none", where=str(path)
        ) from error
