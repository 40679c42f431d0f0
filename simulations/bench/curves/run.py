"""The curves bench: what is gained by rounds of one training, and by the users of the platforms.

OUT/
├── base/        the platforms' data, prepared
├── models/      our trained adapters, those after every so many rounds among them
├── rows/        one outcome a system, platform and point: what is there is not run again
├── curves.json  the result, for machines (`simulations.bench.curves.summary`)
└── curves.html  the result, for people

It is a folder of the quality bench's kind: either finds there what the other has measured.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from server.rounds.strategy import KEPT
from shared.errors import ConfigError, RunError
from shared.files import write_json
from shared.progress import Progress
from simulations.bench.curves.page import write_page
from simulations.bench.curves.points import Measured, Point
from simulations.bench.curves.summary import Subject, read_curves, sealed, summarise
from simulations.bench.quality.benches import measured, open_benches
from simulations.bench.quality.measures import ndcg
from simulations.bench.quality.store import Store
from simulations.bench.quality.systems import KNN, Bench, Wanted
from simulations.prepare import prepare
from simulations.recipes import Recipe

Along = Literal["rounds", "users"]
ALONG: tuple[Along, ...] = ("rounds", "users")
SHARES = (0.125, 0.25, 0.5, 1.0)
EVERY = 8


@dataclass(frozen=True, kw_only=True)
class CurvesPlan:
    """What to measure.

    Args:
        along: which curves.
        seed: of everything that is trained and drawn.
        shares: of every platform's users.
        every: rounds between points; None: `EVERY`, or what is kept nearest below it.
        out: folder of the results.
        cache: encoded catalogues.
    """

    along: Sequence[str]
    seed: int
    shares: Sequence[float]
    every: int | None
    out: Path
    cache: Path

    def rounds(self, planned: int) -> list[int]:
        """The rounds to be measured of a training of `planned` rounds, the last among them.

        Raises:
            ConfigError: a run does not keep the models after so many rounds.
        """
        step = _step(planned)
        every = max(step, EVERY // step * step) if self.every is None else self.every
        if every % step:
            raise ConfigError(
                expected=f"a multiple of {step}: a run of {planned} rounds keeps those models",
                got=f"{every}",
                where="--every",
            )
        return [*range(every, planned, every), planned]

    def checked(self) -> None:
        """Raises:
        ConfigError: a curve that is not known, or shares that are no shares.
        """
        unknown = [name for name in self.along if name not in ALONG]
        if unknown or not self.along:
            raise ConfigError(
                expected=" or ".join(ALONG), got=", ".join(unknown) or "none", where="--along"
            )
        bad = [f"{share:g}" for share in self.shares if not 0 < share <= 1]
        if bad or not self.shares:
            raise ConfigError(
                expected="shares of the users above 0, up to 1",
                got=", ".join(bad) or "none",
                where="--shares",
            )


def run_curves(plan: CurvesPlan, recipe: Recipe, progress: Progress) -> dict[str, Any]:
    """Measure what is missing, and write and return the content of curves.json.

    A curve that is not asked for stays in curves.json if it is of the same data and settings.

    Raises:
        ConfigError: see `CurvesPlan`.
        FedInterestError: see `prepare` and `train`.
    """
    plan.checked()
    rounds = plan.rounds(recipe.settings.training.rounds)
    settings = prepare(
        recipe.settings, plan.out / "base", cache=plan.cache, unsafe_seed=0, progress=progress
    )
    benches, facts, store = open_benches(
        plan.out,
        Recipe(recipe.name, settings),
        cache=plan.cache,
        progress=progress,
        every=_step(recipe.settings.training.rounds),  # all, so that another --every trains nothing
    )
    subject = Subject(
        recipe=recipe.name,
        settings=settings,
        seed=plan.seed,
        users={name: len(own.targets) for name, own in facts.items()},
        data={bench.name: bench.data for bench in benches},
    )
    result = _known(plan.out / "curves.json", subject, progress)
    frozen = Wanted(maker="frozen", heads=(KNN,))
    base = _measured([frozen], benches, store, progress)
    for along in ALONG:  # rounds first: what it trains, users needs too
        if along not in plan.along:
            continue
        ours = Wanted(
            maker="federated", epsilon=settings.privacy.epsilon, seed=plan.seed, heads=(KNN,)
        )
        wanted = _rounds(ours, rounds) if along == "rounds" else _users(ours, plan.shares)
        points = [
            Point(at=at, systems=_measured(systems, benches, store, progress))
            for at, systems in wanted.items()
        ]
        result = sealed(result | {along: summarise(subject, along, base, points)})
        write_json(plan.out / "curves.json", result)
        write_page(result, plan.out / "curves.html")
    return result


def _step(planned: int) -> int:
    """Rounds between the models that a run of `planned` rounds keeps."""
    return max(1, planned // KEPT)


def _rounds(ours: Wanted, rounds: Sequence[int]) -> dict[float, list[Wanted]]:
    return {
        round_: [replace(ours, after=round_ if round_ < rounds[-1] else None)] for round_ in rounds
    }


def _users(ours: Wanted, shares: Sequence[float]) -> dict[float, list[Wanted]]:
    return {
        share: [replace(ours, maker=maker, share=share) for maker in ("federated", "local")]
        for share in sorted(set(shares))
    }


def _measured(
    systems: Sequence[Wanted], benches: Sequence[Bench], store: Store, progress: Progress
) -> Measured:
    found: dict[str, dict[str, Any]] = {}
    for what in systems:
        for bench in benches:
            for system, outcome in measured(what, bench, store, progress).items():
                found.setdefault(system, {})[bench.name] = ndcg(outcome)
    return found


def _known(path: Path, subject: Subject, progress: Progress) -> dict[str, Any]:
    """What curves.json says of the same subject, or a new beginning."""
    fresh = subject.head()
    if not path.is_file():
        return fresh
    try:
        found = read_curves(path)
    except RunError as error:
        progress.say(f"curves.json is written anew: {error}")
        return fresh
    if any(found[key] != fresh[key] for key in fresh if key not in ("rounds", "users")):
        progress.say("curves.json is of other data or settings and is written anew")
        return fresh
    return found
