"""`client.toml`: a partner's own settings, and where things lie in the partner's folder.

    DIR/
    ├── client.toml           where the data is, and what the partner permits
    ├── keys/                 TLS and node keys, the signing key, the loopback certificate
    ├── request.json          what the coordinator signs
    ├── enrolment.json        what it sent back
    ├── opt-out.txt           who asked not to be learned from
    ├── left-out.txt          likewise, by pseudonym: who opted out through `serve`
    ├── platform/             what the client trains on (`clients.platform`)
    ├── ledger/  record/      what was spent, and the signed statements of what was released
    ├── receipts/             signed receipts of users who were forgotten
    ├── sidecar/              nginx's configuration
    ├── serving/              snapshots of the model, and posted events, for `serve`
    └── state/  log/          process numbers, refusals, pause; output of the programs

Nothing in it is ever sent, but for what `clients.app` answers and `request.json`.
"""

import math
import os
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field, field_validator, model_validator

from clients.policy import Policy
from clients.serving.service.settings import ServingSettings
from shared.config.base import Settings
from shared.config.federation import PlatformSettings, read_toml
from shared.config.sources import Cleaning, EventSource, ItemSource
from shared.errors import ConfigError, SourceError

FILE = "client.toml"
UNSAFE = "FEDINTEREST_UNSAFE"
PAUSED = "paused"
_NAME = r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$"
_RESERVED = "coordinator"


class Identity(Settings):
    """[platform]: who this is, all of it public.

    Args:
        name: in the federation; letters, digits, - and _.
        kind: what it is, in a word, for people.
        population: declared number of users, at least as many as there are; it sets delta and the
            denominators.
    """

    name: str = Field(pattern=_NAME)
    kind: str = "platform"
    population: int = Field(ge=2)

    @field_validator("name")
    @classmethod
    def _not_reserved(cls, value: str) -> str:
        if value == _RESERVED:
            raise ValueError("expected another name: this one is the coordinator's")
        return value


class LocalTraining(Settings):
    """[training]: what this platform keeps for itself.

    Args:
        hold_out: leave the last two events of every user out of training, and users with fewer
            than four altogether, so that the platform can measure itself; as a simulation does.
    """

    hold_out: bool = False


class Operations(Settings):
    """[operations].

    Args:
        port: of the local endpoint with health and metrics; 0 picks one at every start.
    """

    port: int = Field(default=0, ge=0, le=65535)


class LedgerPlace(Settings):
    """[ledger].

    Args:
        anchor: file outside this folder (best on another disk) that remembers how far the ledger
            had come; None is ~/.local/state/fedinterest/KEYID.json.
    """

    anchor: Path | None = None


class Unsafe(Settings):
    """[unsafe]: for tests, where FEDINTEREST_UNSAFE=1 is set; protects nobody.

    Args:
        seed: everything random follows from it, the noise too.
    """

    seed: int | None = None


class ClientSettings(Settings):
    """The whole file."""

    platform: Identity
    events: EventSource
    items: ItemSource
    cleaning: Cleaning = Cleaning()
    policy: Policy = Policy()
    training: LocalTraining = LocalTraining()
    operations: Operations = Operations()
    ledger: LedgerPlace = LedgerPlace()
    serving: ServingSettings = ServingSettings()
    unsafe: Unsafe = Unsafe()

    @model_validator(mode="after")
    def _range(self) -> "ClientSettings":
        if self.policy.min_clip_norm > self.policy.max_clip_norm:
            raise ValueError("expected policy.min_clip_norm <= policy.max_clip_norm")
        return self

    @property
    def source(self) -> PlatformSettings:
        """The platform as a simulation's federation.toml would describe it."""
        return PlatformSettings(
            kind=self.platform.kind,
            population=self.platform.population,
            events=self.events,
            items=self.items,
            cleaning=self.cleaning,
        )


