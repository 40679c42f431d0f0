"""The only door to the coordinator: nginx that lets partners reach what a SuperNode needs.

Rules, for whoever brings another proxy:
1. TLS 1.3, both sides with certificates of the coordinator's authority; those revoked count for
   nothing, on connections that are open already too.  No session is resumed.
2. Who has none gets no answer.
3. A partner reaches `POST /v1/fleet/CALL` with CALL out of `CALLS`, written in exactly this way.
   All else is 403, and does not reach SuperLink: with Flower's other calls one may register nodes,
   stop runs and start code on every node.
4. The header `flwr-public-key` must be the node key that the certificate's owner was enrolled with:
   a partner cannot speak for another, even with the other's node key.
5. No header of the partner's passes but those in `HEADERS`.  X-Fedinterest-Partner and -Serial say
   whose certificate it was.
6. Bodies, headers, waiting, connections and requests are bounded for each partner.  A body reaches
   SuperLink once it is there in whole: one that trickles in takes up one of the partner's own
   `MAX_OPEN` places and nothing else, and is cut after `PATIENCE_S` without a byte.

`update` is to be called before the gateway starts and whenever partners, certificates (SuperLink's
too) or settings have changed; `renew` once an hour by whoever keeps the gateway running.
"""

import base64
import os
from datetime import datetime
from pathlib import Path

from server.membership.locks import locked
from server.membership.partners import Partners
from server.settings import ServerFolder
from shared.enrolment import check_address
from shared.errors import ProtocolError, RunError
from shared.files import sha256, storage_error, write_text
from shared.nginx import Nginx, nginx_text, quoted

SERVER_NAME = "gateway.fedinterest.internal"
"""Always in the gateway's certificate, whatever its address becomes."""

CALLS = (
    "activate-node",
    "confirm-message-received",
    "deactivate-node",
    "get-fab",
    "get-run",
    "pull-messages",
    "pull-object",
    "push-messages",
    "push-object",
    "send-node-heartbeat",
)
HEADERS = (
    "flwr-public-key",
    "flwr-timestamp",
    "flwr-signature",
    "flwr-package-name",
    "flwr-package-version",
    "flwr-component-name",
)
PATIENCE_S = 10
MAX_OPEN, REQUESTS_PER_S, BURST = 32, 200, 400
SERVER_DAYS, RENEW_DAYS = 365, 30
MAX_LOG_BYTES = 10 * 1024**2


def make_certificate(folder: ServerFolder, now: datetime) -> None:
    """A new certificate for the gateway, for its key and its address as it is now.

    Raises:
        ConfigError, ProtocolError: the address is not valid.
        RunError: the authority's folder is damaged.
        StorageError: the disk refused.
    """
    from cryptography.hazmat.primitives.serialization import Encoding

    from server.membership.authority import Authority
    from shared.certificates import kept_key

    key = kept_key(folder.gateway / "server.key")
    certificate = Authority(folder.authority).issue_server(
        _hosts(folder), key.public_key(), SERVER_DAYS, now
    )
    write_text(_certificate_path(folder), certificate.public_bytes(Encoding.PEM).decode())


def certificate_days_left(folder: ServerFolder, now: datetime) -> float:
    """Days until the gateway's certificate expires; 0 where there is none for its address."""
    from shared.certificates import days_left, names_of, read_certificate

    path = _certificate_path(folder)
    try:
        certificate = read_certificate(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError, ProtocolError):
        return 0.0
    return days_left(certificate, now) if set(_hosts(folder)) <= set(names_of(certificate)) else 0.0


def gateway(folder: ServerFolder) -> Nginx:
    """The gateway's nginx, as settings, partners and certificates want it now.

    Raises:
        ConfigError: settings or paths are not valid.
        RunError: a partner's file is damaged, or one of the certificates is missing.
    """
    from jinja2 import Environment, StrictUndefined

    coordinator = folder.settings.coordinator
    authority = folder.authority.resolve()
    read = (
        authority / "ca.crt",
        authority / "crl.pem",
        _certificate_path(folder),
        folder.superlink_certificate.resolve(),
    )
    templates = Path(__file__).parents[1] / "templates"
    template = (templates / "gateway.conf").read_text(encoding="utf-8")
    partners = Partners(folder.path).list(enrolled_only=True)
    http = (
        Environment(undefined=StrictUndefined, autoescape=False)
        .from_string(template)
        .render(
            calls=CALLS,
            headers=HEADERS,
            keys=[
                (one.name, base64.b64encode(one.node_key_pem.encode()).decode()) for one in partners
            ],
            log=quoted(_log_path(folder)),
            authority=quoted(read[0]),
            list=quoted(read[1]),
            superlink=quoted(read[3]),
            listen=coordinator.listen,
            port=folder.superlink_port,
            body_mib=coordinator.max_body_mib,
            patience_s=PATIENCE_S,
            open=MAX_OPEN,
            rate=REQUESTS_PER_S,
            burst=BURST,
            digest=_digest(read),
        )
    )
    return Nginx(folder.gateway, nginx_text(http, connections=4096, workers=2))


def update(folder: ServerFolder) -> bool:
    """Put the configuration in place, and have a running gateway follow it.

    Returns:
        Whether a running gateway was told.  (One that does not run follows when it starts.)

    Raises:
        ConfigError: nginx does not accept it, or is not installed; a running gateway goes on as
            it was.
        RunError, StorageError: see `gateway` and `Nginx.write`.
    """
    try:
        folder.log.mkdir(mode=0o700, parents=True, exist_ok=True)
        _log_path(folder).touch(0o600)  # nginx would let others read it
    except OSError as error:
        raise storage_error(error, folder.log) from error
    with locked(folder.state / "gateway.lock"):  # or an older list of partners might win
        made = gateway(folder)
        made.write()
        return made.reload()


def renew(folder: ServerFolder, now: datetime) -> bool:
    """Renew what would run out: the gateway's certificate and the list of revoked ones.

    Returns:
        Whether anything was renewed.

    Raises:
        ConfigError, RunError, StorageError: see `update`.
    """
    from server.membership.authority import Authority

    listed = Authority(folder.authority).renew_list(now)
    due = certificate_days_left(folder, now) < RENEW_DAYS
    if due:
        make_certificate(folder, now)
    if _turn_log(folder) or listed or due:
        update(folder)
    return listed or due


def _turn_log(folder: ServerFolder) -> bool:
    """Set a log that has grown aside; nginx opens a new one when it reloads."""
    path = _log_path(folder)
    try:
        if path.stat().st_size <= MAX_LOG_BYTES:
            return False
        os.replace(path, path.with_suffix(".jsonl.1"))
    except OSError:
        return False
    return True


def _hosts(folder: ServerFolder) -> tuple[str, ...]:
    host, _ = check_address(folder.settings.coordinator.address, "coordinator.address")
    return tuple(dict.fromkeys((SERVER_NAME, host)))


def _certificate_path(folder: ServerFolder) -> Path:
    return folder.gateway.resolve() / "server.crt"


def _log_path(folder: ServerFolder) -> Path:
    return folder.log.resolve() / "gateway-refused.jsonl"


def _digest(paths: tuple[Path, ...]) -> str:
    """Changes whenever a file that nginx reads changes: then the configuration does too."""
    try:
        return sha256(b"".join(sha256(path.read_bytes()).encode() for path in paths))
    except OSError as error:
        raise RunError(
            expected="the certificates of the gateway",
            got=error.strerror or type(error).__name__,
            where=str(error.filename),
            remedy="Restore the folder from a backup.",
        ) from error
