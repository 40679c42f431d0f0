"""New keys for a partner, and what hangs on them.

TLS and node keys are the coordinator's affair alone: a new request, a new enrolment.  The signing
key is the platform's identity.  With a new one the anchor goes on under the new name, and the log
of statements is set aside and begun anew, since every line of it is signed with one key.  Budgets,
ledgers and promises stay: they are the users', not the key's.
"""

import os

from clients.home import Home
from clients.joining.start import write_request
from clients.node.control import PIDS
from clients.spending.anchor import Anchor, default_path
from shared.enrolment import EnrolmentRequest
from shared.errors import ConfigError, RunError
from shared.files import storage_error
from shared.processes import read_status


def rotate(home: Home, *, statement_key: bool = False) -> EnrolmentRequest:
    """Make new keys and a new request.json; the old enrolment is set aside.

    Raises:
        RunError: the platform's programs run.
        ConfigError: the signing key follows from a test's seed.
        LedgerError: the anchor or a ledger is damaged.
        StorageError: the disk refused.
    """
    if read_status(home.folder.state / PIDS) is not None:
        raise RunError(
            expected="a platform whose programs do not run",
            got="running ones",
            where=str(home.folder.path),
            remedy="`fedinterest-client stop` first.",
        )
    if statement_key and home.settings.unsafe.seed is not None:
        raise ConfigError(
            expected="a signing key of its own",
            got="one that follows from a seed",
            where="unsafe.seed",
        )
    old, before = home.keys.signing.public.id, home.anchor
    before.check(home.folder.ledgers, home.promises.records())
    home.keys.rotate(signing=statement_key)
    if statement_key:
        if home.settings.ledger.anchor is None:
            # Written under the new name before anything is trained under it.
            Anchor(before.path).move_to(default_path(home.keys.signing.public.id))
        _set_aside(home, old)
    try:
        if home.folder.enrolment.is_file():
            os.replace(home.folder.enrolment, home.folder.path / "enrolment.old.json")
    except OSError as error:
        raise storage_error(error, home.folder.enrolment) from error
    return write_request(home)


def _set_aside(home: Home, key_id: str) -> None:
    """The logs signed with the old key, and the platform's own copy of it."""
    try:
        for log in home.folder.record.rglob(f"{home.name}.jsonl*"):
            os.replace(log, log.with_name(f"{key_id[:12]}-{log.name}"))
        if (home.folder.platform / "platform.json").is_file():
            (home.folder.platform / "signing.key").unlink(missing_ok=True)
            os.link(home.keys.signing_key, home.folder.platform / "signing.key")
    except OSError as error:
        raise storage_error(error, home.folder.record) from error
