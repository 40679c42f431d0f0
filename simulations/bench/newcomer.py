"""What a platform gains that joins late and has few users: `fedinterest bench newcomer`.

For each platform of a recipe: the others train the shared model without it; then it joins with a
few of its users.  It takes the shared model as it is ("shared"), or goes on training it on its own
users under its own budget ("adapted").  Its local head knows those few users alone.  Everything is
measured on those users, and averaged over several disjoint groups of them.

OUT/
├── base/                 the platforms' data, prepared
├── models/               shared models, one without each platform: what is there is kept
└── newcomer.json         the result
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clients.platform_record import promise
from clients.recommending.head import LocalHead
from clients.recommending.scorer import InterestScorer
from clients.splits import Split
from server.rounds.checkpoint import Checkpoint
from shared.adapters import Adapter
from shared.config.federation import FederationSettings
from shared.errors import ConfigError
from shared.events import Sequences
from shared.files import write_json
from shared.ground import Ground
from shared.model import InterestModel, trained_in
from shared.privacy.randomness import UnsafeSeed
from shared.progress import Progress
from shared.training import LocalPlan, local_round
from shared.whitening import Whitening
from simulations.baselines.base import Scorer, Sum
from simulations.baselines.frozen import Frozen
from simulations.bench.quality.arrange import Training, Workshop
from simulations.evaluation import evaluate_many
from simulations.prepare import Prepared, open_prepared, prepare
from simulations.recipes import Recipe

SYSTEMS = ("frozen", "frozen+knn", "shared", "shared+knn", "adapted", "adapted+knn")


@dataclass(frozen=True, kw_only=True)
class NewcomerPlan:
    """What to measure.

    Args:
        users: how many the newcomer has.
        groups: disjoint groups of them to average over, as many as there are users for.
        epsilon: budget of the federation's users, and of the newcomer's.
        rounds: rounds of the newcomer's own training.
        seed: of everything random.
        out: folder of the results.
        cache: encoded catalogues.
    """

    users: int
    groups: int
    epsilon: float
    rounds: int
    seed: int
    out: Path
    cache: Path


def run_newcomer_bench(plan: NewcomerPlan, recipe: Recipe, progress: Progress) -> dict[str, Any]:
    """Train what is missing, measure, and write and return the content of newcomer.json.

    Raises:
        ConfigError: the recipe has one platform only.
        FedInterestError: see `prepare` and `train`.
    """
    if len(recipe.settings.platforms) < 2:
        raise ConfigError(expected="at least two platforms", got="one", where=recipe.name)
    settings = prepare(
        recipe.settings, plan.out / "base", cache=plan.cache, unsafe_seed=0, progress=progress
    )
    workshop = Workshop(
        folder=plan.out, recipe=Recipe(recipe.name, settings), cache=plan.cache, progress=progress
    )
    platforms = {}
    for name in settings.platforms:
        shared = workshop.trained(
            Training(kind="without", epsilon=plan.epsilon, seed=plan.seed, platform=name)
        ).shared
        prepared = open_prepared(plan.out / "base", name)
        platforms[name] = _measured(plan, settings, prepared, shared, progress)
    mean = {
        system: {
            metric: float(
                np.mean([found["systems"][system][metric] for found in platforms.values()])
            )
            for metric in ("ndcg@10", "hit@10")
        }
        for system in SYSTEMS
    }
    result = {
        "recipe": recipe.name,
        "epsilon": plan.epsilon if math.isfinite(plan.epsilon) else "inf",
        "rounds": plan.rounds,
        "seed": plan.seed,
        "platforms": platforms,
        "mean": mean,
    }
    write_json(plan.out / "newcomer.json", result)
    return result


def _measured(
    plan: NewcomerPlan,
    settings: FederationSettings,
    prepared: Prepared,
    shared: Checkpoint,
    progress: Progress,
) -> dict[str, Any]:
    """One newcomer: its systems' metrics, means over groups."""
    name = prepared.platform.name
    ground = prepared.platform.ground(Whitening.from_arrays(shared.base))
    groups = disjoint(len(prepared.split), plan.users, plan.groups, plan.seed)
    found: dict[str, list[Mapping[str, float]]] = {system: [] for system in SYSTEMS}
    for number, rows in enumerate(groups):
        few = chosen(prepared.split, rows)
        adapted = adapt(shared.adapter, ground, few.train, settings, plan, f"{name}/{number}")
        systems = _systems(settings, ground, few, shared.adapter, adapted)
        results = evaluate_many(systems, few, history_length=settings.model.history_length)
        for system, result in results.items():
            found[system].append(result.metrics)
        progress(f"{name} joins with {len(rows)} users", number + 1, len(groups))
    return {
        "users": len(groups[0]),
        "groups": len(groups),
        "systems": {
            system: {
                metric: float(np.mean([one[metric] for one in metrics])) for metric in metrics[0]
            }
            for system, metrics in found.items()
        },
    }