@dataclass(frozen=True)
class ClientFolder:
    """The partner's folder.

    Args:
        path: absolute.
    """

    path: Path

    @classmethod
    def at(cls, path: Path) -> "ClientFolder":
        """The folder at `path`, which need not be there yet."""
        return cls(path.expanduser().resolve())

    @property
    def toml(self) -> Path:
        """The settings."""
        return self.path / FILE

    @property
    def keys(self) -> Path:
        """Folder of the keys."""
        return self.path / "keys"

    @property
    def request(self) -> Path:
        """What the coordinator signs."""
        return self.path / "request.json"

    @property
    def enrolment(self) -> Path:
        """What the coordinator sent back."""
        return self.path / "enrolment.json"

    @property
    def opt_out(self) -> Path:
        """Raw ids of users who are not to be learned from, one a line."""
        return self.path / "opt-out.txt"

    @property
    def platform(self) -> Path:
        """Folder of `clients.platform.Platform`."""
        return self.path / "platform"

    @property
    def ledgers(self) -> Path:
        """Folder of the ledgers."""
        return self.path / "ledger"

    @property
    def record(self) -> Path:
        """Folder of the signed logs."""
        return self.path / "record"

    @property
    def receipts(self) -> Path:
        """Folder of the receipts of `forget`."""
        return self.path / "receipts"

    @property
    def sidecar(self) -> Path:
        """nginx's folder."""
        return self.path / "sidecar"

    @property
    def state(self) -> Path:
        """What may be lost without harm, but for `paused`."""
        return self.path / "state"

    @property
    def log(self) -> Path:
        """Output of the programs."""
        return self.path / "log"

    def make(self) -> None:
        """Make the folders, for the owner's eyes only.

        Raises:
            SourceError: the place cannot be written.
        """
        folders = (self.keys, self.ledgers, self.record, self.receipts, self.sidecar, self.state)
        try:
            for folder in (self.path, *folders, self.log):
                folder.mkdir(parents=True, exist_ok=True)
                folder.chmod(0o700)
        except OSError as error:
            raise SourceError(
                expected="a folder that can be written",
                got=error.strerror or str(error),
                where=str(self.path),
                remedy="Choose another DIR, or correct the permissions.",
            ) from error

    def settings(self) -> ClientSettings:
        """Read `client.toml`; relative data paths are taken from its folder.

        Raises:
            SourceError: there is none.
            ConfigError: it is not valid, or asks for a seed where FEDINTEREST_UNSAFE is not 1.
        """
        try:
            values = read_toml(self.toml)
        except SourceError as error:
            raise SourceError(
                expected="a partner's folder with client.toml",
                got=error.got,
                where=str(self.toml),
                remedy="`fedinterest-client init` makes one.",
            ) from error
        found = ClientSettings.load(values, where=str(self.toml))
        if found.unsafe.seed is not None and os.environ.get(UNSAFE) != "1":
            raise ConfigError(
                expected=f"no [unsafe] seed, or {UNSAFE}=1 in the environment",
                got="a seed",
                where=f"{self.toml}, unsafe.seed",
                remedy="With a seed anybody can remove the noise: it is for tests only.",
            )
        return self._absolute(found)

    def _absolute(self, found: ClientSettings) -> ClientSettings:
        def absolute(path: Path | None) -> Path | None:
            return None if path is None else self.path / path.expanduser()

        def moved(part: Settings, name: str) -> Settings:
            return part.model_copy(update={name: absolute(getattr(part, name))})

        cleaning = found.cleaning
        opt_out = absolute(cleaning.opt_out) or (self.opt_out if self.opt_out.is_file() else None)
        serving = found.serving
        if (tls := serving.tls) is not None:
            files = {name: self.path / value.expanduser() for name, value in tls}
            serving = serving.model_copy(update={"tls": tls.model_copy(update=files)})
        return found.model_copy(
            update={
                "serving": serving,
                "events": moved(found.events, "path"),
                "items": moved(found.items, "path"),
                "cleaning": cleaning.model_copy(update={"opt_out": opt_out}),
                "ledger": moved(found.ledger, "anchor"),
            }
        )


def policy_values(policy: Policy) -> dict[str, object]:
    """A policy as `policy.json` holds it; JSON has no infinity, so what is infinite is left out."""
    values = policy.model_dump(mode="python")
    return {
        name: value
        for name, value in values.items()
        if not (isinstance(value, float) and math.isinf(value))
    }
