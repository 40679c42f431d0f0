"""A user asks to be forgotten, or to be left out: from then on nothing is learned from them.

`forget` leaves a signed receipt and is for ever.  `leave_out` leaves none, and a user who opts in
again comes back when the log is next prepared.  In this order, each step safe to do again after a
crash:
1. No message is being answered (an answer begun before would be given on the old histories).
2. `forget`: a signed receipt is on disk.  `leave_out`: the pseudonym is on the list of those left
   out.  Either says nothing without the platform's secret, and binds every later preparation: the
   user is left out whatever the log says.
3. `forget`: the raw id is on the opt-out list, so that the log itself is read without them.
4. The secrets of rounds are destroyed.
5. Held-out events and training histories are written anew without them.
6. `forget`: what the service has kept of them is erased; snapshots that hold their history are
   removed, and made anew when the service next looks.

What it does to a round that is asked for again: histories have changed, so their digest has, and
the same request gets fresh noise and a full charge.  It must: two answers under one noise, with
and without the user, would show the user's contribution bare.  With the secrets gone nobody, the
platform included, can remove the noise of an answer already given either.  The price is at most
one round's steps, where a round is repeated; the ledger keeps the total.  Somebody who comes back
is no other case: histories change again, nothing is replayed, and what is spent on them adds up in
the same ledger.

What was released before stays released, under the promise it was released under, and the ledger
keeps its charges.  The population is what was declared, and does not follow who comes and goes.
The raw log is the platform's own: erase the user there too.
"""

import fcntl
import os
import time
from collections.abc import Callable, Iterator, Set
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from clients.home import Home
from clients.leaving import destroy, finish, rewrite
from clients.lists import Lists, raw_id
from clients.platform import Platform
from clients.receipts import Receipt, check_receipt, keep, receipts
from clients.serving.live.training import drop_snapshots, opened
from clients.sources.pseudonyms import pseudonym
from shared.errors import DataError, RunError

__all__ = ["Receipt", "check_receipt", "forget", "idle", "leave_out", "receipts"]

_WAIT_S = 600.0


@contextmanager
def idle(state: Path, wait_s: float = _WAIT_S) -> Iterator[None]:
    """Hold off the executor; it holds the same lock while it answers.

    Raises:
        RunError: it has been busy all the time.
    """
    state.mkdir(parents=True, exist_ok=True)
    handle = os.open(state / "answering.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        deadline = time.monotonic() + wait_s
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError as error:
                if time.monotonic() > deadline:
                    raise RunError(
                        expected=f"a moment without a round in {wait_s:g} s",
                        got="none",
                        where=str(state),
                        remedy="`fedinterest-client pause`, and try again.",
                    ) from error
                time.sleep(0.05)
        yield
    finally:
        os.close(handle)


def forget(home: Home, user: str, now: datetime | None = None) -> Receipt:
    """Forget a user, given as the log writes it.

    Args:
        now: the time that the receipt says.

    Raises:
        DataError: an empty id, or nobody would be left to learn from.
        RunError: the platform's secret is missing, or a round does not end; or the service's store
            is damaged, and all but erasing there was done.
        StorageError: the disk refused; do it again.
    """
    name = raw_id(user)
    secret = home.folder.platform / "pseudonym.secret"
    if not secret.is_file():
        raise RunError(
            expected="a prepared platform",
            got="none",
            where=str(secret),
            remedy="Before the first `up` it is enough to write the id into the opt-out list.",
        )
    who = pseudonym(secret.read_bytes(), name)
    with idle(home.folder.state):
        found = bool(_trained_on(home, {who}))
        records = home.promises.records().values()
        receipt = Receipt(
            platform=home.name,
            pseudonym=who,
            time=(now or datetime.now(UTC)).isoformat(timespec="seconds"),
            found=found,
            ledger=[record.head for record in records][-1] if records else "",
        )
        keep(home, receipt)
        _opt_out(home, name)
        if found:
            _take_out(home, {who}, "forgotten")
        with opened(home) as live:
            if live is not None:
                live.erase(who)
                live.taken_up(who)
        drop_snapshots(home, who)
    return receipt


def leave_out(home: Home, names: Callable[[], Set[str]]) -> int:
    """Learn nothing more from users until they opt in again; how many were trained on.

    The caller holds `idle`.

    Args:
        names: says who they are, by pseudonym; asked while nobody changes the lists.

    Raises:
        DataError: nobody would be left to learn from.
        RunError: the list of those left out is damaged.
        StorageError: the disk refused; do it again.
    """
    lists = Lists.of(home)
    with lists.held():
        wanted = names()
        lists.leave_out(wanted)
    found = _trained_on(home, wanted)
    if found:
        _take_out(home, found, "opt_out")
    return len(found)


def _opt_out(home: Home, user: str) -> None:
    lists = Lists.of(home)
    with lists.held():
        lists.add(user)


def _take_out(home: Home, names: Set[str], reason: str) -> None:
    destroy(home.folder.platform / "secrets")
    rewrite(home.folder.platform, names, reason=reason)


def _trained_on(home: Home, names: Set[str]) -> Set[str]:
    """Which of the users are in the training histories; a rewriting that was broken off is ended.

    Raises:
        DataError: nobody else is.
    """
    folder = home.folder.platform
    if not (folder / "platform.json").is_file():
        return set()
    finish(folder)
    users = set(Platform.open(folder).sequences.users)
    found = users & names
    if found and found == users:
        raise DataError(expected="users to learn from", got="nobody else", where="forget")
    return found
