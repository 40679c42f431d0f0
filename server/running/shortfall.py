"""Whether a run can still have its quorum: not once it needs a partner that was shut out.

A run's platforms and their statement keys are fixed when it begins.  Who was revoked since, or was
enrolled again with another statement key, gives no answer that counts; if those who are left are
fewer than the quorum there is nothing to wait for, and a person must decide.
"""

import json
from dataclasses import dataclass

from server.membership.partners import Partners
from server.running.runs import MEMBERS, Run
from server.settings import ServerFolder
from shared.config.federation import FEDERATION, PublicSettings
from shared.errors import QuorumError, RunError

SHORT = 76
"""The conductor's exit code where it needs such a partner; it is started again, and looks again."""


class PartnersLost(QuorumError):
    """The run needs partners that were shut out."""


@dataclass(frozen=True, kw_only=True)
class Shortfall:
    """What a run lacks.

    Args:
        run: its name.
        quorum: how many platforms must answer.
        left: platforms that may still answer.
        lost: platform -> why it cannot.
    """

    run: str
    quorum: int
    left: tuple[str, ...]
    lost: dict[str, str]

    @property
    def remedy(self) -> str:
        """What the operator can do."""
        names, file = ", ".join(self.lost), f"runs/{self.run}/{FEDERATION}"
        return (
            f"Let {names} come back with the statement key it had (`fedinterest-client "
            f"rotate-keys`, then enrol with --replace), or set server.min_platforms in {file}; "
            "what was learned is kept."
        )

    def error(self) -> PartnersLost:
        """The same, as an error."""
        lost = "; ".join(f"{name}: {why}" for name, why in self.lost.items())
        return PartnersLost(
            expected=f"{self.quorum} platforms",
            got=f"{len(self.left)} ({lost})",
            where=f"run {self.run}",
            remedy=self.remedy,
        )


def shortfall(
    folder: ServerFolder, run: Run, settings: PublicSettings | None = None
) -> Shortfall | None:
    """What `run` lacks as things are; None where nothing.

    Args:
        settings: those it works with, if they are not those on disk.

    Raises:
        RunError, ConfigError: a partner's file or the run's is damaged.
    """
    settings = settings or run.settings
    now = {one.name: one for one in Partners(folder.path).list()}
    lost = {}
    for name, key in _keys(run).items():
        if name not in now or not now[name].enrolled:
            lost[name] = "revoked"
        elif now[name].statement_key != key:
            lost[name] = "enrolled again with another statement key"
    left = tuple(name for name in settings.platforms if name not in lost)
    quorum = settings.server.min_platforms or len(settings.platforms)
    if len(left) >= quorum:
        return None
    return Shortfall(run=run.name, quorum=quorum, left=left, lost=lost)


def require_quorum(folder: ServerFolder, run: Run, settings: PublicSettings | None = None) -> None:
    """Whether the quorum is within reach.

    Raises:
        PartnersLost: it is not.
        RunError, ConfigError: see `shortfall`.
    """
    if (found := shortfall(folder, run, settings)) is not None:
        raise found.error()


def _keys(run: Run) -> dict[str, str]:
    path = run.path / MEMBERS
    try:
        members = json.loads(path.read_text(encoding="utf-8"))
        return {str(name): str(one["statement_key"]) for name, one in members.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise RunError(
            expected="a key for each platform",
            got=type(error).__name__,
            where=str(path),
            remedy="Restore the file, or start a new run.",
        ) from error
