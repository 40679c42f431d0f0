"""Which systems the bench knows, and how each is made for one platform.

A maker gives one system or several that share their work (`federated` and `federated+knn`); the
bench measures what it lacks and asks no maker for what it has.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

from clients.recommending.head import LocalHead
from clients.recommending.mixing import tuned
from clients.recommending.scorer import InterestScorer
from shared.config.training import ModelSettings
from shared.errors import ConfigError
from shared.ground import Ground
from shared.whitening import Whitening
from simulations.baselines.base import Scorer, Sum
from simulations.bench.quality.arrange import KINDS, Training, Workshop
from simulations.bench.quality.methods import METHODS
from simulations.bench.quality.rivals import Rivals
from simulations.bench.quality.store import data_digest
from simulations.prepare import Prepared

KNN, TUNED = "+knn", "+tuned"
HEADS = (KNN, TUNED)
HEADED = ("frozen", *KINDS, *METHODS)
"""Systems that are also measured with the platform's local head: as NAME+knn with the head's fixed
weights, and as NAME+tuned with weights that the platform chose on its own training events."""

LIGHT = ("popularity", "frozen", "knn", "ease", "sasrec", "lstm", *KINDS)
HEAVY = ("bert-pair", "bert-class")
"""Fine-tuned text models: hours on a CPU (a GPU is used where there is one), so only when they are
asked for."""

NAMES = (*LIGHT, *METHODS, *HEAVY)
"""All systems; those of the field's federated methods train as long as ours does, each."""
SEEDED = ("sasrec", "lstm", *HEAVY)


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """A system, or one of several that a maker makes together.

    Args:
        maker: one of `NAMES`.
        epsilon: None for what trains without a budget.
        seed: None for what draws nothing.
        heads: with which local heads, where the maker has them.
        share, after: of our own model; see `Training`.
    """

    maker: str
    epsilon: float | None = None
    seed: int | None = None
    heads: tuple[str, ...] = HEADS
    share: float = 1.0
    after: int | None = None

    @property
    def systems(self) -> tuple[str, ...]:
        """Names of the systems that the maker makes."""
        if self.maker not in HEADED:
            return (self.maker,)
        return (self.maker, *(f"{self.maker}{head}" for head in self.heads))

    @property
    def private_name(self) -> str:
        """The maker with its budget, for people: `federated, epsilon 8`."""
        name = self.maker if self.epsilon is None else f"{self.maker}, epsilon {self.epsilon:g}"
        part = f", {100 * self.share:g} % of users" if self.share < 1 else ""
        return f"{name}{part}{'' if self.after is None else f', round {self.after}'}"


def wanted(makers: Sequence[str], epsilons: Sequence[float], seeds: Sequence[int]) -> list[Wanted]:
    """Everything to be measured, cheap systems first.

    Raises:
        ConfigError: a name that is not known.
    """
    unknown = [name for name in makers if name not in NAMES]
    if unknown:
        raise ConfigError(
            expected=f"systems among {', '.join(NAMES)}",
            got=", ".join(unknown),
            where="--systems",
        )
    found: list[Wanted] = []
    for maker in NAMES:
        if maker not in makers:
            continue
        if maker == "pooled":  # an oracle: it answers what privacy and distance cost
            found += [Wanted(maker=maker, epsilon=float("inf"), seed=seed) for seed in seeds]
        elif maker in KINDS or maker in METHODS:
            found += [
                Wanted(maker=maker, epsilon=epsilon, seed=seed)
                for epsilon in epsilons
                for seed in seeds
            ]
        elif maker in SEEDED:
            found += [Wanted(maker=maker, seed=seed) for seed in seeds]
        else:
            found.append(Wanted(maker=maker))
    return found


