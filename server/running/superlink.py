"""Flower's SuperLink as the coordinator runs it: on loopback, with TLS, obeying its owner only.

As it comes, whoever reaches a SuperLink's port may register nodes, stop runs and start code on
every node.  Two things close that: the gateway lets partners reach what a SuperNode needs and no
more, and here, in the SuperLink's own process, an order is taken only with a secret that lies in
the owner's folder.  `ready` looks whether an order without it is refused, so that a Flower that
has changed underneath is noticed before it serves anybody.

FOLDER/
├── tls.key, tls.crt     made once; who connects checks the certificate
├── executor.secret      who may claim tasks (Flower's own check); new at every start
├── owner.secret         who may give orders (ours); likewise
└── home/                Flower's
"""

import hmac
import logging
import os
import secrets
import socket
import sys
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from shared.errors import RunError
from shared.files import write_text

OWNER_HEADER = "x-fedinterest-owner"
OWNER_FILE = "FEDINTEREST_OWNER_FILE"
_DAYS = 3650
_OPEN = ("/v1/fleet/", "/v1/runtime/")  # each with checks of Flower's own: node keys, task tokens

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


@dataclass(frozen=True)
class SuperLink:
    """One SuperLink, its files in `folder`, on `port` of 127.0.0.1."""

    folder: Path
    port: int

    @property
    def address(self) -> str:
        """host:port."""
        return f"127.0.0.1:{self.port}"

    @property
    def certificate(self) -> Path:
        """What its TLS certificate is checked against: itself."""
        return self.folder / "tls.crt"

    @property
    def executor_secret(self) -> str:
        """What a task is claimed with."""
        return (self.folder / "executor.secret").read_text(encoding="utf-8")

    @property
    def owner_secret(self) -> str:
        """What an order needs."""
        return (self.folder / "owner.secret").read_text(encoding="utf-8")

    def prepare(self) -> None:
        """Make its secrets anew, and its certificate if there is none.

        Raises:
            RunError: the key there is none.
            StorageError: the disk refused.
        """
        from shared.certificates import kept_key, self_signed

        key = kept_key(self.folder / "tls.key")
        if not self.certificate.exists():
            hosts = ["localhost", "127.0.0.1"]
            write_text(self.certificate, self_signed(key, hosts, _DAYS, datetime.now(UTC)))
        for name in ("executor.secret", "owner.secret"):
            write_text(self.folder / name, secrets.token_hex(32))

    def command(self) -> list[str]:
        """What runs it."""
        return [
            *(sys.executable, "-m", "server.running.superlink"),
            *("--host", "127.0.0.1", "--port", str(self.port)),
            *("--isolation", "process"),
            *("--ssl-certfile", str(self.certificate)),
            *("--ssl-keyfile", str(self.folder / "tls.key")),
            *("--ssl-ca-certfile", str(self.certificate)),
            "--enable-supernode-auth",
            *("--superexec-auth-secret-file", str(self.folder / "executor.secret")),
            "--disable-runtime-dependency-installation",
        ]

    def environment(self) -> dict[str, str]:
        """Its environment: this process's, without telemetry, update checks and installs."""
        return {
            **os.environ,
            "FLWR_HOME": str(self.folder / "home"),
            "FLWR_TELEMETRY_ENABLED": "0",
            "FLWR_DISABLE_UPDATE_CHECK": "1",
            "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
            OWNER_FILE: str(self.folder / "owner.secret"),
        }

    def ready(self) -> bool:
        """Whether it answers.

        Raises:
            RunError: it takes an order without the owner's secret.
        """
        import ssl
        import urllib.error
        import urllib.request

        url = f"https://{self.address}/v1/control/list-runs"
        request = urllib.request.Request(
            url, data=b"", headers={"content-type": "application/protobuf"}
        )
        context = ssl.create_default_context(cafile=str(self.certificate))
        try:
            with urllib.request.urlopen(request, timeout=2, context=context) as answer:
                code = answer.status
        except urllib.error.HTTPError as error:
            code = error.code
            error.close()
        except OSError:
            return False
        if code != 403:
            raise RunError(
                expected="a SuperLink that refuses an order without the owner's secret (403)",
                got=str(code),
                where=self.address,
                remedy="Use a version of Flower that pyproject.toml permits.",
            )
        return True


def free_port(wanted: int = 0) -> int:
    """`wanted` if nobody listens there on loopback, else a port that is free now."""
    for port in (wanted, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise RunError(expected="a free port on 127.0.0.1", got="none", where="loopback")


class OwnerOnly:
    """ASGI middleware: orders need the owner's secret, and what is of no use is not there."""

    def __init__(self, app: Callable[[Scope, Receive, Send], Awaitable[None]], secret: str) -> None:
        self.app, self.secret = app, secret.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer 403 or 404."""
        if scope["type"] == "http" and (status := self._refuses(scope)):
            await send({"type": "http.response.start", "status": status, "headers": []})
            await send({"type": "http.response.body", "body": b""})
        elif scope["type"] in ("http", "lifespan"):
            await self.app(scope, receive, send)

    def _refuses(self, scope: Scope) -> int:
        path = str(scope["path"])
        if path.startswith(_OPEN):
            return 0
        if not path.startswith("/v1/control/"):
            return 404
        shown = dict(scope["headers"]).get(OWNER_HEADER.encode(), b"")
        return 0 if hmac.compare_digest(shown, self.secret) else 403


def in_own_name(push: Callable[..., Any]) -> Callable[..., Any]:
    """Flower's handler of pushed answers, for those that name the authenticated node alone."""
    from starlette.exceptions import HTTPException

    def push_messages(*, request: Any, state: Any) -> Any:
        for message in request.messages_list:
            if message.metadata.src_node_id != request.node.node_id:
                raise HTTPException(403, "an answer in another node's name")
        return push(request=request, state=state)

    return push_messages


def main(arguments: Sequence[str] | None = None) -> None:
    """`flower-superlink`, behind `OwnerOnly`."""
    secret = Path(os.environ[OWNER_FILE]).read_text(encoding="utf-8")
    from flwr.supercore import http_logging
    from flwr.superlink import extensions
    from flwr.superlink.cli.flower_superlink import flower_superlink
    from flwr.superlink.servicer.fleet import fleet_handlers
    from starlette.middleware import Middleware

    logging.getLogger("flwr").setLevel(logging.WARNING)  # it writes a line for every look at nodes
    http_logging.ROUTINE_ACCESS_PATHS |= {"/v1/control/list-nodes", "/v1/control/list-runs"}
    fleet_handlers.push_messages = in_own_name(fleet_handlers.push_messages)
    extensions.get_middleware = lambda: (Middleware(OwnerOnly, secret=secret),)
    sys.argv = ["flower-superlink", *(sys.argv[1:] if arguments is None else arguments)]
    flower_superlink()


if __name__ == "__main__":
    main()
