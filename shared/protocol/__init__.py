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

from shared.protocol.delivery import ADAPTER_QUERY, AdapterDelivery, AdapterReceipt
from shared.protocol.hashes import arrays_sha256
from shared.protocol.head import OLDEST_VERSION, PROTOCOL_VERSION, answered_in, kind_of
from shared.protocol.refusal import Refusal
from shared.protocol.roll_call import CATALOGUE_QUERY, CatalogueReply, catalogue_query
from shared.protocol.train_reply import CONSTANTS, MAX_STATEMENT_BYTES, TrainReply
from shared.protocol.train_request import TRAIN, TrainRequest
from shared.protocol.updates import travelling, update_sha256

__all__ = [
    "ADAPTER_QUERY",
    "CATALOGUE_QUERY",
    "CONSTANTS",
    "MAX_STATEMENT_BYTES",
    "OLDEST_VERSION",
    "PROTOCOL_VERSION",
    "TRAIN",
    "AdapterDelivery",
    "AdapterReceipt",
    "CatalogueReply",
    "Refusal",
    "TrainReply",
    "TrainRequest",
    "answered_in",
    "arrays_sha256",
    "catalogue_query",
    "kind_of",
    "travelling",
    "update_sha256",
]
