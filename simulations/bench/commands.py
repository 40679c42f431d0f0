"""What the benches' commands do once their arguments are parsed."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from shared.errors import ConfigError
from shared.progress import Progress
from simulations.environment import cache_folder, no_telemetry
from simulations.recipes import Recipe, load_recipe


@dataclass(frozen=True)
class Subject:
    """The federation that is measured.

    Args:
        bench: names the folder of the results, and the files in it.
        recipe: as for `simulate`.
        data: folder of the benchmark data.
        out: folder of the results; None: runs/BENCH-RECIPE.
        rounds, epsilon: in place of the recipe's.
    """

    bench: str
    recipe: str
    data: Path | None = None
    out: Path | None = None
    rounds: int | None = None
    epsilon: float | None = None

    @property
    def folder(self) -> Path:
        """Where the results go."""
        return self.out or Path("runs") / f"{self.bench}-{Path(self.recipe).stem}"

    def loaded(self) -> Recipe:
        """The recipe, with this subject's wishes.

        Raises:
            FedInterestError: see `load_recipe`.
        """
        found = load_recipe(self.recipe, data=self.data, world=self.folder / "world", seed=0)
        return found.changed(self.rounds, self.epsilon)

    def report(
        self,
        run: Callable[[Progress], dict[str, Any]],
        show: Callable[[dict[str, Any]], None],
        *,
        page: bool,
        as_json: bool,
    ) -> None:
        """Run a bench that goes on where it was, print its result, and say where it is kept."""
        with Progress(quiet=as_json) as progress:
            try:
                result = run(progress)
            except KeyboardInterrupt:
                progress.say("stopped; the same command goes on where it was")
                raise
        if as_json:
            print(json.dumps(result, indent=2, allow_nan=False))
            return
        show(result)
        kept = self.folder / self.bench
        print()
        if page:
            print(f"page     {kept.with_suffix('.html')}")
        print(f"data     {kept.with_suffix('.json')}")


def quality(
    subject: Subject,
    *,
    systems: list[str] | None,
    epsilons: list[float],
    seeds: int,
    base: str,
    as_json: bool,
) -> None:
    """Run the quality bench."""
    no_telemetry()
    from simulations.bench.quality.run import QualityPlan, run_quality
    from simulations.bench.quality.systems import LIGHT
    from simulations.bench.quality.table import print_quality

    recipe = subject.loaded()
    plan = QualityPlan(
        makers=LIGHT if systems is None else systems,
        epsilons=epsilons,
        seeds=range(seeds),
        base=base,
        out=subject.folder,
        cache=cache_folder(),
    )
    subject.report(
        lambda progress: run_quality(plan, recipe, progress),
        print_quality,
        page=True,
        as_json=as_json,
    )


def newcomer(
    subject: Subject, *, users: int, groups: int, rounds: int, seed: int, as_json: bool
) -> None:
    """Run the newcomer bench; `rounds` are the newcomer's own."""
    no_telemetry()
    from simulations.bench.newcomer import NewcomerPlan, print_newcomer, run_newcomer_bench

    recipe = subject.loaded()
    plan = NewcomerPlan(
        users=users,
        groups=groups,
        epsilon=recipe.settings.privacy.epsilon,
        rounds=rounds,
        seed=seed,
        out=subject.folder,
        cache=cache_folder(),
    )
    subject.report(
        lambda progress: run_newcomer_bench(plan, recipe, progress),
        print_newcomer,
        page=False,
        as_json=as_json,
    )


def curves(
    subject: Subject,
    *,
    along: list[str],
    seed: int,
    shares: list[float],
    every: int | None,
    as_json: bool,
) -> None:
    """Run the curves bench."""
    no_telemetry()
    from simulations.bench.curves.run import CurvesPlan, run_curves
    from simulations.bench.curves.table import print_curves

    plan = CurvesPlan(
        along=along,
        seed=seed,
        shares=shares,
        every=every,
        out=subject.folder,
        cache=cache_folder(),
    )
    plan.checked()
    recipe = subject.loaded()
    subject.report(
        lambda progress: run_curves(plan, recipe, progress),
        print_curves,
        page=True,
        as_json=as_json,
    )


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
