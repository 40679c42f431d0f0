"""What a platform releases in a round."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, RecordDict

from shared.protocol.grid import from_codes, to_codes
from shared.protocol.hashes import GRID_SINCE, Update
from shared.protocol.head import HEAD, PROTOCOL_VERSION, hash_in, head_of, read_head, round_in
from shared.records import (
    Scalar,
    from_array_record,
    only,
    part,
    protocol_error,
    scalar,
    to_array_record,
    words,
)
from shared.transparency.envelope import STATEMENT, Envelope

MAX_STATEMENT_BYTES = 4096
_BEFORE = np.float16  # until version 5
_CODES = "two-bits"
_MAX_DIMENSIONS = 8
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
        update, levels = _written(self.update, self.version)
        found = {HEAD: head, "constants": ConfigRecord(dict(self.constants)), "update": update}
        return RecordDict(found if levels is None else {**found, "levels": levels})

    @classmethod
    def from_records(cls, records: RecordDict) -> Self:
        """Parse, or raise ProtocolError."""
        fields = {"platform", "round", "request_digest", "update_names"}
        signed = {"statement", "signature", "key_id"}
        parts = {"constants", "update"} | ({"levels"} if "levels" in records else set())
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
            update=_read(records, words(head, "update_names"), version),
            constants=found,
            envelope=_envelope(head),
            version=version,
        )


def _written(update: Update, version: int) -> tuple[ArrayRecord, ConfigRecord | None]:
    """The update as arrays, and what its codes mean: shape and inner level of each tensor."""
    if version < GRID_SINCE:
        with np.errstate(over="ignore"):
            return to_array_record(
                {name: one.astype(_BEFORE) for name, one in update.items()}
            ), None
    arrays, levels = {}, {}
    for name, value in update.items():
        data, level = to_codes(value)
        arrays[name] = Array(dtype="uint8", shape=(len(data),), stype=_CODES, data=data)
        levels |= {f"{name}.shape": list(value.shape), f"{name}.level": level}
    return ArrayRecord(arrays), ConfigRecord(levels)


def _read(records: RecordDict, names: list[str], version: int) -> Update:
    record = part(records, "update", ArrayRecord)
    if version < GRID_SINCE:
        halves = from_array_record(record, _BEFORE, names, "update")
        return {name: value.astype(np.float32) for name, value in halves.items()}
    only(record, set(names), "update")
    levels = part(records, "levels", ConfigRecord)
    only(levels, {f"{name}.{what}" for name in names for what in ("shape", "level")}, "levels")
    found = {}
    for name in names:
        packed, shape, level = record[name], levels[f"{name}.shape"], levels[f"{name}.level"]
        if not (
            isinstance(shape, list)
            and len(shape) <= _MAX_DIMENSIONS
            and all(type(size) is int and size >= 0 for size in shape)
            and type(level) is float
            and not level < 0
        ):
            raise protocol_error("a shape and a level of at least 0", "something else", name)
        if (packed.stype, packed.dtype, tuple(packed.shape)) != (
            *(_CODES, "uint8"),
            (len(packed.data),),
        ):
            raise protocol_error(
                f"{len(packed.data)} bytes of {_CODES}", f"{packed.stype!r}", f"update.{name}"
            )
        try:
            found[name] = from_codes(packed.data, level, tuple(int(size) for size in shape))
        except ValueError as error:
            raise protocol_error("codes of the declared shape", str(error), name) from error
    return found


def _envelope(head: ConfigRecord) -> Envelope | None:
    payload, signature = scalar(head, "statement", bytes), scalar(head, "signature", bytes)
    key_id = scalar(head, "key_id", str)
    if len(payload) > MAX_STATEMENT_BYTES or len(signature) + len(key_id) > MAX_STATEMENT_BYTES:
        raise protocol_error(
            f"a statement of at most {MAX_STATEMENT_BYTES} bytes", "a longer one", "message"
        )
    return Envelope(STATEMENT, payload, key_id, signature) if payload else None
