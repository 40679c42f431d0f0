"""A user asks to be forgotten: from then on nothing is learned from them.

In this order, each step safe to do again after a crash:
1. No message is being answered (an answer begun before would be given on the old histories).
2. A signed receipt is on disk.  It names the pseudonym, which says nothing without the platform's
   secret, and binds every later preparation: the user is left out whatever the log says.
3. The raw id is on the opt-out list, so that the log itself is read without them.
4. The secrets of rounds are destroyed.
5. Held-out events and training histories are written anew without them.

What it does to a round that is asked for again: histories have changed, so their digest has, and
the same request gets fresh noise and a full charge.  It must: two answers under one noise, with
and without the user, would show the user's contribution bare.  With the secrets gone nobody, the
platform included, can remove the noise of an answer already given either.  The price is at most
one round's steps, where a round is repeated; the ledger keeps the total.

What was released before stays released, under the promise it was released under, and the ledger
keeps its charges.  The raw log is the platform's own: erase the user there too.
"""

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from clients.home import Home
from clients.platform import Platform
from clients.prepare import without
from clients.sources.optout import read_opt_out
from clients.sources.pseudonyms import pseudonym
from shared.errors import DataError, ProtocolError, RunError
from shared.files import replacing, storage_error, write_bytes, write_text
from shared.transparency.canonical import canonical, parse
from shared.transparency.envelope import Envelope
from shared.transparency.keys import PublicKey

RECEIPT = "application/vnd.fedinterest.forgotten+json"
VERSION = 1
_WAIT_S = 600.0


@dataclass(frozen=True, kw_only=True)
class Receipt:
    """That a user was forgotten.

    Args:
        platform: whose user.
        pseudonym: 64 hex digits.
        time: UTC, ISO.
        found: the user was among those trained on.
        ledger: head hash of the ledger at that moment; "" where there is none.
    """

    platform: str
    pseudonym: str
    time: str
    found: bool
    ledger: str


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
        RunError: the platform's secret is missing, or a round does not end.
        StorageError: the disk refused; do it again.
    """
    name = user.strip()
    if not name or "\n" in name:
        raise DataError(expected="a user's id", got="an empty one", where="forget")
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
        found, left = False, 0
        prepared = (home.folder.platform / "platform.json").is_file()
        if prepared:
            users = Platform.open(home.folder.platform).sequences.users
            found, left = who in users, len(users)
        if found and left < 2:
            raise DataError(expected="users to learn from", got="nobody else", where="forget")
        records = home.promises.records().values()
        receipt = Receipt(
            platform=home.name,
            pseudonym=who,
            time=(now or datetime.now(UTC)).isoformat(timespec="seconds"),
            found=found,
            ledger=[record.head for record in records][-1] if records else "",
        )
        _keep(home, receipt)
        _opt_out(home, name)
        if found:
            _destroy(home.folder.platform / "secrets")
            _rewrite(home.folder.platform, who)
    return receipt


def receipts(folder: Path) -> list[Receipt]:
    """All receipts in a folder; whether they are signed is `check_receipt`'s affair.

    Raises:
        RunError: one is damaged: it is not known who must be left out.
    """
    found = []
    for path in sorted(folder.glob("*.json")):
        try:
            envelope = Envelope.from_bytes(path.read_bytes(), str(path))
            found.append(_receipt(envelope, str(path)))
        except (OSError, ProtocolError) as error:
            raise RunError(
                expected="a receipt as it was written",
                got=type(error).__name__,
                where=str(path),
                remedy="Restore it: without it somebody who was forgotten might come back.",
            ) from error
    return found


def check_receipt(content: bytes, key: PublicKey) -> Receipt:
    """A receipt, once its signature is right.

    Raises:
        ProtocolError: it is damaged, or not signed with `key`.
    """
    envelope = Envelope.from_bytes(content, "receipt")
    if not envelope.is_signed_by(key):
        raise ProtocolError(
            expected=f"a receipt signed with the key {key.id[:12]}",
            got="another signature",
            where="receipt",
        )
    return _receipt(envelope, "receipt")


def _receipt(envelope: Envelope, where: str) -> Receipt:
    values = parse(envelope.payload, where)
    try:
        if envelope.kind != RECEIPT or values.pop("version") != VERSION:
            raise ValueError("kind")
        return Receipt(**values)
    except (ValueError, KeyError, TypeError) as error:
        raise ProtocolError(expected="a receipt", got="something else", where=where) from error


def _keep(home: Home, receipt: Receipt) -> None:
    path = home.folder.receipts / f"{receipt.pseudonym[:32]}.json"
    if path.is_file():
        return  # forgotten before: the first receipt stands
    values: dict[str, Any] = {"version": VERSION, **asdict(receipt)}
    write_bytes(path, Envelope.signed(RECEIPT, canonical(values), home.keys.signing).to_bytes())


def _opt_out(home: Home, user: str) -> None:
    path = home.settings.cleaning.opt_out or home.folder.opt_out
    try:
        known = read_opt_out(path) if path.is_file() else []
        if user not in known:
            text = path.read_text(encoding="utf-8-sig") if path.is_file() else ""
            joint = "" if not text or text.endswith("\n") else "\n"
            write_text(path, f"{text}{joint}{user}\n")
    except OSError as error:
        raise storage_error(error, path) from error


def _rewrite(folder: Path, who: str) -> None:
    """The stored histories without one user; the held-out events, which go by place, likewise."""
    platform = Platform.open(folder)
    sequences = platform.sequences
    place = sequences.users.index(who)
    held_out = folder / "heldout.npz"
    if held_out.is_file():
        with np.load(held_out, allow_pickle=False) as found:
            kept = {name: found[name] for name in found.files}
        if all(len(value) == len(sequences) for value in kept.values()):
            with replacing(held_out) as temporary, open(temporary, "wb") as file:
                np.savez(file, **{name: np.delete(value, place) for name, value in kept.items()})  # type: ignore[arg-type]
    left = without(sequences, {who})
    left.save(folder / "sequences.npz")
    facts = folder / "facts.json"
    if facts.is_file():
        values = json.loads(facts.read_text(encoding="utf-8"))
        gone = len(sequences.items) - len(left.items)
        values["users"] = len(left)
        values["events"] -= gone
        values["dropped"]["forgotten"] = values["dropped"].get("forgotten", 0) + gone
        write_text(facts, json.dumps(values, indent=2, ensure_ascii=False) + "\n")


def _destroy(folder: Path) -> None:
    for path in folder.glob("*.secret"):
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise storage_error(error, path) from error
