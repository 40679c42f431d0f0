"""Whatever is sent, the status is a documented one and never INTERNAL, and the service goes on."""

import math
import random
import socket
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from grpc_health.v1 import health_pb2, health_pb2_grpc
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clients.serving.service.calls import CALLS, SERVICE, Call
from clients.serving.service.serve import Service
from clients.serving.wire import serving_pb2 as pb
from clients.serving.wire.serving_pb2_grpc import ServingStub
from tests.clients.serving.service.http2 import (
    CONTINUATION,
    DATA,
    HEADERS,
    PING,
    PREFACE,
    SETTINGS,
    frame,
    request,
    settings_frame,
)
from tests.clients.serving.service.world import World, serving

Code = grpc.StatusCode
DOCUMENTED = {
    Code.OK,
    Code.INVALID_ARGUMENT,
    Code.NOT_FOUND,
    Code.PERMISSION_DENIED,
    Code.FAILED_PRECONDITION,
    Code.RESOURCE_EXHAUSTED,
    Code.DEADLINE_EXCEEDED,
}
TEXTS = st.one_of(
    st.sampled_from(["", "ann", "bob", "nobody", "i0", "i1", "tea", "x" * 513, "☕" * 5000, "\0"]),
    st.text(max_size=20),
)
NUMBERS: dict[int, st.SearchStrategy[Any]] = {
    FieldDescriptor.TYPE_UINT32: st.one_of(
        st.sampled_from([0, 1, 1001, 2**31, 2**32 - 1]), st.integers(0, 50)
    ),
    FieldDescriptor.TYPE_BOOL: st.booleans(),
    FieldDescriptor.TYPE_FLOAT: st.floats(width=32),
    FieldDescriptor.TYPE_DOUBLE: st.one_of(
        st.sampled_from([0.0, -0.0, math.nan, math.inf, -math.inf, 1.7e9, 1.7e12, 5e-324, 1e308]),
        st.floats(),
    ),
    FieldDescriptor.TYPE_ENUM: st.integers(-(2**31), 2**31 - 1) | st.sampled_from([0, 1]),
    FieldDescriptor.TYPE_STRING: TEXTS,
}


def messages(kind: Descriptor) -> st.SearchStrategy[Any]:
    """Messages of a kind with any of their fields, in any order: of a oneof the last one counts."""

    def value(field: FieldDescriptor) -> st.SearchStrategy[Any]:
        one = messages(field.message_type) if field.message_type else NUMBERS[field.type]
        return st.lists(one, max_size=5) if field.is_repeated else one

    def built(fields: dict[str, Any], order: list[str]) -> Any:
        made = kind._concrete_class()
        for name in order:
            if name in fields:
                made.MergeFrom(kind._concrete_class(**{name: fields[name]}))
        return made

    names = [field.name for field in kind.fields]
    fields = st.fixed_dictionaries({}, optional={one.name: value(one) for one in kind.fields})
    return st.builds(built, fields, st.permutations(names))


BYTES = st.one_of(
    st.binary(max_size=64),
    st.lists(  # tags with what does not belong to them
        st.tuples(st.integers(0, 127), st.binary(max_size=4)).map(
            lambda one: bytes([one[0]]) + one[1]
        ),
        max_size=6,
    ).map(b"".join),
)


def payloads(call: Call) -> st.SearchStrategy[bytes]:
    """Requests, two of them run together (both sides of a oneof), cut short, with bits turned."""
    sound = messages(call.request.DESCRIPTOR).map(lambda one: bytes(one.SerializeToString()))
    together = st.tuples(sound, sound).map(b"".join)
    cut = st.tuples(sound, st.floats(0, 1)).map(lambda one: one[0][: int(len(one[0]) * one[1])])
    turned = st.tuples(sound, st.binary(min_size=1, max_size=3), st.randoms()).map(_turned)
    return st.one_of(sound, sound, together, cut, turned, BYTES)


def _turned(given: tuple[bytes, bytes, random.Random]) -> bytes:
    data, noise, rng = bytearray(given[0]), given[1], given[2]
    for one in noise:
        if data:
            data[rng.randrange(len(data))] ^= one
    return bytes(data)


@pytest.fixture(scope="module")
def hostile() -> Iterator[tuple[Service, grpc.Channel]]:
    with (
        serving(World()) as service,
        grpc.insecure_channel(service.places.grpc, [("grpc.enable_retries", 0)]) as channel,
    ):
        yield service, channel


def status(channel: grpc.Channel, call: Call, data: bytes) -> grpc.StatusCode:
    """How a call ends; of a stream three replies are read."""
    try:
        if call.streams:
            stream = channel.unary_stream(f"/{SERVICE}/{call.name}")(data, timeout=60)
            for _ in zip(range(3), stream, strict=False):
                pass
            stream.cancel()
        else:
            channel.unary_unary(f"/{SERVICE}/{call.name}")(data, timeout=60)
    except grpc.RpcError as error:
        return error.code()
    return Code.OK


def healthy(channel: grpc.Channel) -> bool:
    stub = health_pb2_grpc.HealthStub(channel)
    answer = stub.Check(health_pb2.HealthCheckRequest(service=SERVICE), timeout=60)
    asked = ServingStub(channel).Recommend(pb.RecommendRequest(history={}, k=3), timeout=60)
    return answer.status == health_pb2.HealthCheckResponse.SERVING and len(asked.items) == 3


