"""Our own model, trained the three ways the bench asks for.

- `federated`: the recipe as it stands; a platform's model is the shared adapter and its own part.
- `local`: every platform by itself, with the same settings and the same budget.
- `pooled`: what one party could learn that held all platforms' data: every user weighs the same,
  whatever their platform.  With one local step a round, the weighted mean of the platforms'
  updates is the gradient step over all users together.  Meant for epsilon inf.
- `without`: the federation without one platform, who is to join later.

A training is the ordinary simulation (`simulations.run`) in a folder of its own; what is kept of
it is its last checkpoint, so that a long bench resumes and its disk stays small.
"""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from clients.platform import Platform
from server.rounds import checkpoint as checkpoints
from server.rounds.checkpoint import Checkpoint
from shared.adapters import Adapter
from shared.config.federation import FederationSettings
from shared.errors import RunError
from shared.files import sha256, write_bytes
from shared.progress import Progress
from simulations.prepare import prepare
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
    """

    kind: Kind
    epsilon: float
    seed: int
    platform: str = ""

    @property
    def name(self) -> str:
        """Names the training's folder."""
        where = f"-{self.platform}" if self.platform else ""
        return f"{self.kind}-epsilon-{self.epsilon:g}-seed-{self.seed}{where}"

    def settings(self, recipe: FederationSettings) -> FederationSettings:
        """The recipe as this training needs it."""
        platforms, training = dict(recipe.platforms), recipe.training
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
    """

    folder: Path
    recipe: Recipe
    cache: Path
    progress: Progress

    def trained(self, training: Training) -> Trained:
        """What `training` left, trained now unless it is there already.

        Raises:
            FedInterestError: see `simulations.run.train`.
        """
        settings = training.settings(self.recipe.settings)
        name = f"{training.name}-{_digest(settings)}"
        kept = self.folder / "models" / f"{name}.safetensors"
        if kept.is_file():
            return _kept(kept, settings)
        out = self.folder / "trainings" / name
        plan = RunPlan(out=out, seed=training.seed, cache=self.cache)
        if not (out / "run.json").is_file():
            begin(plan, Recipe(self.recipe.name, settings))
        self.progress.say(f"training {training.name}")
        settings = prepare(
            settings, out, cache=self.cache, unsafe_seed=training.seed, progress=self.progress
        )
        write_settings(out, settings)
        train(plan, settings, self.progress)
        last = checkpoints.latest(out / "checkpoints")
        if last is None:
            raise RunError(expected="a trained adapter", got="none", where=str(out))
        kept.parent.mkdir(parents=True, exist_ok=True)
        for platform in settings.platforms:
            total = Platform.open(out / "platforms" / platform).released.total(last.round)
            write_bytes(_beside(kept, platform), save(total))
        checkpoints.path_of(out / "checkpoints", last.round).replace(kept)
        shutil.rmtree(out)
        return _kept(kept, settings)


def _beside(kept: Path, platform: str) -> Path:
    """Where the sum of a platform's releases is kept."""
    return kept.with_name(f"{kept.stem}.{platform}.safetensors")


def _kept(kept: Path, settings: FederationSettings) -> Trained:
    last = checkpoints.load(kept)
    own = {}
    for platform in settings.platforms:
        weight = settings.own_weight(platform)
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
        added: Adapter = {
            name: (last.adapter[name] + np.float32(weight) * value).astype(np.float32)
            for name, value in released.items()
        }
        own[platform] = last.adapter | added
    return Trained(shared=last, own=own)


def _digest(settings: FederationSettings) -> str:
    """A training is kept under its settings too: other settings, another model."""
    parts = settings.model_dump(mode="json", include={"platforms", "model", "training", "server"})
    parts["privacy"] = settings.privacy.model_dump(mode="json", exclude={"epsilon"})
    parts["format"] = FORMAT
    return sha256(json.dumps(parts, sort_keys=True).encode())[:8]
