"""How good every system is on every platform: the table, and the curves by round.

All data in a simulation is the user's own, so exact metrics may be shown.  In production none of
this leaves a platform.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from clients.recommending.head import LocalHead
from clients.recommending.scorer import InterestScorer
from clients.splits import Split
from server.rounds import checkpoint as checkpoints
from shared.adapters import Adapter
from shared.config.federation import FederationSettings
from shared.events import Sequences
from shared.ground import Ground
from shared.whitening import Whitening
from simulations.baselines.base import Scorer, Sum
from simulations.baselines.frozen import Frozen
from simulations.baselines.popularity import Popularity
from simulations.evaluation import Which, evaluate_many
from simulations.groups import by_group
from simulations.prepare import Prepared, open_prepared

SYSTEMS = ("popularity", "frozen", "knn", "frozen+knn", "federated", "federated+knn")
CURVE_USERS = 2000

Progress = Callable[[str, int, int], None]
Table = dict[str, dict[str, dict[str, float]]]


@dataclass(frozen=True)
class Assessment:
    """What was measured.

    Args:
        test: platform -> system -> metrics, all users.
        validation: platform -> system -> metrics on the curve's users.
        curves: round -> platform -> metrics of the trained systems on the same users.
        users: platform -> how many users the curves are drawn from.
        groups: platform -> figures by group of users on test, see `simulations.groups`.
    """

    test: Table
    validation: Table
    curves: dict[int, Table]
    users: dict[str, int]
    groups: dict[str, dict[str, Any]]

    def mean(self) -> dict[str, dict[str, float]]:
        """system -> metrics, unweighted mean over platforms, on test."""
        first = next(iter(self.test.values()))
        return {
            system: {
                key: float(np.mean([table[system][key] for table in self.test.values()]))
                for key in metrics
            }
            for system, metrics in first.items()
        }


def assess(settings: FederationSettings, run_folder: Path, progress: Progress) -> Assessment:
    """Judge the trained adapter on test, and every checkpoint on validation.

    Args:
        progress: called with (what, done, total).

    Raises:
        RunError: a checkpoint or a platform's folder is missing or damaged.
    """
    folder = run_folder / "checkpoints"
    rounds = {
        number: checkpoints.load(checkpoints.path_of(folder, number))
        for number in checkpoints.rounds(folder)
    }
    last = rounds[max(rounds)]
    whitening = Whitening.from_arrays(last.base)
    test: Table = {}
    validation: Table = {}
    curves: dict[int, Table] = {number: {} for number in rounds}
    users = {}
    groups = {}
    for name in settings.platforms:
        prepared = open_prepared(run_folder, name)
        ground = prepared.platform.ground(whitening)
        parts = settings.interpolation(name)
        own = {
            number: prepared.platform.own_adapter(state.adapter, number, parts)
            for number, state in rounds.items()
        }
        systems = _systems(settings, prepared, ground, own[last.round])
        run = _Judge(settings, progress)
        test[name] = run(systems, prepared.split, "test", f"judging {name}")
        progress(f"groups of {name}", 0, 0)
        groups[name] = by_group(
            systems["frozen+knn"],
            systems["federated+knn"],
            prepared,
            history_length=settings.model.history_length,
            score_batch=settings.speed.score_batch,
        )
        sample = _first(prepared.split, CURVE_USERS)
        users[name] = len(sample)
        validation[name] = run(systems, sample, "validation", f"baselines of {name}")
        head = next(part for part in _parts(systems["frozen+knn"]) if isinstance(part, LocalHead))
        curve: dict[str, Scorer] = {}
        for number, adapter in own.items():
            scorer = InterestScorer.of(settings.model, adapter, ground)
            curve[f"{number}/federated"] = scorer
            curve[f"{number}/federated+knn"] = Sum((scorer, head))
        for key, metrics in run(curve, sample, "validation", f"curve of {name}").items():
            number_, system = key.split("/")
            curves[int(number_)].setdefault(name, {})[system] = metrics
    return Assessment(test, validation, curves, users, groups)


def _systems(
    settings: FederationSettings, prepared: Prepared, ground: Ground, adapter: Adapter
) -> dict[str, Scorer]:
    train, vectors = prepared.split.train, ground.vectors.numpy()
    decay = settings.model.decay
    frozen = Frozen(decay).fit(train, vectors)
    head = LocalHead.fit(train, len(vectors), decay=decay)
    federated = InterestScorer.of(settings.model, adapter, ground)
    return {
        "popularity": Popularity().fit(train, vectors),
        "frozen": frozen,
        "knn": _KnnOnly(head),
        "frozen+knn": Sum((frozen, head)),
        "federated": federated,
        "federated+knn": Sum((federated, head)),
    }


@dataclass(frozen=True)
class _Judge:
    """Evaluation with a federation's settings and somebody to tell."""

    settings: FederationSettings
    progress: Progress

    def __call__(
        self, systems: dict[str, Scorer], split: Split, which: Which, what: str
    ) -> dict[str, dict[str, float]]:
        """system -> metrics; `what` names the work for the progress."""
        results = evaluate_many(
            systems,
            split,
            which,
            history_length=self.settings.model.history_length,
            score_batch=self.settings.speed.score_batch,
            progress=lambda done, total: self.progress(what, done, total),
        )
        return {system: result.metrics for system, result in results.items()}


@dataclass(frozen=True)
class _KnnOnly:
    """The head's co-occurrence score alone, from the head that is already there."""

    head: LocalHead

    def scores(self, histories: list[Any]) -> torch.Tensor:
        return self.head.knn(histories)


def _parts(system: Scorer) -> tuple[Scorer, ...]:
    return tuple(system.parts) if isinstance(system, Sum) else (system,)


def _first(split: Split, users: int) -> Split:
    """The first `users` users; logs are in no order of interest, so any will do."""
    if len(split) <= users:
        return split
    train = split.train
    offsets = train.offsets[: users + 1]
    return Split(
        train=Sequences(
            users=train.users[:users], items=train.items[: offsets[-1]], offsets=offsets
        ),
        validation=split.validation[:users],
        test=split.test[:users],
    )
