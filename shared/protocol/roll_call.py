"""Who is there, and the statistics of their public catalogues."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, RecordDict
from numpy.typing import NDArray

from shared.protocol.head import HEAD, PROTOCOL_VERSION, hash_in, head_of, read_head
from shared.records import from_array_record, part, protocol_error, scalar, to_array_record
from shared.whitening import CatalogueMoments

CATALOGUE_QUERY = "query.catalogue"


def catalogue_query() -> RecordDict:
    """The coordinator's question who is there; it says which versions it speaks.

    Up to version 4 it was not read, so that anything may be in it.
    """
    return RecordDict(
        {HEAD: ConfigRecord({"kind": "catalogue-query", "version": PROTOCOL_VERSION})}
    )


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
                HEAD: head_of(
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
        head = read_head(records, "catalogue-reply", {"platform", "count", "key"}, {"statistics"})
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
            key=hash_in(head, "key"),
            version=scalar(head, "version", int),
        )
