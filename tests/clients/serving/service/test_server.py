"""gRPC: health, reflection, deadlines, limits, an end in order."""

import io
import json
import logging
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)

from clients.serving.service import guard
from clients.serving.service.calls import SERVICE
from clients.serving.service.client import ServingClient
from clients.serving.service.serve import Service
from clients.serving.wire import serving_pb2 as pb
from clients.serving.wire.serving_pb2_grpc import ServingStub
from shared.errors import ConfigError, FedInterestError, RunError, StorageError
from shared.operations.logs import start_logging
from tests.clients.serving.service.http2 import DATA, PREFACE, frame, request, settings_frame
from tests.clients.serving.service.world import ANN, World, serving

Code = grpc.StatusCode
Health = health_pb2.HealthCheckResponse
WATCH = "/grpc.health.v1.Health/Watch"
ASK = pb.RecommendRequest(user_id="ann")


@contextmanager
def channel(service: Service) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(service.places.grpc, [("grpc.enable_retries", 0)]) as made:
        yield made


def health(made: grpc.Channel, name: str = "") -> int:
    stub = health_pb2_grpc.HealthStub(made)
    return int(stub.Check(health_pb2.HealthCheckRequest(service=name), timeout=20).status)


def until(true: Any, patience_s: float = 20.0) -> None:
    end = time.monotonic() + patience_s
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


def operations(service: Service, path: str) -> tuple[int, str]:
    url = f"http://127.0.0.1:{service.places.operations}{path}"
    try:
        with urllib.request.urlopen(url, timeout=20) as found:
            return found.status, found.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_health_of_each_service(service: Service) -> None:
    with channel(service) as made:
        assert health(made) == Health.SERVING
        assert health(made, SERVICE) == Health.SERVING
        with pytest.raises(grpc.RpcError) as caught:
            health(made, "another")
        assert caught.value.code() is Code.NOT_FOUND


def test_without_a_snapshot_it_does_not_serve_until_there_is_one(world: World) -> None:
    world.empty = True
    with serving(world, refresh_s=0.05) as service, channel(service) as made:
        assert health(made) == Health.NOT_SERVING
        assert operations(service, "/livez")[0] == 200
        assert operations(service, "/readyz")[0] == 503
        with pytest.raises(grpc.RpcError) as caught:
            ServingStub(made).Recommend(ASK, timeout=20)
        assert caught.value.code() is Code.FAILED_PRECONDITION
        world.empty = False
        until(lambda: health(made) == Health.SERVING)
        assert operations(service, "/readyz")[0] == 200


def test_reflection_tells_the_protocol(service: Service) -> None:
    with channel(service) as made:
        database = ProtoReflectionDescriptorDatabase(made)
        assert SERVICE in database.get_services()
        found = database.FindFileContainingSymbol(SERVICE)
        assert [one.name for one in found.service] == ["Serving"]
        assert len(found.service[0].method) == 17


def test_reflection_holds_at_most_two_threads(service: Service) -> None:
    with channel(service) as made:
        stub = reflection_pb2_grpc.ServerReflectionStub(made)
        stop = threading.Event()

        def silent() -> Iterator[reflection_pb2.ServerReflectionRequest]:
            yield reflection_pb2.ServerReflectionRequest(list_services="")
            stop.wait(60)

        open_ = [stub.ServerReflectionInfo(silent(), timeout=60) for _ in range(2)]
        for one in open_:
            next(one)
        with pytest.raises(grpc.RpcError) as caught:
            next(stub.ServerReflectionInfo(silent(), timeout=60))
        assert caught.value.code() is Code.RESOURCE_EXHAUSTED
        assert len(ServingStub(made).Recommend(ASK, timeout=20).items) == 10
        stop.set()


def test_work_past_its_deadline_is_not_begun(world: World) -> None:
    """One thread is busy; what waits behind it is given up by its caller, and never reaches it."""
    world.pause_s = 1.0
    with serving(world, threads=1) as service, channel(service) as made:
        # Reflection's two threads are lent to calls, too: three are busy.
        stub = ServingStub(made)
        busy = [stub.Recommend.future(ASK, timeout=60) for _ in range(3)]
        until(lambda: len(world.calls) == 3)
        late = stub.Recommend.future(ASK, timeout=0.1)
        with pytest.raises(grpc.RpcError) as caught:
            late.result()
        assert caught.value.code() is Code.DEADLINE_EXCEEDED
        for one in busy:
            one.result()
        until(lambda: service.tally.in_flight == 0)
        # grpc may have dropped it before it came to a thread; either way it did no work.
        assert len(world.calls) == 3


