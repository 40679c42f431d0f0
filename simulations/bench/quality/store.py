"""A cache of rows, so that a new system does not run the old ones again and long runs resume.

A row is what one system did on one platform with one seed.  Its key is the SHA-256 of a canonical
JSON of everything that determines it.  `ROWS/<key>.npz` holds the outcome, and `<key>.json`,
written last, names the key's parts, the .npz file's SHA-256 and what else is known of the row: a
row without it, or whose parts do not fit together, was not finished and counts as damaged.

`CODE_VERSION` is part of every key: raise it when an outcome comes to mean something else.
"""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clients.splits import Split
from shared.errors import ConfigError, RunError
from shared.files import sha256, write_bytes, write_json
from simulations.bench.quality.outcome import Outcome
from simulations.evaluation import Which

CODE_VERSION = 2


@dataclass(frozen=True, kw_only=True)
class RowKey:
    """Everything that determines a row.

    Args:
        data: digest of the recipe's data, such as `data_digest`'s.
        platform: the platform's name.
        system: the system's name.
        settings: the system's settings, as JSON.
        epsilon: the budget it was trained with; inf without privacy, None where none applies.
        seed: of its training; None where nothing is drawn.
        which: the held-out item.
        code: `CODE_VERSION`, unless a test says otherwise.
    """

    data: str
    platform: str
    system: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    epsilon: float | None = None
    seed: int | None = None
    which: Which = "test"
    code: int = CODE_VERSION

    @property
    def parts(self) -> dict[str, Any]:
        """The key as JSON: what is hashed, and shown beside the row."""
        epsilon = self.epsilon
        return {
            "data": self.data,
            "platform": self.platform,
            "system": self.system,
            "settings": dict(self.settings),
            "epsilon": "inf" if epsilon is not None and math.isinf(epsilon) else epsilon,
            "seed": self.seed,
            "which": self.which,
            "code": self.code,
        }

    @property
    def digest(self) -> str:
        """Hex SHA-256 of the parts, the name of the row's files.

        Raises:
            ConfigError: the settings are not JSON.
        """
        try:
            return sha256(_canonical(self.parts))
        except (TypeError, ValueError) as error:
            raise ConfigError(
                expected="settings that are JSON, finite numbers only",
                got=str(error),
                where=f"settings of system {self.system}",
                remedy="Give the settings as model_dump(mode='json') does.",
            ) from error


@dataclass(frozen=True, kw_only=True)
class Row:
    """What is known of one system on one platform with one seed.

    Args:
        outcome: what it did.
        facts: what else is worth keeping, as JSON: seconds, the epsilon that was spent.
    """

    outcome: Outcome
    facts: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Store:
    """The rows of a benchmark.

    Args:
        folder: where they are, usually OUT/rows.
        report: told in a sentence when a row has to be made again.
    """

    folder: Path
    report: Callable[[str], None]

    def find(self, key: RowKey) -> Row | None:
        """The row, or None where there is none or it is damaged, which is reported."""
        beside, path = self._paths(key)
        if not beside.is_file() and not path.is_file():
            return None
        try:
            return _read(key, beside, path)
        except RunError as error:
            self.report(f"{key.system} on {key.platform} is measured again: {error}")
            return None

    def keep(self, key: RowKey, outcome: Outcome, facts: Mapping[str, Any] | None = None) -> Row:
        """Write a row, replacing one that is there; returns it.

        Raises:
            ConfigError: the key's settings are not JSON.
            StorageError: the disk refused.
        """
        beside, path = self._paths(key)
        content = outcome.to_bytes()
        row = Row(outcome=outcome, facts=dict(facts or {}))
        whole = {"key": key.parts, "facts": row.facts, "npz_sha256": sha256(content)}
        write_bytes(path, content)
        write_json(beside, whole | {"checksum": sha256(_canonical(whole))})
        return row

    def _paths(self, key: RowKey) -> tuple[Path, Path]:
        return self.folder / f"{key.digest}.json", self.folder / f"{key.digest}.npz"


def data_digest(split: Split, vectors: NDArray[np.float32]) -> str:
    """Hex SHA-256 of a platform's events, split and catalogue vectors; pseudonyms play no part."""
    train = split.train
    arrays = (train.items, train.offsets, split.validation, split.test, vectors)
    return sha256(
        b"".join(
            f"{array.dtype.str}{array.shape}".encode() + np.ascontiguousarray(array).tobytes()
            for array in arrays
        )
    )


def _read(key: RowKey, beside: Path, path: Path) -> Row:
    try:
        stored = json.loads(beside.read_text(encoding="utf-8"))
        checksum = stored.pop("checksum")
        parts, facts, npz_sha256 = stored["key"], stored["facts"], stored["npz_sha256"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise _damaged(beside, f"a damaged file ({type(error).__name__})") from error
    if sha256(_canonical(stored)) != checksum or parts != json.loads(_canonical(key.parts)):
        raise _damaged(beside, "a damaged file (its checksum or its key does not match)")
    outcome = Outcome.load(path)
    if sha256(path.read_bytes()) != npz_sha256:
        raise _damaged(path, "an outcome that is not the one described beside it")
    return Row(outcome=outcome, facts=facts)


def _canonical(value: Any) -> bytes:
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=False
    ).encode("utf-8")


def _damaged(path: Path, got: str) -> RunError:
    return RunError(expected="a whole row", got=got, where=str(path))
