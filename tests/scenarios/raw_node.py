"""A partner without our client: its certificate, its node key, and Flower's Fleet API by hand.

It reaches the coordinator as a partner does, through the gateway, and can say what a client of ours
would never say: `post` decides what goes out in the place of an answer.
"""

import ssl
import threading
import time
from collections.abc import Callable
from typing import Any

import httpx
from flwr.app import Context, Message, RecordDict
from flwr.app.message import remove_content_from_message
from flwr.clientapp import ClientApp
from flwr.common.constant import HEARTBEAT_DEFAULT_INTERVAL
from flwr.common.serde import message_to_proto
from flwr.proto.fleet_pb2 import (
    ActivateNodeRequest,
    PullMessagesRequest,
    PullMessagesResponse,
    PushMessagesRequest,
    PushMessagesResponse,
)
from flwr.proto.heartbeat_pb2 import SendNodeHeartbeatRequest
from flwr.proto.message_pb2 import PushObjectRequest
from flwr.proto.node_pb2 import Node
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects, get_object_tree
from flwr.supercore.inflatable.inflatable_protobuf_utils import (
    make_confirm_message_received_fn_protobuf,
    make_pull_object_fn_protobuf,
)
from flwr.supercore.inflatable.inflatable_utils import pull_and_inflate_object_from_tree
from flwr.supercore.interceptors import RuntimeVersionHttpInterceptor
from flwr.supernode.fleet_http_client import FleetHttpClient
from flwr.supernode.node_auth_http_interceptor import NodeAuthHttpInterceptor

from shared.certificates import PrivateKey, public_pem

Post = Callable[["RawNode", Message, Message], None]
_LOOK_S, _BEAT_S = 0.05, 5.0


class _Again:
    """Calls again where a connection broke, as SuperNode does, until `ended`."""

    def __init__(self, ended: threading.Event) -> None:
        self.ended = ended

    def invoke(self, call: Callable[[], Any]) -> Any:
        """Flower's interface."""
        while True:
            try:
                return call()
            except httpx.TransportError:
                if self.ended.wait(_LOOK_S):
                    raise


def fleet(
    port: int,
    context: ssl.SSLContext,
    key: PrivateKey,
    until: threading.Event | None = None,
) -> FleetHttpClient:
    """Flower's own client of the gateway on `port`, with any certificate and any node key.

    Args:
        until: calls again where a connection breaks, until this is set; None: once.
    """
    return FleetHttpClient(
        f"https://127.0.0.1:{port}",
        verify=context,
        interceptors=[
            RuntimeVersionHttpInterceptor(component_name="flower-supernode"),
            NodeAuthHttpInterceptor(key, key.public_key()),
        ],
        retry_invoker=None if until is None else _Again(until),  # type: ignore[arg-type]
    )


class RawNode(threading.Thread):
    """One partner's node, on a thread.

    Args:
        name: of the platform, for its app.
        port, context, key: see `fleet`.
        app: answers messages.
        post: hands an answer over; None: as it should be.
    """

    def __init__(
        self,
        name: str,
        port: int,
        context: ssl.SSLContext,
        key: PrivateKey,
        app: ClientApp,
        post: Post | None = None,
    ) -> None:
        super().__init__(name=name, daemon=True)
        self.ended = threading.Event()
        self.client, self.app = fleet(port, context, key, self.ended), app
        self.post = post or RawNode.push
        self.public = public_pem(key.public_key()).encode()
        self.node = Node()
        self.answered = 0
        self.failures: list[int] = []

    def run(self) -> None:
        """Answer until `end`; while it is not let in, try again."""
        beat = 0.0
        while not self.ended.wait(_LOOK_S):
            try:
                if not self.node.node_id:
                    self.activate()
                if time.monotonic() - beat > _BEAT_S:
                    beat = time.monotonic()
                    self._beat()
                found = self.client.PullMessages(PullMessagesRequest(node=self.node))
                if found.messages_list:
                    self._answer(found)
            except httpx.HTTPStatusError as error:
                self.failures.append(error.response.status_code)
            except httpx.TransportError:  # ended in the middle of it
                return

    def activate(self) -> None:
        """Sign on."""
        request = ActivateNodeRequest(
            public_key=self.public, heartbeat_interval=HEARTBEAT_DEFAULT_INTERVAL
        )
        self.node = Node(node_id=self.client.ActivateNode(request).node_id)

    def end(self) -> None:
        """Go, without a word."""
        self.ended.set()
        self.join(30)
        self.client.close()

    def _beat(self) -> None:
        self.client.SendNodeHeartbeat(
            SendNodeHeartbeatRequest(node=self.node, heartbeat_interval=HEARTBEAT_DEFAULT_INTERVAL)
        )

    def _answer(self, found: PullMessagesResponse) -> None:
        tree = found.message_object_trees[0]
        run_id = found.messages_list[0].metadata.run_id
        message = pull_and_inflate_object_from_tree(
            tree,
            make_pull_object_fn_protobuf(self.client.PullObject, self.node, run_id),
            make_confirm_message_received_fn_protobuf(
                self.client.ConfirmMessageReceived, self.node, run_id
            ),
            return_type=Message,
            initial_backoff=0.1,
            backoff_cap=0.5,
        )
        message.metadata.__dict__["_message_id"] = tree.object_id
        context = Context(
            run_id=run_id,
            node_id=self.node.node_id,
            node_config={"platform-folder": f"/platforms/{self.name}"},
            state=RecordDict(),
            run_config={},
        )
        reply = self.app(message, context)
        self.post(self, message, reply)
        self.answered += 1

    def push(self, _asked: Message, reply: Message) -> None:
        """An answer, as it should be handed over."""
        parts = {key: one.deflate() for key, one in get_all_nested_objects(reply).items()}
        taken = self.announce(reply)
        for key in taken.objects_to_push:
            self.part(reply, taken, key, parts[key])

    def announce(self, reply: Message) -> PushMessagesResponse:
        """Say that an answer comes, and in which parts."""
        reply.metadata.__dict__["_message_id"] = reply.object_id
        return self.client.PushMessages(
            PushMessagesRequest(
                node=self.node,
                messages_list=[message_to_proto(remove_content_from_message(reply))],
                message_object_trees=[get_object_tree(reply)],
            )
        )

    def part(self, reply: Message, taken: PushMessagesResponse, key: str, content: bytes) -> None:
        """Hand over one of its parts, or what is said to be one."""
        self.client.PushObject(
            PushObjectRequest(
                node=self.node,
                run_id=reply.metadata.run_id,
                object_id=key,
                object_content=content,
                session_id=taken.session_id,
            )
        )
