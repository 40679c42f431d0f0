"""What the commands do once their arguments are parsed."""

import json
import os
import sys
from importlib import resources
from importlib.util import find_spec
from pathlib import Path

from shared.config.federation import FederationSettings
from shared.errors import ConfigError
from shared.files import write_text

CACHE_VARIABLE = "FEDINTEREST_CACHE"


def cache_folder() -> Path:
    """Where encoded catalogues are kept between runs."""
    named = os.environ.get(CACHE_VARIABLE)
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(named) if named else Path(base) / "fedinterest"


def _no_telemetry() -> None:
    """Before Flower is imported: nothing is sent, looked up, or installed at a run's start."""
    for name, value in (
        ("FLWR_TELEMETRY_ENABLED", "0"),
        ("FLWR_DISABLE_UPDATE_CHECK", "1"),
        ("FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION", "1"),
    ):
        os.environ.setdefault(name, value)


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
    _no_telemetry()
    from server.settings import TrackingSettings
    from server.tracking.tracker import require
    from shared.progress import Progress
    from simulations.recipes import Recipe, load_recipe
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
        begin(plan, Recipe(found.name, _changed(found.settings, rounds, epsilon)))
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


def quality(
    recipe: str,
    *,
    data: Path | None,
    systems: list[str] | None,
    epsilons: list[float],
    seeds: int,
    base: str,
    rounds: int | None,
    out: Path | None,
    as_json: bool,
) -> None:
    """Run the quality bench, print its table, and say where the page is."""
    _no_telemetry()
    from shared.progress import Progress
    from simulations.bench.quality.run import QualityPlan, run_quality
    from simulations.bench.quality.systems import LIGHT
    from simulations.recipes import Recipe, load_recipe

    folder = out or Path("runs") / f"quality-{Path(recipe).stem}"
    found = load_recipe(recipe, data=data, world=folder / "world", seed=0)
    changed = Recipe(found.name, _changed(found.settings, rounds, None))
    plan = QualityPlan(
        makers=LIGHT if systems is None else systems,
        epsilons=epsilons,
        seeds=range(seeds),
        base=base,
        out=folder,
        cache=cache_folder(),
    )
    with Progress(quiet=as_json) as progress:
        try:
            summary = run_quality(plan, changed, progress)
        except KeyboardInterrupt:
            progress.say("stopped; the same command goes on where it was")
            raise
    if as_json:
        print(json.dumps(summary, indent=2, allow_nan=False))
        return
    from simulations.bench.quality.table import print_quality

    print_quality(summary)
    print(f"\npage     {folder / 'quality.html'}\ndata     {folder / 'quality.json'}")


def newcomer(
    recipe: str,
    *,
    data: Path | None,
    users: int,
    groups: int,
    epsilon: float,
    rounds: int,
    seed: int,
    out: Path | None,
    as_json: bool,
) -> None:
    """Run the newcomer bench, print its table, and say where the result is."""
    _no_telemetry()
    from shared.progress import Progress
    from simulations.bench.newcomer import NewcomerPlan, run_newcomer_bench, table_of
    from simulations.recipes import Recipe, load_recipe

    folder = out or Path("runs") / f"newcomer-{Path(recipe).stem}"
    found = load_recipe(recipe, data=data, world=folder / "world", seed=0)
    changed = Recipe(found.name, _changed(found.settings, None, epsilon))
    plan = NewcomerPlan(
        users=users,
        groups=groups,
        epsilon=epsilon,
        rounds=rounds,
        seed=seed,
        out=folder,
        cache=cache_folder(),
    )
    with Progress(quiet=as_json) as progress:
        try:
            result = run_newcomer_bench(plan, changed, progress)
        except KeyboardInterrupt:
            progress.say("stopped; the same command goes on where it was")
            raise
    if as_json:
        print(json.dumps(result, indent=2, allow_nan=False))
        return
    from rich.console import Console

    table_of(result, Console().print)
    print(f"\ndata     {folder / 'newcomer.json'}")


def curves(
    recipe: str,
    *,
    data: Path | None,
    along: list[str],
    epsilon: float,
    seed: int,
    shares: list[float],
    every: int | None,
    rounds: int | None,
    out: Path | None,
    as_json: bool,
) -> None:
    """Run the curves bench, print its tables, and say where the page is."""
    _no_telemetry()
    from shared.progress import Progress
    from simulations.bench.curves.run import CurvesPlan, run_curves
    from simulations.recipes import Recipe, load_recipe

    folder = out or Path("runs") / f"curves-{Path(recipe).stem}"
    plan = CurvesPlan(
        along=along,
        epsilon=epsilon,
        seed=seed,
        shares=shares,
        every=every,
        out=folder,
        cache=cache_folder(),
    )
    plan.checked()
    found = load_recipe(recipe, data=data, world=folder / "world", seed=0)
    changed = Recipe(found.name, _changed(found.settings, rounds, epsilon))
    with Progress(quiet=as_json) as progress:
        try:
            result = run_curves(plan, changed, progress)
        except KeyboardInterrupt:
            progress.say("stopped; the same command goes on where it was")
            raise
    if as_json:
        print(json.dumps(result, indent=2, allow_nan=False))
        return
    from simulations.bench.curves.table import print_curves

    print_curves(result)
    print(f"\npage     {folder / 'curves.html'}\ndata     {folder / 'curves.json'}")


def serving(
    *,
    items: int,
    rate: float,
    seconds: float,
    catalogue: Path | None,
    seed: int,
    rival: bool,
    out: Path | None,
    as_json: bool,
) -> None:
    """Run the bench of the service, print what it measured, and say where the result is.

    Raises:
        ConfigError: a package is missing, or a number makes no sense.
    """
    for name in ("grpc", "grpc_health", "grpc_reflection", "numkong", "faiss"):
        if find_spec(name) is None:
            raise ConfigError(
                expected="the packages of the service",
                got=f"no {name}",
                where="bench serving",
                remedy="pip install 'fedinterest[serving]'",
            )
    from shared.progress import Progress
    from simulations.bench.serving.run import ServingPlan, lines, run_serving_bench
    from simulations.bench.serving.world import Plan

    folder = out or Path("runs") / f"serving-{items}"
    plan = ServingPlan(
        world=Plan(items=items, seed=seed, catalogue=None if catalogue is None else str(catalogue)),
        rate=rate,
        seconds=seconds,
        rival=rival,
        out=folder,
    )
    with Progress(quiet=as_json) as progress:
        result = run_serving_bench(plan, progress)
    if as_json:
        print(json.dumps(result, indent=2, allow_nan=False))
        return
    shown = lines(result)
    width = max(len(what) for what, _ in shown)
    for what, value in shown:
        print(f"{what:<{width}}  {value}")
    print(f"\ndata  {folder / 'serving.json'}")


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


def _changed(
    settings: FederationSettings, rounds: int | None, epsilon: float | None
) -> FederationSettings:
    """The recipe with the command line's wishes."""
    changes: dict[str, object] = {}
    if rounds is not None:
        changes["training"] = {**settings.training.model_dump(), "rounds": rounds}
    if epsilon is not None:
        changes["privacy"] = {**settings.privacy.model_dump(), "epsilon": epsilon}
    if not changes:
        return settings
    return FederationSettings.load({**settings.model_dump(), **changes}, where="command line")


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
