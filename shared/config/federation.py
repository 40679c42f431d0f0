"""A whole federation as one TOML file: `federation.toml`."""

import json
import math
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from pydantic import Field, field_validator

from shared.config.base import Settings
from shared.config.privacy import PrivacySettings
from shared.config.sources import Cleaning, EventSource, ItemSource
from shared.config.training import (
    Interpolation,
    ModelSettings,
    ServerSettings,
    SpeedSettings,
    TrainingSettings,
)
from shared.errors import ConfigError, RunError, SourceError

FEDERATION = "federation.json"
NOISY_POPULATION = 4000
_PRIVATE = frozenset({"events", "items", "cleaning"})
_NAME = r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$"


class Member(Settings):
    """What is public about a member of the federation.

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

    @property
    def public_weight(self) -> float:
        """What the platform's update counts: declared, never counted from data."""
        if self.weight is not None:
            return self.weight
        population = self.population or 1
        return population / math.sqrt(population + NOISY_POPULATION)


class PlatformSettings(Member):
    """One platform as it knows itself: where its data lie, and how they are cleaned."""

    events: EventSource
    items: ItemSource
    cleaning: Cleaning = Cleaning()


class PublicSettings(Settings):
    """What the coordinator and every partner know of a federation, in the order of the file."""

    name: str = "federation"
    platforms: Mapping[str, Member] = Field(min_length=1)
    model: ModelSettings = ModelSettings()
    privacy: PrivacySettings = PrivacySettings()
    training: TrainingSettings = TrainingSettings()
    server: ServerSettings = ServerSettings()

    def constants(self, population: int) -> dict[str, int | float | str | bool]:
        """What every platform is told about how to train, as scalars of a train request.

        Args:
            population: declared users of all who train together.
        """
        privacy, training = self.privacy, self.training
        return {
            "steps": privacy.steps_per_round,
            "sample_rate": privacy.sample_rate,
            "clip_norm": privacy.clip_norm,
            "private": privacy.private,
            "total_rounds": training.rounds,
            "learning_rate": training.rate(population),
            "targets_per_user": training.targets_per_user,
            "negatives": training.negatives,
            "temperature": training.temperature,
            "gce_q": training.gce_q,
            **self.model.constants(),
        }

    def interpolation(self, name: str) -> Interpolation:
        """What platform `name`'s own model is made of: the shared adapter and its own releases.

        Alone, a platform's learning rate would be smaller by the root of its share of the declared
        users (`TrainingSettings.rate`).  In the shared adapter its steps count by its share of the
        weights.  With `training.own` 1 it goes as far along its own users' gradients as it would
        alone, and along the others' by `training.others` of what the shared adapter does; with 0
        it has the shared adapter.  In a federation of one the two parts make up that one.
        """
        everybody = sum(one.population or 1 for one in self.platforms.values())
        weights = sum(one.public_weight for one in self.platforms.values())
        mine = self.platforms[name]
        alone = math.sqrt((mine.population or 1) / everybody)
        share = mine.public_weight / weights
        own = self.training.own
        shared = 1 - own * (1 - self.training.others)
        wanted = own * alone + (1 - own) * share
        return Interpolation(shared=shared, own=max(0.0, wanted - shared * share))

    @field_validator("platforms")
    @classmethod
    def _names(cls, value: Mapping[str, Any]) -> Mapping[str, Any]:
        for name in value:
            if not re.match(_NAME, name):
                raise ValueError(f"platform name {name!r}: expected letters, digits, - or _")
        return value

    @classmethod
    def published(cls, values: dict[str, Any], *, where: str) -> Self:
        """Read a federation's settings, and leave out where platforms' data lie and how fast.

        Raises:
            ConfigError: see `load`.
        """
        platforms = values.get("platforms")
        if isinstance(platforms, dict):
            public = {
                name: {key: own[key] for key in own if key not in _PRIVATE}
                if isinstance(own, dict)
                else own
                for name, own in platforms.items()
            }
            values = {**values, "platforms": public}
        return cls.load({key: values[key] for key in values if key != "speed"}, where=where)


class FederationSettings(PublicSettings):
    """Everything a run on one machine needs: the platforms' own settings too."""

    platforms: Mapping[str, PlatformSettings] = Field(min_length=1)
    speed: SpeedSettings = SpeedSettings()


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


def run_values(folder: Path) -> dict[str, Any]:
    """What a run folder's `federation.json` holds, not validated yet.

    Raises:
        RunError: there is none, or it is no JSON object.
    """
    path = folder / FEDERATION
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(values, dict):
            raise ValueError(values)
    except (OSError, ValueError) as error:
        raise RunError(
            expected=f"a run folder with {FEDERATION}",
            got=type(error).__name__,
            where=str(path),
            remedy="`fedinterest simulate` and `fedinterest-server init` make one.",
        ) from error
    return values


def run_federation(folder: Path) -> FederationSettings:
    """The whole federation of a simulation's run folder.

    Raises:
        RunError: there is none.
        ConfigError: it is not valid.
    """
    return FederationSettings.load(run_values(folder), where=str(folder / FEDERATION))


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
