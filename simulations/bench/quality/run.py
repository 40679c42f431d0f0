"""The quality bench: every system on every platform, measured once, compared, written down.

OUT/
├── base/         the platforms' data, prepared
├── models/       our trained adapters
├── rows/         one outcome a system, platform and seed: what is there is not run again
├── quality.json  the result, for machines (`simulations.bench.quality.summary`)
└── quality.html  the result, for people
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clients.recommending.head import LocalHead
from shared.config.federation import FederationSettings
from shared.files import write_json
from shared.progress import Progress
from shared.whitening import fit_whitening
from simulations.bench.quality.arrange import Workshop
from simulations.bench.quality.entries import Entry, Plan
from simulations.bench.quality.measures import Facts
from simulations.bench.quality.outcome import Outcome, observe
from simulations.bench.quality.page import write_page
from simulations.bench.quality.pair_training import Member
from simulations.bench.quality.quoted import quoted
from simulations.bench.quality.rivals import Rivals
from simulations.bench.quality.store import RowKey, Store, data_digest
from simulations.bench.quality.summary import summarise
from simulations.bench.quality.systems import Bench, Wanted, wanted
from simulations.prepare import open_prepared, prepare
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
    benches, facts, store = _benches(plan, Recipe(recipe.name, settings), progress)
    outcomes: dict[tuple[str, float | None], dict[str, list[Outcome]]] = {}
    for what in todo:
        for bench in benches:
            for system, outcome in _measured(what, bench, store, settings, progress).items():
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


def _benches(
    plan: QualityPlan, recipe: Recipe, progress: Progress
) -> tuple[list[Bench], dict[str, Facts], Store]:
    settings = recipe.settings
    opened = {name: open_prepared(plan.out / "base", name) for name in settings.platforms}
    whitening = fit_whitening([one.platform.moments() for one in opened.values()])
    workshop = Workshop(folder=plan.out, recipe=recipe, cache=plan.cache, progress=progress)
    grounds = {name: prepared.platform.ground(whitening) for name, prepared in opened.items()}
    rivals = Rivals(
        folder=plan.out,
        members={
            name: Member(
                ground=grounds[name],
                sequences=prepared.split.train,
                population=prepared.platform.record.population,
                weight=settings.platforms[name].public_weight,
            )
            for name, prepared in opened.items()
        },
        settings=settings,
        progress=progress,
    )
    benches, facts = [], {}
    for name, prepared in opened.items():
        ground = grounds[name]
        items = len(ground.vectors)
        facts[name] = Facts.of(prepared.split, "test", ground.vectors.numpy())
        benches.append(
            Bench(
                name=name,
                prepared=prepared,
                model=settings.model,
                ground=ground,
                head=LocalHead.fit(prepared.split.train, items, decay=settings.model.decay),
                workshop=workshop,
                rivals=rivals,
                progress=lambda done, total, name=name: progress(f"fitting {name}", done, total),  # type: ignore[misc]
            )
        )
    store = Store(folder=plan.out / "rows", report=progress.say)
    return benches, facts, store


def _measured(
    what: Wanted, bench: Bench, store: Store, settings: FederationSettings, progress: Progress
) -> dict[str, Outcome]:
    """The outcomes of a maker's systems on one platform, from the store where they are there."""
    data = data_digest(bench.prepared.split, bench.ground.vectors.numpy())
    keys = {
        system: RowKey(
            data=data,
            platform=bench.name,
            system=system,
            settings=bench.settings(what),
            epsilon=what.epsilon,
            seed=what.seed,
        )
        for system in what.systems
    }
    found = {system: store.find(key) for system, key in keys.items()}
    missing = [system for system, row in found.items() if row is None]
    if missing:
        begun = time.monotonic()
        made = bench.make(what)
        seconds = round(time.monotonic() - begun, 1)
        fresh = observe(
            {system: made[system] for system in missing},
            bench.prepared.split,
            history_length=settings.model.history_length,
            score_batch=settings.speed.score_batch,
            progress=lambda done, total: progress(
                f"judging {what.private_name} on {bench.name}", done, total
            ),
        )
        for system, outcome in fresh.items():
            found[system] = store.keep(keys[system], outcome, {"seconds": seconds})
    return {system: row.outcome for system, row in found.items() if row is not None}
