"""A gateway that runs: real nginx, partners with real certificates, and behind it a stub SuperLink
that writes down all that reaches it."""

import base64
import http.client
import ipaddress
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from server.membership import gateway
from server.membership.enrolment import Enrolled, enrol, init
from server.settings import ServerFolder
from shared.certificates import (
    PrivateKey,
    new_key,
    new_node_key,
    private_pem,
    public_pem,
    request_pem,
    utc_now,
)
from shared.enrolment import EnrolmentRequest
from shared.transparency.keys import SigningKey


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait(condition: Callable[[], Any], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"did not happen in {seconds} s"
        time.sleep(0.02)


@dataclass
class Applicant:
    """A partner's keys, and what it asks for."""

    name: str
    tls: PrivateKey = field(default_factory=new_key)
    node: PrivateKey = field(default_factory=new_node_key)
    signing: SigningKey | None = None
    kind: str = "shop"
    population: int = 1000

    def __post_init__(self) -> None:
        self.signing = self.signing or SigningKey.unsafe(0, self.name)

    @property
    def request(self) -> EnrolmentRequest:
        assert self.signing is not None
        return EnrolmentRequest(
            name=self.name,
            kind=self.kind,
            population=self.population,
            csr_pem=request_pem(self.tls, self.name),
            node_key_pem=public_pem(self.node.public_key()),
            statement_key=self.signing.public.hex,
        )

    @property
    def text(self) -> str:
        assert self.signing is not None
        return self.request.signed(self.signing)

    @property
    def headers(self) -> dict[str, str]:
        """What Flower's SuperNode sends beside the body."""
        node = base64.b64encode(public_pem(self.node.public_key()).encode()).decode()
        return {
            "content-type": "application/protobuf",
            "accept": "application/protobuf",
            "flwr-public-key": node,
            "flwr-timestamp": "2026-01-01T00:00:00+00:00",
            "flwr-signature": "c2lnbmVk",
            "flwr-package-version": "1.42.0",
        }


@dataclass
class Reached:
    """A request that has reached SuperLink."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


class StubLink:
    """HTTPS on loopback, as SuperLink speaks it."""

    def __init__(self, port: int, certificate: Path, key: Path) -> None:
        self.reached: list[Reached] = []
        reached = self.reached

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def handle_any(self) -> None:
                size = int(self.headers.get("content-length") or 0)
                headers = {key.lower(): value for key, value in self.headers.items()}
                body = self.rfile.read(size)
                reached.append(Reached(self.command, self.path, headers, body))
                answer = b"answer to " + body[:20]
                self.send_response(200)
                self.send_header("content-length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = do_PATCH = handle_any

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._open: set[socket.socket] = set()
        connections = self._open

        class Quiet(ThreadingHTTPServer):
            daemon_threads = True

            def process_request(self, request: Any, client_address: Any) -> None:
                connections.add(request)
                super().process_request(request, client_address)

            def handle_error(self, request: Any, client_address: Any) -> None:
                pass  # nginx hangs up on a stub whose certificate it does not know

        self._server = Quiet(("127.0.0.1", port), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        self._server.socket = context.wrap_socket(
            self._server.socket, server_side=True, do_handshake_on_connect=False
        )
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.05,), daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        for one in self._open:  # nginx keeps connections, and would go on asking this one
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)


@dataclass
class Gate:
    """A coordinator's folder with its gateway running."""

    folder: ServerFolder
    port: int
    link: StubLink
    process: "subprocess.Popen[bytes]"
    files: Path
    applicants: dict[str, Applicant] = field(default_factory=dict)
    certificates: dict[str, str] = field(default_factory=dict)

    def enrol(self, applicant: Applicant, **options: Any) -> Enrolled:
        done = enrol(self.folder, applicant.name, applicant.text, now=utc_now(), **options)
        self.applicants[applicant.name] = applicant
        self.certificates[applicant.name] = done.enrolment.certificate_pem
        return done

    def context(
        self,
        name: str | None = "shop",
        *,
        certificate: str | x509.Certificate | None = None,
        key: PrivateKey | None = None,
    ) -> ssl.SSLContext:
        """A client's TLS, with a partner's certificate, another one, or none (name=None)."""
        context = ssl.create_default_context(cafile=str(self.folder.authority / "ca.crt"))
        if name is not None:
            pem = certificate if certificate is not None else self.certificates[name]
            if isinstance(pem, x509.Certificate):
                pem = pem.public_bytes(Encoding.PEM).decode()
            path = self.files / f"{name}.pem"
            path.write_text(pem + private_pem(key or self.applicants[name].tls))
            context.load_cert_chain(path)
        return context

    def connect(self, context: ssl.SSLContext | None = None, **options: Any) -> ssl.SSLSocket:
        plain = socket.create_connection(("127.0.0.1", self.port), timeout=15)
        return (context or self.context()).wrap_socket(
            plain, server_hostname=gateway.SERVER_NAME, **options
        )

    def ask(
        self,
        path: str = "/v1/fleet/pull-messages",
        body: bytes = b"body",
        *,
        name: str = "shop",
        method: str = "POST",
        headers: dict[str, str] | None = None,
        context: ssl.SSLContext | None = None,
    ) -> tuple[int, bytes]:
        """One request on a connection of its own: (status, body)."""
        with self.connect(context or self.context(name)) as connection:
            return talk(
                connection, path, body, {**self.applicants[name].headers, **(headers or {})}, method
            )

    def answers(self, name: str = "shop") -> bool:
        """Whether a partner is served now."""
        try:
            return self.ask(name=name)[0] == 200
        except (OSError, http.client.HTTPException):
            return False


def talk(
    connection: ssl.SSLSocket,
    path: str,
    body: bytes,
    headers: dict[str, str],
    method: str = "POST",
) -> tuple[int, bytes]:
    """One request on a connection that is open, byte for byte as given; it stays open."""
    lines = [f"{method} {path} HTTP/1.1", "host: gateway", f"content-length: {len(body)}"]
    lines += [f"{key}: {value}" for key, value in headers.items()]
    connection.sendall("\r\n".join([*lines, "", ""]).encode("latin-1") + body)
    response = http.client.HTTPResponse(connection, method=method)
    response.begin()
    return response.status, response.read()


def hears_nothing(connection: socket.socket) -> bool:
    """Whether the other side hangs up without a byte; an alert in place of it counts too."""
    try:
        return connection.recv(1) == b""
    except (ssl.SSLError, ConnectionError):
        return True


@contextmanager
def open_gate(path: Path, *names: str) -> Iterator[Gate]:
    """A gateway with these partners."""
    port = free_port()
    folder = init(path / "co", name="fed", address=f"127.0.0.1:{port}", now=utc_now())
    assert str(ipaddress.ip_address("127.0.0.1")) in folder.settings.coordinator.listen
    files = path / "clients"
    files.mkdir()
    link = StubLink(folder.superlink_port, folder.superlink_certificate, folder.superlink_key)
    made = gateway.gateway(folder)
    log = (path / "nginx.log").open("wb")
    process = subprocess.Popen(made.command(), stdout=log, stderr=log)
    gate = Gate(folder, port, link, process, files)
    try:
        wait(lambda: made.pid() is not None)
        for name in names:
            gate.enrol(Applicant(name))
        for name in names:
            wait(lambda name=name: gate.answers(name))
        link.reached.clear()
        yield gate
    finally:
        process.terminate()
        try:
            process.wait(10)
        finally:
            process.kill()
            process.wait()
            link.close()
            log.close()
