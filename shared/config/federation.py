"""A whole federation as one TOML file: `federation.toml`."""

import math
import tomllib
from pathlib import Path
from typing import Any

from pydantic import Field, field_validator

from shared.config.base import Settings
from shared.config.privacy import PrivacySettings
from shared.config.sources import Cleaning, EventSource, ItemSource
from shared.config.training import ModelSettings, ServerSettings, SpeedSettings, TrainingSettings
from shared.errors import ConfigError, SourceError

NOISY_POPULATION = 4000
_NAME = r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$"


class PlatformSettings(Settings):
    """One member of the federation.

    Args:
        kind: what it is, in a word, for people ("shop", "film").
        population: public, declared number of users; sets delta and the denominators.  None is
            allowed in a simulation only, where the count is rounded up to two digits.
        weight: public aggregation weight; None means population / sqrt(population + 4000).  Among
            platforms of a few hundred users that is nearly the population, because there the noise
            in an update decides; among large ones it is nearly its root, so that the largest leads
            without drowning the others.
    """

    kind: str = "platform"
    population: int | None = Field(default=None, ge=2)
    weight: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    events: EventSource
    items: ItemSource
    cleaning: Cleaning = Cleaning()

    @property
    def public_weight(self) -> float:
        """What the platform's update counts: declared, never counted from data."""
        if self.weight is not None:
            return self.weight
        population = self.population or 1
        return population / math.sqrt(population + NOISY_POPULATION)


class FederationSettings(Settings):
    """Everything a run needs, in the order of the file."""

    name: str = "federation"
    platforms: dict[str, PlatformSettings] = Field(min_length=1)
    model: ModelSettings = ModelSettings()
    privacy: PrivacySettings = PrivacySettings()
    training: TrainingSettings = TrainingSettings()
    server: ServerSettings = ServerSettings()
    speed: SpeedSettings = SpeedSettings()

    @field_validator("platforms")
    @classmethod
    def _names(cls, value: dict[str, Any]) -> dict[str, Any]:
        import re

        for name in value:
            if not re.match(_NAME, name):
                raise ValueError(f"platform name {name!r}: expected letters, digits, - or _")
        return value


def read_toml(path: Path) -> dict[str, Any]:
    """Parse a TOML file.

    Raises:
        SourceError: the file is missing or is not UTF-8.
        ConfigError: it is not TOML (with the line).
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SourceError(
            expected="a TOML file",
            got=error.strerror or str(error),
            where=str(path),
            remedy="`fedinterest init` writes one to start from.",
        ) from error
    except UnicodeDecodeError as error:
        raise SourceError(
            expected="UTF-8 text", got=f"byte {error.start} is not", where=str(path)
        ) from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(expected="TOML", got=str(error), where=str(path)) from error


def read_federation(path: Path) -> FederationSettings:
    """Read and validate `federation.toml`; relative data paths are taken from its folder."""
    settings = FederationSettings.load(read_toml(path), where=str(path))
    return resolve_paths(settings, path.resolve().parent)


def resolve_paths(settings: FederationSettings, folder: Path) -> FederationSettings:
    """Make every relative data path absolute, below `folder`."""

    def absolute(path: Path | None) -> Path | None:
        return None if path is None else folder / path

    platforms = {}
    for name, platform in settings.platforms.items():
        platforms[name] = platform.model_copy(
            update={
                "events": platform.events.model_copy(
                    update={"path": absolute(platform.events.path)}
                ),
                "items": platform.items.model_copy(update={"path": absolute(platform.items.path)}),
                "cleaning": platform.cleaning.model_copy(
                    update={"opt_out": absolute(platform.cleaning.opt_out)}
                ),
            }
        )
    return settings.model_copy(update={"platforms": platforms})
