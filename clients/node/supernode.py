"""Flower's SuperNode, started with four things of ours; everything else in it is Flower's.

1. It looks for messages every 0.05 s while some come, and every 0.5 s after a minute without,
   instead of every 3 s, and waits at most 2 s between attempts to reach a coordinator that is away,
   instead of 20 s.  A part of a message that is not there yet
   is asked for again after 0.05 s, not 1 s.
2. It keeps the node id it was given in a file.  A SuperNode that was killed counts as connected
   for another minute, and as long it could not come back: so it signs that node off first.
3. A message of a run that has ended before all of it came is forgotten, and an answer is sent once
   it is there.  Flower's loop keeps such a message, and sends answers only after another message
   has come: every later answer would wait for the next question, and be too late.
4. No telemetry, no look for updates, no installation of what a run asks for.

Written for flwr 1.41 and 1.42; where a name is not found it says so and does not start.
"""

import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

from clients.node.pace import Pace
from shared.errors import RunError

POLL_S = 0.1
RETRY_S = 2
PARTS = {"initial_backoff": 0.05, "backoff_cap": 0.5}  # s, between attempts to pull a part
_SEEN_S = 1.0  # so long a node must be away for the coordinator to see that it was
_QUIET = {
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
}


def command(
    *,
    sidecar: str,
    certificate: Path,
    key: Path,
    port: int,
    secret: Path,
) -> list[str]:
    """What starts it.

    Args:
        sidecar: host:port of the sidecar.
        certificate: the sidecar's.
        key: of Flower's node authentication.
        port: of its Runtime API, on loopback.
        secret: file with what the executor shows to it.
    """
    return [
        *(sys.executable, "-P", "-m", "clients.node.supernode"),
        *("--superlink", sidecar, "--root-certificates", str(certificate)),
        *("--auth-supernode-private-key", str(key)),
        *("--isolation", "process", "--host", "127.0.0.1", "--port", str(port)),
        *("--superexec-auth-secret-file", str(secret)),
    ]


def environment(base: Mapping[str, str], *, home: Path, node: Path) -> dict[str, str]:
    """Its environment.

    Args:
        home: a folder of its own for what Flower writes.
        node: file for the node id.
    """
    return {**base, **_QUIET, "FLWR_HOME": str(home), "FEDINTEREST_NODE_FILE": str(node)}


def sign_off(
    node: Path, *, sidecar: str, certificate: bytes, key: Path, patience_s: float = 3.0
) -> bool:
    """Tell the coordinator that the node in the file `node` is gone; True if it heard it."""
    import httpx
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import load_ssh_private_key
    from flwr.proto.fleet_pb2 import DeactivateNodeRequest
    from flwr.supercore.interceptors import RuntimeVersionHttpInterceptor
    from flwr.supercore.protobuf.client import ProtobufClientInterceptor
    from flwr.supernode.fleet_http_client import FleetHttpClient
    from flwr.supernode.node_auth_http_interceptor import NodeAuthHttpInterceptor

    try:
        number = int(node.read_text(encoding="utf-8"))
        private = load_ssh_private_key(key.read_bytes(), None)
    except (OSError, ValueError):
        return False
    if not isinstance(private, ec.EllipticCurvePrivateKey):
        return False
    interceptors: list[ProtobufClientInterceptor] = [
        RuntimeVersionHttpInterceptor(component_name="SuperNode"),
        NodeAuthHttpInterceptor(private, private.public_key()),
    ]
    deadline = time.monotonic() + patience_s
    with FleetHttpClient.from_server_address(sidecar, False, certificate, interceptors) as client:
        while time.monotonic() < deadline:
            try:
                client.DeactivateNode(DeactivateNodeRequest(node_id=number))
                return True
            except httpx.HTTPStatusError as error:
                if error.response.status_code < 500:
                    return False  # it does not know the node: there is nothing to sign off
            except httpx.HTTPError:
                pass
            time.sleep(POLL_S)
    return False


