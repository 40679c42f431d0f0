"""`[serving]`: what is refused, and why."""

import pytest

from clients.serving.service.settings import (
    ServingSettings,
    is_loopback,
    joined,
    split_address,
)
from shared.errors import ConfigError

TLS = {"key": "k.pem", "certificate": "c.pem", "client_ca": "ca.pem"}


def test_by_default_on_loopback() -> None:
    made = ServingSettings()
    assert (made.address, made.json_address) == ("127.0.0.1:9470", "127.0.0.1:9471")
    assert made.max_message_bytes == 4_194_304


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"address": "0.0.0.0:9470"}, "serving.tls"),
        ({"address": "[::]:9470"}, "serving.tls"),
        ({"address": "shop.example:9470"}, "serving.tls"),
        ({"address": "127.0.0.1.evil.example:1"}, "serving.tls"),
        ({"address": ""}, "host:port"),
        ({"address": "127.0.0.1"}, "host:port"),
        ({"address": "127.0.0.1:65536"}, "host:port"),
        ({"address": "::1:80"}, "host:port"),
        ({"json_address": "0.0.0.0:9471"}, "no TLS"),
        ({"json_address": "0.0.0.0:9471", "tls": TLS}, "no TLS"),
        ({"tls": {"key": "k.pem"}}, "certificate"),
        ({"threads": 0}, "threads"),
        ({"refresh_s": float("inf")}, "refresh_s"),
        ({"refresh_s": float("nan")}, "refresh_s"),
        ({"max_message_mib": 65}, "max_message_mib"),
        ({"adress": "127.0.0.1:1"}, "Did you mean 'address'"),
    ],
)
def test_refused(values: dict[str, object], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        ServingSettings.load(values, where="client.toml")


@pytest.mark.parametrize(
    "values",
    [
        {"address": "0.0.0.0:9470", "tls": TLS},
        {"address": "[::1]:0", "json_address": ""},
        {"address": "localhost:9470", "json_address": "localhost:0"},
        {"address": "127.8.9.10:9470", "blocked_items": ["i1"]},
    ],
)
def test_accepted(values: dict[str, object]) -> None:
    ServingSettings.load(values, where="client.toml")


def test_addresses() -> None:
    assert split_address("[::1]:80") == ("::1", 80)
    assert joined("::1", 80) == "[::1]:80"
    assert joined("localhost", 80) == "127.0.0.1:80"
    assert not is_loopback("localhost.example")
    assert not is_loopback("0.0.0.0")