def test_a_stream_ends_with_its_deadline(world: World) -> None:
    world.pause_s = 0.02
    with serving(world) as service, channel(service) as made:
        request = pb.AudienceRequest(interest="tea", size=1_000_000)
        with pytest.raises(grpc.RpcError) as caught:
            list(ServingStub(made).Audience(request, timeout=0.5))
        assert caught.value.code() is Code.DEADLINE_EXCEEDED
        until(lambda: service.tally.in_flight == 0)


def test_streams_leave_threads_for_the_others(world: World) -> None:
    with serving(world, threads=2) as service, channel(service) as made:
        stub = ServingStub(made)
        request = pb.AudienceRequest(interest="tea", size=1_000_000)
        slow = stub.Audience(request, timeout=60)  # read one, then no more
        next(slow)
        with pytest.raises(grpc.RpcError) as caught:
            next(stub.Audience(request, timeout=60))
        assert caught.value.code() is Code.RESOURCE_EXHAUSTED
        assert len(stub.Recommend(ASK, timeout=20).items) == 10
        slow.cancel()
        until(lambda: service.tally.in_flight == 0)
        assert next(stub.Audience(request, timeout=60)).score == 0.0


def test_too_many_at_once(world: World) -> None:
    world.pause_s = 0.5
    with serving(world, threads=1, max_calls=4) as service, channel(service) as made:
        calls = [ServingStub(made).Recommend.future(ASK, timeout=60) for _ in range(40)]
        codes = [one.code() for one in calls]  # waits for each
        assert set(codes) == {Code.OK, Code.RESOURCE_EXHAUSTED}


def test_oversized_requests(world: World) -> None:
    with serving(world, max_message_mib=1) as service, channel(service) as made:
        stub = ServingStub(made)
        with pytest.raises(grpc.RpcError) as caught:
            stub.Intent(pb.IntentRequest(text="x" * 2**20), timeout=20)
        assert caught.value.code() is Code.RESOURCE_EXHAUSTED
        with pytest.raises(grpc.RpcError) as long_text:
            stub.Intent(pb.IntentRequest(text="x" * (2**20 - 100)), timeout=20)
        assert long_text.value.code() is Code.INVALID_ARGUMENT
        with pytest.raises(grpc.RpcError) as headers:
            stub.Status(pb.StatusRequest(), timeout=20, metadata=(("x", "y" * 100_000),))
        assert headers.value.code() is Code.RESOURCE_EXHAUSTED
        assert stub.Status(pb.StatusRequest(), timeout=20).items == 30


def test_bytes_that_are_no_message_are_the_callers_error(service: Service) -> None:
    names = [
        f"/{SERVICE}/Recommend",
        f"/{SERVICE}/Status",
        "/grpc.health.v1.Health/Check",
    ]
    with channel(service) as made:
        for name in names:
            with pytest.raises(grpc.RpcError) as caught:
                made.unary_unary(name)(b"\xff\xff\xff", timeout=20)
            assert caught.value.code() is Code.INVALID_ARGUMENT, name
        for name in (f"/{SERVICE}/Audience", "/grpc.health.v1.Health/Watch"):
            with pytest.raises(grpc.RpcError) as caught:
                list(made.unary_stream(name)(b"\x0a\x05\xff", timeout=20))
            assert caught.value.code() is Code.INVALID_ARGUMENT, name
        name = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
        with pytest.raises(grpc.RpcError) as caught:
            list(made.stream_stream(name)(iter([b"\xff"]), timeout=20))
        assert caught.value.code() is Code.INVALID_ARGUMENT
        with pytest.raises(grpc.RpcError) as caught:
            made.unary_unary(f"/{SERVICE}/Drop")(b"", timeout=20)
        assert caught.value.code() is Code.UNIMPLEMENTED


def test_an_end_in_order(world: World) -> None:
    """What is in flight is finished, watchers are told and sent home, others are turned away."""
    world.pause_s = 1.0
    with serving(world, grace_s=60) as service, channel(service) as made:
        stub = ServingStub(made)
        watching = health_pb2_grpc.HealthStub(made).Watch(
            health_pb2.HealthCheckRequest(service=SERVICE), timeout=60
        )
        assert next(watching).status == Health.SERVING
        flying = stub.Recommend.future(ASK, timeout=60)
        until(lambda: world.calls == ["recommend"])
        done: list[bool] = []
        stopper = threading.Thread(target=lambda: done.append(service.stop()))
        stopper.start()
        assert next(watching).status == Health.NOT_SERVING
        assert list(watching) == []  # it ends, with OK
        assert len(flying.result().items) == 10
        stopper.join(timeout=30)
        assert done == [True]
        with pytest.raises(grpc.RpcError) as caught:
            stub.Status(pb.StatusRequest(), timeout=20)
        assert caught.value.code() is Code.UNAVAILABLE
        # for the fixture's own stop
        service.stop = lambda: True  # type: ignore[method-assign]


