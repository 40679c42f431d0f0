"""Three paths on loopback."""

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from shared.errors import ConfigError, RunError
from shared.operations.endpoint import Endpoint


@dataclass
class State:
    live: bool = True
    needs: dict[str, bool] = field(default_factory=lambda: {"gateway": True, "superlink": True})
    damaged: bool = False

    def metrics(self) -> bytes:
        if self.damaged:
            raise RunError(expected="a file", got="user-4711", where="here")
        return b"rounds_total 3\n"


@pytest.fixture
def state() -> State:
    return State()


@pytest.fixture
def endpoint(state: State) -> Iterator[Endpoint]:
    made = Endpoint(0, live=lambda: state.live, ready=lambda: state.needs, metrics=state.metrics)
    yield made
    made.stop()


def get(endpoint: Endpoint, path: str, method: str = "GET") -> tuple[int, str]:
    url = f"http://127.0.0.1:{endpoint.port}{path}"
    try:
        with urllib.request.urlopen(urllib.request.Request(url, method=method), timeout=5) as found:
            return found.status, found.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_livez_says_whether_it_works_at_all(endpoint: Endpoint, state: State) -> None:
    assert get(endpoint, "/livez") == (200, "ok\n")
    state.live = False
    assert get(endpoint, "/livez")[0] == 503


def test_readyz_says_what_is_missing(endpoint: Endpoint, state: State) -> None:
    assert get(endpoint, "/readyz")[0] == 200
    state.needs["superlink"] = False
    code, body = get(endpoint, "/readyz?verbose")
    assert code == 503
    assert json.loads(body) == {
        "ready": False,
        "needs": {"gateway": True, "superlink": False},
    }


def test_metrics(endpoint: Endpoint, state: State) -> None:
    assert get(endpoint, "/metrics") == (200, "rounds_total 3\n")
    state.damaged = True
    assert get(endpoint, "/metrics") == (500, "RunError\n")  # and not its text


def test_nothing_else(endpoint: Endpoint) -> None:
    assert get(endpoint, "/")[0] == 404
    assert get(endpoint, "/metrics/../../etc/passwd")[0] == 404
    assert get(endpoint, "/metrics", "POST")[0] == 501


def test_a_port_that_is_taken_is_a_setting_to_change(endpoint: Endpoint) -> None:
    with pytest.raises(ConfigError, match="operations_port"):
        Endpoint(endpoint.port, live=lambda: True, ready=dict, metrics=bytes)
