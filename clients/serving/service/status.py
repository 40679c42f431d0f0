"""An error as a gRPC status, on both sides of the wire.

What the service knows of an error of ours travels as JSON in the trailing metadata `KEY`, so that a
caller has expected, got, where and remedy apart.  Of any other exception nothing travels but that
there was one: its text may hold anything.
"""

import errno
import json
import sqlite3
from collections.abc import Iterable
from typing import Any

import grpc

import shared.errors as errors
from shared.errors import (
    CatalogueError,
    ConfigError,
    ConsentError,
    FedInterestError,
    PolicyRefusal,
    ProtocolError,
    RunError,
    StorageError,
    UnknownError,
)
from shared.operations.logs import tidy

Code = grpc.StatusCode
KEY = "fedinterest-error-bin"
_FULL = {errno.ENOSPC, errno.EDQUOT}
_FIELDS = ("expected", "got", "where", "remedy")

# The first that fits; a state that asking again does not mend is FAILED_PRECONDITION.
_CODES: tuple[tuple[type[FedInterestError], grpc.StatusCode], ...] = (
    (ConfigError, Code.INVALID_ARGUMENT),
    (CatalogueError, Code.INVALID_ARGUMENT),
    (UnknownError, Code.NOT_FOUND),
    (ConsentError, Code.PERMISSION_DENIED),
    (PolicyRefusal, Code.PERMISSION_DENIED),
    (StorageError, Code.UNAVAILABLE),
    (FedInterestError, Code.FAILED_PRECONDITION),
)

CALLERS_FAULT = frozenset(
    {
        Code.INVALID_ARGUMENT,
        Code.NOT_FOUND,
        Code.PERMISSION_DENIED,
        Code.DEADLINE_EXCEEDED,
        Code.CANCELLED,
    }
)
"""Statuses that say nothing of the service's own health."""


class Refused(Exception):
    """A call that ends with a status other than OK.

    Args:
        code: the status.
        text: for people; nothing of the data.
        fields: of the error of ours behind it; empty where there is none.
    """

    def __init__(self, code: grpc.StatusCode, text: str, fields: dict[str, str]) -> None:
        super().__init__(code, text)
        self.code, self.text, self.fields = code, text, fields

    @property
    def metadata(self) -> tuple[tuple[str, bytes], ...]:
        """What travels behind the reply."""
        return ((KEY, json.dumps(self.fields).encode()),) if self.fields else ()


def refused(error: Exception) -> Refused:
    """The status of `error`."""
    if isinstance(error, Refused):
        return error
    if isinstance(error, FedInterestError):
        code = next(code for kind, code in _CODES if isinstance(error, kind))
        if isinstance(error, StorageError) and _is_full(error):
            code = Code.RESOURCE_EXHAUSTED
        fields = {name: tidy(getattr(error, name)) for name in _FIELDS}
        return Refused(code, tidy(str(error)), {"kind": type(error).__name__, **fields})
    if isinstance(error, MemoryError):
        return Refused(Code.RESOURCE_EXHAUSTED, "not enough memory for this request", {})
    return Refused(Code.INTERNAL, "a defect of the service; its log says where", {})


def late() -> Refused:
    """A caller that does not wait any more."""
    return Refused(Code.DEADLINE_EXCEEDED, "the deadline had passed before work began", {})


def stopping() -> Refused:
    """The service ends."""
    return Refused(Code.UNAVAILABLE, "the service is stopping; ask again", {})


def unreadable(expected: str, got: str = "something else", where: str = "request") -> Refused:
    """A request that is none."""
    return refused(ConfigError(expected=expected, got=got, where=where))


def raised(
    code: grpc.StatusCode, text: str, metadata: Iterable[tuple[str, Any]], where: str
) -> FedInterestError:
    """The error a caller is given for a status.

    Args:
        text: of the status.
        metadata: that came behind the reply.
        where: the service's address and the call.
    """
    for key, value in metadata:
        if key == KEY:
            return _rebuilt(value) or ProtocolError(
                expected="an error of the service", got="something else", where=where
            )
    remedies = {
        Code.UNAVAILABLE: "Is `fedinterest-client serve` running, and is this its address?",
        Code.DEADLINE_EXCEEDED: "Give more time with deadline_s, or ask for less.",
        Code.RESOURCE_EXHAUSTED: "Send less at once, or fewer calls at a time.",
    }
    kind = RunError if code in remedies else ProtocolError
    return kind(
        expected="an answer",
        got=f"{code.name}: {tidy(text)}",
        where=where,
        remedy=remedies.get(code, ""),
    )


def _rebuilt(value: bytes) -> FedInterestError | None:
    try:
        fields = json.loads(value)
        kind = getattr(errors, fields["kind"])
        if not issubclass(kind, FedInterestError):
            return None
        found: FedInterestError = kind(**{name: str(fields[name]) for name in _FIELDS})
        return found
    except (ValueError, TypeError, KeyError, AttributeError):
        return None


def _is_full(error: BaseException) -> bool:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno in _FULL:
            return True
        if getattr(cause, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL:
            return True
        cause = cause.__cause__
    return False
