"""`audit canary`: train with canary users, attack every round, and bound epsilon from below.

1. The platform is taken as it is: its catalogue, its users, the run's or recipe's settings.  Canary
   users (`canaries`) are put among them, each by a fair coin.
2. It is trained anew in a temporary folder by the real apps.  The other platforms stay out: the
   attacker sits in the coordinator's seat and sees this platform's update before it is averaged,
   so nothing they do could hide more, or show more.
3. What the attacker saw becomes one score for each canary, and four lower bounds on epsilon
   (`shared.privacy.auditing.bounds`): proven, assumption-based, and estimates.
4. The same statistic is played on paper, where the truth is known (`coverage`).

What comes of it is in `canary_result`.
"""

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from clients.platform import Platform
from clients.platform_record import PlatformRecord, promise
from shared.config.federation import FederationSettings
from shared.errors import ConfigError, RunError
from shared.privacy.auditing.game import Played, Rules
from shared.progress import Progress
from simulations.audits.canary_result import CONFIDENCE, result_of
from simulations.audits.coverage import coverage

FEWEST = 20
THREAT = (
    "The attacker sees every request to the platform and every update as it was noised, before it "
    "is cut to the two bits a number that travel, and knows all "
    "users' histories but not which canaries are in, the public negatives, and which of the other "
    "users were sampled. It does not know the noise."
)


@dataclass(frozen=True)
class Stage:
    """What is audited.

    Args:
        settings: the federation's, with this platform alone, as the fresh training needs them.
        platform: its folder as it was, without canaries.
    """

    settings: FederationSettings
    platform: Platform


def run_canary_audit(
    target: str,
    *,
    data: Path | None,
    canaries: int,
    platform: str | None,
    epsilon: float | None,
    rounds: int | None,
    simulations: int,
    seed: int,
    quiet: bool,
) -> dict[str, Any]:
    """Insert canaries, train, attack, bound; see the module.

    Args:
        target: a run folder, or a recipe (a name or a federation.toml).
        data: folder of the benchmark data, for a recipe that needs it.
        canaries: M.
        platform: whose users they join; None means the largest.
        epsilon, rounds: other than the target's.
        simulations: games on paper; 0 leaves coverage out.
        seed: of coins, histories, and all randomness of the training.

    Raises:
        ConfigError: no such platform, too few canaries, or nothing was promised (epsilon inf).
        RunError: the target is no run folder of this version.
        FedInterestError: what preparing and training raise.
    """
    from simulations.environment import no_telemetry

    no_telemetry()
    if canaries < FEWEST:
        raise ConfigError(
            expected=f"at least {FEWEST} canaries", got=str(canaries), where="--canaries"
        )
    started = time.monotonic()
    with (
        Progress(quiet=quiet) as progress,
        tempfile.TemporaryDirectory(prefix="fedinterest-audit-") as temporary,
    ):
        folder = Path(temporary)
        stage = _stage(target, data, platform, epsilon, rounds, seed, folder, progress)
        played, rules, size = _play(stage, folder / "run", canaries, seed, progress)
        name = stage.platform.name
        result = result_of(rules, played, size, stage.settings.privacy.epsilon)
        if simulations:
            result["coverage"] = coverage(
                rules,
                simulations=simulations,
                confidence=CONFIDENCE,
                seed=seed,
                progress=lambda done, total: progress("simulating audits", done, total),
            )
    return {
        **{"ok": result.pop("ok"), "target": target, "platform": name, "seed": seed},
        **result,
        "threat": THREAT,
        "seconds": round(time.monotonic() - started, 1),
    }