def _systems(
    settings: FederationSettings, ground: Ground, few: Split, shared: Adapter, adapted: Adapter
) -> dict[str, Scorer]:
    decay, vectors = settings.model.decay, ground.vectors.numpy()
    head = LocalHead.fit(few.train, len(vectors), decay=decay)
    parts: dict[str, Scorer] = {
        "frozen": Frozen(decay).fit(few.train, vectors),
        "shared": InterestScorer.of(settings.model, shared, ground),
        "adapted": InterestScorer.of(settings.model, adapted, ground),
    }
    headed: dict[str, Scorer] = {f"{name}+knn": Sum((part, head)) for name, part in parts.items()}
    return parts | headed


def adapt(
    adapter: Adapter,
    ground: Ground,
    few: Sequences,
    settings: FederationSettings,
    plan: NewcomerPlan,
    name: str,
) -> Adapter:
    """The shared adapter after the newcomer's own rounds, under its own budget.

    A step is as much shorter than the federation's as the newcomer has fewer users: the noise in
    its mean gradient is as much larger.

    Args:
        name: tells one newcomer's randomness from another's.
    """
    users, training = len(few), settings.training
    privacy = settings.privacy.replace(epsilon=plan.epsilon, steps_per_round=1)
    everybody = sum(own.population or 1 for own in settings.platforms.values())
    _, noise_multiplier = promise(privacy, users, plan.rounds)
    for round_ in range(1, plan.rounds + 1):
        model = InterestModel(settings.model, ground.vectors.shape[1]).load(adapter)
        (trained,) = trained_in(model.names, round_)
        local = LocalPlan(
            trained=trained,
            steps=1,
            learning_rate=training.rate(everybody) * users / everybody,
            targets_per_user=training.targets_per_user,
            negatives=training.negatives,
            temperature=training.temperature,
            gce_q=training.gce_q,
            sample_rate=privacy.sample_rate,
            clip_norm=privacy.clip_norm,
            noise_multiplier=noise_multiplier,
            population=users,
            private=privacy.private,
        )
        secret = UnsafeSeed(plan.seed).open(platform=name, round=round_, request="", data="")
        update = local_round(model, ground, few, local, secret)
        adapter = adapter | {trained: adapter[trained] + update[trained]}
    return adapter


def disjoint(users: int, size: int, groups: int, seed: int) -> list[NDArray[np.int64]]:
    """Up to `groups` disjoint groups of `size` of `users` users, at random, ascending in each."""
    order = np.random.default_rng(seed).permutation(users)
    size = min(size, users)
    many = min(groups, users // size)
    return [np.sort(order[place * size : (place + 1) * size]) for place in range(many)]


def chosen(split: Split, rows: NDArray[np.int64]) -> Split:
    """The split of some users."""
    events = [split.train[int(row)] for row in rows]
    return Split(
        train=Sequences(
            users=tuple(split.train.users[int(row)] for row in rows),
            items=np.concatenate(events),
            offsets=np.cumsum([0, *map(len, events)]).astype(np.int64),
        ),
        validation=split.validation[rows],
        test=split.test[rows],
    )


def rows_of(result: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """The result as a table of words: a platform a row, NDCG@10 by system, and the gain."""
    found = []
    for name, systems in [
        *((name, one["systems"]) for name, one in result["platforms"].items()),
        ("mean", result["mean"]),
    ]:
        values = [systems[system]["ndcg@10"] for system in SYSTEMS]
        base = systems["frozen+knn"]["ndcg@10"]
        gain = f"{systems['adapted+knn']['ndcg@10'] / base:.3f}" if base else "-"
        found.append((name, *(f"{value:.4f}" for value in values), gain))
    return found


def print_newcomer(result: Mapping[str, Any]) -> None:
    """Print the result as a table."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1, 0, 0))
    for place, heading in enumerate(("NDCG@10", *SYSTEMS, "gain")):
        table.add_column(heading.replace("+", "\n+"), justify="left" if place == 0 else "right")
    for row in rows_of(result):
        if row[0] == "mean":
            table.add_section()
        table.add_row(*row)
    console = Console()
    console.print(table)
    console.print("gain: adapted+knn over frozen+knn")
