"""Signed receipts of users who were forgotten: DIR/receipts, one file a user."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from clients.home import Home
from shared.errors import ProtocolError, RunError
from shared.files import write_bytes
from shared.transparency.canonical import canonical, parse
from shared.transparency.envelope import Envelope
from shared.transparency.keys import PublicKey

RECEIPT = "application/vnd.fedinterest.forgotten+json"
VERSION = 1


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


def path_of(home: Home, name: str) -> Path:
    """Where the receipt of a pseudonym lies, or would lie."""
    return home.folder.receipts / f"{name[:32]}.json"


def keep(home: Home, receipt: Receipt) -> None:
    """Sign a receipt and keep it; the first one of a user stands.

    Raises:
        StorageError: the disk refused.
    """
    path = path_of(home, receipt.pseudonym)
    if path.is_file():
        return  # forgotten before: the first receipt stands
    values: dict[str, Any] = {"version": VERSION, **asdict(receipt)}
    write_bytes(path, Envelope.signed(RECEIPT, canonical(values), home.keys.signing).to_bytes())
