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
from clients.node.supernode import command, environment, hasten, remember, sign_off
from clients.node.up import free_port
from shared.errors import RunError


def copy_of(module: ModuleType) -> Any:
    return SimpleNamespace(**vars(module))


def test_the_installed_flower_can_be_hastened() -> None:
    flower, retry = copy_of(start_client_internal), copy_of(http_retry)
    assert retry.MAX_RETRY_DELAY == 20
    hasten(flower, retry)
    began = time.monotonic()
    flower.time.sleep(3)
    assert time.monotonic() - began < 1
    assert retry.MAX_RETRY_DELAY == 2
    assert start_client_internal.time is time  # this process's own is left alone
    with pytest.raises(RunError, match="waits otherwise"):
        hasten(flower, retry)  # already changed, as by a Flower that is built otherwise


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
