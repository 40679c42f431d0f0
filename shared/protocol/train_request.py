"""What the coordinator asks of every platform in a round."""

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np
from flwr.app import ConfigRecord, RecordDict
from numpy.typing import NDArray

from shared.files import sha256
from shared.protocol.hashes import arrays_sha256, settings_sha256
from shared.protocol.head import HEAD, PROTOCOL_VERSION, hash_in, head_of, read_head, round_in
from shared.protocol.tensors import finite, floats, tensors
from shared.records import Scalar, part, protocol_error, scalar, scalars, words

TRAIN = "train"


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
            settings_sha256(self.settings),
        )
        return hashlib.sha256("\n".join(fields).encode()).hexdigest()

    def to_records(self) -> RecordDict:
        """As Flower records."""
        head = head_of(
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
                HEAD: head,
                "settings": ConfigRecord(dict(self.settings)),
                "adapter": tensors(self.adapter),
                "base": tensors(self.base),
            }
        )

    @classmethod
    def from_records(cls, records: RecordDict) -> Self:
        """Parse, or raise ProtocolError."""
        fields = {"round", "base_sha256", "adapter_names", "trained_names", "base_names"}
        head = read_head(records, "train-request", fields, {"settings", "adapter", "base"})
        version = scalar(head, "version", int)
        request = cls(
            round=round_in(head),
            adapter=floats(records, "adapter", words(head, "adapter_names")),
            trained=words(head, "trained_names"),
            base=floats(records, "base", words(head, "base_names")),
            settings=scalars(part(records, "settings", ConfigRecord), "settings"),
            protocol_version=version,
        )
        finite(request.adapter)
        finite(request.base)
        if not request.trained or not set(request.trained) <= set(request.adapter):
            raise protocol_error("names of the adapter's tensors", "others or none", "trained")
        if (claimed := hash_in(head, "base_sha256")) != request.base_sha256:
            raise protocol_error(f"a base with SHA-256 {claimed}", request.base_sha256, "base")
        return request
