"""What is tried at a gateway by a partner, by one that was revoked, and by strangers."""

import socket
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import httpx
from flwr.proto.fleet_pb2 import PullMessagesRequest, PushMessagesRequest
from flwr.proto.message_pb2 import Message, Metadata, ObjectTree

from server.membership import gateway
from server.membership.authority import Authority
from server.membership.enrolment import revoke
from shared.certificates import new_key, utc_now
from tests.scenarios.raw_node import RawNode, fleet
from tests.server.gates import Gate, hears_nothing


@dataclass
class Scene:
    """All that an act may use."""

    gate: Gate
    nodes: dict[str, RawNode]
    contexts: dict[str, ssl.SSLContext]
    files: Path

    def fleet_status(self, certificate_of: str, key_of: str, node_of: str) -> Any:
        """What asking for messages comes to."""
        client = fleet(
            self.gate.port, self.contexts[certificate_of], self.gate.applicants[key_of].node
        )
        try:
            client.PullMessages(PullMessagesRequest(node=self.nodes[node_of].node))
            return 200
        except httpx.HTTPStatusError as refused:
            return refused.response.status_code
        except httpx.HTTPError as failed:
            return type(failed).__name__
        finally:
            client.close()

    def silence(self, context: ssl.SSLContext) -> str:
        """Whether somebody with this certificate gets an answer."""
        with self.gate.connect(context) as connection:
            headers = self.gate.applicants["news"].headers
            lines = "".join(f"{key}: {value}\r\n" for key, value in headers.items())
            request = f"POST /v1/fleet/pull-messages HTTP/1.1\r\nhost: x\r\n{lines}\r\n"
            connection.sendall(request.encode())
            return "silence" if hears_nothing(connection) else "an answer"


def in_the_name_of(name: str, scene: Scene) -> Any:
    """What an answer of `news` comes to that says it is `name`'s."""
    client = fleet(scene.gate.port, scene.contexts["news"], scene.gate.applicants["news"].node)
    said = Metadata(run_id=1, src_node_id=scene.nodes[name].node.node_id, message_type="train")
    answer = PushMessagesRequest(
        node=scene.nodes["news"].node,
        messages_list=[Message(metadata=said)],
        message_object_trees=[ObjectTree()],
    )
    try:
        client.PushMessages(answer)
        return 200
    except httpx.HTTPStatusError as refused:
        return refused.response.status_code
    finally:
        client.close()


def path(path_: str, scene: Scene) -> Any:
    return scene.gate.ask(path_, name="news", context=scene.contexts["news"])[0]


def stranger(scene: Scene) -> Any:
    return scene.silence(scene.gate.context(None))


def expired(scene: Scene) -> Any:
    """Of the very authority, in the very name."""
    key = new_key()
    month_ago = utc_now() - timedelta(days=31)
    authority = Authority(scene.gate.folder.authority)
    certificate = authority.issue("news", key.public_key(), 30, month_ago)
    return scene.silence(scene.gate.context("news", certificate=certificate, key=key))


def foreign(scene: Scene) -> Any:
    """The right name, by another authority."""
    key = new_key()
    authority = Authority.create(scene.files / "authority", "fed", utc_now())
    certificate = authority.issue("news", key.public_key(), 30, utc_now())
    return scene.silence(scene.gate.context("news", certificate=certificate, key=key))


def revoked(scene: Scene) -> Any:
    """A moment ago it had a connected node."""
    before = scene.fleet_status("garden", "garden", "garden")
    revoke(scene.gate.folder, "garden", now=utc_now())
    end = time.monotonic() + 30
    while isinstance(scene.fleet_status("garden", "garden", "garden"), int):
        assert time.monotonic() < end, "revoked, and still answered"
        time.sleep(0.1)
    return before, scene.silence(scene.contexts["garden"])


def oversized(scene: Scene) -> Any:
    with scene.gate.connect(scene.contexts["news"]) as connection:
        headers = scene.gate.applicants["news"].headers
        lines = "".join(f"{key}: {value}\r\n" for key, value in headers.items())
        length = 9 * 2**20
        head = f"POST /v1/fleet/push-object HTTP/1.1\r\nhost: x\r\n{lines}"
        connection.sendall(f"{head}content-length: {length}\r\n\r\n".encode())
        return connection.recv(12).decode()


def no_protobuf(scene: Scene) -> Any:
    body = bytes(range(256)) * 40
    call, context = "/v1/fleet/push-messages", scene.contexts["news"]
    return scene.gate.ask(call, body, name="news", context=context)[0]


def no_tls(scene: Scene) -> Any:
    with socket.create_connection(("127.0.0.1", scene.gate.port), timeout=15) as plain:
        plain.sendall(bytes(range(256)))
        return "silence" if hears_nothing(plain) else "an answer"


def drip(scene: Scene) -> Any:
    """A header that never ends, while everything else goes on."""
    with scene.gate.connect(scene.contexts["news"]) as connection:
        connection.sendall(b"POST /v1/fleet/get-run HTTP/1.1\r\nhost: x\r\nx: ")
        began = time.monotonic()
        try:
            while time.monotonic() - began < 6 * gateway.PATIENCE_S:
                connection.sendall(b"a")
                time.sleep(0.2)
        except OSError:
            return "cut"
    return "kept"


@dataclass(frozen=True)
class Act:
    """What is tried, what comes of it, and the line of the log of refusals; None: no line."""

    name: str
    do: Callable[[Scene], Any]
    comes: Any
    noted: tuple[str, str, int] | None = None


NEWS = "news"
ACTS = (
    *(
        Act(one, partial(path, one), 403, (NEWS, one, 403))
        for one in (
            "/v1/control/start-run",
            "/v1/control/unregister-node",
            "/v1/runtime/acquire-task",
            "/v1/fleet/register-node",
            "/docs",
            "/openapi.json",
        )
    ),
    Act(
        "another's node key",
        lambda scene: scene.fleet_status(NEWS, "shop", "shop"),
        403,
        (NEWS, "/v1/fleet/pull-messages", 403),
    ),
    Act(
        "another's node",
        lambda scene: scene.fleet_status(NEWS, NEWS, "shop"),
        401,
        (NEWS, "/v1/fleet/pull-messages", 401),
    ),
    Act(
        "an answer in another's name",
        partial(in_the_name_of, "shop"),
        403,
        (NEWS, "/v1/fleet/push-messages", 403),
    ),
    Act(  # in its own: only that there is no such run is wrong with it
        "an answer to no run",
        partial(in_the_name_of, NEWS),
        500,
        (NEWS, "/v1/fleet/push-messages", 500),
    ),
    Act("an oversized part", oversized, "HTTP/1.1 413", (NEWS, "/v1/fleet/push-object", 413)),
    Act("no protobuf", no_protobuf, 400, (NEWS, "/v1/fleet/push-messages", 400)),
    Act("no TLS", no_tls, "silence"),
    Act("no certificate", stranger, "silence"),
    Act("an expired certificate", expired, "silence"),
    Act("a foreign certificate", foreign, "silence"),
    Act("a revoked certificate", revoked, (200, "silence")),
)