def hasten(module: ModuleType, retry: ModuleType, pace: Pace) -> None:
    """Shorten the sleeps of Flower's main loop, and the longest wait between two attempts.

    Args:
        module: `flwr.supernode.start_client_internal`.
        retry: `flwr.supercore.retry.http_retry`.
        pace: how long the loop sleeps.

    Raises:
        RunError: this Flower is built otherwise.
    """
    pull = getattr(module, "pull_objects", None)
    waits = getattr(module, "time", None) is time and hasattr(retry, "MAX_RETRY_DELAY")
    if not waits or pull is None:
        raise RunError(
            expected="Flower 1.41 or 1.42",
            got="one whose SuperNode waits otherwise",
            where=module.__name__,
            remedy="Install a version that pyproject.toml permits.",
        )
    module.time = SimpleNamespace(sleep=pace.sleep)  # type: ignore[attr-defined]
    module.pull_objects = partial(pull, **PARTS)  # type: ignore[attr-defined]
    retry.MAX_RETRY_DELAY = RETRY_S  # type: ignore[attr-defined]


def remember(module: ModuleType, keep: Callable[[int], None]) -> None:
    """Tell `keep` the node id of a connection.

    Args:
        module: `flwr.supernode.start_client_internal`.

    Raises:
        RunError: this Flower is built otherwise.
    """
    original = getattr(module, "_init_connection", None)
    if original is None:
        raise RunError(
            expected="Flower 1.41 or 1.42",
            got="one whose SuperNode connects otherwise",
            where=module.__name__,
            remedy="Install a version that pyproject.toml permits.",
        )

    @contextmanager
    def connection(**arguments: Any) -> Iterator[Any]:
        with original(**arguments) as found:
            keep(int(found[0]))
            yield found

    module._init_connection = connection  # type: ignore[attr-defined]


def straighten(module: ModuleType, pace: Pace) -> None:
    """Rule 3 at the top.

    Args:
        module: `flwr.supernode.start_client_internal`.
        pace: is told of every message and every answer.

    Raises:
        RunError: this Flower is built otherwise.
    """
    names = ("_init_connection", "_pull_and_store_message", "_push_messages")
    connect, pull, push = (getattr(module, name, None) for name in names)
    if connect is None or pull is None or push is None:
        raise RunError(
            expected="Flower 1.41 or 1.42",
            got="one whose SuperNode takes messages otherwise",
            where=module.__name__,
            remedy="Install a version that pyproject.toml permits.",
        )
    out: dict[str, Any] = {}

    @contextmanager
    def connection(**arguments: Any) -> Iterator[Any]:
        with connect(**arguments) as found:
            out["send"], out["push_object"] = found[2], found[6]
            yield found

    def take(**arguments: Any) -> int | None:
        state, store, receive = (arguments[name] for name in ("state", "object_store", "receive"))
        if _answers(state):
            pace.worked()
            push(state=state, object_store=store, **out)
        came: list[str] = []

        def noted() -> Any:
            found = receive()
            if found is not None:
                pace.worked()
                came.append(found[0].metadata.message_id)
            return found

        run: int | None = pull(**{**arguments, "receive": noted})
        if run is None:
            state.delete_messages(message_ids=came)
            for message in came:
                store.delete(message)
        return run

    module._init_connection = connection  # type: ignore[attr-defined]
    module._pull_and_store_message = take  # type: ignore[attr-defined]


def _answers(state: Any) -> bool:
    """Whether a SuperNode's state holds an answer that was not sent; asking marks nothing."""
    with state.lock_msg_store:
        return any(
            entry.message.metadata.reply_to_message_id and not entry.is_retrieved
            for entry in state.msg_store.values()
        )


def main() -> None:
    """`flower-supernode`, as described above."""
    for name, value in _QUIET.items():
        os.environ[name] = value
    node = Path(os.environ["FEDINTEREST_NODE_FILE"])
    from flwr.supercore.retry import http_retry
    from flwr.supernode import start_client_internal
    from flwr.supernode.cli.flower_supernode import flower_supernode

    from shared.files import write_text

    pace = Pace()
    pace.worked()  # a coordinator may be waiting for us
    hasten(start_client_internal, http_retry, pace)
    straighten(start_client_internal, pace)
    remember(start_client_internal, lambda number: write_text(node, str(number)))
    arguments = dict(zip(sys.argv[1::2], sys.argv[2::2], strict=False))
    if node.is_file():
        heard = sign_off(
            node,
            sidecar=arguments["--superlink"],
            certificate=Path(arguments["--root-certificates"]).read_bytes(),
            key=Path(arguments["--auth-supernode-private-key"]),
        )
        if heard:
            time.sleep(_SEEN_S)
    with suppress(BrokenPipeError):
        flower_supernode()


if __name__ == "__main__":
    main()
