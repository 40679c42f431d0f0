"""What all settings share: frozen, keyword-only, no unknown keys, errors that name the setting."""

import difflib
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from shared.errors import ConfigError


class Settings(BaseModel):
    """Base of every settings type: immutable, validated at birth, no unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=True)

    @classmethod
    def load(cls, values: dict[str, Any], *, where: str) -> Self:
        """Build from parsed TOML or JSON.

        Raises:
            ConfigError: an unknown key (with the nearest known one), a missing key, a value of the
                wrong type or out of range; all of them in one message.
        """
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise _readable(error, cls, where) from error

    def replace(self, **changes: Any) -> Self:
        """A validated copy with `changes`."""
        return type(self).load({**self.model_dump(), **changes}, where=type(self).__name__)


def _readable(error: ValidationError, root: type[BaseModel], where: str) -> ConfigError:
    problems = []
    remedies = []
    for item in error.errors():
        path = [str(part) for part in item["loc"]]
        key = ".".join(path)
        if item["type"] == "extra_forbidden":
            known = sorted(_keys_beside(root, path))
            near = difflib.get_close_matches(path[-1], known, n=1, cutoff=0.5)
            problems.append(f"unknown key {key!r}")
            remedies.append(
                f"Did you mean {near[0]!r}?" if near else f"Known keys there: {', '.join(known)}."
            )
        elif item["type"] == "missing":
            problems.append(f"no {key!r}")
            remedies.append(f"Add {key}.")
        else:
            problems.append(
                f"{key} = {item['input']!r} ({item['msg'].removeprefix('Value error, ')})"
            )
    return ConfigError(
        expected="valid settings", got="; ".join(problems), where=where, remedy=" ".join(remedies)
    )


def _keys_beside(root: type[BaseModel], path: list[str]) -> set[str]:
    """The keys that would have been accepted where `path` ends."""
    kinds: list[Any] = [root]
    for part in path[:-1]:
        following: list[Any] = []
        for kind in kinds:
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                if part in kind.model_fields:
                    following += _models_in(kind.model_fields[part].annotation)
                else:
                    following.append(kind)  # a dict key such as a platform's name
        kinds = following or kinds
    return {key for kind in kinds for key in getattr(kind, "model_fields", {})}


def _models_in(annotation: Any) -> list[Any]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in getattr(annotation, "__args__", ()) for model in _models_in(part)]
