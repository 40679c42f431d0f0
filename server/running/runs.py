"""Training runs in a coordinator's folder: DIR/runs/0001, 0002, ...

RUN/
├── federation.json    what is trained, with whom; never changed once the run has begun
├── members.json       platform -> the key its statements must be signed with, as enrolled
├── coordinator.key    what the coordinator's statements are signed with
├── checkpoints/, rounds.jsonl, record/     see `server.rounds.strategy`
├── adapter/           the result, in PEFT's format
└── finished.json      written last

Rules:
1. One run at a time: as long as the newest is not finished it is the one that goes on.
2. Another begins only when something is different: settings, partners, or what they declare.  A
   restart alone never makes platforms spend again.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from server.membership.partners import Partner, Partners
from server.settings import ServerFolder
from shared.config.federation import FEDERATION, PublicSettings, run_values
from shared.errors import ConfigError, RunError
from shared.files import storage_error, sweep, write_bytes, write_json

MEMBERS, FINISHED, KEY = "members.json", "finished.json", "coordinator.key"


@dataclass(frozen=True)
class Run:
    """A run folder."""

    path: Path

    @property
    def name(self) -> str:
        """Its number, as the folder is called."""
        return self.path.name

    @property
    def finished(self) -> dict[str, Any] | None:
        """What came of it; None while it is not finished.

        Raises:
            RunError: the file is damaged.
        """
        path = self.path / FINISHED
        try:
            found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise RunError(
                expected="a JSON object", got=type(error).__name__, where=str(path)
            ) from error
        return found

    @property
    def settings(self) -> PublicSettings:
        """What is trained, with whom.

        Raises:
            RunError, ConfigError: federation.json is missing or not valid.
        """
        return PublicSettings.published(run_values(self.path), where=str(self.path / FEDERATION))


def runs(folder: ServerFolder) -> list[Run]:
    """All runs that were begun, oldest first."""
    found = (one for one in folder.runs.glob("[0-9]" * 4) if (one / FEDERATION).is_file())
    return [Run(path) for path in sorted(found)]


def next_run(folder: ServerFolder, *, rounds: int | None = None) -> Run | None:
    """The run to go on with: the newest if it is not finished, else a new one, if rule 2 lets it.

    Args:
        rounds: of a new run, in the place of `training.rounds`.

    Returns:
        None where there is nothing to do.

    Raises:
        ConfigError: settings are not valid, or nobody is enrolled.
        RunError, StorageError: a folder is damaged, or the disk refused.
    """
    before = runs(folder)
    if before and before[-1].finished is None:
        return before[-1]
    partners = Partners(folder.path).list(enrolled_only=True)
    if not partners:
        raise ConfigError(
            expected="partners",
            got="none",
            where=str(folder.partners),
            remedy="`fedinterest-server enrol NAME REQUEST` enrols one.",
        )
    values, members = _federation(folder, partners, rounds), _members(partners)
    if before and _same(before[-1], values, members):
        return None
    run = Run(folder.runs / f"{int(before[-1].name) + 1 if before else 1:04d}")
    _begin(run, folder, values, members)
    return run


def _federation(
    folder: ServerFolder, partners: list[Partner], rounds: int | None
) -> dict[str, Any]:
    settings = folder.settings.federation({one.name: one.member for one in partners})
    values = settings.model_dump(mode="json")
    if not settings.privacy.private:
        values["privacy"]["epsilon"] = "inf"
    if rounds is not None:
        values["training"]["rounds"] = rounds
    PublicSettings.load(values, where="server.toml")
    return values


def _members(partners: list[Partner]) -> dict[str, Any]:
    return {one.name: {"statement_key": one.statement_key} for one in partners}


def _same(run: Run, values: dict[str, Any], members: dict[str, Any]) -> bool:
    try:
        known = json.loads((run.path / MEMBERS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return bool(run_values(run.path) == values and known == members)


def _begin(run: Run, folder: ServerFolder, values: dict[str, Any], members: dict[str, Any]) -> None:
    """federation.json comes last: a folder without it is no run."""
    try:
        run.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        sweep(run.path)
        key = folder.coordinator_key.read_bytes()
    except OSError as error:
        raise storage_error(error, run.path) from error
    write_bytes(run.path / KEY, key)
    write_json(run.path / MEMBERS, members)
    write_json(run.path / FEDERATION, values)


def publish(run: Run) -> dict[str, Any]:
    """Write the adapter of a run whose rounds are all done, and that it is finished.

    Returns:
        What `Run.finished` says from now on.

    Raises:
        RunError: it has no checkpoint.
        StorageError: the disk refused.
        EncoderError: the encoder that the settings name is not here.
    """
    from server.rounds import checkpoint as checkpoints
    from shared.adapters import adapter_sha256, save_peft
    from shared.encoder import encoder_identity
    from shared.whitening import Whitening

    settings, last = run.settings, checkpoints.latest(run.path / "checkpoints")
    if last is None:
        raise RunError(expected="a trained adapter", got="none", where=str(run.path))
    whitening = Whitening.from_arrays(last.base)
    base = {"encoder": encoder_identity(settings.model), "whitening": whitening.sha256}
    save_peft(run.path / "adapter", last.adapter, settings.model, len(whitening.matrix), base)
    found = {
        "rounds": last.round,
        "adapter_sha256": adapter_sha256(last.adapter),
        "private": settings.privacy.private,
        **base,
    }
    write_json(run.path / FINISHED, found)
    return found
