"""Mutual TLS for gRPC: only callers with a certificate of the operator's authority.

Files that change are read again at the next connection; while what they hold is not sound, the
last sound ones are used.
"""

import logging
from pathlib import Path

import grpc

from clients.serving.service.settings import Tls
from shared.certificates import belongs, read_certificate, read_key
from shared.errors import ConfigError, FedInterestError
from shared.operations.logs import event

log = logging.getLogger("fedinterest.serving")
_SECTION = "[serving.tls]"


def server_credentials(tls: Tls) -> grpc.ServerCredentials:
    """What the service listens with.

    Raises:
        ConfigError: a file is missing or is not what it should be.
    """
    seen = _stamp(tls)

    def newest() -> grpc.ServerCertificateConfiguration | None:
        nonlocal seen
        now = _stamp(tls)
        if now == seen:
            return None  # grpc keeps what it has
        seen = now
        try:
            found = _read(tls)
        except ConfigError as error:
            event(log, "tls files not taken", logging.WARNING, reason=str(error))
            return None
        event(log, "tls files read again")
        return found

    return grpc.dynamic_ssl_server_credentials(
        _read(tls), newest, require_client_authentication=True
    )


def client_credentials(
    *, server_ca: Path, key: Path | None = None, certificate: Path | None = None
) -> grpc.ChannelCredentials:
    """What a caller connects with.

    Args:
        server_ca: the authority the service's certificate is from.
        key, certificate: the caller's own; the service asks for both.

    Raises:
        ConfigError: a file cannot be read, or only one of key and certificate is given.
    """
    if (key is None) != (certificate is None):
        raise ConfigError(expected="key and certificate", got="one of them", where="credentials")
    return grpc.ssl_channel_credentials(
        root_certificates=_bytes(server_ca),
        private_key=None if key is None else _bytes(key),
        certificate_chain=None if certificate is None else _bytes(certificate),
    )


def _read(tls: Tls) -> grpc.ServerCertificateConfiguration:
    try:
        key = read_key(tls.key)
        chain = _bytes(tls.certificate)
        first, end, _ = chain.decode().partition("-----END CERTIFICATE-----\n")
        if not belongs(read_certificate(first + end, str(tls.certificate)), key):
            raise ConfigError(
                expected="the certificate of the key", got="another's", where=str(tls.certificate)
            )
        authority = _bytes(tls.client_ca)
        read_certificate(authority.decode(), str(tls.client_ca))
    except UnicodeDecodeError as error:
        raise ConfigError(expected="PEM", got="something else", where=_SECTION) from error
    except ConfigError:
        raise
    except FedInterestError as error:
        raise ConfigError(
            expected=error.expected, got=error.got, where=f"{_SECTION}, {error.where}"
        ) from error
    return grpc.ssl_server_certificate_configuration(
        [(_bytes(tls.key), chain)], root_certificates=authority
    )


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(
            expected="a file with PEM", got=error.strerror or "none", where=str(path)
        ) from error


def _stamp(tls: Tls) -> tuple[object, ...]:
    def one(path: Path) -> tuple[int, int, int] | None:
        try:
            found = path.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size, found.st_ino

    return one(tls.key), one(tls.certificate), one(tls.client_ca)
