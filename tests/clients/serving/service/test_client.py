"""The client answers as the engine does, whatever is asked, and raises what it raises."""

import socket
import threading
import time

import grpc
import pytest

from clients.serving.answers import NewItem, PostedEvent, Who
from clients.serving.engine import Answers
from clients.serving.service.client import ServingClient
from clients.serving.service.serve import Service
from clients.serving.service.status import KEY, raised
from clients.serving.wire import serving_pb2 as pb
from shared.errors import ConfigError, DataError, FedInterestError, ProtocolError, RunError
from tests.clients.serving.service.world import ANN, QUESTIONS, World, asked, serving


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_over_the_wire_as_in_the_process(client: ServingClient) -> None:
    answers: Answers = client  # also for mypy
    over_the_wire, here = asked(answers), asked(World())
    for name in QUESTIONS:
        assert over_the_wire[name] == here[name], name
    kinds = {one[0] for one in here.values() if isinstance(one, tuple)}
    assert kinds == {"UnknownError", "ConsentError", "DataError"}


def test_every_call_of_the_protocol_is_in_the_questions(
    client: ServingClient, service: Service
) -> None:
    asked(client)
    seen = {call for call, _ in service.tally.ended}
    assert seen == {one.name for one in pb.DESCRIPTOR.services_by_name["Serving"].methods}


def test_errors_keep_their_parts(client: ServingClient) -> None:
    with pytest.raises(DataError) as caught:
        client.interests(Who(item_ids=()))
    error = caught.value
    assert (error.expected, error.got, error.where) == ("an event", "none", "history")
    with pytest.raises(ConfigError) as wrong:
        client.recommend(ANN, k=1001)
    assert str(wrong.value) == "expected 1 to 1000, or 0 for 10, got 1001 (k)"


@pytest.mark.parametrize(
    ("ask", "where"),
    [
        (lambda of: of.recommend(ANN, k=-1), "k"),
        (lambda of: of.recommend(ANN, k=2**40), "k"),
        (lambda of: of.recommend(Who()), "who"),
        (lambda of: of.recommend(Who(user_id="ann", item_ids=())), "who"),
        (lambda of: of.intent("\ud800"), "text"),
        (lambda of: of.audience(interest="tea", item_id="i1", size=1), "about"),
        (lambda of: list(of.audience(interest=None, item_id=None, size=1)), "about"),
        (lambda of: of.set_consent("ann"), "learning"),
    ],
)
def test_what_cannot_be_said_is_the_callers_error(
    client: ServingClient, ask: object, where: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        ask(client)  # type: ignore[operator]
    assert where in caught.value.where
    assert "ann" not in str(caught.value)


def test_a_defect_says_nothing_of_the_data(client: ServingClient, world: World) -> None:
    world.trouble = ValueError("history of customer-17")
    with pytest.raises(ProtocolError) as caught:
        client.recommend(ANN)
    assert "INTERNAL" in str(caught.value)
    assert "customer-17" not in repr(caught.value.args)


def test_nobody_there() -> None:
    with (
        ServingClient(f"127.0.0.1:{free_port()}", deadline_s=0.3) as client,
        pytest.raises(RunError, match=r"UNAVAILABLE|DEADLINE"),
    ):
        client.status()


def test_it_waits_for_a_service_that_comes_back_within_the_deadline(world: World) -> None:
    """UNAVAILABLE is tried again: a restart within the deadline is not noticed."""
    port = free_port()
    with ServingClient(f"127.0.0.1:{port}", deadline_s=30.0) as client:
        with serving(world, address=f"127.0.0.1:{port}"):
            assert client.status().round == 1
        found: list[object] = []

        def ask() -> None:
            try:
                found.append(client.status())
            except FedInterestError as error:
                found.append(error)

        thread = threading.Thread(target=ask)
        thread.start()
        with serving(world, address=f"127.0.0.1:{port}"):
            thread.join(timeout=30)
        assert len(found) == 1
        assert getattr(found[0], "round", found[0]) == 1


def test_now_is_stamped_by_the_client_so_that_repeating_counts_once(
    client: ServingClient, world: World
) -> None:
    before = time.time()
    client.post_events([PostedEvent(user_id="dee", item_id="i5")])
    ((item, stamp),) = world.histories["dee"]
    assert item == "i5"
    assert before <= stamp <= time.time()


def test_an_audience_can_be_left_early(client: ServingClient, service: Service) -> None:
    members = client.audience(interest="tea", item_id=None, size=1_000_000)
    assert next(members).score == 0.0
    members.close()  # type: ignore[attr-defined]
    for _ in range(200):  # its call ends
        if service.tally.in_flight == 0:
            break
        time.sleep(0.05)
    assert service.tally.in_flight == 0
    assert service.tally.ended["Audience", "OK"] == 0


def test_large_lists_come_whole(client: ServingClient) -> None:
    many = [NewItem(item_id=f"n{n}", title="x" * 2000) for n in range(1000)]
    assert client.put_items(many).added == 1000
    assert len(client.recommend(Who(item_ids=()), k=1000).items) == 1000
    assert len(client.pseudonyms([f"user {n}" for n in range(10_000)])) == 10_000
    assert sum(1 for _ in client.audience(interest="tea", item_id=None, size=5000)) == 5000


def test_elsewhere_only_with_credentials() -> None:
    with pytest.raises(ConfigError, match="credentials"):
        ServingClient("10.0.0.1:9470")
    with pytest.raises(ConfigError, match="host:port"):
        ServingClient("localhost")
    with pytest.raises(ConfigError, match="deadline_s"):
        ServingClient("127.0.0.1:1", deadline_s=float("nan"))


def test_errors_nobody_agreed_on_are_protocol_errors() -> None:
    bad = [b"no json", b'{"kind": "Path"}', b'{"kind": "ConfigError"}', b"[]", b'{"kind": 3}']
    for value in bad:
        found = raised(grpc.StatusCode.INTERNAL, "text", [(KEY, value)], "here")
        assert type(found) is ProtocolError