def _stage(
    target: str,
    data: Path | None,
    platform: str | None,
    epsilon: float | None,
    rounds: int | None,
    seed: int,
    folder: Path,
    progress: Progress,
) -> Stage:
    """Read or prepare the platform, and settle what the fresh training promises."""
    from shared.config.federation import run_federation
    from simulations.environment import cache_folder
    from simulations.prepare import prepare
    from simulations.recipes import load_recipe
    from simulations.run import read_run

    run = Path(target)
    is_run = (run / "run.json").is_file()
    if is_run:
        read_run(run)
        settings = run_federation(run)
    else:
        settings = load_recipe(target, data=data, world=folder / "world", seed=seed).settings
    if platform is not None and platform not in settings.platforms:
        raise ConfigError(
            expected=f"one of {', '.join(settings.platforms)}", got=platform, where="--platform"
        )
    changes = {"epsilon": epsilon} if epsilon is not None else {}
    settings = settings.model_copy(update={"privacy": settings.privacy.replace(**changes)})
    if not settings.privacy.private:
        raise ConfigError(
            expected="a finite epsilon",
            got="inf: nothing was promised",
            where=target,
            remedy="Give --epsilon to audit the same training under a promise.",
        )
    if rounds is not None:
        training = settings.training.replace(rounds=rounds)
        settings = settings.model_copy(update={"training": training})
    prepared = run if is_run else folder / "prepared"
    if not is_run:
        # the rate is a matter of everybody's size, and so may be who is largest
        counted = all(own.population for own in settings.platforms.values())
        alone = {platform or _largest(settings)} if counted else set(settings.platforms)
        wanted = _with_platforms(settings, alone)
        found = prepare(wanted, prepared, cache=cache_folder(), unsafe_seed=seed, progress=progress)
        everyone = {**settings.platforms, **found.platforms}
        settings = settings.model_copy(update={"platforms": everyone})
    rate = settings.training.rate(sum(own.population or 0 for own in settings.platforms.values()))
    name = platform or _largest(settings)
    settings = _with_platforms(settings, {name}).model_copy(
        update={
            "training": settings.training.replace(learning_rate=rate),
            "server": settings.server.replace(min_platforms=None),
        }
    )
    return Stage(settings, Platform.open(prepared / "platforms" / name))


def _largest(settings: FederationSettings) -> str:
    """The platform with most declared users; the first of equals."""
    return max(settings.platforms, key=lambda name: settings.platforms[name].population or 0)


def _with_platforms(settings: FederationSettings, names: set[str]) -> FederationSettings:
    kept = {name: own for name, own in settings.platforms.items() if name in names}
    return settings.model_copy(update={"platforms": kept})


def _play(
    stage: Stage, run: Path, canaries: int, seed: int, progress: Progress
) -> tuple[Played, Rules, float]:
    """Train with canaries in `run`; the game, its rules, and what a canary's step adds at least."""
    from clients.app import app
    from server.rounds.log import Event
    from simulations.audits.canaries import Crew, WatchedGrid, Witness, played
    from simulations.audits.overheard import overhearing
    from simulations.engines.inprocess import serve
    from simulations.run import write_settings

    settings, before = stage.settings, stage.platform
    privacy, training = settings.privacy, settings.training
    crew = Crew.drawn(
        canaries,
        len(before.catalogue.ids),
        training.targets_per_user + 1,
        np.random.default_rng([seed, 0xCA7A]),
    )
    population = before.record.population
    delta, noise_multiplier = promise(privacy, population, training.rounds)
    record = PlatformRecord(
        name=before.name,
        kind=before.record.kind,
        population=population,
        epsilon=privacy.epsilon,
        delta=delta,
        noise_multiplier=noise_multiplier,
        steps=training.rounds * privacy.steps_per_round,
        sample_rate=privacy.sample_rate,
        clip_norm=privacy.clip_norm,
        model=settings.model,
        micro_batch=settings.speed.train_batch,
        unsafe_seed=seed,
    )
    folder = run / "platforms" / before.name
    sequences = crew.joined(before.sequences)
    own = Platform.create(folder, record, before.catalogue, before.states, sequences)
    write_settings(run, settings)

    def listen(event: Event) -> None:
        if event.kind == "round":
            progress("training with canaries", event.round, training.rounds)

    threads = settings.speed.threads or torch.get_num_threads()
    with overhearing() as heard:
        witness = Witness(own, len(before.sequences), crew, seed, heard)
        grid = WatchedGrid(
            app, {before.name: folder}, run_folder=run, threads=threads, watch=witness
        )
        serve(grid, run, listen)
    if len(witness.sightings) != training.rounds:
        raise RunError(
            expected=f"{training.rounds} rounds watched",
            got=str(len(witness.sightings)),
            where="canary audit",
        )
    rules = Rules(
        canaries=canaries,
        rounds=training.rounds,
        steps=privacy.steps_per_round,
        rate=privacy.sample_rate,
        noise_multiplier=noise_multiplier,
        delta=delta,
    )
    progress.say("reading what was seen")
    game = played(witness.sightings, crew, rules.rate, rules.steps)
    size = float(np.mean([sight.size.mean() for sight in witness.sightings]))
    return game, rules, size
