"""What the commands do once their arguments are parsed."""

import json
import sys
from importlib import resources
from pathlib import Path

from shared.errors import ConfigError
from shared.files import write_text
from simulations.environment import cache_folder, no_telemetry


def simulate(
    recipe: str,
    *,
    data: Path | None,
    out: Path | None,
    rounds: int | None,
    epsilon: float | None,
    seed: int | None,
    engine: str,
    resume: bool,
    tensorboard: bool,
    as_json: bool,
) -> None:
    """Run or resume a simulation, print its table, and say where the report is."""
    no_telemetry()
    from server.settings import TrackingSettings
    from server.tracking.tracker import require
    from shared.progress import Progress
    from simulations.recipes import load_recipe
    from simulations.run import RunPlan, begin, execute, read_run

    require(TrackingSettings(tensorboard=tensorboard), where="--tensorboard")
    if resume:
        folder = out or _latest(recipe)
        stored = read_run(folder)
        for name, given, kept in (
            ("--rounds", rounds, None),
            ("--epsilon", epsilon, None),
            ("--seed", seed, stored["seed"]),
        ):
            if given is not None and given != kept:
                raise ConfigError(
                    expected=f"no {name} with --resume",
                    got=f"{given:g}",
                    where=str(folder),
                    remedy="A run keeps the settings it began with.",
                )
        engine, seed = stored["engine"], stored["seed"]
    else:
        folder = out or _free(recipe)
    plan = RunPlan(
        out=folder,
        engine=engine,  # type: ignore[arg-type]
        seed=seed,
        cache=cache_folder(),
        tensorboard=tensorboard,
    )
    if not resume:
        found = load_recipe(recipe, data=data, world=folder / "world", seed=seed or 0)
        begin(plan, found.changed(rounds, epsilon))
    with Progress(quiet=as_json) as progress:
        try:
            summary = execute(plan, progress)
        except KeyboardInterrupt:
            progress.say(f"stopped; go on with: fedinterest simulate --out {folder} --resume")
            raise
    if as_json:
        print(json.dumps(summary, indent=2, allow_nan=False))
        return
    from simulations.table import print_results

    print_results(summary)
    print(f"\nreport   {folder / 'report.html'}\nadapter  {folder / 'adapter'}")


def init(path: Path, *, force: bool) -> None:
    """Write the commented federation.toml.

    Raises:
        ConfigError: there is a file already and `force` is not set.
    """
    if path.exists() and not force:
        raise ConfigError(
            expected="no such file yet",
            got="one that exists",
            where=str(path),
            remedy="Give another path, or --force to replace it.",
        )
    text = (resources.files("simulations") / "federation_template.toml").read_text("utf-8")
    write_text(path, text)
    print(f"wrote {path}; edit it, then: fedinterest simulate {path}", file=sys.stderr)


def init_demo(folder: Path) -> None:
    """Write the demo platforms' raw logs and their federation.toml into `folder`.

    Raises:
        ConfigError: there is something in `folder` already.
        StorageError: the disk refused.
    """
    from simulations.worlds import write_demo_world

    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(
            expected="a new folder, or an empty one",
            got="something that is there already",
            where=str(folder),
            remedy="Give another path.",
        )
    settings = write_demo_world(folder)
    print(
        f"wrote the logs of {len(settings.platforms)} platforms; "
        f"then: fedinterest simulate {folder / 'federation.toml'}",
        file=sys.stderr,
    )


def _stem(recipe: str) -> Path:
    return Path("runs") / Path(recipe).stem


def _free(recipe: str) -> Path:
    stem = _stem(recipe)
    number = 1
    folder = stem
    while folder.exists():
        number += 1
        folder = stem.with_name(f"{stem.name}-{number}")
    return folder


def _latest(recipe: str) -> Path:
    """The run folder that `_free` gave out last."""
    stem = _stem(recipe)
    found = stem
    number = 2
    while (following := stem.with_name(f"{stem.name}-{number}")).exists():
        found, number = following, number + 1
    return found
