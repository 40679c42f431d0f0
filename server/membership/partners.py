"""Who may take part: one JSON file for each partner, DIR/partners/NAME.json."""

import json
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

from shared.config.federation import Member
from shared.errors import ConfigError, RunError
from shared.files import write_json

_VERSION = 1
_TYPES: dict[str, type] = {"population": int}


@dataclass(frozen=True, kw_only=True)
class Partner:
    """One partner, as it was enrolled last.

    Args:
        name: of its platform; certificates, messages and settings know it by that.
        kind: what it is, in a word.
        population: public, declared number of users.
        serial: of its newest certificate, upper-case hex.
        not_after: when that expires, ISO 8601, UTC.
        node_key_pem: public key of Flower's node authentication.
        statement_key: public key of its record, 64 hex digits.
        status: a revoked one stays listed, but takes no part.
    """

    name: str
    kind: str
    population: int
    serial: str
    not_after: str
    node_key_pem: str
    statement_key: str
    status: Literal["enrolled", "revoked"] = "enrolled"

    @property
    def enrolled(self) -> bool:
        """Whether it takes part."""
        return self.status == "enrolled"

    @property
    def member(self) -> Member:
        """What the federation's settings say of it."""
        return Member(kind=self.kind, population=self.population)


@dataclass(frozen=True)
class Partners:
    """The partners of a coordinator.

    Args:
        dir: DIR, the coordinator's folder.
    """

    dir: Path

    def list(self, *, enrolled_only: bool = False) -> list[Partner]:
        """All partners, by name.

        Args:
            enrolled_only: leave out those that were revoked.

        Raises:
            RunError: a partner's file is damaged.
        """
        found = [self._read(path) for path in sorted(self._folder.glob("*.json"))]
        return [one for one in found if one.enrolled or not enrolled_only]

    def find(self, name: str) -> Partner | None:
        """The partner of that name, or None.

        Raises:
            RunError: its file is damaged.
        """
        return next((one for one in self.list() if one.name == name), None)

    def get(self, name: str) -> Partner:
        """The partner of that name.

        Raises:
            ConfigError: there is none.
        """
        found = self.find(name)
        if found is None:
            known = ", ".join(one.name for one in self.list()) or "nobody"
            raise ConfigError(
                expected="the name of a partner",
                got=repr(name),
                where="partners",
                remedy=f"Enrolled so far: {known}.",
            )
        return found

    def check(self, partner: Partner) -> None:
        """Whether a partner can be told from all others.

        Raises:
            ConfigError: its name is another's but for capitals, or one of its keys is another's.
        """
        for other in self.list():
            if other.name == partner.name:
                continue
            for what in ("statement_key", "node_key_pem"):
                if getattr(other, what) == getattr(partner, what):
                    raise ConfigError(
                        expected="keys of the partner's own",
                        got=f"those of {other.name}",
                        where=f"{partner.name}: {what}",
                        remedy="Each platform makes its own with `fedinterest-client init`.",
                    )
            if other.name.casefold() == partner.name.casefold():
                raise ConfigError(
                    expected="a name that differs from others in more than capitals",
                    got=f"{partner.name} beside {other.name}",
                    where="partners",
                )

    def add(self, partner: Partner) -> None:
        """Write a partner down; what was known under its name is replaced.

        Raises:
            ConfigError: see `check`.
            StorageError: the disk refused.
        """
        self.check(partner)
        write_json(self._path(partner.name), {"version": _VERSION, **asdict(partner)})

    def revoke(self, name: str) -> Partner:
        """Mark a partner as revoked.

        Raises:
            ConfigError: there is none of that name.
        """
        revoked = replace(self.get(name), status="revoked")
        self.add(revoked)
        return revoked

    @property
    def _folder(self) -> Path:
        return self.dir / "partners"

    def _path(self, name: str) -> Path:
        return self._folder / f"{name}.json"

    def _read(self, path: Path) -> Partner:
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            partner = _parsed(values)
            if partner.name != path.stem:
                raise ValueError("another partner's file")
        except (OSError, ValueError, TypeError, AttributeError) as error:
            raise RunError(
                expected="a partner's file, as `fedinterest-server enrol` wrote it",
                got=type(error).__name__,
                where=str(path),
                remedy="Restore it, or remove it and enrol the partner again.",
            ) from error
        return partner


def _parsed(values: dict[str, Any]) -> Partner:
    if values.pop("version", None) != _VERSION or set(values) != {
        one.name for one in fields(Partner)
    }:
        raise ValueError("another form")
    for name, value in values.items():
        if type(value) is not _TYPES.get(name, str):
            raise ValueError(name)
    if values["status"] not in ("enrolled", "revoked"):
        raise ValueError("status")
    return Partner(**values)
