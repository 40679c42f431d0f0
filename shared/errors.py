"""Every error this project raises on purpose, with its exit code and its remedy.

FedInterestError ............................ 1
├── ConfigError ............................. 2   a setting is missing, misspelt or out of range
├── SourceError ............................. 3   a platform's file or table is not as configured
├── DataError ............................... 4   readable, but nothing can be learned from it
│   ├── CatalogueError ...................... 4   items without text, duplicate ids
│   └── UnknownError ........................ 4   nobody and nothing of that name here
├── EncoderError ............................ 5   the text encoder is missing or another one
├── CacheError .............................. 5   cached item vectors are damaged
├── AdapterError ............................ 6   adapter tensors do not fit the base model
│   └── UpdateRejected ...................... 6   an update failed the coordinator's checks
├── ProtocolError ........................... 7   a message is not what both sides agreed on
│   └── QuorumError ......................... 7   too few platforms answered a round
├── PrivacyError ............................ 8   the promised guarantee cannot be given
│   ├── BudgetExhausted ..................... 8   the next step would exceed the platform's budget
│   ├── AccountantError ..................... 8   independent accountants disagree, or cannot answer
│   ├── PolicyRefusal ....................... 8   the coordinator asks for more than permitted
│   ├── ConsentError ........................ 8   a user has opted out, or has not opted in
│   └── LedgerError ......................... 9   the spending record is damaged
├── RunError ................................ 10  a run folder is incomplete or not this version's
└── StorageError ............................ 11  the disk refused: full, read-only, no permission

Exit code 12 is kept for an audit that found something, 130 for Ctrl-C.  Messages carry no user
data: no user ids, no histories.
"""

from typing import ClassVar


class FedInterestError(Exception):
    """Root of all errors raised on purpose.

    Args:
        expected: what would have been right.
        got: what came instead (never a user's data).
        where: file, column, setting (`privacy.clip_norm`) or tensor it concerns.
        remedy: what the reader can do about it.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, *, expected: str, got: str, where: str, remedy: str = "") -> None:
        self.expected, self.got, self.where, self.remedy = expected, got, where, remedy
        super().__init__(expected, got, where, remedy)

    def __str__(self) -> str:
        text = f"expected {self.expected}, got {self.got} ({self.where})"
        return f"{text}. {self.remedy}" if self.remedy else text

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle by keyword, so that errors cross process borders (Ray) whole."""
        return _rebuild, (type(self), self.expected, self.got, self.where, self.remedy)


def _rebuild(
    kind: type[FedInterestError], expected: str, got: str, where: str, remedy: str
) -> FedInterestError:
    return kind(expected=expected, got=got, where=where, remedy=remedy)


class ConfigError(FedInterestError):
    """A setting is missing, misspelt or out of range."""

    exit_code = 2


class SourceError(FedInterestError):
    """A platform's file or table cannot be read as configured."""

    exit_code = 3


class DataError(FedInterestError):
    """The data could be read, but nothing can be learned from it."""

    exit_code = 4


class CatalogueError(DataError):
    """The catalogue has items without text, or duplicate ids."""


class UnknownError(DataError):
    """There is no user, item or interest of that name here."""


class EncoderError(FedInterestError):
    """The text encoder is missing or is not the one promised."""

    exit_code = 5


class CacheError(FedInterestError):
    """Cached item vectors are damaged."""

    exit_code = 5


class AdapterError(FedInterestError):
    """Adapter tensors do not fit the base model."""

    exit_code = 6


class UpdateRejected(AdapterError):
    """A platform's update failed the coordinator's checks."""


class ProtocolError(FedInterestError):
    """A message is not what both sides agreed on."""

    exit_code = 7


class QuorumError(ProtocolError):
    """Too few platforms answered a round."""


class PrivacyError(FedInterestError):
    """The promised guarantee cannot be given."""

    exit_code = 8


class BudgetExhausted(PrivacyError):
    """The next step would exceed the platform's privacy budget."""


class AccountantError(PrivacyError):
    """Independent accountants disagree, or cannot answer."""


class PolicyRefusal(PrivacyError):
    """The coordinator asks for more than the platform permits."""


class ConsentError(PrivacyError):
    """A user has opted out, or has not opted in."""


class LedgerError(PrivacyError):
    """The spending record is damaged."""

    exit_code = 9


class RunError(FedInterestError):
    """A run folder is incomplete, foreign, or of another version."""

    exit_code = 10


class StorageError(FedInterestError):
    """The disk refused: full, read-only, or no permission."""

    exit_code = 11
