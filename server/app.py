"""The coordinator's Flower ServerApp: wiring only.

Reads the run folder named by `run-folder` in the run config; `federation.json` in it holds the
federation's settings.  Run by `flwr run` and by the simulation's engines alike.
"""

import json
from pathlib import Path

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from server.rounds.strategy import InterestStrategy
from shared.config.federation import FEDERATION, PublicSettings, run_values
from shared.errors import ConfigError, ProtocolError, RunError
from shared.files import sha256
from shared.transparency.keys import PublicKey

MEMBERS = "members.json"

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Train in the run folder, from its newest checkpoint to the last round."""
    folder = context.run_config.get("run-folder")
    if not (isinstance(folder, str) and folder):
        raise ConfigError(
            expected="`run-folder` in the run config",
            got="none",
            where="flwr run --run-config",
            remedy="Start it with --run-config 'run-folder=\"/path/to/run\"'.",
        )
    train(Path(folder), grid)


def train(folder: Path, grid: Grid) -> None:
    """Train the federation of `folder` over `grid`.

    Raises:
        RunError: there is no federation in `folder`, or what lies there cannot be resumed.
        QuorumError: too few platforms answered; the run can be resumed.
    """
    settings = read_settings(folder)
    strategy = InterestStrategy(
        settings,
        folder,
        settings_sha256=settings_sha256(settings),
        keys=enrolled_keys(folder, settings),
    )
    strategy.summary()
    strategy.start(
        grid,
        strategy.set_up(grid),
        num_rounds=settings.training.rounds,
        timeout=settings.server.round_timeout_s,
    )


def read_settings(folder: Path) -> PublicSettings:
    """What is public of the federation of a run folder.

    Raises:
        RunError: there is none.
        ConfigError: it is not valid.
    """
    return PublicSettings.published(run_values(folder), where=str(folder / FEDERATION))


def enrolled_keys(folder: Path, settings: PublicSettings) -> dict[str, str]:
    """platform -> the public key it was enrolled with; empty in a simulation, which enrols nobody.

    Raises:
        RunError: the run folder's members.json does not hold a key for every platform.
    """
    path = folder / MEMBERS
    if not path.exists():
        return {}
    try:
        members = json.loads(path.read_text(encoding="utf-8"))
        return {name: PublicKey(members[name]["statement_key"]).hex for name in settings.platforms}
    except (OSError, ValueError, KeyError, TypeError, ProtocolError) as error:
        raise RunError(
            expected=f"a key for each of {', '.join(settings.platforms)}",
            got=type(error).__name__,
            where=str(path),
            remedy="Restore the file, or start a new run.",
        ) from error


def settings_sha256(settings: PublicSettings) -> str:
    """Hash of what must not change between a run and its resumption.

    Where data lies, speed, timeouts and the quorum may change; what is learned, how, with whom and
    under which promise may not.
    """
    kept = {
        "model": settings.model.model_dump(mode="json"),
        "privacy": settings.privacy.model_dump(mode="json"),
        "training": settings.training.model_dump(mode="json"),
        "server": settings.server.model_dump(
            mode="json", exclude={"min_platforms", "round_timeout_s", "max_attempts"}
        ),
        "platforms": {
            name: platform.model_dump(mode="json", include={"population", "weight"})
            for name, platform in settings.platforms.items()
        },
    }
    return sha256(json.dumps(kept, sort_keys=True).encode())
