"""Which node speaks for which platform, learned by asking.

Flower's node ids are random and change when a node restarts; a platform's name does not.  Every
node is asked for its catalogue's statistics, and its answer says which platform it is.  With it
comes the key that its statements are signed with: the first one a platform shows in a run is its
key for the whole run, and who shows another is not that platform.  A grid that knows whose a node
is (`owners`) has the last word: a partner's node speaks for that partner and for nobody else.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from flwr.app import Message
from flwr.serverapp import Grid

from shared.errors import ProtocolError
from shared.protocol import (
    CATALOGUE_QUERY,
    PROTOCOL_VERSION,
    CatalogueReply,
    Refusal,
    catalogue_query,
    kind_of,
)
from shared.records import size_in_bytes
from shared.transparency.keys import PublicKey

_POLL_S = 0.5
_GRACE_S = 60.0  # how long the rest is waited for once there is a quorum
_PATIENCE_S = 60.0  # how long a node may take to say who it is before it is asked again


@dataclass
class Roll:
    """Who is there.

    Args:
        nodes: platform -> node id.
        replies: platform -> its catalogue's statistics.
        uplink_bytes: platform -> size of its answer.
        problems: what nodes said that cannot be used, for people; platform or node -> reason.
        heard: nodes that have answered, in whatever way: they are asked again only if they have
            been away since.
        strangers: nodes of `heard` that speak for nobody in this federation.
    """

    nodes: dict[str, int] = field(default_factory=dict)
    replies: dict[str, CatalogueReply] = field(default_factory=dict)
    uplink_bytes: dict[str, int] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)
    heard: set[int] = field(default_factory=set)
    strangers: set[int] = field(default_factory=set)

    @property
    def version(self) -> int:
        """The protocol version that all who are there speak."""
        return min((one.version for one in self.replies.values()), default=PROTOCOL_VERSION)

    def key(self, platform: str) -> PublicKey:
        """The key of a platform that is there."""
        return PublicKey(self.replies[platform].key)

    def admit(
        self,
        message: Message,
        platforms: Iterable[str],
        known: Mapping[str, str] | None = None,
        owner: str = "",
    ) -> None:
        """Take one node's answer, or note why not.

        Args:
            platforms: who takes part in the federation.
            known: the platforms' keys so far.
            owner: the partner whose node it is; empty where that is not known.
        """
        node = message.metadata.src_node_id
        who = owner or f"node {node}"
        if not message.has_error():
            self.heard.add(node)
        if owner and owner not in platforms:
            self.strangers.add(node)
        try:
            if message.has_error():
                raise ProtocolError(
                    expected="an answer", got=f"Flower error {message.error.code}", where="set-up"
                )
            if kind_of(message.content) == "refusal":
                refusal = Refusal.from_records(message.content)
                self.problems[owner or refusal.platform or who] = tidy(str(refusal))
                return
            reply = CatalogueReply.from_records(message.content)
            if owner and reply.platform != owner:
                raise ProtocolError(
                    expected=f"{owner}, whose node it is", got=repr(reply.platform), where="set-up"
                )
            if reply.platform not in platforms:
                self.strangers.add(node)
                raise ProtocolError(
                    expected=f"one of the platforms {sorted(platforms)}",
                    got=repr(reply.platform),
                    where="set-up",
                )
            if self.nodes.get(reply.platform, node) != node:
                raise ProtocolError(
                    expected=f"one node for {reply.platform}", got="two", where="set-up"
                )
            _ = reply.moments  # raises where they cannot be moments
            key = PublicKey(reply.key)  # raises where it is none
            if (before := (known or {}).get(reply.platform, key.hex)) != key.hex:
                raise ProtocolError(
                    expected=f"{reply.platform} with the key {before[:12]} that it had before",
                    got=f"key {key.hex[:12]}",
                    where="set-up",
                )
        except ProtocolError as error:
            self.problems[who] = tidy(str(error))
            return
        self.nodes[reply.platform] = node
        self.replies[reply.platform] = reply
        self.uplink_bytes[reply.platform] = size_in_bytes(message.content)
        self.problems.pop(reply.platform, None)


def tidy(text: str, limit: int = 500) -> str:
    """A stranger's words, fit for a log: printable, on one line, not too long."""
    clean = "".join(char if char.isprintable() else " " for char in text)
    return clean if len(clean) <= limit else clean[: limit - 1] + "…"


def _owners(grid: Grid) -> dict[int, str]:
    """Node -> partner, of a deployment's grid; a simulation's nodes are nobody's."""
    known: Callable[[], dict[int, str]] | None = getattr(grid, "owners", None)
    return known() if known is not None else {}


def call_roll(
    grid: Grid,
    platforms: Iterable[str],
    *,
    quorum: int,
    timeout_s: float,
    known: Roll | None = None,
    keys: Mapping[str, str] | None = None,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Roll:
    """Ask every node who it is, until all `platforms` are there or the time is up.

    Once `quorum` of them are there the others are waited for a minute more.  `known` is carried
    over where its nodes are still connected; a `timeout_s` of 0 asks only who is there now.
    `keys` are the platforms' public keys, as far as they are known already.
    """
    names = set(platforms)
    roll = Roll()
    start = clock()
    while True:
        present = set(grid.get_node_ids())
        if known is not None:
            kept = {name: node for name, node in known.nodes.items() if node in present}
            roll.nodes |= kept
            roll.replies |= {name: known.replies[name] for name in kept}
            roll.uplink_bytes |= {name: known.uplink_bytes[name] for name in kept}
            roll.heard |= known.heard & present
            roll.strangers |= known.strangers & present
            roll.problems |= known.problems
            known = None
        if fresh := sorted(present - roll.heard):
            content = catalogue_query()
            patience = min(max(timeout_s - (clock() - start), 1.0), _PATIENCE_S)
            messages = [Message(content, node, CATALOGUE_QUERY, ttl=patience) for node in fresh]
            answers = list(grid.send_and_receive(messages, timeout=patience))
            owners = _owners(grid)
            for answer in sorted(answers, key=lambda one: one.metadata.src_node_id):
                roll.admit(answer, names, keys, owners.get(answer.metadata.src_node_id, ""))
        waited = clock() - start
        enough = len(roll.nodes) >= quorum and waited >= _GRACE_S
        # Everybody came, and not everybody could answer.
        failed = len(roll.heard - roll.strangers) >= len(names)
        if roll.nodes.keys() >= names or enough or failed or waited >= timeout_s:
            return roll
        sleep(_POLL_S)
