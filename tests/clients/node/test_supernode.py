"""What is changed in Flower's SuperNode, and that another Flower is noticed."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from flwr.supercore.retry import http_retry
from flwr.supernode import start_client_internal

from clients.home import Home
from clients.node.pace import Pace
from clients.node.supernode import command, environment, hasten, remember, sign_off, straighten
from clients.node.up import free_port
from shared.errors import RunError


def copy_of(module: ModuleType) -> Any:
    return SimpleNamespace(**vars(module))


def test_the_installed_flower_can_be_hastened() -> None:
    flower, retry = copy_of(start_client_internal), copy_of(http_retry)
    assert retry.MAX_RETRY_DELAY == 20
    hasten(flower, retry, Pace())
    began = time.monotonic()
    flower.time.sleep(3)
    assert time.monotonic() - began < 1
    assert retry.MAX_RETRY_DELAY == 2
    assert start_client_internal.time is time  # this process's own is left alone
    with pytest.raises(RunError, match="waits otherwise"):
        hasten(flower, retry, Pace())  # already changed, as by a Flower that is built otherwise


def test_the_node_id_is_kept() -> None:
    kept: list[int] = []

    @contextmanager
    def connected(**_: object) -> Iterator[tuple[int, str]]:
        yield 12345, "rest"

    flower: Any = SimpleNamespace(__name__="flower", _init_connection=connected)
    remember(flower, kept.append)
    with flower._init_connection(server_address="there") as found:
        assert found == (12345, "rest")
        assert kept == [12345]
    with pytest.raises(RunError, match="connects otherwise"):
        remember(SimpleNamespace(__name__="other"), kept.append)  # type: ignore[arg-type]


def test_a_message_of_an_ended_run_is_forgotten_and_answers_go_out() -> None:
    """On Flower's own state, with Flower's loop up to where a run turns out to have ended."""
    from flwr.app import ConfigRecord, Message, RecordDict
    from flwr.supercore.task_identity import TaskIdentity
    from flwr.supernode.nodestate.in_memory_nodestate import InMemoryNodeState

    TaskIdentity.run_id, TaskIdentity.task_id, TaskIdentity.node_id = 1, 1, 1
    asked = Message(RecordDict({"one": ConfigRecord({"kind": "asked"})}), 5, "train")
    asked.metadata.__dict__["_message_id"] = "lost"
    sent: list[str] = []
    dropped: list[str] = []

    @contextmanager
    def connected(**_: object) -> Iterator[tuple[Any, ...]]:
        yield (5, None, "send", None, None, None, "push_object", None)

    def pull(*, state: Any, receive: Any, **_: object) -> int | None:
        message, _tree = receive()
        state.store_message(message)
        return None  # its run is not running any more

    def push(*, state: Any, send: str, push_object: str, **_: object) -> None:
        assert (send, push_object) == ("send", "push_object")
        sent.extend(one.metadata.message_id for one in state.get_messages_legacy(is_reply=True))

    flower: Any = SimpleNamespace(
        __name__="flower",
        _init_connection=connected,
        _pull_and_store_message=pull,
        _push_messages=push,
    )
    straighten(flower, Pace())
    store: Any = SimpleNamespace(delete=dropped.append)
    state = InMemoryNodeState(store)
    reply = Message(RecordDict(), reply_to=asked)
    reply.metadata.__dict__["_message_id"] = "late"
    state.store_message(reply)
    with flower._init_connection():
        took = flower._pull_and_store_message(
            state=state, object_store=store, receive=lambda: (asked, "tree")
        )
    assert took is None
    assert sent == ["late"]
    assert dropped == ["lost"]
    assert list(state.msg_store) == ["late"]
    with pytest.raises(RunError, match="takes messages otherwise"):
        straighten(SimpleNamespace(__name__="other"), Pace())  # type: ignore[arg-type]


def test_no_secret_among_the_arguments_and_no_telemetry(home: Home) -> None:
    keys = home.keys
    said = " ".join(
        command(
            sidecar="127.0.0.1:1",
            certificate=keys.loopback_certificate,
            key=keys.node_key,
            port=2,
            secret=keys.executor_secret,
        )
    )
    assert "--isolation process" in said
    assert "--host 127.0.0.1" in said
    assert keys.executor_secret.read_text() not in said
    around = environment({}, home=home.folder.state, node=home.folder.state / "node_id")
    assert around["FLWR_TELEMETRY_ENABLED"] == "0"
    assert around["FLWR_DISABLE_UPDATE_CHECK"] == "1"


def test_signing_off_is_not_waited_for_long(home: Home, tmp_path: Path) -> None:
    keys, node = home.keys, tmp_path / "node_id"

    def heard() -> bool:
        return sign_off(
            node,
            sidecar=f"127.0.0.1:{free_port()}",
            certificate=keys.loopback_certificate.read_bytes(),
            key=keys.node_key,
            patience_s=0.5,
        )

    assert not heard()  # no node is known
    node.write_text("12345")
    began = time.monotonic()
    assert not heard()  # nobody listens
    assert time.monotonic() - began < 5
