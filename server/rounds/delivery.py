"""The finished adapter goes to every platform that trained it.

Nothing depends on it: who is away is named in the log and left out.
A run that is taken up again when it is finished delivers once more.
"""

import logging

from flwr.app import Message
from flwr.serverapp import Grid

from server.rounds.checkpoint import Checkpoint
from server.rounds.rollcall import Roll, tidy
from shared.errors import ProtocolError
from shared.protocol import (
    ADAPTER_QUERY,
    AdapterDelivery,
    AdapterReceipt,
    Refusal,
    arrays_sha256,
    kind_of,
)

PATIENCE_S = 60.0

log = logging.getLogger("fedinterest.server")


def deliver(grid: Grid, roll: Roll, state: Checkpoint, patience_s: float = PATIENCE_S) -> set[str]:
    """Send the adapter of `state`; the platforms that have it.

    Args:
        patience_s: how long receipts are waited for.
    """
    delivery = AdapterDelivery(
        round=state.round, adapter=state.adapter, base=state.base, version=roll.version
    )
    expected = arrays_sha256(state.adapter)
    records = delivery.to_records()
    present = set(grid.get_node_ids())
    platforms = {node: name for name, node in roll.nodes.items() if node in present}
    messages = [
        Message(records, node, ADAPTER_QUERY, ttl=patience_s, group_id=str(state.round))
        for node in platforms
    ]
    found: set[str] = set()
    for reply in grid.send_and_receive(messages, timeout=patience_s) if messages else ():
        name = platforms.get(reply.metadata.src_node_id)
        if name is not None:
            why = _wrong(reply, name, expected)
            if why is None:
                found.add(name)
            else:
                log.warning("%s did not take the finished adapter: %s", name, why)
    return found


def _wrong(reply: Message, name: str, expected: str) -> str | None:
    if reply.has_error():
        return f"Flower error {reply.error.code}"
    try:
        if kind_of(reply.content) == "refusal":
            return tidy(str(Refusal.from_records(reply.content)))
        receipt = AdapterReceipt.from_records(reply.content)
    except ProtocolError as error:
        return tidy(str(error))
    if (receipt.platform, receipt.adapter) != (name, expected):
        return "a receipt for another adapter"
    return None
