"""Who is attacked: one platform of a run or recipe, and all that an attacker knows about it.

The attacker knows everything but who the members are and what the noise is: the catalogue, the
settings, and (for membership) every candidate's whole history.  The platform trains alone: the
other platforms' updates, which would dilute its own and add their own noise, are taken as known
and subtracted.  That is stronger than whoever only sees the adapter of the whole federation.
"""

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clients.platform import Platform
from clients.platform_record import promise
from shared.config.federation import FederationSettings, run_federation
from shared.config.training import ModelSettings, ServerSettings
from shared.errors import ConfigError, DataError
from shared.events import Sequences
from shared.ground import Ground
from shared.progress import Progress
from shared.training import LocalPlan
from shared.whitening import fit_whitening
from simulations.environment import cache_folder
from simulations.prepare import prepare
from simulations.recipes import Recipe, load_recipe
from simulations.run import RunPlan, begin, read_run

FEWEST = 20  # users: with fewer no rate says anything


@dataclass(frozen=True, kw_only=True)
class Victim:
    """A platform under attack.

    Args:
        name: the platform's.
        model, server: settings of the base model, and of how updates are applied.
        ground: its public items.
        sequences: every candidate's history.
        plan: a private round, as the platform would do it with all its users; `trained` is set
            round by round.
        rounds: how many.
        epsilon, delta: what the platform promises for all of them.
    """

    name: str
    model: ModelSettings
    server: ServerSettings
    ground: Ground
    sequences: Sequences
    plan: LocalPlan
    rounds: int
    epsilon: float
    delta: float

    @property
    def width(self) -> int:
        """D."""
        return int(self.ground.vectors.shape[1])


def unprotected(plan: LocalPlan) -> LocalPlan:
    """The positive control's plan: the same training without clipping and noise."""
    return dataclasses.replace(plan, private=False, noise_multiplier=0.0)


def subset(sequences: Sequences, users: NDArray[np.int64]) -> Sequences:
    """These users' sequences, in the order given."""
    parts = [sequences[int(user)] for user in users]
    return Sequences(
        users=tuple(sequences.users[int(user)] for user in users),
        items=np.concatenate([*parts, np.zeros(0, np.int32)]).astype(np.int32),
        offsets=np.concatenate([[0], np.cumsum(sequences.lengths[users])]).astype(np.int64),
    )


def open_victim(
    target: str,
    *,
    data: Path | None,
    platform: str | None,
    epsilon: float | None,
    rounds: int | None,
    seed: int,
    scratch: Path,
    progress: Progress,
) -> Victim:
    """The platform to attack, of a run folder or of a recipe that is prepared in `scratch`.

    Args:
        target: a run folder (only read), or a recipe.
        platform: None means the one with the fewest declared users.
        epsilon, rounds: None means the target's own.

    Raises:
        ConfigError: no such platform, or a budget that promises nothing.
        DataError: too few users to measure a rate.
        FedInterestError: the target cannot be read or prepared.
    """
    folder = Path(target)
    if (folder / "run.json").is_file():
        read_run(folder)
        settings = run_federation(folder)
    else:
        folder = scratch / "run"
        recipe = load_recipe(target, data=data, world=folder / "world", seed=seed)
        plan = RunPlan(out=folder, seed=seed, cache=cache_folder())
        wished = _within(recipe.settings, epsilon, rounds)
        begin(plan, Recipe(recipe.name, wished))
        settings = prepare(
            wished,
            folder,
            cache=plan.cache,
            unsafe_seed=seed,
            progress=progress,
        )
    opened = {name: Platform.open(folder / "platforms" / name) for name in settings.platforms}
    chosen = platform or min(opened, key=lambda name: opened[name].record.population)
    if chosen not in opened:
        raise ConfigError(expected=f"one of {', '.join(opened)}", got=chosen, where="--platform")
    return _victim(_within(settings, epsilon, rounds), opened, chosen)


def _within(
    settings: FederationSettings, epsilon: float | None, rounds: int | None
) -> FederationSettings:
    """The settings with the auditor's wishes."""
    privacy, training = settings.privacy, settings.training
    if epsilon is not None:
        privacy = privacy.replace(epsilon=epsilon)
    if rounds is not None:
        training = training.replace(rounds=rounds)
    if not privacy.private:
        raise ConfigError(
            expected="a finite epsilon",
            got="inf: nothing is promised, so no attack can break it",
            where="privacy.epsilon",
            remedy="Give --epsilon; the control without privacy is run in any case.",
        )
    return settings.model_copy(update={"privacy": privacy, "training": training})


def _victim(settings: FederationSettings, opened: dict[str, Platform], chosen: str) -> Victim:
    own, privacy, training = opened[chosen], settings.privacy, settings.training
    if len(own.sequences) < FEWEST:
        raise DataError(
            expected=f"at least {FEWEST} users",
            got=f"{len(own.sequences)}",
            where=chosen,
            remedy="Attack a larger platform: --platform.",
        )
    delta, noise_multiplier = promise(privacy, own.record.population, training.rounds)
    declared = sum(platform.record.population for platform in opened.values())
    return Victim(
        name=chosen,
        model=settings.model,
        server=settings.server,
        ground=own.ground(fit_whitening([one.moments() for one in opened.values()])),
        sequences=own.sequences,
        plan=LocalPlan(
            trained="",
            steps=privacy.steps_per_round,
            learning_rate=training.rate(declared),
            targets_per_user=training.targets_per_user,
            negatives=training.negatives,
            temperature=training.temperature,
            gce_q=training.gce_q,
            sample_rate=privacy.sample_rate,
            clip_norm=privacy.clip_norm,
            noise_multiplier=noise_multiplier,
            population=own.record.population,
            micro_batch=settings.speed.train_batch,
        ),
        rounds=training.rounds,
        epsilon=privacy.epsilon,
        delta=delta,
    )
