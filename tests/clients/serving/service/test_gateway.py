"""JSON over HTTP: the same answers, the same statuses; rude and foreign callers."""

import http.client
import json
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from google.protobuf import json_format
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clients.serving.service.gateway import PATHS, Gateway
from clients.serving.service.measures import Tally
from clients.serving.service.serve import Service
from clients.serving.service.servicer import Servicer
from clients.serving.wire import serving_pb2 as pb
from tests.clients.serving.service import world as worlds
from tests.clients.serving.service.world import World, serving

JSON = {"Content-Type": "application/json"}


def port_of(service: Service) -> int:
    return int(str(service.places.json).rpartition(":")[2])


def ask(
    port: int,
    path: str,
    body: bytes | str | None = None,
    *,
    method: str = "POST",
    headers: dict[str, str] = JSON,
) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read()
    finally:
        connection.close()


def error_of(body: bytes) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(body)["error"]
    return found


def raw(port: int, data: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=30) as rude:
        rude.sendall(data)
        found = b""
        while more := rude.recv(65_536):
            found += more
        return found


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """Of a service that the tests share."""
    with serving(World()) as made:
        yield port_of(made)


@pytest.fixture
def own_port(service: Service) -> int:
    """Of a service over this test's own `world`."""
    return port_of(service)


def test_a_request_in_json_as_over_grpc(port: int) -> None:
    asked = {"userId": "ann", "k": 3, "diversity": 0.5, "filters": {"includeSeen": True}}
    code, headers, body = ask(port, "/v1/recommend", json.dumps(asked))
    assert (code, headers["Content-Type"]) == (200, "application/json")
    found = json_format.Parse(body, pb.RecommendReply())
    here = World().recommend(
        worlds.ANN, k=3, diversity=0.5, filters=worlds.Filters(include_seen=True)
    )
    assert [(one.item.item_id, one.score) for one in found.items] == [
        (one.item.item_id, one.score) for one in here.items
    ]
    snake = {"user_id": "ann", "k": 3, "diversity": 0.5, "filters": {"include_seen": True}}
    assert ask(port, "/v1/recommend", json.dumps(snake))[2] == body


def test_status_is_a_get(port: int) -> None:
    code, headers, body = ask(port, "/v1/status", method="GET", headers={})
    found = json.loads(body)
    assert (code, found["platform"], found["items"], found["exact"]) == (200, "shop", "30", True)
    assert found["events"] == "0"  # zeros are said
    assert headers["Cache-Control"] == "no-store"
    assert not any(name.lower().startswith("access-control") for name in headers)


def test_every_call_has_its_path() -> None:
    assert list(PATHS)[:5] == [
        "/v1/recommend",
        "/v1/similar_items",
        "/v1/interests",
        "/v1/explain",
        "/v1/audience",
    ]
    assert len(PATHS) == 17
    assert {"/v1/get_consent", "/v1/delete_items"} <= set(PATHS)


def test_texts_that_cannot_be_read_and_what_is_deleted_are_said(own_port: int) -> None:
    port = own_port
    told = json.loads(ask(port, "/v1/status", method="GET", headers={})[2])
    assert (told["readsTexts"], told["noTexts"], told["leftOut"]) == (False, "no encoder: ü", "3")
    assert told["pending"] == "0"
    body = ask(port, "/v1/delete_items", '{"itemIds": ["i3", "nothing"]}')[2]
    assert json.loads(body) == {"deleted": 1, "alreadyDeleted": 0, "unknown": ["nothing"]}


def test_an_audience_is_a_line_a_member(port: int) -> None:
    code, headers, body = ask(port, "/v1/audience", '{"interest": "tea", "size": 3}')
    assert (code, headers["Content-Type"]) == (200, "application/x-ndjson")
    lines = [json.loads(line) for line in body.splitlines()]
    assert [one["score"] for one in lines] == [0.0, -1.0, -2.0]
    assert all(len(one["pseudonym"]) == 64 for one in lines)


def test_an_audience_that_fails_has_a_code_before_and_a_line_after_it_began(
    own_port: int, world: World
) -> None:
    port = own_port
    assert ask(port, "/v1/audience", '{"interest": "moss"}')[0] == 404
    world.trouble = ValueError("customer-17")
    code, _, body = ask(port, "/v1/audience", '{"interest": "tea"}')
    lines = [json.loads(line) for line in body.splitlines()]
    assert (code, len(lines), lines[2]["error"]["status"]) == (200, 3, "INTERNAL")
    assert b"customer-17" not in body


