"""A coordinator's folder, and its `server.toml`.

    DIR/
    ├── server.toml          settings, for people to edit
    ├── authority/           ca.crt, ca.key, crl.pem; issued.json: every certificate ever issued
    ├── coordinator.key      what the coordinator's record is signed with
    ├── gateway/             nginx.conf, server.crt, server.key
    ├── superlink/           tls.crt, tls.key: TLS between the gateway and SuperLink
    ├── partners/            NAME.json: who may take part
    ├── runs/                0001, 0002, ...: a run folder each
    ├── log/
    └── state/               what is running: process numbers, ports, status

The folder and the keys in it are their owner's alone (mode 0700, 0600).
"""

import json
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from pydantic import Field, field_validator

from shared.config.base import Settings
from shared.config.federation import Member, PublicSettings, read_toml
from shared.config.privacy import PrivacySettings
from shared.config.training import ModelSettings, ServerSettings, TrainingSettings
from shared.enrolment import check_address
from shared.errors import FedInterestError, RunError
from shared.files import write_json

SETTINGS = "server.toml"
LOOPBACK = "127.0.0.1"
DEFAULT_PORT = 9443
_NAME = r"^[A-Za-z0-9][A-Za-z0-9_-]{0,31}$"
_MLFLOW = ("sqlite:///", "file:", "https://", "http://")


class CoordinatorSettings(Settings):
    """Who coordinates, and where.

    Args:
        name: of the federation.
        address: "host:port" partners connect to.
        listen: "host:port" the gateway listens on; not the same behind a router.
        superlink_port, operations_port: on loopback; 0 picks a free one, once.
        partners: how many must be enrolled before the first run starts.
        certificate_days: how long a partner's certificate is valid.
        max_body_mib: largest request a partner may send; Flower sends an object in parts of 5 MiB.
    """

    name: str = Field(default="federation", pattern=_NAME)
    address: str
    listen: str
    superlink_port: int = Field(default=0, ge=0, lt=65536)
    operations_port: int = Field(default=0, ge=0, lt=65536)
    partners: int = Field(default=2, ge=1)
    certificate_days: int = Field(default=365, ge=1, le=3650)
    max_body_mib: int = Field(default=8, ge=6, le=1024)

    @field_validator("address", "listen")
    @classmethod
    def _address(cls, value: str) -> str:
        try:
            check_address(value, "address")
        except FedInterestError as error:
            raise ValueError(f"expected {error.expected}") from error
        return value


class TrackingSettings(Settings):
    """Where the rounds are shown besides our own files; the coordinator's own affair.

    Args:
        tensorboard: write RUN/tensorboard.
        mlflow: its tracking URI, such as "sqlite:////path/mlflow.db"; empty: it is not used.
    """

    tensorboard: bool = False
    mlflow: str = ""

    @field_validator("mlflow")
    @classmethod
    def _uri(cls, value: str) -> str:
        if value and not value.startswith(_MLFLOW):
            raise ValueError(f"expected a URI that begins with {', '.join(_MLFLOW)}")
        return value


class ServerDirSettings(Settings):
    """`server.toml`: the coordinator, and what it asks of a federation."""

    coordinator: CoordinatorSettings
    model: ModelSettings = ModelSettings()
    privacy: PrivacySettings = PrivacySettings()
    training: TrainingSettings = TrainingSettings()
    server: ServerSettings = ServerSettings()
    tracking: TrackingSettings = TrackingSettings()

    def federation(self, platforms: Mapping[str, Member]) -> PublicSettings:
        """The federation of these platforms.  Where it is tracked is not part of it.

        Raises:
            ConfigError: there are none.
        """
        values = {"name": self.coordinator.name, "platforms": dict(platforms)}
        sections = {one: getattr(self, one) for one in ("model", "privacy", "training", "server")}
        return PublicSettings.load({**values, **sections}, where=SETTINGS)


