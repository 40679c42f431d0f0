"""The messages of a round, and their strict translation to and from Flower records.

    coordinator                              platform
    query.catalogue  ---------------------->
                     <----------------------  CatalogueReply     statistics of the public catalogue
    TrainRequest     ---------------------->  policy, ledger, local training
                     <----------------------  TrainReply         the update and public constants
                                          or  Refusal            who, and why
    AdapterDelivery  ---------------------->  what was learned, for the platform's own use
                     <----------------------  AdapterReceipt     its hash

Rules:
1. What leaves a platform is exactly the fields of the four replies: no counts of users or
   events, no losses, no metrics.
2. Parsing is strict: an unknown version, a missing or unknown field, another dtype, a non-finite
   constant is a ProtocolError, and nothing else is ever raised.
3. A TrainRequest has one `digest`, over everything it says.  A reply names the digest it answers,
   so that no update is ever taken for another round's, and so that a platform can tell the same
   request, asked again, from a new one.
4. A TrainReply carries the platform's signed statement of what it released
   (`shared.transparency`): that, too, is public constants and hashes only.
5. Both sides speak this version and the one before it, so that they need not be updated in the
   same hour.  The coordinator says in its query up to which version it speaks, a platform answers
   in the highest that both do, and a run's requests are in the lowest that any of its platforms
   speaks.  A reply is in the version of its request.
"""

import hashlib
import json
import re
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, RecordDict
from numpy.typing import NDArray

from shared.errors import FedInterestError
from shared.files import sha256
from shared.records import (
    Arrays,
    Scalar,
    c_order,
    from_array_record,
    only,
    part,
    protocol_error,
    scalar,
    scalars,
    to_array_record,
    words,
)
from shared.transparency.envelope import STATEMENT, Envelope
from shared.whitening import CatalogueMoments

PROTOCOL_VERSION = 5  # 4: replies are signed; 5: the finished adapter is delivered
OLDEST_VERSION = 4
CATALOGUE_QUERY = "query.catalogue"
ADAPTER_QUERY = "query.adapter"
TRAIN = "train"
WIRE = np.float16  # of updates: far finer than the noise in them, at half the bytes
MAX_STATEMENT_BYTES = 4096
CONSTANTS = {"clip_norm": float, "noise_multiplier": float, "sample_rate": float, "steps": int}

_HEAD = "fedinterest"
_HEX = re.compile(r"[0-9a-f]{64}")


def arrays_sha256(arrays: Arrays) -> str:
    """Hex SHA-256 over names, dtypes, shapes and little-endian C-order bytes, in order."""
    digest = hashlib.sha256()
    for name, value in arrays.items():
        little = c_order(value)
        for field in (name.encode(), little.dtype.str.encode(), str(value.shape).encode()):
            digest.update(len(field).to_bytes(8, "little") + field)
        digest.update(little.tobytes())
    return digest.hexdigest()


def update_sha256(update: Arrays) -> str:
    """`arrays_sha256` of an update as it travels: both ends compute the same."""
    with np.errstate(over="ignore"):
        return arrays_sha256({name: value.astype(WIRE) for name, value in update.items()})


def _settings_sha256(settings: dict[str, Scalar]) -> str:
    digest = hashlib.sha256()
    for name in sorted(settings):
        value = settings[name]
        text = value.hex() if isinstance(value, float) else repr(value)
        for field in (name.encode(), type(value).__name__.encode(), text.encode()):
            digest.update(len(field).to_bytes(8, "little") + field)
    return digest.hexdigest()


def _head(kind: str, version: int, **fields: Scalar | bytes | list[str]) -> ConfigRecord:
    return ConfigRecord({"version": version, "kind": kind, **fields})


def _read_head(records: RecordDict, kind: str, fields: set[str], parts: set[str]) -> ConfigRecord:
    """The head of a message of `kind`, once version, kind and keys are as they must be."""
    head = part(records, _HEAD, ConfigRecord)
    version = scalar(head, "version", int)
    if not OLDEST_VERSION <= version <= PROTOCOL_VERSION:
        raise protocol_error(
            f"protocol version {OLDEST_VERSION} or {PROTOCOL_VERSION}", str(version), "message"
        )
    if (found := scalar(head, "kind", str)) != kind:
        raise protocol_error(f"a {kind}", repr(found), "message")
    only(head, {"version", "kind", *fields}, "message head")
    only(records, {_HEAD, *parts}, "message")
    return head


