"""Our own model, trained the three ways the bench asks for.

- `federated`: the recipe as it stands; a platform's model is the shared adapter and its own part.
- `local`: every platform by itself, with the same settings and the same budget.
- `pooled`: what one party could learn that held all platforms' data: every user weighs the same,
  whatever their platform.  With one local step a round, the weighted mean of the platforms'
  updates is the gradient step over all users together.  Meant for epsilon inf.
- `without`: the federation without one platform, who is to join later.

A training is the ordinary simulation (`simulations.run`) in a folder of its own; what is kept of
it is its last checkpoint, so that a long bench resumes and its disk stays small.  Of a whole
federation's training the models after every so many rounds are kept too, where that is asked for:
its own checkpoints and what each platform had released until then.
"""

import json
import math
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from safetensors import SafetensorError
from safetensors.numpy import load, save

from clients.platform import Platform
from clients.released import interpolated
from server.rounds import checkpoint as checkpoints
from server.rounds.checkpoint import Checkpoint
from shared.adapters import Adapter
from shared.config.federation import FederationSettings
from shared.errors import RunError
from shared.files import sha256, write_bytes
from shared.progress import Progress
from simulations.draw import Draw
from simulations.prepare import prepare, rounded_up
from simulations.recipes import Recipe
from simulations.run import FORMAT, RunPlan, begin, train, write_settings

Kind = Literal["federated", "local", "pooled", "without"]
KINDS: tuple[Kind, ...] = ("federated", "local", "pooled")


@dataclass(frozen=True, kw_only=True)
class Training:
    """One training of our model.

    Args:
        kind: see the module.
        epsilon: the budget of every user; inf without privacy.
        seed: makes everything repeatable.
        platform: whose, for `local`, and who is left out, for `without`; "" for the others.
        share: of every platform's users that take part, drawn with `seed`; their declared
            populations are as much smaller.
        after: the model after this round; None: after the last.
    """

    kind: Kind
    epsilon: float
    seed: int
    platform: str = ""
    share: float = 1.0
    after: int | None = None

    @property
    def name(self) -> str:
        """Names the training's folder."""
        where = f"-{self.platform}" if self.platform else ""
        part = f"-share-{self.share:g}" if self.share < 1 else ""
        return f"{self.kind}-epsilon-{self.epsilon:g}-seed-{self.seed}{where}{part}"

    @property
    def draw(self) -> Draw | None:
        """Which users take part; None for all."""
        return Draw(share=self.share, seed=self.seed) if self.share < 1 else None

    def settings(self, recipe: FederationSettings) -> FederationSettings:
        """The recipe as this training needs it."""
        platforms, training = dict(recipe.platforms), recipe.training
        if self.share < 1:
            platforms = {
                # a public share of a public number, whatever users are drawn
                name: own.replace(
                    population=rounded_up(math.ceil(self.share * (own.population or 1)))
                )
                for name, own in platforms.items()
            }
        if self.kind == "local":
            platforms = {self.platform: platforms[self.platform]}
        if self.kind == "without":
            del platforms[self.platform]
        if self.kind == "pooled":
            platforms = {
                name: own.replace(weight=float(own.population or 1))
                for name, own in platforms.items()
            }
            training = training.replace(own=0.0)  # one party has one model
        privacy = recipe.privacy.replace(epsilon=self.epsilon)
        return recipe.model_copy(
            update={"platforms": platforms, "privacy": privacy, "training": training}
        )


@dataclass(frozen=True, kw_only=True)
class Trained:
    """What a training left.

    Args:
        shared: the coordinator's last checkpoint.
        own: platform -> its own model: the shared adapter and its own part.
    """

    shared: Checkpoint
    own: dict[str, Adapter]


@dataclass(frozen=True, kw_only=True)
class Workshop:
    """Where trainings are done and kept.

    Args:
        folder: of the bench's run.
        recipe: with populations filled in.
        cache: encoded catalogues.
        progress: told what is done.
        every: rounds between the models that are kept of a whole federation's training, besides
            the last; 0: none.  A run itself keeps those of `checkpoint.thin` only.
    """

    folder: Path
    recipe: Recipe
    cache: Path
    progress: Progress
    every: int = 0

    def trained(self, training: Training) -> Trained:
        """What `training` left, trained now unless it is there already.

        Raises:
            FedInterestError: see `simulations.run.train`.
        """
        settings = training.settings(self.recipe.settings)
        name = f"{training.name}-{_digest(settings)}"
        last = self.folder / "models" / f"{name}.safetensors"
        kept = last if training.after is None else _stage(last, training.after)
        if not kept.is_file():
            self._train(training, settings, last)
        return _kept(kept, settings)

    def _train(self, training: Training, settings: FederationSettings, kept: Path) -> None:
        """Train, and keep the last model as `kept` and the stages beside it."""
        out = self.folder / "trainings" / kept.stem
        plan = RunPlan(out=out, seed=training.seed, cache=self.cache)
        if not (out / "run.json").is_file():
            begin(plan, Recipe(self.recipe.name, settings))
        self.progress.say(f"training {training.name}")
        settings = prepare(
            settings,
            out,
            cache=self.cache,
            unsafe_seed=training.seed,
            progress=self.progress,
            draw=training.draw,
        )
        write_settings(out, settings)
        train(plan, settings, self.progress)
        last = checkpoints.latest(out / "checkpoints")
        if last is None:
            raise RunError(expected="a trained adapter", got="none", where=str(out))
        kept.parent.mkdir(parents=True, exist_ok=True)
        whole = training.kind == "federated" and training.share == 1
        stages = range(self.every, last.round, self.every) if whole and self.every else ()
        # the last model comes last: where it is, nothing is missing
        places = {**{round_: _stage(kept, round_) for round_ in stages}, last.round: kept}
        for round_, place in places.items():
            for platform in settings.platforms:
                total = Platform.open(out / "platforms" / platform).released.total(round_)
                write_bytes(_beside(place, platform), save(total))
            write_bytes(place, checkpoints.path_of(out / "checkpoints", round_).read_bytes())
        shutil.rmtree(out)


def _stage(kept: Path, round_: int) -> Path:
    """Where the model after a round is kept; no platform's name has a dot."""
    return kept.with_name(f"{kept.stem}.after.{round_}.safetensors")


def _beside(kept: Path, platform: str) -> Path:
    """Where the sum of a platform's releases is kept."""
    return kept.with_name(f"{kept.stem}.{platform}.safetensors")


def _kept(kept: Path, settings: FederationSettings) -> Trained:
    last = checkpoints.load(kept)
    own = {}
    for platform in settings.platforms:
        parts = settings.interpolation(platform)
        path = _beside(kept, platform)
        try:
            released = load(path.read_bytes())
        except (OSError, SafetensorError) as error:
            raise RunError(
                expected="the sum of what a platform released",
                got=type(error).__name__,
                where=str(path),
                remedy=f"Remove {kept}: it is trained again.",
            ) from error
        own[platform] = interpolated(last.adapter, released, parts)
    return Trained(shared=last, own=own)


def _digest(settings: FederationSettings) -> str:
    """A training is kept under its settings too: other settings, another model."""
    parts = settings.model_dump(mode="json", include={"platforms", "model", "training", "server"})
    parts["privacy"] = settings.privacy.model_dump(mode="json", exclude={"epsilon"})
    parts["format"] = FORMAT
    return sha256(json.dumps(parts, sort_keys=True).encode())[:8]
