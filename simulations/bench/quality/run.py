"""The quality bench: every system on every platform, measured once, compared, written down.

OUT/
├── base/         the platforms' data, prepared
├── models/       our trained adapters
├── rows/         one outcome a system, platform and seed: what is there is not run again
├── quality.json  the result, for machines (`simulations.bench.quality.summary`)
└── quality.html  the result, for people
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shared.files import write_json
from shared.progress import Progress
from simulations.bench.quality.benches import measured, open_benches
from simulations.bench.quality.entries import Entry, Plan
from simulations.bench.quality.outcome import Outcome
from simulations.bench.quality.page import write_page
from simulations.bench.quality.quoted import quoted
from simulations.bench.quality.summary import summarise
from simulations.bench.quality.systems import Wanted, wanted
from simulations.prepare import prepare
from simulations.recipes import Recipe

BASE = "frozen"


@dataclass(frozen=True, kw_only=True)
class QualityPlan:
    """What to measure.

    Args:
        makers: systems, see `simulations.bench.quality.systems`; the base is always among them.
        epsilons: budgets of our own model.
        seeds: of everything that is trained.
        base: system that the others are compared with.
        out: folder of the results.
        cache: encoded catalogues.
    """

    makers: Sequence[str]
    epsilons: Sequence[float]
    seeds: Sequence[int]
    out: Path
    cache: Path
    base: str = BASE


def run_quality(plan: QualityPlan, recipe: Recipe, progress: Progress) -> dict[str, Any]:
    """Measure what is missing, and write and return the content of quality.json.

    Raises:
        ConfigError: a system that is not known, or a base that is not measured.
        FedInterestError: see `prepare` and `train`.
    """
    todo = wanted([*plan.makers, BASE], plan.epsilons, plan.seeds)
    settings = prepare(
        recipe.settings,
        plan.out / "base",
        cache=plan.cache,
        unsafe_seed=0,
        progress=progress,
    )
    benches, facts, store = open_benches(
        plan.out, Recipe(recipe.name, settings), cache=plan.cache, progress=progress
    )
    outcomes: dict[tuple[str, float | None], dict[str, list[Outcome]]] = {}
    for what in todo:
        for bench in benches:
            for system, outcome in measured(what, bench, store, progress).items():
                rows = outcomes.setdefault((system, what.epsilon), {})
                rows.setdefault(bench.name, []).append(outcome)
    entries = [
        Entry(
            label=system if epsilon is None else f"{system} e={epsilon:g}",
            family=system,
            epsilon=epsilon,
            outcomes=rows,
            seeds=list(plan.seeds) if _drawn(system, todo) else [],
        )
        for (system, epsilon), rows in outcomes.items()
    ]
    summary = summarise(
        entries,
        facts,
        recipe.name,
        Plan(base=plan.base, seed=0, quoted=quoted(recipe.name)),
    )
    write_json(plan.out / "quality.json", summary)
    write_page(summary, plan.out / "quality.html")
    return summary


def _drawn(system: str, todo: Sequence[Wanted]) -> bool:
    return any(what.seed is not None for what in todo if system in what.systems)
