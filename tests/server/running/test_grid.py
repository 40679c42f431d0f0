"""The coordinator's grid over a real SuperLink, and nodes that do not do as they should."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from flwr.app import ArrayRecord, ConfigRecord, Message, RecordDict
from flwr.app.message import remove_content_from_message
from flwr.common.serde import message_from_proto, message_to_proto, run_from_proto
from flwr.proto.fleet_pb2 import (
    ActivateNodeRequest,
    DeactivateNodeRequest,
    PullMessagesRequest,
    PushMessagesRequest,
)
from flwr.proto.node_pb2 import Node
from flwr.proto.runtime_pb2 import PullTaskInputRequest
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects, get_object_tree
from flwr.supercore.inflatable.inflatable_protobuf_utils import make_push_object_fn_protobuf
from flwr.supercore.inflatable.inflatable_utils import push_objects
from flwr.supercore.interceptors import RuntimeVersionHttpInterceptor
from flwr.supercore.task_identity import TaskIdentity
from flwr.supernode.fleet_http_client import FleetHttpClient
from flwr.supernode.node_auth_http_interceptor import NodeAuthHttpInterceptor

from server.running import grid as grids
from server.running.control import Control
from server.running.grid import LinkLost, PromptGrid
from server.running.superlink import SuperLink, free_port
from shared.certificates import new_node_key, public_pem
from shared.processes import Child, Supervisor


@dataclass
class Link:
    """A SuperLink, a grid of a run on it, and the keys of two nodes."""

    link: SuperLink
    control: Control
    grid: PromptGrid
    run: int
    keys: list[ec.EllipticCurvePrivateKey]
    supervisor: Supervisor

    def node(self, number: int) -> "Fleet":
        return Fleet(self, self.keys[number])


class Fleet:
    """A node that speaks to the Fleet API directly, well or badly."""

    def __init__(self, link: Link, key: ec.EllipticCurvePrivateKey) -> None:
        self.client = FleetHttpClient.from_server_address(
            link.link.address,
            False,
            link.link.certificate.read_bytes(),
            [
                RuntimeVersionHttpInterceptor(component_name="SuperNode"),
                NodeAuthHttpInterceptor(key, key.public_key()),
            ],
        )
        self.request = ActivateNodeRequest(
            public_key=public_pem(key.public_key()).encode(), heartbeat_interval=30
        )
        self.activate()

    def activate(self) -> None:
        self.id = self.client.ActivateNode(self.request).node_id

    def deactivate(self) -> None:
        self.client.DeactivateNode(DeactivateNodeRequest(node_id=self.id))

    def pull(self) -> Message:
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            found = self.client.PullMessages(PullMessagesRequest(node=Node(node_id=self.id)))
            if found.messages_list:
                return message_from_proto(found.messages_list[0])
            time.sleep(0.02)
        raise TimeoutError

    def push(self, asked: Message, content: RecordDict, *, parts: bool = True) -> None:
        reply = Message(content, reply_to=asked)
        reply.metadata.__dict__["_src_node_id"] = self.id
        reply.metadata.__dict__["_message_id"] = reply.object_id
        answer = self.client.PushMessages(
            PushMessagesRequest(
                node=Node(node_id=self.id),
                messages_list=[message_to_proto(remove_content_from_message(reply))],
                message_object_trees=[get_object_tree(reply)],
                clientapp_runtime_list=[0.0],
            )
        )
        if parts:
            push = make_push_object_fn_protobuf(
                self.client.PushObject,
                Node(node_id=self.id),
                run_id=reply.metadata.run_id,
                session_id=answer.session_id,
            )
            wanted = set(answer.objects_to_push)
            push_objects(get_all_nested_objects(reply), push, object_ids_to_push=wanted)


@pytest.fixture(scope="module")
def link(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Link]:
    folder = tmp_path_factory.mktemp("link")
    superlink = SuperLink(folder / "superlink", free_port())
    superlink.prepare()
    child = Child(
        name="superlink",
        command=superlink.command(),
        env=superlink.environment() | {"PYTHONPATH": str(Path(__file__).resolve().parents[3])},
        log_path=folder / "superlink.log",
        ready=superlink.ready,
        ready_timeout_s=90,
        grace_s=0.5,
    )
    supervisor = Supervisor([child], folder / "processes.json")
    try:
        deadline = time.monotonic() + 90
        while not supervisor.all_ready:
            supervisor.poll()
            assert time.monotonic() < deadline, (folder / "superlink.log").read_text()
            time.sleep(0.05)
        keys = [new_node_key(), new_node_key()]
        control = Control(superlink)
        control.admit({str(n): public_pem(key.public_key()) for n, key in enumerate(keys)})
        run = control.start_run()
        grid = control.claim(run)
        found = grid.runtime.PullTaskInput(PullTaskInputRequest())
        TaskIdentity.task_id, TaskIdentity.run_id = found.task_id, found.run.run_id
        TaskIdentity.node_id = found.context.node_id
        grid.set_run(run_from_proto(found.run))
        yield Link(superlink, control, grid, run, keys, supervisor)
        grid.close()
        control.close()
    finally:
        supervisor.stop()


def content(values: int = 3) -> RecordDict:
    arrays = ArrayRecord([np.arange(values, dtype=np.float32)])
    return RecordDict({"fedinterest": ConfigRecord({"kind": "test"}), "arrays": arrays})


def ask(link: Link, node: Fleet, timeout: float = 10) -> tuple[list[Message], float]:
    message = Message(content(), node.id, "train", ttl=30, group_id="1")
    begun = time.monotonic()
    replies = link.grid.send_and_receive([message], timeout=timeout)
    return replies, time.monotonic() - begun


@pytest.fixture
def node(link: Link) -> Iterator[Fleet]:
    made = link.node(0)
    yield made
    made.deactivate()
    made.client.close()


def meanwhile(work: object, *arguments: object) -> Thread:
    thread = Thread(target=work, args=arguments, daemon=True)  # type: ignore[arg-type]
    thread.start()
    return thread


def test_an_answer_comes_at_once_and_whole(link: Link, node: Fleet) -> None:
    thread = meanwhile(lambda: node.push(node.pull(), content(1000)))
    (reply,), seconds = ask(link, node)
    thread.join()
    assert reply.metadata.src_node_id == node.id
    assert reply.content["arrays"].to_numpy_ndarrays()[0].tolist() == list(range(1000))  # type: ignore[union-attr]
    assert seconds < 3  # Flower's own would not look before


def test_an_answer_that_is_cut_off_is_none_at_the_deadline(link: Link, node: Fleet) -> None:
    thread = meanwhile(lambda: node.push(node.pull(), content(), parts=False))
    replies, seconds = ask(link, node, timeout=2)
    thread.join()
    assert replies == []
    assert 2 <= seconds < 3.5


def test_silence_is_none_at_the_deadline(link: Link, node: Fleet) -> None:
    replies, seconds = ask(link, node, timeout=1)
    assert replies == []
    assert 1 <= seconds < 2.5
    node.pull()


def test_an_answer_that_is_too_large_is_an_error(
    link: Link, node: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grids, "MAX_REPLY_BYTES", 10_000)
    thread = meanwhile(lambda: node.push(node.pull(), content(10_000)))
    (reply,), _ = ask(link, node)
    thread.join()
    assert reply.has_error()
    assert reply.metadata.src_node_id == node.id


def test_one_that_was_started_anew_is_asked_again(link: Link, node: Fleet) -> None:
    def forget() -> None:
        node.pull()
        node.deactivate()
        time.sleep(0.5)
        node.activate()
        node.push(node.pull(), content(5))

    thread = meanwhile(forget)
    (reply,), _ = ask(link, node)
    thread.join()
    assert not reply.has_error()


def test_one_that_stays_away_is_an_error_after_a_while(
    link: Link, node: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grids, "RETURN_S", 1.0)
    thread = meanwhile(node.deactivate)
    (reply,), seconds = ask(link, node)
    thread.join()
    assert reply.error.code == 5
    assert seconds < 4
    node.activate()


def test_one_answers_and_the_other_does_not(link: Link, node: Fleet) -> None:
    other = link.node(1)
    thread = meanwhile(lambda: node.push(node.pull(), content()))
    messages = [Message(content(), one.id, "train", ttl=30) for one in (node, other)]
    replies = link.grid.send_and_receive(messages, timeout=2)
    thread.join()
    assert [reply.metadata.src_node_id for reply in replies] == [node.id]
    other.pull()
    other.deactivate()
    other.client.close()


def test_a_run_that_was_stopped_is_lost_and_so_is_a_link_that_is_gone(link: Link) -> None:
    """Last in this file: nothing is left to ask afterwards."""
    link.control.stop_run(link.run)
    with pytest.raises(LinkLost, match="HTTP"):
        list(link.grid.get_node_ids())
    link.supervisor.stop()
    gone = PromptGrid(link.link.address, link.link.certificate.read_bytes(), "token")
    gone._retry_invoker = grids.Retry(0.3)  # type: ignore[assignment]
    with pytest.raises(LinkLost, match="ConnectError"):
        list(gone.get_node_ids())
    gone.close()
