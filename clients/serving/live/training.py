"""Who has opted out is taken out of what is trained on, before the next round is answered.

Whoever is about to train calls `before_training` under its own lock; the service asks for
`take_up` in the background: `python -m clients.serving.live.training DIR`.  It may be killed at any
moment: an opt-out stays pending in the store until it has been done.

A round that is being computed when a user opts out ends as it began.  To hold its answer back
would tell the coordinator that somebody opted out at that moment, and would cost the round's steps
a second time; it is covered by the promise it was charged under.
"""

import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from zipfile import BadZipFile

from clients.home import Home
from clients.lists import Lists
from clients.serving.live.store import FILE, Live
from shared.errors import FedInterestError
from shared.events import Sequences
from shared.files import storage_error

SERVING = "serving"


def place(home: Home) -> Path:
    """Where a partner's live store lies, or would lie."""
    return home.folder.path / SERVING / FILE


@contextmanager
def opened(home: Home) -> Iterator[Live | None]:
    """A partner's live store; None where nothing was ever served.

    Raises:
        RunError, StorageError: it cannot be opened: it is not known who has opted out.
    """
    path = place(home)
    live = Live.open(path) if path.is_file() else None
    try:
        yield live
    finally:
        if live is not None:
            live.close()


def drop_snapshots(home: Home, name: str) -> None:
    """Remove snapshots that hold a user's history, or are not whole.

    A service that has one of them mapped answers on, but for the user, until it has another one.

    Raises:
        StorageError: the disk refused; do it again.
    """
    folder = home.folder.path / SERVING / "snapshots"
    for snapshot in sorted(folder.iterdir()) if folder.is_dir() else ():
        try:
            if name not in Sequences.load(snapshot / "sequences.npz").users:
                continue
        except (OSError, ValueError, KeyError, BadZipFile, FedInterestError):
            pass  # half of one: nobody knows what is in it
        try:
            shutil.rmtree(snapshot)
        except FileNotFoundError:
            pass  # by the service itself
        except OSError as error:
            raise storage_error(error, snapshot) from error


def take_up(home: Home, live: Live) -> int:
    """Take everybody whose opt-out is pending out of what is trained on; how many they were.

    Waits for the end of a round that is being computed.

    Raises:
        RunError: a round does not end, or the list of those left out is damaged.
        DataError: nobody would be left to learn from.
        StorageError: the disk refused.  In all cases they stay pending.
    """
    if not live.pending():
        return 0
    Lists.of(home).names()  # a damaged list ends it here, before what takes seconds to import
    from clients.forget import idle  # torch

    with idle(home.folder.state):
        return take_up_idle(home, live)


def take_up_idle(home: Home, live: Live) -> int:
    """`take_up` for a caller who holds the lock (`clients.forget.idle`)."""
    from clients.forget import leave_out

    names: list[str] = []

    def now() -> frozenset[str]:
        names.extend(live.pending())
        return frozenset(names)

    if live.pending():
        leave_out(home, now)
        lists = Lists.of(home)
        with lists.held():
            # Somebody may have opted in meanwhile, and out again without having reached the lists.
            for name in sorted(lists.names() & set(names)):
                live.taken_up(name)
    return len(names)


def before_training(home: Home) -> None:
    """`take_up_idle` on a partner's own store, where there is one; and whoever's leaving was broken
    off is gone afterwards.

    Raises:
        FedInterestError: as `take_up`, or the store cannot be opened: then nothing may be trained.
    """
    from clients.leaving import finish

    finish(home.folder.platform)
    with opened(home) as live:
        if live is not None:
            take_up_idle(home, live)


def main() -> int:
    """Take up what is pending in DIR; the exit code."""
    try:
        home = Home.open(Path(sys.argv[1]))
        with opened(home) as live:
            if live is not None:
                take_up(home, live)
    except FedInterestError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
