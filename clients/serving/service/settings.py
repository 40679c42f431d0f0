"""`[serving]` of client.toml: where the service answers, to whom, and within which limits."""

import ipaddress
from pathlib import Path

from pydantic import Field, field_validator, model_validator

from shared.config.base import Settings
from shared.errors import ConfigError

LOOPBACK = "127.0.0.1"
MIB = 1024**2


class Tls(Settings):
    """[serving.tls]: mutual TLS; all three are files with PEM.

    Files that change are read again at the next connection.

    Args:
        key, certificate: the service's own.
        client_ca: whose certificates callers must have.
    """

    key: Path
    certificate: Path
    client_ca: Path


class ServingSettings(Settings):
    """[serving].

    Args:
        address: "host:port" of gRPC; port 0 picks a free one at every start.  Anything but loopback
            needs `tls`.
        json_address: "host:port" of the JSON gateway, on loopback; "" for none.
        operations_port: of /livez, /readyz and /metrics on loopback; 0 picks one at every start.
        tls: key, certificate and the callers' authority.
        blocked_items: ids that never appear, whatever is asked.
        blocked_categories: no item with one of these in its path ever appears.
        threads: calls that are worked on at the same time; half of them (at least one) may be
            Audience, more of which are RESOURCE_EXHAUSTED.
        max_calls: calls that are taken in at the same time; more are RESOURCE_EXHAUSTED.
        max_message_mib: largest request.
        refresh_s: how often a newer snapshot is looked for.
        grace_s: how long calls in flight may take when the service is told to stop.
    """

    address: str = f"{LOOPBACK}:9470"
    json_address: str = f"{LOOPBACK}:9471"
    operations_port: int = Field(default=0, ge=0, le=65535)
    tls: Tls | None = None
    blocked_items: tuple[str, ...] = ()
    blocked_categories: tuple[str, ...] = ()
    threads: int = Field(default=4, ge=1, le=64)
    max_calls: int = Field(default=256, ge=1, le=10_000)
    max_message_mib: int = Field(default=4, ge=1, le=64)
    refresh_s: float = Field(default=5.0, ge=0.05, le=86_400, allow_inf_nan=False)
    grace_s: float = Field(default=10.0, ge=0.0, le=600, allow_inf_nan=False)

    @field_validator("address", "json_address")
    @classmethod
    def _address(cls, value: str) -> str:
        if value:
            try:
                split_address(value)
            except ConfigError as error:
                raise ValueError(f"expected {error.expected}") from error
        return value

    @model_validator(mode="after")
    def _reach(self) -> "ServingSettings":
        if not self.address:
            raise ValueError('address: expected "host:port"')
        if self.tls is None and not is_loopback(split_address(self.address)[0]):
            raise ValueError(
                f"address: expected {LOOPBACK}, or [serving.tls] with key, certificate and "
                "client_ca: whoever reaches the service may ask it anything"
            )
        if self.json_address and not is_loopback(split_address(self.json_address)[0]):
            raise ValueError(
                f"json_address: expected {LOOPBACK}: the gateway has no TLS; callers elsewhere "
                "use gRPC"
            )
        return self

    @property
    def max_message_bytes(self) -> int:
        """Largest request."""
        return self.max_message_mib * MIB


def split_address(address: str, where: str = "address") -> tuple[str, int]:
    """Host (without brackets) and port of "host:port" or "[v6]:port".

    Raises:
        ConfigError: it is neither.
    """
    host, colon, port = address.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    plain = host[1:-1] if bracketed else host
    digits = port.isascii() and port.isdigit() and len(port) <= 5
    sound = bool(plain) and plain.isprintable() and not set(plain) & set(" /@,")
    if not (colon and digits and sound and int(port) <= 65535 and bracketed == (":" in plain)):
        raise ConfigError(expected='"host:port"', got="something else", where=where)
    return plain, int(port)


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach `host`."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def joined(host: str, port: int) -> str:
    """The address of a host and a port; `localhost` is taken for 127.0.0.1."""
    host = LOOPBACK if host == "localhost" else host
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