@dataclass(frozen=True, kw_only=True)
class Bench:
    """One platform, on which systems are made.

    Args:
        name: of the platform.
        prepared: its data.
        model: the base model's settings.
        ground: its items, under the whitening of all platforms.
        head: its local head.
        workshop: trains our own model.
        rivals: trains the field's federated methods.
        progress: told (done, total) of what is being fitted.
    """

    name: str
    prepared: Prepared
    model: ModelSettings
    ground: Ground
    head: LocalHead
    workshop: Workshop
    rivals: Rivals
    progress: Callable[[int, int], None]

    @cached_property
    def data(self) -> str:
        """Digest of its events and of its items' vectors."""
        return data_digest(self.prepared.split, self.ground.vectors.numpy())

    def make(self, what: Wanted) -> Mapping[str, Scorer]:
        """The systems of `what`, ready to score."""
        if what.maker in KINDS:
            return self._with_head(what, self._ours(what))
        if what.maker in METHODS:
            epsilon = what.epsilon if what.epsilon is not None else float("inf")
            rival = self.rivals.scorer(what.maker, epsilon, what.seed or 0, self.name)
            return self._with_head(what, rival)
        scorer = self._baseline(what)
        return self._with_head(what, scorer) if what.maker == "frozen" else {what.maker: scorer}

    def settings(self, what: Wanted) -> dict[str, Any]:
        """What else determines a row, as JSON."""
        if what.maker in METHODS:
            recipe = self.workshop.recipe.settings
            return {
                "method": asdict(METHODS[what.maker]),
                "model": recipe.model.model_dump(mode="json"),
                "training": recipe.training.model_dump(mode="json"),
                "privacy": recipe.privacy.model_dump(mode="json", exclude={"epsilon"}),
                "platforms": sorted(recipe.platforms),
            }
        if what.maker not in KINDS:  # they read vectors and texts: how we train is not theirs
            return {"model": self.model.model_dump(mode="json", exclude={"rank"})}
        training = self._training(what).settings(self.workshop.recipe.settings)
        return {
            part: getattr(training, part).model_dump(mode="json")
            for part in ("model", "training", "server")
        } | {
            "privacy": training.privacy.model_dump(mode="json", exclude={"epsilon"}),
            "platforms": sorted(training.platforms),
            **({"share": what.share} if what.share < 1 else {}),
            **({} if what.after is None else {"after": what.after}),
        }

    def _training(self, what: Wanted) -> Training:
        return Training(
            kind=what.maker,  # type: ignore[arg-type]
            epsilon=what.epsilon if what.epsilon is not None else float("inf"),
            seed=what.seed or 0,
            platform=self.name if what.maker == "local" else "",
            share=what.share,
            after=what.after,
        )

    def _ours(self, what: Wanted) -> Scorer:
        found = self.workshop.trained(self._training(what))
        ground = self.ground
        if what.maker == "local":  # alone it has its own whitening map
            whitening = Whitening.from_arrays(found.shared.base)
            ground = self.prepared.platform.ground(whitening)
        return InterestScorer.of(self.model, found.own[self.name], ground)

    def _with_head(self, what: Wanted, scorer: Scorer) -> dict[str, Scorer]:
        made: dict[str, Scorer] = {what.maker: scorer}
        if KNN in what.heads:
            made[f"{what.maker}{KNN}"] = Sum((scorer, self.head))
        if TUNED in what.heads:
            chosen = tuned(
                self.head,
                scorer,
                self.prepared.split.train,
                history_length=self.model.history_length,
            )
            made[f"{what.maker}{TUNED}"] = Sum((scorer, chosen))
        return made

    def _baseline(self, what: Wanted) -> Scorer:
        from simulations.baselines.bert_class import BertClass
        from simulations.baselines.bert_pair import BertPair
        from simulations.baselines.ease import Ease
        from simulations.baselines.frozen import Frozen
        from simulations.baselines.knn import Knn
        from simulations.baselines.popularity import Popularity
        from simulations.baselines.recurrent import Recurrent
        from simulations.baselines.sasrec import SasRec

        seed = what.seed or 0
        texts = self.prepared.platform.catalogue.texts
        encoder = self.model.encoder
        makers: dict[str, Callable[[], Any]] = {
            "popularity": Popularity,
            "frozen": lambda: Frozen(self.model.decay),
            "knn": lambda: Knn(decay=self.model.decay),
            "ease": Ease,
            "sasrec": lambda: SasRec(seed=seed, progress=self.progress),
            "lstm": lambda: Recurrent(seed=seed, progress=self.progress),
            "bert-pair": lambda: BertPair(
                texts=texts, encoder=encoder, seed=seed, progress=self.progress
            ),
            "bert-class": lambda: BertClass(
                texts=texts, encoder=encoder, seed=seed, progress=self.progress
            ),
        }
        made: Scorer = makers[what.maker]().fit(
            self.prepared.split.train, self.ground.vectors.numpy()
        )
        return made