@pytest.mark.parametrize(
    ("path", "body", "code", "status"),
    [
        ("/v1/recommend", '{"userId": "ann", "k": 1001}', 400, "INVALID_ARGUMENT"),
        ("/v1/recommend", '{"userId": "nobody"}', 404, "NOT_FOUND"),
        ("/v1/similar_users", '{"userId": "ann"}', 403, "PERMISSION_DENIED"),
        ("/v1/interests", '{"history": {}}', 400, "FAILED_PRECONDITION"),
        ("/v1/recommend", '{"userId": "ann", "kk": 1}', 400, "INVALID_ARGUMENT"),
        ("/v1/recommend", '{"userId": "ann", "history": {}}', 400, "INVALID_ARGUMENT"),
        ("/v1/recommend", '{"userId": "ann", "diversity": "NaN"}', 400, "INVALID_ARGUMENT"),
        ("/v1/recommend", '{"userId": "\\ud800"}', 400, "INVALID_ARGUMENT"),
        ("/v1/recommend", "[]", 400, "INVALID_ARGUMENT"),
        ("/v1/recommend", "", 400, "INVALID_ARGUMENT"),
        ("/v1/recommend", b"\xff\xfe", 400, "INVALID_ARGUMENT"),
        ("/v1/recommend", "[" * 100_000, 400, "INVALID_ARGUMENT"),
        ("/v1/recommend", '{"k": ' + "1" * 5000 + "}", 400, "INVALID_ARGUMENT"),
        ("/v1/nothing", "{}", 404, "INVALID_ARGUMENT"),
        ("/v1/recommend?k=1", "{}", 404, "INVALID_ARGUMENT"),
    ],
)
def test_errors_have_the_codes_of_google_rpc(
    port: int, path: str, body: bytes | str, code: int, status: str
) -> None:
    found, headers, text = ask(port, path, body)
    error = error_of(text)
    assert (found, error["code"], error["status"]) == (code, code, status)
    assert headers["Content-Type"] == "application/json"


def test_errors_name_the_field_and_quote_nobody(port: int) -> None:
    error = error_of(ask(port, "/v1/recommend", '{"userId": "ann", "k": 1001}')[2])
    assert (error["where"], error["kind"]) == ("k", "ConfigError")
    unknown = error_of(ask(port, "/v1/recommend", '{"kk": 1}')[2])
    assert "'kk'" in unknown["got"]
    assert "diversity" in unknown["remedy"]
    for body in (
        '{"userId": {"a": "customer-17"}}',
        '{"k": "customer-17"}',
        '{"mode": "customer-17"}',
        '{"customer-17": 1}',
        '{"history": {"itemIds": "customer-17"}}',
        '{"userId": "customer-17"',
    ):
        assert b"customer-17" not in ask(port, "/v1/recommend", body)[2], body


def test_only_post_and_only_json(port: int) -> None:
    assert ask(port, "/v1/recommend", method="GET")[0] == 405
    assert ask(port, "/v1/recommend", method="GET")[1]["Allow"] == "POST"
    for method in ("PUT", "DELETE", "OPTIONS", "HEAD"):
        assert ask(port, "/v1/recommend", "{}", method=method)[0] == 501
    for kind in ("text/plain", "application/x-www-form-urlencoded", ""):
        code, _, body = ask(port, "/v1/status", "{}", headers={"Content-Type": kind})
        assert (code, error_of(body)["where"]) == (400, "Content-Type")
    charset = {"Content-Type": "application/json; charset=utf-8"}
    assert ask(port, "/v1/status", "{}", headers=charset)[0] == 200


def test_a_foreign_page_gets_nothing(own_port: int, world: World) -> None:
    port = own_port
    """What a page in a browser of this machine can send: its own Host (rebound), its Origin."""
    hosts = ["evil.example", f"evil.example:{port}", "127.0.0.1", f"localhost:{port + 1}", ""]
    for host in (*hosts, f"127.0.0.1.evil.example:{port}", f"0.0.0.0:{port}"):
        code, _, _ = ask(port, "/v1/recommend", '{"userId": "ann"}', headers={**JSON, "Host": host})
        assert code == 403, host
    for origin in ("http://evil.example", "null", f"http://localhost:{port}"):
        headers = {**JSON, "Origin": origin}
        assert ask(port, "/v1/recommend", '{"userId": "ann"}', headers=headers)[0] == 403, origin
    assert world.calls == []
    for host in (f"127.0.0.1:{port}", f"localhost:{port}", f"[::1]:{port}"):
        headers = {**JSON, "Host": host, "Origin": f"http://{host}"}
        assert ask(port, "/v1/recommend", '{"userId": "ann"}', headers=headers)[0] == 200, host


def test_sizes(world: World) -> None:
    with serving(world, max_message_mib=1) as service:
        port = port_of(service)
        long = '{"text": "%s"}' % ("x" * (2**20 - 100))
        assert ask(port, "/v1/intent", long)[0] == 400  # too long a text, but it was read
        head = f"POST /v1/intent HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n".encode()
        said = head + b"Content-Type: application/json\r\n"
        found = raw(port, said + b"Content-Length: 1048577\r\n\r\n")
        assert found.startswith(b"HTTP/1.1 429 ")
        assert b"RESOURCE_EXHAUSTED" in found
        for wrong in (
            b"Content-Length: -1",
            b"Content-Length: 1e3",
            b"Content-Length: \xb2",
            b"Content-Length: 2\r\nContent-Length: 3",
            b"Content-Length: 2\r\nTransfer-Encoding: chunked",
            b"Transfer-Encoding: chunked",
            b"X: y",
        ):
            found = raw(port, said + wrong + b"\r\n\r\n{}")
            assert found.startswith(b"HTTP/1.1 400 "), wrong
            assert found.count(b"HTTP/1.1") == 1, wrong  # nothing after it is taken for a request
        assert raw(port, head + b"X-Many: " + b"y" * 70_000 + b"\r\n\r\n").count(b"200") == 0
        assert ask(port, "/v1/status", method="GET")[0] == 200


