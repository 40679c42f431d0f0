"""What every message begins with: which version, of which kind; and strict reading of it."""

import re

from flwr.app import ConfigRecord, RecordDict

from shared.records import Scalar, only, part, protocol_error, scalar

PROTOCOL_VERSION = 6
"""5: the finished adapter is delivered, and an adapter travels as one array, not as one for each
tensor, which a round would spend most of its time on.  6: an update travels as two bits a number,
not as float16 (`shared.protocol.grid`)."""
OLDEST_VERSION = 5
HEAD = "fedinterest"

_HEX = re.compile(r"[0-9a-f]{64}")


def head_of(kind: str, version: int, **fields: Scalar | bytes | list[str]) -> ConfigRecord:
    """The head of a message."""
    return ConfigRecord({"version": version, "kind": kind, **fields})


def read_head(records: RecordDict, kind: str, fields: set[str], parts: set[str]) -> ConfigRecord:
    """The head of a message of `kind`, once version, kind and keys are as they must be."""
    head = part(records, HEAD, ConfigRecord)
    version = scalar(head, "version", int)
    if not OLDEST_VERSION <= version <= PROTOCOL_VERSION:
        raise protocol_error(
            f"protocol version {OLDEST_VERSION} or {PROTOCOL_VERSION}", str(version), "message"
        )
    if (found := scalar(head, "kind", str)) != kind:
        raise protocol_error(f"a {kind}", repr(found), "message")
    only(head, {"version", "kind", *fields}, "message head")
    only(records, {HEAD, *parts}, "message")
    return head


def hash_in(head: ConfigRecord, name: str) -> str:
    """The SHA-256 called `name`."""
    value = scalar(head, name, str)
    if not _HEX.fullmatch(value):
        raise protocol_error(f"{name} as 64 hex digits", f"{len(value)} characters", "message")
    return value


def round_in(head: ConfigRecord) -> int:
    """The round, from 1."""
    value = scalar(head, "round", int)
    if value < 1:
        raise protocol_error("a round of at least 1", str(value), "message")
    return value


def kind_of(records: RecordDict) -> str:
    """What a reply claims to be; "" where it does not say."""
    head = records.get(HEAD)
    kind = head.get("kind") if isinstance(head, ConfigRecord) else None
    return kind if isinstance(kind, str) else ""


def answered_in(records: RecordDict) -> int:
    """The version to answer a message in: the highest that both speak; the oldest where the
    message does not say.
    """
    head = records.get(HEAD)
    version = head.get("version") if isinstance(head, ConfigRecord) else None
    if not isinstance(version, int) or isinstance(version, bool):
        return OLDEST_VERSION
    return max(OLDEST_VERSION, min(version, PROTOCOL_VERSION))
