"""Flower's Grid to a SuperLink, as a coordinator needs it: prompt, and never late.

Flower's own waits 3 s between looks, and for up to hours for a reply whose sender was cut off in
the middle of it.  Rules here:
1. Replies are looked for ten times a second; one whose parts are not all there yet is left for the
   next look, and one that is not whole at the deadline did not come.
2. A node that was started anew has forgotten what it was asked, and one that was away has lost its
   way to answer: it is asked again, the same thing, if it is back within `RETURN_S`.  (A platform
   gives the same answer to the same request and charges it once.)
3. A reply of more than `MAX_REPLY_BYTES`, or in more than `MAX_PARTS` parts, is an error reply.
4. A SuperLink that does not answer for `PATIENCE_S`, or does not know this run, is a LinkLost: the
   run goes on from its checkpoint, under a new Flower run.
5. While anything is waited for, `watch` is called about once a second; what it raises ends that.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import httpx
from flwr.app import Error, Message, Metadata
from flwr.app.message import make_message
from flwr.common.constant import ErrorCode
from flwr.common.serde import message_from_proto
from flwr.proto.message_pb2 import ConfirmMessageReceivedRequest, ObjectTree
from flwr.proto.message_pb2 import Message as MessageProto
from flwr.proto.runtime_pb2 import PullAppMessagesRequest, SendTaskHeartbeatRequest
from flwr.supercore.inflatable.inflatable_object import iterate_object_tree
from flwr.supercore.inflatable.inflatable_protobuf_utils import make_pull_object_fn_protobuf
from flwr.supercore.inflatable.inflatable_utils import (
    ObjectPullError,
    ObjectUnavailableError,
    inflate_object_from_contents,
)
from flwr.supercore.runtime import RuntimeHttpClient
from flwr.superlink.grid import HttpGrid

from shared.errors import RunError

POLL_S = 0.05
LOOK_S = 1.0
PATIENCE_S = 10.0
RETURN_S = 60.0
HEARTBEAT_S = 10.0
MAX_REPLY_BYTES = 256 * 1024**2
MAX_PARTS = 10_000
_RETRY_S = 0.1
log = logging.getLogger("fedinterest.server")
T = TypeVar("T")


class LinkLost(RunError):
    """The SuperLink is gone, or has forgotten this run."""


class Retry:
    """Calls again while the SuperLink cannot be reached; in the place of Flower's own, which
    would send this process a signal when it is not known any more."""

    max_tries: int | None = None

    def __init__(self, patience_s: float = PATIENCE_S) -> None:
        self.patience_s = patience_s

    def invoke(self, call: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        """`call(...)`, or LinkLost."""
        start = time.monotonic()
        while True:
            try:
                return call(*args, **kwargs)
            except httpx.HTTPStatusError as error:
                if (code := error.response.status_code) not in (502, 503, 504):
                    raise _lost(f"HTTP {code}") from error
                failure: httpx.HTTPError = error
            except httpx.TransportError as error:
                failure = error
            if time.monotonic() - start > self.patience_s:
                raise _lost(type(failure).__name__) from failure
            time.sleep(_RETRY_S)


def _lost(got: str) -> LinkLost:
    return LinkLost(expected="a SuperLink that runs this run", got=got, where="SuperLink")


@dataclass
class _Waiting:
    """A message on its way: what was asked, under which ids, and what has come of its reply."""

    message: Message
    ids: set[str]
    activated: str
    gone: float | None = None
    reply: MessageProto | None = None
    missing: list[str] = field(default_factory=list)
    parts: dict[str, bytes] = field(default_factory=dict)
    size: int = 0


class PromptGrid(HttpGrid):
    """See the head of this file.

    Args:
        address: host:port of the SuperLink.
        certificate: PEM its TLS certificate is checked against.
        token: of the ServerApp task.
    """

    def __init__(self, address: str, certificate: bytes, token: str) -> None:
        super().__init__(address, False, certificate, token=token)
        self._retry_invoker = Retry()  # type: ignore[assignment]
        self.watch: Callable[[], None] = _nothing
        self._end = threading.Event()
        self._heart = threading.Thread(target=self._beat, name="heartbeat", daemon=True)

    @property
    def runtime(self) -> RuntimeHttpClient:
        """The SuperLink's Runtime API, with the right of this task."""
        return self._runtime_client

    def keep_alive(self) -> None:
        """Tell the SuperLink now and then that this task is alive, until `close`."""
        self._heart.start()

    def _beat(self) -> None:
        while not self._end.wait(HEARTBEAT_S):
            try:
                self._runtime_client.SendTaskHeartbeat(SendTaskHeartbeatRequest())
            except (LinkLost, httpx.HTTPError) as error:
                log.warning("heartbeat: %s", error)  # whoever waits for replies will notice too

    def close(self) -> None:
        """End the heartbeat and the connection."""
        self._end.set()
        super().close()

    def get_node_ids(self) -> Iterable[int]:
        """The nodes that are connected."""
        self.watch()
        return super().get_node_ids()

    def owners(self) -> dict[int, str]:
        """Connected node -> the partner that its key was registered for."""
        return {node.node_id: node.name for node in self.get_nodes()}

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> list[Message]:
        """Ask, and gather what has come by the deadline.

        Raises:
            LinkLost: see rule 4.
        """
        deadline = time.monotonic() + (float("inf") if timeout is None else timeout)
        waiting = self._ask(list(messages))
        found: list[Message] = []
        looked = time.monotonic()
        while waiting and time.monotonic() < deadline:
            self._look(waiting)
            for one in list(waiting):
                if (reply := self._whole(one)) is not None:
                    found.append(reply)
                    waiting.remove(one)
            if waiting and time.monotonic() - looked > LOOK_S:
                looked = time.monotonic()
                self.watch()
                self._ask_again(waiting, deadline)
            if waiting:
                time.sleep(min(POLL_S, max(0.0, deadline - time.monotonic())))
        return found

    def _activations(self) -> dict[int, str]:
        return {node.node_id: node.last_activated_at for node in self.get_nodes()}

    def _ask(self, messages: list[Message]) -> list[_Waiting]:
        if not messages:
            return []
        activated = self._activations()
        ids = list(self.push_messages(messages))
        return [
            _Waiting(message, {id_}, activated.get(message.metadata.dst_node_id, ""))
            for message, id_ in zip(messages, ids, strict=True)
            if id_
        ]

    def _ask_again(self, waiting: list[_Waiting], deadline: float) -> None:
        activated = self._activations()
        for one in waiting:
            node = one.message.metadata.dst_node_id
            now = activated.get(node)
            if now is None or (now == one.activated and one.gone is None):
                continue
            left = deadline - time.monotonic()
            old = one.message.metadata
            ttl = old.ttl if left == float("inf") else min(old.ttl, max(left, 1.0))
            message = Message(
                one.message.content, node, old.message_type, ttl=ttl, group_id=old.group_id
            )
            log.warning("node %d is back and is asked again", node)
            one.ids |= {id_ for id_ in self.push_messages([message]) if id_}
            one.activated, one.gone, one.reply = now, None, None

    def _look(self, waiting: list[_Waiting]) -> None:
        by_id = {id_: one for one in waiting if one.reply is None for id_ in one.ids}
        if not by_id:
            return
        answer = self._runtime_client.PullMessages(PullAppMessagesRequest(message_ids=list(by_id)))
        for reply, tree in zip(answer.messages_list, answer.message_object_trees, strict=True):
            one = by_id.get(reply.metadata.reply_to_message_id)
            if one is None or one.reply is not None:
                continue
            if reply.error.code == ErrorCode.NODE_UNAVAILABLE:
                one.ids.discard(reply.metadata.reply_to_message_id)
                one.gone = one.gone or time.monotonic()
                continue
            one.reply, one.size, one.parts = reply, 0, {}
            one.missing = _parts(tree)

    def _whole(self, one: _Waiting) -> Message | None:
        """The reply of `one` once all its parts are here; an error reply where that cannot be."""
        reply = one.reply
        if reply is None:
            if one.gone is not None and time.monotonic() - one.gone > RETURN_S:
                return _failed(one.message, "gone", ErrorCode.NODE_UNAVAILABLE)
            return None
        if reply.metadata.src_node_id != one.message.metadata.dst_node_id:
            return _failed(one.message, "no reply of its own", reply.error.code)
        if len(one.missing) > MAX_PARTS:
            return _failed(one.message, "a reply in too many parts")
        pull = make_pull_object_fn_protobuf(
            self._runtime_client.PullObject, self.node, self.run.run_id
        )
        while one.missing:
            try:
                part = pull(one.missing[-1])
            except ObjectUnavailableError:
                return None
            except ObjectPullError:
                return _failed(one.message, "a reply that was cut off")
            one.size += len(part)
            if one.size > MAX_REPLY_BYTES:
                return _failed(one.message, "a reply that is too large")
            one.parts[one.missing.pop()] = part
        id_ = reply.metadata.message_id
        self._runtime_client.ConfirmMessageReceived(
            ConfirmMessageReceivedRequest(
                node=self.node, run_id=self.run.run_id, message_object_id=id_
            )
        )
        try:
            message = inflate_object_from_contents(id_, one.parts)
            if not isinstance(message, Message):
                raise TypeError(type(message).__name__)
        except Exception as error:  # noqa: BLE001  a stranger's bytes: anything may be in them
            return _failed(one.message, f"a reply that cannot be read ({type(error).__name__})")
        # What the SuperLink has checked, and not what the sender has put inside.
        message.metadata.__dict__.update(message_from_proto(reply).metadata.__dict__)
        return message


def _nothing() -> None:
    """Nothing to watch."""


def _parts(tree: ObjectTree) -> list[str]:
    return list(dict.fromkeys(part.object_id for part in iterate_object_tree(tree)))


def _failed(asked: Message, why: str, code: int = ErrorCode.MESSAGE_UNAVAILABLE) -> Message:
    """An error reply, as if the node had sent it."""
    log.warning("node %d: %s", asked.metadata.dst_node_id, why)
    return make_message(
        metadata=Metadata(
            run_id=asked.metadata.run_id,
            message_id="",
            src_node_id=asked.metadata.dst_node_id,
            dst_node_id=asked.metadata.src_node_id,
            reply_to_message_id=asked.metadata.message_id,
            group_id=asked.metadata.group_id,
            created_at=asked.metadata.created_at,
            ttl=asked.metadata.ttl,
            message_type=asked.metadata.message_type,
        ),
        error=Error(code=code, reason=why),
    )
