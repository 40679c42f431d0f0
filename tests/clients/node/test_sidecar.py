"""The sidecar and the real gateway: what gets out, what gets through, and who is let in."""

import base64
import http.client
import ssl
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from clients.home import Home
from clients.joining.reach import reach
from clients.node.sidecar import sidecar
from clients.node.up import free_port, listens
from server.membership.enrolment import enrol, init, revoke
from server.membership.gateway import gateway
from server.settings import ServerFolder
from shared.errors import ConfigError, ProtocolError
from tests.clients.partners import environment, new_home, running, wait_for

pytestmark = pytest.mark.usefixtures("nginx")


@dataclass
class Place:
    home: Home
    coordinator: ServerFolder
    port: int


@pytest.fixture
def place(tmp_path: Path, world: Path, surroundings: None) -> Iterator[Place]:
    """A gateway with no SuperLink behind it, an enrolled partner, and the partner's sidecar."""
    now, gate, port = datetime.now(UTC), free_port(), free_port()
    folder = init(tmp_path / "coordinator", name="testers", address=f"localhost:{gate}", now=now)
    home = new_home(tmp_path / "shop", world)
    done = enrol(folder, "shop", home.folder.request.read_text(), now=now)
    answer = tmp_path / "answer.json"
    answer.write_text(done.enrolment.text())
    home.enrol(answer)
    outer = gateway(folder)
    outer.write()
    nginx = sidecar(
        home.folder.sidecar, home.keys, home.enrolment(), port=port, max_body=8 * 1024**2
    )
    assert nginx.write()
    assert not nginx.write()  # the same again changes nothing
    nginx.test()
    with ExitStack() as stack:
        for one, name in ((outer, "gateway"), (nginx, "sidecar")):
            stack.enter_context(
                running(one.command(), environment(), home.folder.log / f"{name}.log")
            )
        wait_for(lambda: listens(gate) and listens(port), "two nginx", home.folder.log)
        yield Place(home, folder, port)


def post(place: Place, path: str, method: str = "POST") -> int:
    """What the SuperNode would get."""
    context = ssl.create_default_context(cafile=str(place.home.keys.loopback_certificate))
    line = http.client.HTTPSConnection("127.0.0.1", place.port, timeout=10, context=context)
    shown = base64.b64encode(place.home.keys.node_public().encode()).decode()
    line.request(method, path, body=b"", headers={"flwr-public-key": shown})
    status = line.getresponse().status
    line.close()
    return status


def test_only_fleet_calls_get_out_and_reach_the_coordinator(place: Place) -> None:
    assert post(place, "/v1/fleet/pull-messages") == 502  # through both: no SuperLink behind
    assert post(place, "/v1/fleet/register-node") == 403  # the gateway's
    assert post(place, "/v1/control/list-runs") == 403
    assert post(place, "/v1/runtime/acquire-task") == 403
    assert post(place, "/docs", "GET") == 403
    assert post(place, "/v1/fleet/pull-messages", "GET") == 403
    (line,) = [
        line
        for line in (place.home.folder.sidecar / "nginx.conf").read_text().splitlines()
        if "listen" in line
    ]
    assert line.split()[1].startswith("127.0.0.1:")
    outside = [
        path
        for path in place.home.folder.path.rglob("*")
        if path.is_file() and path.stat().st_mode & 0o077 and path.parent.name == "keys"
    ]
    assert outside == []


def test_the_gateway_is_looked_at_before_anything_is_sent(place: Place) -> None:
    found = reach(place.home.enrolment(), place.home.keys)
    assert (found.fleet, found.control, found.tls) == (502, 403, "TLSv1.3")
    assert found.clock_s is not None
    assert abs(found.clock_s) < 5


def test_who_was_shut_out(place: Place) -> None:
    revoke(place.coordinator, "shop", now=datetime.now(UTC))
    gateway(place.coordinator).reload()

    def refused() -> str:
        try:
            found = reach(place.home.enrolment(), place.home.keys)
        except ProtocolError as error:
            return error.remedy
        return "revoked" if found.fleet in (400, 403) else ""

    assert "revoked" in wait_for(refused, "the revocation", place.home.folder.log, 15)
    assert post(place, "/v1/fleet/pull-messages") in (400, 403, 502)


def test_no_gateway(place: Place) -> None:
    enrolment = place.home.enrolment()
    nowhere = type(enrolment)(**{**vars(enrolment), "gateway": f"localhost:{free_port()}"})
    with pytest.raises(ConfigError, match="gateway at localhost"):
        reach(nowhere, place.home.keys)
