"""server.toml, and where things lie."""

import re
import socket
from pathlib import Path

import pytest

from server.settings import (
    ServerDirSettings,
    ServerFolder,
    TrackingSettings,
    listen_for,
    settings_text,
)
from shared.config.federation import Member
from shared.errors import ConfigError, FedInterestError, RunError


def write(folder: Path, text: str) -> ServerFolder:
    (folder / "server.toml").write_text(text)
    return ServerFolder(folder)


def test_the_template_is_valid_and_says_the_defaults(tmp_path: Path) -> None:
    text = settings_text("fed", "fed.example.org:9443", "0.0.0.0:9443")
    found = write(tmp_path, text).settings
    assert (found.coordinator.name, found.coordinator.partners) == ("fed", 2)
    assert "@" not in text
    # Every line that is commented out is a key with its default, unless the comment says another.
    shown = write(tmp_path, re.sub(r"^# (\w+ =)", r"\1", text, flags=re.MULTILINE)).settings
    told = {"delta": shown.privacy.delta, "min_platforms": shown.server.min_platforms}
    assert told == {"delta": 1e-5, "min_platforms": 2}
    assert shown.coordinator == found.coordinator
    assert shown.model == found.model
    assert shown.training == found.training
    assert shown.privacy.replace(delta=None) == found.privacy
    assert shown.server.replace(min_platforms=None) == found.server
    assert shown.tracking == found.tracking == TrackingSettings()


@pytest.mark.parametrize(
    "changed",
    [
        'addres = "a:1"',
        "superlink_port = 70000",
        "partners = 0",
        "certificate_days = 0",
        "max_body_mib = 5",
    ],
)
def test_a_wrong_setting_is_named(tmp_path: Path, changed: str) -> None:
    text = settings_text("fed", "a:9443", "0.0.0.0:9443").replace("partners = 2", changed, 1)
    with pytest.raises(ConfigError, match=changed.split(" ")[0]):
        _ = write(tmp_path, text).settings


@pytest.mark.parametrize(
    ("name", "address"),
    [("a b", "a:1"), ("", "a:1"), ("fed", "a"), ("fed", 'a"\nb = "c:1'), ("a" * 33, "a:1")],
)
def test_nothing_wrong_gets_into_the_template(name: str, address: str) -> None:
    with pytest.raises(FedInterestError):
        settings_text(name, address, "0.0.0.0:1")


def test_another_folder_is_no_coordinators(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="fedinterest-server init"):
        _ = ServerFolder(tmp_path).settings
    with pytest.raises(ConfigError, match="TOML"):
        _ = write(tmp_path, "=").settings


def test_a_federation_is_of_its_platforms() -> None:
    values = {"coordinator": {"address": "a:1", "listen": "a:1"}, "training": {"rounds": 3}}
    settings = ServerDirSettings.load(values, where="x")
    found = settings.federation({"shop": Member(population=7)})
    assert found.platforms["shop"].population == 7
    assert found.training.rounds == 3
    with pytest.raises(ConfigError):
        settings.federation({})


def test_where_it_is_tracked_is_the_coordinators_own_affair() -> None:
    values = {"coordinator": {"address": "a:1", "listen": "a:1"}}
    tracked = values | {"tracking": {"tensorboard": True, "mlflow": "sqlite:////secret.db"}}
    shop = {"shop": Member(population=7)}
    plain, other = (ServerDirSettings.load(one, where="x") for one in (values, tracked))
    assert other.tracking.tensorboard
    public = other.federation(shop)
    assert public == plain.federation(shop)  # and so is every hash of it
    assert "secret" not in public.model_dump_json()


@pytest.mark.parametrize(
    "uri", ["postgresql://a/b", "mlruns", "/var/mlflow", "databricks", "ftp:x"]
)
def test_only_known_kinds_of_tracking_uris(uri: str) -> None:
    with pytest.raises(ConfigError, match=r"mlflow.*begins with sqlite:///, file:, https://"):
        TrackingSettings.load({"mlflow": uri}, where="x")
    for good in ("", "sqlite:////a.db", "file:/a", "http://localhost:5000", "https://a.example"):
        assert TrackingSettings.load({"mlflow": good}, where="x").mlflow == good


@pytest.mark.parametrize(
    ("address", "listen"),
    [
        ("localhost:1", "127.0.0.1:1"),
        ("127.0.0.2:1", "127.0.0.1:1"),
        ("[::1]:1", "[::1]:1"),
        ("fed.example.org:9443", "0.0.0.0:9443"),
    ],
)
def test_loopback_is_not_listened_for_everywhere(address: str, listen: str) -> None:
    assert listen_for(address) == listen


def test_a_port_is_picked_once(tmp_path: Path) -> None:
    folder = write(tmp_path, settings_text("fed", "a:1", "0.0.0.0:1"))
    ports = (folder.superlink_port, folder.operations_port)
    assert len({*ports}) == 2
    for port in ports:
        socket.create_server(("127.0.0.1", port)).close()
    again = ServerFolder(tmp_path)
    assert (again.superlink_port, again.operations_port) == ports
    folder.keep_port("superlink", 1234)
    assert (folder.superlink_port, folder.operations_port) == (1234, ports[1])
    text = settings_text("fed", "a:1", "0.0.0.0:1").replace(
        "# superlink_port = 0", "superlink_port = 77"
    )
    assert write(tmp_path, text).superlink_port == 77
    (folder.state / "ports.json").write_text("[]")
    assert folder.superlink_port > 0