def test_what_takes_longer_than_the_grace_is_cut_off(world: World) -> None:
    world.pause_s = 3.0
    with serving(world, grace_s=0.2) as service, channel(service) as made:
        flying = ServingStub(made).Recommend.future(ASK, timeout=60)
        until(lambda: world.calls == ["recommend"])
        assert service.stop() is False
        assert flying.code() in (Code.UNAVAILABLE, Code.CANCELLED)
        service.stop = lambda: True  # type: ignore[method-assign]


def test_a_newer_snapshot_is_taken_up_by_itself_and_a_damaged_one_is_not(world: World) -> None:
    with (
        serving(world, refresh_s=0.05) as service,
        ServingClient(service.places.grpc, deadline_s=20) as client,
    ):
        world.newest = 2
        until(lambda: client.recommend(ANN).snapshot == "snapshot-2")
        assert service.tally.reloads == 1
        world.trouble = OSError("damaged")
        until(lambda: service.tally.reload_failures >= 2)
        world.trouble = None
        assert client.recommend(ANN).snapshot == "snapshot-2"


def test_a_port_that_is_taken(service: Service, world: World) -> None:
    with (
        pytest.raises(ConfigError, match=r"serving\.address"),
        serving(world, address=service.places.grpc),
    ):
        pass
    with (
        pytest.raises(ConfigError, match=r"serving\.json_address"),
        serving(world, json_address=service.places.json),
    ):
        pass


def test_measures_count_calls_and_nobody(service: Service, client: ServingClient) -> None:
    client.recommend(ANN)
    with pytest.raises(FedInterestError):
        client.recommend(ANN, k=5000)
    until(lambda: service.tally.in_flight == 0)
    text = operations(service, "/metrics")[1]
    p = "fedinterest_serving_"
    assert f'{p}calls_total{{call="Recommend",status="OK"}} 1.0' in text
    assert f'{p}calls_total{{call="Recommend",status="INVALID_ARGUMENT"}} 1.0' in text
    assert f'{p}calls_within_total{{call="Recommend",within="1"}} 2.0' in text
    assert f"{p}items 30.0" in text
    assert f"{p}ready 1.0" in text
    assert "users" not in text


def test_the_log_tells_of_defects_and_never_of_users(
    service: Service, client: ServingClient, world: World
) -> None:
    stream, root = io.StringIO(), logging.getLogger()
    before, level = list(root.handlers), root.level
    handler = start_logging(stream)
    try:
        world.trouble = ValueError("history of ann: i0, i3")
        for _ in range(3):
            with pytest.raises(FedInterestError):
                client.recommend(ANN)
        world.trouble = StorageError(expected="space", got="none", where="live.sqlite")
        with channel(service) as made, pytest.raises(grpc.RpcError):
            ServingStub(made).Recommend(ASK, timeout=20)
        with pytest.raises(FedInterestError):
            client.recommend(ANN, k=5000)
    finally:
        root.handlers[:] = before
        root.setLevel(level)
        handler.close()
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    kinds = [(one["event"], one["kind"], one["outcome"]) for one in lines]
    # Within a second the same defect is told once, and the caller's own mistake not at all.
    assert kinds[0] == ("failed", "ValueError", "INTERNAL")
    assert ("failed", "StorageError", "UNAVAILABLE") in kinds
    assert {kind for _, kind, _ in kinds} == {"ValueError", "StorageError"}
    assert "world.py:" in lines[0]["reason"]
    assert "ann" not in stream.getvalue()
    assert "i0" not in stream.getvalue()


def test_a_watcher_that_does_not_listen_is_cut_off(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A window of 0 (RFC 9113, 6.9) leaves grpc waiting with the first word; others go on."""
    monkeypatch.setattr(guard, "FIRST_WORD_S", 0.3)
    with serving(world) as service, channel(service) as made:
        host, _, port = service.places.grpc.rpartition(":")
        with socket.create_connection((host, int(port)), timeout=20) as rude:
            rude.sendall(
                PREFACE + settings_frame(window=0) + request(1, WATCH, frame(DATA, 1, 1, b"\0" * 5))
            )
            time.sleep(0.1)
            assert health(made) == Health.SERVING


def test_a_client_of_a_service_that_stopped(world: World) -> None:
    with serving(world) as service:
        client = ServingClient(service.places.grpc, deadline_s=0.5)
        assert client.status().items == 30
    with client, pytest.raises(RunError):
        client.status()
