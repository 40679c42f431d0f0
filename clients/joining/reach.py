"""Whether the coordinator's gateway can be reached, and lets a partner do no more than it must."""

import base64
import http.client
import socket
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from clients.joining.keys import Keys
from shared.enrolment import Enrolment, check_address
from shared.errors import ConfigError, ProtocolError

ALLOWED, FORBIDDEN = "/v1/fleet/pull-messages", "/v1/control/list-runs"
MAX_CLOCK_S = 10.0
"""Flower refuses a SuperNode whose signed time is further off."""


@dataclass(frozen=True)
class Reached:
    """What the gateway answered.

    Args:
        fleet, control: HTTP status of a call that a SuperNode makes (without its signature), and of
            one that it must not make.
        clock_s: how much later it is here than there; None where it did not say.
        tls: version of the connection.
    """

    fleet: int
    control: int
    clock_s: float | None
    tls: str


def reach(enrolment: Enrolment, keys: Keys, *, timeout_s: float = 10.0) -> Reached:
    """Connect to the gateway with this platform's certificate.

    Raises:
        ConfigError: it cannot be reached.
        ProtocolError: one side does not accept the other's certificate.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_verify_locations(cadata=enrolment.ca_pem)
    context.load_cert_chain(keys.tls_certificate, keys.tls_key)
    host, port = check_address(enrolment.gateway, "enrolment: gateway")
    # The gateway lets a certificate's owner speak for its own node only.
    shown = base64.b64encode(keys.node_public().encode()).decode()
    answers: list[tuple[int, str | None]] = []
    version = ""
    try:
        for path in (ALLOWED, FORBIDDEN):
            with (
                socket.create_connection((host, port), timeout=timeout_s) as plain,
                context.wrap_socket(plain, server_hostname=enrolment.server_name) as secure,
            ):
                version = secure.version() or ""
                request = (
                    f"POST {path} HTTP/1.1\r\nHost: {enrolment.server_name}\r\n"
                    f"flwr-public-key: {shown}\r\n"
                    "Content-Type: application/protobuf\r\nContent-Length: 0\r\n"
                    "Connection: close\r\n\r\n"
                )
                secure.sendall(request.encode())
                answer = http.client.HTTPResponse(secure)
                answer.begin()
                answers.append((answer.status, answer.getheader("Date")))
    except (ssl.SSLError, ConnectionResetError, http.client.HTTPException) as error:
        raise ProtocolError(
            expected="a TLS 1.3 connection that both sides accept",
            got=getattr(error, "reason", "") or type(error).__name__,
            where=f"gateway {enrolment.gateway}",
            remedy="The certificate may be revoked or expired, or another server answers there. "
            "Ask the coordinator; `rotate-keys` makes a new request.",
        ) from error
    except OSError as error:
        raise ConfigError(
            expected=f"a gateway at {enrolment.gateway}",
            got=error.strerror or type(error).__name__,
            where="enrolment, gateway",
            remedy="One outgoing TCP connection to that address must be allowed.",
        ) from error
    (fleet, date), (control, _) = answers
    clock_s = None
    if date is not None:
        there = parsedate_to_datetime(date)
        clock_s = (datetime.now(UTC) - there).total_seconds()
    return Reached(fleet, control, clock_s, version)