@pytest.mark.parametrize("name", list(CALLS))
def test_any_request_has_a_documented_status(
    hostile: tuple[Service, grpc.Channel], name: str
) -> None:
    _, channel = hostile
    call, seen = CALLS[name], set()

    @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
    @given(payloads(call))
    def fuzz(data: bytes) -> None:
        code = status(channel, call, data)
        seen.add(code)
        assert code in DOCUMENTED

    fuzz()
    assert Code.INVALID_ARGUMENT in seen
    assert healthy(channel)


@pytest.mark.slow
@pytest.mark.parametrize("name", list(CALLS))
def test_any_request_for_longer(hostile: tuple[Service, grpc.Channel], name: str) -> None:
    _, channel = hostile

    @settings(max_examples=3000, deadline=None, suppress_health_check=list(HealthCheck))
    @given(payloads(CALLS[name]))
    def fuzz(data: bytes) -> None:
        assert status(channel, CALLS[name], data) in DOCUMENTED

    fuzz()
    assert healthy(channel)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    name=st.sampled_from(
        ["/grpc.health.v1.Health/Check", "/grpc.reflection.v1alpha.ServerReflection/"]
    ),
    data=BYTES | st.text(max_size=30).map(lambda one: _named(one.encode())),
)
def test_health_and_reflection_too(
    hostile: tuple[Service, grpc.Channel], name: str, data: bytes
) -> None:
    _, channel = hostile
    try:
        if name.endswith("Check"):
            channel.unary_unary(name)(data, timeout=60)
        else:
            list(channel.stream_stream(f"{name}ServerReflectionInfo")(iter([data]), timeout=60))
    except grpc.RpcError as error:
        assert error.code() in DOCUMENTED - {Code.OK}  # noqa: PT017


def _named(text: bytes) -> bytes:
    """A request for the file or the symbol of a name."""
    return b"\x22" + bytes([len(text)]) + text if len(text) < 128 else b""


def test_oversized_and_swollen_requests(hostile: tuple[Service, grpc.Channel]) -> None:
    service, channel = hostile
    huge = pb.IntentRequest(text="x" * 5_000_000)
    with pytest.raises(grpc.RpcError) as caught:
        ServingStub(channel).Intent(huge, timeout=60)
    assert caught.value.code() is Code.RESOURCE_EXHAUSTED
    with pytest.raises(grpc.RpcError) as bomb:  # a few kB on the wire
        ServingStub(channel).Intent(huge, timeout=60, compression=grpc.Compression.Gzip)
    assert bomb.value.code() is Code.RESOURCE_EXHAUSTED
    assert healthy(channel)
    assert service.tally.in_flight == 0


RECOMMEND = f"/{SERVICE}/Recommend"
FRAMES = {
    "nothing": b"",
    "zeros": b"\0" * 10_000,
    "an HTTP/1.1 request": b"POST /v1/recommend HTTP/1.1\r\nHost: localhost\r\n\r\n{}",
    "the beginning of TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x5a" * 500,
    "half a preface": PREFACE[:10],
    "a preface and noise": PREFACE + random.Random(1).randbytes(10_000),
    "a frame that is too long": PREFACE
    + settings_frame()
    + frame(DATA, 0, 1, b"x", length=2**24 - 1),
    "a window of 2^32 - 1": PREFACE + settings_frame(window=2**32 - 1),
    "a frame of stream 0": PREFACE + settings_frame() + frame(HEADERS, 4, 0, b"\x82"),
    "noise for headers": PREFACE + settings_frame() + frame(HEADERS, 4, 1, b"\xff" * 200),
    "headers without an end": PREFACE
    + settings_frame()
    + frame(HEADERS, 0, 1, b"")
    + frame(CONTINUATION, 0, 1, b"\x00\x01a\x7f" + b"b" * 127) * 500,
    "a flood of pings": PREFACE + settings_frame() + frame(PING, 0, 0, b"12345678") * 5000,
    "a flood of settings": PREFACE + frame(SETTINGS, 0, 0, b"") * 5000,
    "streams opened and reset": PREFACE
    + settings_frame()
    + b"".join(
        request(one, RECOMMEND, frame(3, 0, one, b"\0\0\0\x08")) for one in range(1, 2001, 2)
    ),
    "a message longer than it is": PREFACE
    + settings_frame()
    + request(1, RECOMMEND, frame(DATA, 1, 1, b"\0\xff\xff\xff\xff" + b"x" * 100)),
    "a message said to be packed": PREFACE
    + settings_frame()
    + request(1, RECOMMEND, frame(DATA, 1, 1, b"\1\0\0\0\3abc")),
}


@pytest.mark.parametrize("name", list(FRAMES))
def test_noise_on_the_port(hostile: tuple[Service, grpc.Channel], name: str) -> None:
    service, channel = hostile
    host, _, port = service.places.grpc.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=20) as rude:
        try:
            rude.sendall(FRAMES[name])
            rude.shutdown(socket.SHUT_WR)
            while rude.recv(65_536):
                pass
        except OSError:
            pass  # hanging up on us is in order
    assert healthy(channel)
