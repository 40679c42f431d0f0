"""A SuperNode's local Runtime API, as our executor uses it: claim a task, take it in, answer it.

What `flwr-superexec` and `flwr-clientapp` do in processes of their own (flwr 1.41 to 1.42,
`supercore/superexec/run_superexec.py` and `supernode/runtime/run_clientapp.py`), but for the two
steps that write the bundle's code to disk and import it.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Self

import httpx
from flwr.app import Message
from flwr.app.message import remove_content_from_message
from flwr.common.constant import SubStatus
from flwr.common.serde import context_from_proto, fab_from_proto, message_to_proto, run_from_proto
from flwr.proto.message_pb2 import ObjectTree
from flwr.proto.node_pb2 import Node
from flwr.proto.runtime_pb2 import (
    AcquireTaskRequest,
    PullAppMessagesRequest,
    PullTaskInputRequest,
    PushAppMessagesRequest,
    PushTaskOutputRequest,
    SendTaskHeartbeatRequest,
)
from flwr.supercore.constant import TaskType
from flwr.supercore.inflatable.inflatable_object import (
    get_all_nested_objects,
    get_object_tree,
    no_object_id_recompute,
)
from flwr.supercore.inflatable.inflatable_protobuf_utils import (
    make_confirm_message_received_fn_protobuf,
    make_pull_object_fn_protobuf,
    make_push_object_fn_protobuf,
)
from flwr.supercore.inflatable.inflatable_utils import (
    pull_and_inflate_object_from_tree,
    push_objects,
)
from flwr.supercore.interceptors import (
    RuntimeTokenHttpInterceptor,
    RuntimeVersionHttpInterceptor,
    SuperExecAuthHttpInterceptor,
)
from flwr.supercore.protobuf.client import ProtobufClientInterceptor
from flwr.supercore.runtime import RuntimeHttpClient
from flwr.supercore.task_identity import TaskIdentity

from clients.node.supernode import PARTS
from shared.errors import RunError
from shared.files import sha256

# An AgentApp's task must be claimed too: the SuperNode waits for an answer to every message.
_CLAIMED = [TaskType.CLIENT_APP, TaskType.AGENT_APP]
_ACQUIRE = frozenset({"/flwr.proto.Runtime/AcquireTask"})
_ERRORS = (httpx.HTTPError, ValueError, RuntimeError, KeyError)


@dataclass(frozen=True)
class Asked:
    """A message, and what it came with.

    Args:
        message: of the coordinator.
        run_id, node_id: Flower's numbers.
        bundle_sha256: of the bundle's bytes, computed here.
        agent: the task is for an AgentApp, which we have none of.
    """

    message: Message
    run_id: int
    node_id: int
    bundle_sha256: str
    agent: bool


class Task:
    """A claimed task; close it when it is answered or lost.

    Args:
        client: with the task's token.
        agent: see `Asked`.
    """

    def __init__(self, client: RuntimeHttpClient, *, agent: bool) -> None:
        self._client, self._agent = client, agent

    def pull(self) -> Asked:
        """Take the message in.

        Raises:
            RunError: the SuperNode does not hand it over.
        """
        try:
            found = self._client.PullTaskInput(PullTaskInputRequest())
            context, run = context_from_proto(found.context), run_from_proto(found.run)
            content = fab_from_proto(found.fab).content
            TaskIdentity.task_id = found.task_id
            TaskIdentity.run_id, TaskIdentity.node_id = run.run_id, context.node_id
            pulled = self._client.PullMessages(PullAppMessagesRequest())
            if not pulled.messages_list:
                raise RuntimeError("no message")
            tree, node = pulled.message_object_trees[0], Node(node_id=context.node_id)
            message = self._inflated(tree, node, run.run_id)
        except _ERRORS as error:
            raise _lost("a task's message", error) from error
        return Asked(message, run.run_id, context.node_id, sha256(content), self._agent)

    def push(self, asked: Asked, reply: Message) -> None:
        """Hand the reply over; the task is done when this returns.

        Raises:
            RunError: the SuperNode does not take it.
        """
        try:
            reply.metadata.__dict__["_message_id"] = reply.object_id
            proto = message_to_proto(remove_content_from_message(reply))
            with no_object_id_recompute():
                response = self._client.PushMessages(
                    PushAppMessagesRequest(
                        messages_list=[proto], message_object_trees=[get_object_tree(reply)]
                    )
                )
                push_objects(
                    get_all_nested_objects(reply),
                    make_push_object_fn_protobuf(
                        self._client.PushObject,
                        Node(node_id=asked.node_id),
                        run_id=asked.run_id,
                        session_id=response.session_id,
                    ),
                    object_ids_to_push=set(response.objects_to_push),
                )
            self._client.PushTaskOutput(
                PushTaskOutputRequest(context=None, sub_status=SubStatus.COMPLETED, details="")
            )
        except _ERRORS as error:
            raise _lost("to hand over an answer", error) from error

    def alive(self) -> bool:
        """Tell the SuperNode that the task is being worked on; False: it does not know it.

        A SuperNode that cannot be reached for a moment is not one that has forgotten.
        """
        try:
            return bool(self._client.SendTaskHeartbeat(SendTaskHeartbeatRequest()).success)
        except httpx.HTTPStatusError:
            return False
        except httpx.HTTPError:
            return True

    def close(self) -> None:
        """Let go of the connection."""
        self._client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _inflated(self, tree: ObjectTree, node: Node, run_id: int) -> Message:
        message: Message = pull_and_inflate_object_from_tree(
            tree,
            make_pull_object_fn_protobuf(self._client.PullObject, node, run_id),
            make_confirm_message_received_fn_protobuf(
                self._client.ConfirmMessageReceived, node, run_id
            ),
            return_type=Message,
            initial_backoff=PARTS["initial_backoff"],
            backoff_cap=PARTS["backoff_cap"],
        )
        # A message does not hold its own id, which is its content's.
        message.metadata.__dict__["_message_id"] = tree.object_id
        return message


class RuntimeApi:
    """The API on loopback.

    Args:
        address: host:port.
        secret: of `--superexec-auth-secret-file`.
    """

    def __init__(self, address: str, secret: bytes) -> None:
        self._address = address
        self._client = self._connected(
            [SuperExecAuthHttpInterceptor(master_secret=secret, protected_methods=_ACQUIRE)]
        )

    def claim(self) -> Task | None:
        """The oldest waiting task; None where there is none, or no SuperNode at the moment."""
        request = AcquireTaskRequest(supported_task_types=_CLAIMED)
        try:
            found = self._client.AcquireTask(request)
        except (httpx.HTTPError, ValueError):
            return None
        if not (found.HasField("task") and found.token):
            return None
        client = self._connected([RuntimeTokenHttpInterceptor(found.token)])
        return Task(client, agent=found.task.type == TaskType.AGENT_APP)

    def close(self) -> None:
        """Let go of the connection."""
        with suppress(httpx.HTTPError):
            self._client.close()

    def _connected(self, more: Sequence[ProtobufClientInterceptor]) -> RuntimeHttpClient:
        return RuntimeHttpClient.from_server_address(
            self._address,
            insecure=True,  # loopback of this machine
            root_certificates=None,
            interceptors=[RuntimeVersionHttpInterceptor(component_name="SuperExec"), *more],
        )


def _lost(what: str, error: Exception) -> RunError:
    return RunError(
        expected=what,
        got=type(error).__name__,
        where="SuperNode's Runtime API",
        remedy="The SuperNode may have been restarted; the coordinator asks again.",
    )