def _hash(head: ConfigRecord, name: str) -> str:
    value = scalar(head, name, str)
    if not _HEX.fullmatch(value):
        raise protocol_error(f"{name} as 64 hex digits", f"{len(value)} characters", "message")
    return value


def _envelope(head: ConfigRecord) -> Envelope | None:
    payload, signature = scalar(head, "statement", bytes), scalar(head, "signature", bytes)
    key_id = scalar(head, "key_id", str)
    if len(payload) > MAX_STATEMENT_BYTES or len(signature) + len(key_id) > MAX_STATEMENT_BYTES:
        raise protocol_error(
            f"a statement of at most {MAX_STATEMENT_BYTES} bytes", "a longer one", "message"
        )
    return Envelope(STATEMENT, payload, key_id, signature) if payload else None


def _round(head: ConfigRecord) -> int:
    value = scalar(head, "round", int)
    if value < 1:
        raise protocol_error("a round of at least 1", str(value), "message")
    return value


def kind_of(records: RecordDict) -> str:
    """What a reply claims to be; "" where it does not say."""
    head = records.get(_HEAD)
    kind = head.get("kind") if isinstance(head, ConfigRecord) else None
    return kind if isinstance(kind, str) else ""


def catalogue_query() -> RecordDict:
    """The coordinator's question who is there; it says which versions it speaks.

    Up to version 4 it was not read, so that anything may be in it.
    """
    return RecordDict(
        {_HEAD: ConfigRecord({"kind": "catalogue-query", "version": PROTOCOL_VERSION})}
    )


def answered_in(records: RecordDict) -> int:
    """The version to answer a message in: the highest that both speak; the oldest where the
    message does not say.
    """
    head = records.get(_HEAD)
    version = head.get("version") if isinstance(head, ConfigRecord) else None
    if not isinstance(version, int) or isinstance(version, bool):
        return OLDEST_VERSION
    return max(OLDEST_VERSION, min(version, PROTOCOL_VERSION))


