"""Which error is which status, and what of it travels."""

import errno
import sqlite3

import grpc
import pytest

import shared.errors as errors
from clients.serving.service.status import KEY, raised, refused
from shared.errors import FedInterestError, StorageError

Code = grpc.StatusCode
KINDS = [
    kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, FedInterestError)
]


def made(kind: type[FedInterestError]) -> FedInterestError:
    return kind(expected="ä", got="b\nc", where="d", remedy="E.")


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("ConfigError", Code.INVALID_ARGUMENT),
        ("CatalogueError", Code.INVALID_ARGUMENT),
        ("UnknownError", Code.NOT_FOUND),
        ("ConsentError", Code.PERMISSION_DENIED),
        ("PolicyRefusal", Code.PERMISSION_DENIED),
        ("DataError", Code.FAILED_PRECONDITION),
        ("RunError", Code.FAILED_PRECONDITION),
        ("BudgetExhausted", Code.FAILED_PRECONDITION),
        ("CacheError", Code.FAILED_PRECONDITION),
        ("StorageError", Code.UNAVAILABLE),
    ],
)
def test_statuses(name: str, code: grpc.StatusCode) -> None:
    assert refused(made(getattr(errors, name))).code is code


@pytest.mark.parametrize("kind", KINDS)
def test_every_error_of_ours_arrives_as_what_it_was(kind: type[FedInterestError]) -> None:
    sent = refused(made(kind))
    assert sent.code is not Code.INTERNAL
    found = raised(sent.code, sent.text, sent.metadata, "here")
    assert type(found) is kind
    assert (found.expected, found.got, found.where, found.remedy) == ("ä", "b c", "d", "E.")


def test_a_full_disk_is_not_worth_asking_again() -> None:
    def because(cause: Exception) -> grpc.StatusCode:
        error = made(StorageError)
        error.__cause__ = cause
        return refused(error).code

    full = sqlite3.OperationalError("database or disk is full")
    full.sqlite_errorcode = sqlite3.SQLITE_FULL
    assert because(full) is Code.RESOURCE_EXHAUSTED
    assert because(OSError(errno.ENOSPC, "full")) is Code.RESOURCE_EXHAUSTED
    assert because(OSError(errno.EROFS, "read-only")) is Code.UNAVAILABLE


def test_of_a_defect_nothing_travels() -> None:
    found = refused(KeyError("customer-17"))
    assert (found.code, found.metadata) == (Code.INTERNAL, ())
    assert "customer-17" not in found.text
    assert refused(MemoryError()).code is Code.RESOURCE_EXHAUSTED


def test_long_errors_fit_into_the_metadata() -> None:
    huge = FedInterestError(expected="x" * 10**6, got="ä" * 10**6, where="y" * 10**6)
    ((key, value),) = refused(huge).metadata
    assert key == KEY
    assert len(value) < 8000