@dataclass(frozen=True)
class ServerFolder:
    """Where things lie in a coordinator's folder.

    Args:
        path: DIR.
    """

    path: Path

    @cached_property
    def settings(self) -> ServerDirSettings:
        """What `server.toml` said when it was first asked for.

        Raises:
            RunError: there is none.
            ConfigError: it is not valid.
        """
        self.require()
        path = self.path / SETTINGS
        return ServerDirSettings.load(read_toml(path), where=str(path))

    def require(self) -> None:
        """Whether this is a coordinator's folder.

        Raises:
            RunError: it is none.
        """
        if not (self.path / SETTINGS).is_file():
            raise RunError(
                expected=f"a coordinator's folder, with {SETTINGS}",
                got="none",
                where=str(self.path),
                remedy="`fedinterest-server init DIR` makes one; elsewhere give --dir DIR.",
            )

    @property
    def authority(self) -> Path:
        """Folder of the certificate authority."""
        return self.path / "authority"

    @property
    def gateway(self) -> Path:
        """Folder of the gateway's nginx."""
        return self.path / "gateway"

    @property
    def superlink(self) -> Path:
        """Folder of SuperLink's certificate and secrets."""
        return self.path / "superlink"

    @property
    def superlink_certificate(self) -> Path:
        """Self-signed, for 127.0.0.1 and localhost; also the only one to trust there."""
        return self.superlink / "tls.crt"

    @property
    def superlink_key(self) -> Path:
        """Its key."""
        return self.superlink / "tls.key"

    @property
    def coordinator_key(self) -> Path:
        """What the coordinator signs its record with, in every run."""
        return self.path / "coordinator.key"

    @property
    def partners(self) -> Path:
        """Folder of the partners' files."""
        return self.path / "partners"

    @property
    def runs(self) -> Path:
        """Folder of the run folders."""
        return self.path / "runs"

    @property
    def log(self) -> Path:
        """Folder of the logs."""
        return self.path / "log"

    @property
    def state(self) -> Path:
        """Folder of what is running."""
        return self.path / "state"

    @property
    def superlink_port(self) -> int:
        """Port of SuperLink, on loopback; the same at every start.

        Raises:
            ConfigError: `server.toml` is not valid.
            StorageError: the picked one cannot be kept.
        """
        return self.settings.coordinator.superlink_port or self._kept_port("superlink")

    @property
    def operations_port(self) -> int:
        """Port of the operations endpoint, on loopback; likewise."""
        return self.settings.coordinator.operations_port or self._kept_port("operations")

    def keep_port(self, name: str, port: int) -> None:
        """Let `superlink_port` or `operations_port` say `port` from now on, where it is left to us.

        Raises:
            StorageError: the disk refused.
        """
        write_json(self._ports_path, {**self._ports(), name: port})

    def _kept_port(self, name: str) -> int:
        ports = self._ports()
        if name not in ports:
            self.keep_port(name, _free_port(set(ports.values())))
        return self._ports()[name]

    def _ports(self) -> dict[str, int]:
        try:
            values = json.loads(self._ports_path.read_text())
            return {str(key): int(port) for key, port in values.items()}
        except (OSError, ValueError, AttributeError, TypeError):
            return {}  # nothing is lost: others are picked

    @property
    def _ports_path(self) -> Path:
        return self.state / "ports.json"


def listen_for(address: str) -> str:
    """Where to listen for partners that connect to `address`: everywhere, or on loopback only.

    Raises:
        ProtocolError: `address` is not "host:port".
    """
    host, port = check_address(address, "address")
    if host == "localhost" or host.startswith("127."):
        return f"{LOOPBACK}:{port}"
    return f"[::1]:{port}" if host == "::1" else f"0.0.0.0:{port}"


def settings_text(name: str, address: str, listen: str) -> str:
    """A commented `server.toml` to start from.

    Raises:
        ConfigError: name or addresses are not valid.
    """
    # Checked before they are put into a text.
    values = {"name": name, "address": address, "listen": listen}
    CoordinatorSettings.load(values, where="fedinterest-server init")
    text = (Path(__file__).parent / "templates" / SETTINGS).read_text(encoding="utf-8")
    for key, value in values.items():
        text = text.replace(f"@{key.upper()}@", value)
    return text


def _free_port(taken: set[int]) -> int:
    while True:
        with socket.socket() as probe:
            probe.bind((LOOPBACK, 0))
            port = int(probe.getsockname()[1])
        if port not in taken:
            return port