@pytest.mark.parametrize(
    "data",
    [b"\0" * 100 + b"\r\n\r\n", b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"\x16\x03\x01\r\n\r\n"],
)
def test_what_is_not_http(port: int, data: bytes) -> None:
    found = raw(port, data)
    assert b"200 OK" not in found
    assert b"<html" not in found.lower()
    assert ask(port, "/v1/status", method="GET")[0] == 200


@pytest.fixture
def impatient(world: World) -> Iterator[Gateway]:
    gateway = Gateway(Servicer(world, Tally()), worlds.settings(), idle_s=0.3, request_s=0.6)
    yield gateway
    gateway.stop(0.0)


def test_slow_callers_are_cut_off(impatient: Gateway) -> None:
    """A byte now and then does not keep a thread: a request has one time for all of it."""
    with socket.create_connection(("127.0.0.1", impatient.port), timeout=30) as silent:
        assert silent.recv(1) == b""
    with socket.create_connection(("127.0.0.1", impatient.port), timeout=30) as slow:
        try:
            for one in b"POST /v1/status HTTP/1.1\r\n" * 100:
                slow.sendall(bytes([one]))
                time.sleep(0.02)
            pytest.fail("was never cut off")
        except OSError:
            pass
    assert ask(impatient.port, "/v1/status", method="GET")[0] == 200


def test_connections_are_counted(own_port: int) -> None:
    port = own_port
    crowd = [socket.create_connection(("127.0.0.1", port), timeout=30) for _ in range(80)]
    try:
        turned_away = 0
        for one in crowd:
            one.setblocking(False)
        end = time.monotonic() + 20
        while turned_away < 16 and time.monotonic() < end:
            turned_away = sum(_is_closed(one) for one in crowd)
            time.sleep(0.02)
        assert turned_away == 16  # 64 may stay
    finally:
        for one in crowd:
            one.close()
    end = time.monotonic() + 20
    while True:  # places come back
        try:
            assert ask(port, "/v1/status", method="GET")[0] == 200
            break
        except (OSError, http.client.HTTPException):
            assert time.monotonic() < end


def _is_closed(one: socket.socket) -> bool:
    try:
        return one.recv(1, socket.MSG_PEEK) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


def test_a_connection_serves_many_requests(port: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    for body, code in (
        ('{"userId": "ann"}', 200),
        ('{"k": 5000}', 400),
        ('{"userId": "ann"}', 200),
    ):
        connection.request("POST", "/v1/recommend", body, JSON)
        answer = connection.getresponse()
        answer.read()
        assert (answer.status, answer.getheader("Connection")) == (code, None)
    connection.close()


def test_an_end_in_order(world: World) -> None:
    world.pause_s = 1.0
    with serving(world, grace_s=60) as service:
        port = port_of(service)
        kept = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        kept.request("GET", "/v1/status")
        kept.getresponse().read()
        found: list[int] = []
        flying = threading.Thread(
            target=lambda: found.append(ask(port, "/v1/recommend", '{"userId": "ann"}')[0])
        )
        flying.start()
        while world.calls != ["recommend"]:
            time.sleep(0.01)
        done: list[bool] = []
        stopper = threading.Thread(target=lambda: done.append(service.stop()))
        stopper.start()
        while not service.draining:
            time.sleep(0.01)
        kept.request("GET", "/v1/status")
        answer = kept.getresponse()
        assert (answer.status, answer.getheader("Connection")) == (503, "close")
        assert error_of(answer.read())["status"] == "UNAVAILABLE"
        kept.close()
        flying.join(timeout=30)
        stopper.join(timeout=30)
        assert (found, done) == ([200], [True])


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
FIELDS = sorted(
    {field.json_name for call in PATHS.values() for field in call.request.DESCRIPTOR.fields}
    | {"itemIds", "onlyItems", "title", "x"}
)
TREES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(FIELDS), inner, max_size=4)
    ),
    max_leaves=8,
)
BODIES = st.one_of(
    st.dictionaries(st.sampled_from(FIELDS), TREES, max_size=4).map(json.dumps).map(str.encode),
    st.binary(max_size=40),
)


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(path=st.sampled_from(sorted(PATHS)), body=BODIES)
def test_any_body_has_a_documented_code(port: int, path: str, body: bytes) -> None:
    code, _, text = ask(port, path, body)
    assert code in (200, 400, 403, 404), text
    for line in text.splitlines():
        json.loads(line)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.binary(max_size=200))
def test_noise_on_the_port(port: int, data: bytes) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=30) as rude:
        rude.sendall(data)
    assert ask(port, "/v1/status", method="GET")[0] == 200
