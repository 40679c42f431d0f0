"""Mutual TLS: who has no certificate of the operator's authority gets nothing."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from clients.serving.service.client import ServingClient
from clients.serving.service.serve import Service
from clients.serving.service.settings import Tls
from clients.serving.service.tls import client_credentials, server_credentials
from shared.errors import ConfigError, RunError
from tests.clients.serving.service.authority import Authority
from tests.clients.serving.service.world import ANN, World, serving


@pytest.fixture
def ours(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "ours")


@pytest.fixture
def tls(ours: Authority) -> Tls:
    return ours.tls()


@pytest.fixture
def guarded(world: World, tls: Tls) -> Iterator[Service]:
    with serving(world, address="0.0.0.0:0", tls=tls.model_dump()) as made:
        yield made


def client(service: Service, credentials: Any, deadline_s: float = 20.0) -> ServingClient:
    port = service.places.grpc.rpartition(":")[2]
    return ServingClient(f"127.0.0.1:{port}", credentials=credentials, deadline_s=deadline_s)


def test_a_caller_with_a_certificate(guarded: Service, ours: Authority) -> None:
    key, certificate = ours.issue("shop", server=False)
    credentials = client_credentials(server_ca=ours.certificate, key=key, certificate=certificate)
    with client(guarded, credentials) as made:
        assert len(made.recommend(ANN).items) == 10


@pytest.mark.parametrize(
    "stranger", ["nobody's", "another authority's", "a server's", "expired", "in the clear"]
)
def test_others_are_refused(
    guarded: Service, world: World, ours: Authority, tmp_path: Path, stranger: str
) -> None:
    issued: dict[str, tuple[Path, Path] | None] = {
        "nobody's": None,
        "another authority's": Authority(tmp_path / "others").issue("shop", server=False),
        "a server's": ours.issue("other-server", server=True),
        "expired": ours.issue("late", server=False, days=-1),
        "in the clear": None,
    }
    key, certificate = issued[stranger] or (None, None)
    credentials = client_credentials(server_ca=ours.certificate, key=key, certificate=certificate)
    with (
        client(guarded, None if stranger == "in the clear" else credentials, 0.7) as made,
        pytest.raises(RunError, match=r"UNAVAILABLE|DEADLINE"),
    ):
        made.recommend(ANN)
    assert world.calls == []


def test_a_caller_does_not_trust_another_service(
    guarded: Service, world: World, ours: Authority, tmp_path: Path
) -> None:
    key, certificate = ours.issue("shop", server=False)
    other = Authority(tmp_path / "others").certificate
    credentials = client_credentials(server_ca=other, key=key, certificate=certificate)
    with client(guarded, credentials, 0.7) as made, pytest.raises(RunError):
        made.recommend(ANN)
    assert world.calls == []


def test_files_that_change_are_taken_up_at_the_next_connection(
    guarded: Service, ours: Authority, tls: Tls, tmp_path: Path
) -> None:
    """A new authority for callers: those of the old one are refused from then on, others let in."""
    key, certificate = ours.issue("shop", server=False)
    old = client_credentials(server_ca=ours.certificate, key=key, certificate=certificate)
    others = Authority(tmp_path / "others")
    key, certificate = others.issue("shop", server=False)
    new = client_credentials(server_ca=ours.certificate, key=key, certificate=certificate)
    with client(guarded, old) as made:
        assert made.status().items == 30
    tls.client_ca.write_text("not a certificate")  # half written: the last sound one is used
    with client(guarded, old) as made:
        assert made.status().items == 30
    shutil.copy(others.certificate, tls.client_ca)
    with client(guarded, new) as made:
        assert made.status().items == 30
    with client(guarded, old, 0.7) as made, pytest.raises(RunError):
        made.status()


@pytest.mark.parametrize("wrong", ["no key", "no certificate", "another key", "noise", "no ca"])
def test_files_that_are_not_sound(ours: Authority, tls: Tls, wrong: str) -> None:
    match wrong:
        case "no key":
            tls.key.unlink()
        case "no certificate":
            tls.certificate.unlink()
        case "another key":
            shutil.copy(ours.issue("other", server=True)[0], tls.key)
        case "noise":
            tls.certificate.write_bytes(b"\xff\xfe")
        case "no ca":
            tls.client_ca.write_text("")
    with pytest.raises(ConfigError) as caught:
        server_credentials(tls)
    assert str(ours.folder) in str(caught.value) or "serving.tls" in str(caught.value)


def test_half_of_a_callers_certificate(ours: Authority) -> None:
    with pytest.raises(ConfigError, match="key and certificate"):
        client_credentials(server_ca=ours.certificate, key=ours.folder / "x")


def test_only_tls_is_spoken(guarded: Service) -> None:
    port = guarded.places.grpc.rpartition(":")[2]
    with (
        grpc.insecure_channel(f"127.0.0.1:{port}") as channel,
        pytest.raises(grpc.RpcError) as caught,
    ):
        channel.unary_unary("/grpc.health.v1.Health/Check")(b"", timeout=5)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