@dataclass(frozen=True, kw_only=True, eq=False)
class CatalogueReply:
    """Statistics of a platform's public catalogue: what the shared whitening is fitted on.

    Args:
        platform: its name in the federation.
        count: items.
        mean: (D,) float64.
        covariance: (D, D) float64.
        key: the public key its statements are signed with, 64 hex digits.
        version: the newest protocol version that both sides speak.
    """

    platform: str
    count: int
    mean: NDArray[np.float64]
    covariance: NDArray[np.float64]
    key: str
    version: int = PROTOCOL_VERSION

    @property
    def moments(self) -> CatalogueMoments:
        """The statistics as whitening takes them.

        Raises:
            ProtocolError: they are no moments of anything (not symmetric, a negative variance).
        """
        return CatalogueMoments(count=self.count, mean=self.mean, covariance=self.covariance)

    def to_records(self) -> RecordDict:
        """As Flower records."""
        arrays = {"mean": self.mean, "covariance": self.covariance}
        return RecordDict(
            {
                _HEAD: _head(
                    "catalogue-reply",
                    self.version,
                    platform=self.platform,
                    count=self.count,
                    key=self.key,
                ),
                "statistics": to_array_record(arrays),
            }
        )

    @classmethod
    def from_records(cls, records: RecordDict) -> Self:
        """Parse, or raise ProtocolError."""
        head = _read_head(records, "catalogue-reply", {"platform", "count", "key"}, {"statistics"})
        count = scalar(head, "count", int)
        arrays = from_array_record(
            part(records, "statistics", ArrayRecord),
            np.float64,
            ["mean", "covariance"],
            "statistics",
        )
        mean, covariance = arrays["mean"], arrays["covariance"]
        if mean.ndim != 1 or not len(mean) or covariance.shape != mean.shape * 2 or count < 1:
            raise protocol_error(
                "a count, a (D,) mean and a (D, D) covariance",
                f"{count}, {mean.shape} and {covariance.shape}",
                "statistics",
            )
        if not (np.isfinite(mean).all() and np.isfinite(covariance).all()):
            raise protocol_error("finite statistics", "NaN or infinity", "statistics")
        return cls(
            platform=scalar(head, "platform", str),
            count=count,
            mean=mean.astype(np.float64),
            covariance=covariance.astype(np.float64),
            key=_hash(head, "key"),
            version=scalar(head, "version", int),
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class TrainRequest:
    """What the coordinator asks of every platform in a round.

    Args:
        round: from 1.
        adapter: name -> float32 tensor, in order.
        trained: which of its tensors this round trains, in order; an update has these and no more.
        base: what the adapter sits on: the whitening's float32 arrays.
        settings: public constants of the run (`steps`, `clip_norm`, `sample_rate`,
            `total_rounds`, ...).  The noise is not among them: a platform sets its own.
    """

    round: int
    adapter: dict[str, NDArray[np.float32]]
    trained: list[str]
    base: dict[str, NDArray[np.float32]]
    settings: dict[str, Scalar]
    protocol_version: int = PROTOCOL_VERSION

    @cached_property
    def base_sha256(self) -> str:
        """Hex SHA-256 of `base`."""
        return arrays_sha256(self.base)

    @cached_property
    def digest(self) -> str:
        """Hex SHA-256 over version, round, adapter, trained names, base and settings."""
        fields = (
            f"fedinterest train request {self.protocol_version} {self.round}",
            arrays_sha256(self.adapter),
            sha256(json.dumps(self.trained).encode()),
            self.base_sha256,
            _settings_sha256(self.settings),
        )
        return hashlib.sha256("\n".join(fields).encode()).hexdigest()

    def to_records(self) -> RecordDict:
        """As Flower records."""
        head = _head(
            "train-request",
            self.protocol_version,
            round=self.round,
            base_sha256=self.base_sha256,
            adapter_names=list(self.adapter),
            trained_names=self.trained,
            base_names=list(self.base),
        )
        return RecordDict(
            {
                _HEAD: head,
                "settings": ConfigRecord(dict(self.settings)),
                "adapter": to_array_record(self.adapter),
                "base": to_array_record(self.base),
            }
        )

    @classmethod
    def from_records(cls, records: RecordDict) -> Self:
        """Parse, or raise ProtocolError."""
        fields = {"round", "base_sha256", "adapter_names", "trained_names", "base_names"}
        head = _read_head(records, "train-request", fields, {"settings", "adapter", "base"})
        request = cls(
            round=_round(head),
            adapter=_floats(records, "adapter", words(head, "adapter_names")),
            trained=words(head, "trained_names"),
            base=_floats(records, "base", words(head, "base_names")),
            settings=scalars(part(records, "settings", ConfigRecord), "settings"),
            protocol_version=scalar(head, "version", int),
        )
        for name, value in (*request.adapter.items(), *request.base.items()):
            if not np.isfinite(value).all():
                raise protocol_error("finite tensors", "NaN or infinity", name)
        if not request.trained or not set(request.trained) <= set(request.adapter):
            raise protocol_error("names of the adapter's tensors", "others or none", "trained")
        if (claimed := _hash(head, "base_sha256")) != request.base_sha256:
            raise protocol_error(f"a base with SHA-256 {claimed}", request.base_sha256, "base")
        return request


@dataclass(frozen=True, kw_only=True, eq=False)
class TrainReply:
    """What a platform releases in a round: its update, under its differential privacy.

    Args:
        platform: its name.
        round, request_digest: what is answered.
        update: trained name -> float32 tensor, new adapter minus old; it travels as float16.
        constants: `steps`, `noise_multiplier`, `clip_norm`, `sample_rate`: public, none of them
            computed from private data.
        envelope: the signed statement of this release; None travels as an empty one, which the
            coordinator leaves out.
        version: of the request.
    """

    platform: str
    round: int
    request_digest: str
    update: dict[str, NDArray[np.float32]]
    constants: dict[str, Scalar]
    envelope: Envelope | None = None
    version: int = PROTOCOL_VERSION

    def to_records(self) -> RecordDict:
        """As Flower records."""
        signed = self.envelope
        head = _head(
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
        with np.errstate(over="ignore"):  # becomes infinite, which the coordinator leaves out
            update = {name: value.astype(WIRE) for name, value in self.update.items()}
        return RecordDict(
            {
                _HEAD: head,
                "constants": ConfigRecord(dict(self.constants)),
                "update": to_array_record(update),
            }
        )

    @classmethod
    def from_records(cls, records: RecordDict) -> Self:
        """Parse, or raise ProtocolError."""
        fields = {"platform", "round", "request_digest", "update_names"}
        signed = {"statement", "signature", "key_id"}
        head = _read_head(records, "train-reply", fields | signed, {"constants", "update"})
        constants = part(records, "constants", ConfigRecord)
        only(constants, set(CONSTANTS), "constants")
        found: dict[str, Scalar] = {
            name: scalar(constants, name, kind) for name, kind in CONSTANTS.items()
        }
        if any(value < 0 for value in found.values() if isinstance(value, int | float)):
            raise protocol_error("constants of at least 0", "a negative one", "constants")
        return cls(
            platform=scalar(head, "platform", str),
            round=_round(head),
            request_digest=_hash(head, "request_digest"),
            update=_floats(records, "update", words(head, "update_names"), WIRE),
            constants=found,
            envelope=_envelope(head),
            version=scalar(head, "version", int),
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class AdapterDelivery:
    """What was learned, once a run is finished.  Since version 5.

    Args:
        round: the last one.
        adapter: name -> float32 tensor, in order.
        base: the whitening's float32 arrays.
    """

    round: int
    adapter: dict[str, NDArray[np.float32]]
    base: dict[str, NDArray[np.float32]]

    def to_records(self) -> RecordDict:
        """As Flower records."""
        head = _head(
            "adapter-delivery",
            PROTOCOL_VERSION,
            round=self.round,
            adapter_names=list(self.adapter),
            base_names=list(self.base),
        )
        return RecordDict(
            {
                _HEAD: head,
                "adapter": to_array_record(self.adapter),
                "base": to_array_record(self.base),
            }
        )

    @classmethod
    def from_records(cls, records: RecordDict) -> Self:
        """Parse, or raise ProtocolError."""
        fields = {"round", "adapter_names", "base_names"}
        head = _read_head(records, "adapter-delivery", fields, {"adapter", "base"})
        delivery = cls(
            round=_round(head),
            adapter=_floats(records, "adapter", words(head, "adapter_names")),
            base=_floats(records, "base", words(head, "base_names")),
        )
        for name, value in (*delivery.adapter.items(), *delivery.base.items()):
            if not np.isfinite(value).all():
                raise protocol_error("finite tensors", "NaN or infinity", name)
        return delivery


@dataclass(frozen=True, kw_only=True)
class AdapterReceipt:
    """A platform has the finished adapter.

    Args:
        platform: its name.
        adapter: `arrays_sha256` of what it received: the coordinator's own number.
    """

    platform: str
    adapter: str

    def to_records(self) -> RecordDict:
        """As Flower records."""
        head = _head(
            "adapter-receipt", PROTOCOL_VERSION, platform=self.platform, adapter=self.adapter
        )
        return RecordDict({_HEAD: head})

    @classmethod
    def from_records(cls, records: RecordDict) -> Self:
        """Parse, or raise ProtocolError."""
        head = _read_head(records, "adapter-receipt", {"platform", "adapter"}, set())
        return cls(platform=scalar(head, "platform", str), adapter=_hash(head, "adapter"))


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
        head = _head(
            "refusal",
            self.version,
            platform=self.platform,
            code=self.code,
            error=self.kind,
            message=self.message,
        )
        return RecordDict({_HEAD: head})

    @classmethod
    def from_records(cls, records: RecordDict) -> Self:
        """Parse, or raise ProtocolError."""
        head = _read_head(records, "refusal", {"platform", "code", "error", "message"}, set())
        return cls(
            platform=scalar(head, "platform", str),
            code=scalar(head, "code", int),
            kind=scalar(head, "error", str),
            message=scalar(head, "message", str),
            version=scalar(head, "version", int),
        )

    def __str__(self) -> str:
        return f"{self.kind}: {self.message}"


def _floats(
    records: RecordDict, name: str, names: list[str], dtype: type = np.float32
) -> dict[str, NDArray[np.float32]]:
    arrays = from_array_record(part(records, name, ArrayRecord), dtype, names, name)
    return {key: value.astype(np.float32, copy=False) for key, value in arrays.items()}
