"""What a platform releases in a round."""

from dataclasses import dataclass
from typing import Self

from flwr.app import ConfigRecord, RecordDict

from shared.protocol.head import (
    HEAD,
    PROTOCOL_VERSION,
    answered_in,
    hash_in,
    head_of,
    read_head,
    round_in,
)
from shared.protocol.updates import Update, from_parts, part_names, to_parts
from shared.records import (
    Scalar,
    only,
    part,
    protocol_error,
    scalar,
    words,
)
from shared.transparency.envelope import STATEMENT, Envelope

MAX_STATEMENT_BYTES = 4096
CONSTANTS = {"clip_norm": float, "noise_multiplier": float, "sample_rate": float, "steps": int}


@dataclass(frozen=True, kw_only=True, eq=False)
class TrainReply:
    """What a platform releases in a round: its update, under its differential privacy.

    Args:
        platform: its name.
        round, request_digest: what is answered.
        update: trained name -> float32 tensor, new adapter minus old, with the values that
            `travelling` gave it.
        constants: `steps`, `noise_multiplier`, `clip_norm`, `sample_rate`: public, none of them
            computed from private data.
        envelope: the signed statement of this release; None travels as an empty one, which the
            coordinator leaves out.
        version: of the request.
    """

    platform: str
    round: int
    request_digest: str
    update: Update
    constants: dict[str, Scalar]
    envelope: Envelope | None = None
    version: int = PROTOCOL_VERSION

    def to_records(self) -> RecordDict:
        """As Flower records."""
        signed = self.envelope
        head = head_of(
            "train-reply",
            self.version,
            platform=self.platform,
            round=self.round,
            request_digest=self.request_digest,
            update_names=list(self.update),
            statement=b"" if signed is None else signed.payload,
            signature=b"" if signed is None else signed.signature,
            key_id="" if signed is None else signed.key_id,
        )
        constants = ConfigRecord(dict(self.constants))
        return RecordDict(
            {HEAD: head, "constants": constants, **to_parts(self.update, self.version)}
        )

    @classmethod
    def from_records(cls, records: RecordDict) -> Self:
        """Parse, or raise ProtocolError."""
        fields = {"platform", "round", "request_digest", "update_names"}
        signed = {"statement", "signature", "key_id"}
        parts = {"constants", *part_names(answered_in(records))}
        head = read_head(records, "train-reply", fields | signed, parts)
        constants = part(records, "constants", ConfigRecord)
        only(constants, set(CONSTANTS), "constants")
        found: dict[str, Scalar] = {
            name: scalar(constants, name, kind) for name, kind in CONSTANTS.items()
        }
        if any(value < 0 for value in found.values() if isinstance(value, int | float)):
            raise protocol_error("constants of at least 0", "a negative one", "constants")
        version = scalar(head, "version", int)
        return cls(
            platform=scalar(head, "platform", str),
            round=round_in(head),
            request_digest=hash_in(head, "request_digest"),
            update=from_parts(records, words(head, "update_names"), version),
            constants=found,
            envelope=_envelope(head),
            version=version,
        )


def _envelope(head: ConfigRecord) -> Envelope | None:
    payload, signature = scalar(head, "statement", bytes), scalar(head, "signature", bytes)
    key_id = scalar(head, "key_id", str)
    if len(payload) > MAX_STATEMENT_BYTES or len(signature) + len(key_id) > MAX_STATEMENT_BYTES:
        raise protocol_error(
            f"a statement of at most {MAX_STATEMENT_BYTES} bytes", "a longer one", "message"
        )
    return Envelope(STATEMENT, payload, key_id, signature) if payload else None
