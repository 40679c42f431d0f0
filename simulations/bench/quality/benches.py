"""The platforms of a bench, opened, and their rows: measured once, found again afterwards."""

import time
from pathlib import Path

from clients.recommending.head import LocalHead
from shared.progress import Progress
from shared.whitening import fit_whitening
from simulations.bench.quality.arrange import Workshop
from simulations.bench.quality.measures import Facts
from simulations.bench.quality.outcome import Outcome, observe
from simulations.bench.quality.pair_training import Member
from simulations.bench.quality.rivals import Rivals
from simulations.bench.quality.store import RowKey, Store
from simulations.bench.quality.systems import Bench, Wanted
from simulations.prepare import open_prepared
from simulations.recipes import Recipe


def open_benches(
    folder: Path, recipe: Recipe, *, cache: Path, progress: Progress, every: int = 0
) -> tuple[list[Bench], dict[str, Facts], Store]:
    """A bench of every platform, what is known of its data, and the rows that are kept.

    Args:
        folder: of the bench's run; `base/` in it is prepared.
        recipe: with populations filled in.
        cache: encoded catalogues.
        every: see `Workshop`.
    """
    settings = recipe.settings
    opened = {name: open_prepared(folder / "base", name) for name in settings.platforms}
    whitening = fit_whitening([one.platform.moments() for one in opened.values()])
    workshop = Workshop(folder=folder, recipe=recipe, cache=cache, progress=progress, every=every)
    grounds = {name: prepared.platform.ground(whitening) for name, prepared in opened.items()}
    rivals = Rivals(
        folder=folder,
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
    store = Store(folder=folder / "rows", report=progress.say)
    return benches, facts, store


def measured(what: Wanted, bench: Bench, store: Store, progress: Progress) -> dict[str, Outcome]:
    """The outcomes of a maker's systems on one platform, from the store where they are there."""
    settings = bench.workshop.recipe.settings
    keys = {
        system: RowKey(
            data=bench.data,
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
