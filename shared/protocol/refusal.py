"""A platform that will not or cannot answer."""

from dataclasses import dataclass
from typing import Self

from flwr.app import RecordDict

from shared.errors import FedInterestError
from shared.protocol.head import HEAD, PROTOCOL_VERSION, head_of, read_head
from shared.records import scalar


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """A platform that will not or cannot answer.

    Args:
        platform: its name, "" where it could not be told.
        code: the error's exit code.
        kind: the error's class name.
        message: what may be said about it outside the platform.
        version: of what is refused.
    """

    platform: str
    code: int
    kind: str
    message: str
    version: int = PROTOCOL_VERSION

    @classmethod
    def of(
        cls,
        error: FedInterestError,
        *,
        platform: str,
        public: bool,
        version: int = PROTOCOL_VERSION,
    ) -> Self:
        """`error` as a refusal; its text is told only if it is `public` (no paths, no counts)."""
        message = str(error) if public else "the reason is in the platform's own log"
        return cls(
            platform=platform,
            code=error.exit_code,
            kind=type(error).__name__,
            message=message,
            version=version,
        )

    def to_records(self) -> RecordDict:
        """As Flower records."""
        head = head_of(
            "refusal",
            self.version,
            platform=self.platform,
            code=self.code,
            error=self.kind,
            message=self.message,
        )
        return RecordDict({HEAD: head})

    @classmethod
    def from_records(cls, records: RecordDict) -> Self:
        """Parse, or raise ProtocolError."""
        head = read_head(records, "refusal", {"platform", "code", "error", "message"}, set())
        return cls(
            platform=scalar(head, "platform", str),
            code=scalar(head, "code", int),
            kind=scalar(head, "error", str),
            message=scalar(head, "message", str),
            version=scalar(head, "version", int),
        )

    def __str__(self) -> str:
        return f"{self.kind}: {self.message}"
