"""The finished adapter, and the receipt for it."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from flwr.app import RecordDict
from numpy.typing import NDArray

from shared.protocol.head import HEAD, PROTOCOL_VERSION, hash_in, head_of, read_head, round_in
from shared.protocol.tensors import finite, floats, tensors
from shared.records import scalar, words

ADAPTER_QUERY = "query.adapter"


@dataclass(frozen=True, kw_only=True, eq=False)
class AdapterDelivery:
    """What was learned, once a run is finished.

    Args:
        round: the last one.
        adapter: name -> float32 tensor, in order.
        base: the whitening's float32 arrays.
        version: the one that the run's messages are in.
    """

    round: int
    adapter: dict[str, NDArray[np.float32]]
    base: dict[str, NDArray[np.float32]]
    version: int = PROTOCOL_VERSION

    def to_records(self) -> RecordDict:
        """As Flower records."""
        head = head_of(
            "adapter-delivery",
            self.version,
            round=self.round,
            adapter_names=list(self.adapter),
            base_names=list(self.base),
        )
        return RecordDict(
            {
                HEAD: head,
                "adapter": tensors(self.adapter),
                "base": tensors(self.base),
            }
        )

    @classmethod
    def from_records(cls, records: RecordDict) -> Self:
        """Parse, or raise ProtocolError."""
        fields = {"round", "adapter_names", "base_names"}
        head = read_head(records, "adapter-delivery", fields, {"adapter", "base"})
        delivery = cls(
            round=round_in(head),
            adapter=floats(records, "adapter", words(head, "adapter_names")),
            base=floats(records, "base", words(head, "base_names")),
            version=scalar(head, "version", int),
        )
        finite(delivery.adapter)
        finite(delivery.base)
        return delivery


@dataclass(frozen=True, kw_only=True)
class AdapterReceipt:
    """A platform has the finished adapter.

    Args:
        platform: its name.
        adapter: `arrays_sha256` of what it received: the coordinator's own number.
        version: of the delivery.
    """

    platform: str
    adapter: str
    version: int = PROTOCOL_VERSION

    def to_records(self) -> RecordDict:
        """As Flower records."""
        head = head_of(
            "adapter-receipt", self.version, platform=self.platform, adapter=self.adapter
        )
        return RecordDict({HEAD: head})

    @classmethod
    def from_records(cls, records: RecordDict) -> Self:
        """Parse, or raise ProtocolError."""
        head = read_head(records, "adapter-receipt", {"platform", "adapter"}, set())
        return cls(
            platform=scalar(head, "platform", str),
            adapter=hash_in(head, "adapter"),
            version=scalar(head, "version", int),
        )
