"""`audit canary`: train with canary users, attack every round, and bound epsilon from below.

1. The platform is taken as it is: its catalogue, its users, the run's or recipe's settings.  Canary
   users (`canaries`) are put among them, each by a fair coin.
2. It is trained anew in a temporary folder by the real apps.  The other platforms stay out: the
   attacker sits in the coordinator's seat and sees this platform's update before it is averaged,
   so nothing they do could hide more, or show more.
3. What the attacker saw becomes one score for each canary, and four lower bounds on epsilon
   (`shared.privacy.auditing.bounds`): proven, assumption-based, and estimates.
4. The same statistic is played on paper, where the truth is known (`coverage`).

`ok` is False if more was learned than promised: a bound exceeds the promise.  A tight bound at 95 %
does so by chance in one honest run of forty, so the verdict is taken on bounds at `VERDICT`.
"""

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from clients.platform import Platform
from clients.platform_record import PlatformRecord, promise
from shared.config.federation import FederationSettings
from shared.errors import ConfigError, RunError
from shared.privacy.auditing import gaussian
from shared.privacy.auditing.bounds import Bound, all_bounds
from shared.privacy.auditing.game import Played, Rules
from shared.privacy.auditing.guessing import correct, guesses
from shared.progress import Progress
from simulations.audits.coverage import coverage

CONFIDENCE = 0.95
"""Of the bounds that are told."""
VERDICT = 0.9999
"""Of the bounds that the verdict is taken on: four of them, so one false alarm in 2,500 at most."""
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
        result = _result(rules, played, size, stage.settings.privacy.epsilon)
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


def _result(rules: Rules, played: Played, size: float, promised: float) -> dict[str, Any]:
    """The audit's result, without what the caller knows better."""
    bounds = all_bounds(rules, played, CONFIDENCE)
    exceeding = [one for one in all_bounds(rules, played, VERDICT) if one.epsilon > promised]
    measured = _measured(rules, played, size)
    each = guesses(rules.canaries)
    return {
        "ok": not exceeding,
        "epsilon": promised,
        "delta": rules.delta,
        "confidence": CONFIDENCE,
        "verdict_confidence": VERDICT,
        "canaries": rules.canaries,
        "inserted": int(played.members.sum()),
        "rounds": rules.rounds,
        "steps_per_round": rules.steps,
        "sample_rate": rules.rate,
        "noise_multiplier": rules.noise_multiplier,
        "bounds": [_told(one, promised) for one in bounds],
        "findings": [_finding(one, promised, measured) for one in exceeding],
        "measured": measured,
        "guesses": {
            "in": each,
            "out": each,
            "correct": correct(played.scores, played.members, each),
        },
        "scores": _histogram(played),
        "roc": _roc(played),
        "coverage": None,
    }


def _told(bound: Bound, promised: float) -> dict[str, Any]:
    return {
        "name": bound.name,
        "kind": bound.kind,
        "epsilon": bound.epsilon,
        "confidence": bound.confidence,
        "share": bound.epsilon / promised,
        "assumes": list(bound.assumes),
    }


def _measured(rules: Rules, played: Played, size: float) -> dict[str, float]:
    """Signal, noise and participation, each over what was promised."""
    known = gaussian.by_participation(played.seen, played.taken, played.matched)
    expected = rules.rounds * rules.steps * rules.rate
    unknown = gaussian.by_membership(played.seen, played.members, expected)
    return {
        "canary_norm_over_clip_norm": size / rules.shift,
        "signal": known.signal / rules.shift,
        "noise": known.noise,
        "signal_per_member": unknown.signal / rules.shift,
        "signal_to_noise_error": known.error / rules.shift,
    }


def _finding(bound: Bound, promised: float, measured: dict[str, float]) -> dict[str, Any]:
    """More was learned than promised, and what of the mechanism looks to blame."""
    causes = []
    if measured["noise"] < 0.95:
        causes.append(f"the noise is {measured['noise']:.2f} of what was promised")
    if measured["signal"] > 1.1:
        causes.append(f"a user counts for {measured['signal']:.2f} times clip_norm in a step")
    if measured["signal_per_member"] > 1.15 * max(measured["signal"], 1e-9):
        causes.append("users take part more often than the sampling rate says")
    return {
        "cause": "more was learned than promised",
        "bound": bound.name,
        "kind": bound.kind,
        "epsilon": bound.epsilon,
        "promised": promised,
        "confidence": bound.confidence,
        "looks_like": causes,
    }


def _histogram(played: Played) -> dict[str, list[float]]:
    """Scores of canaries in and out, in 40 bins."""
    edges = np.histogram_bin_edges(played.scores, bins=40)
    counted = {
        name: np.histogram(played.scores[who], bins=edges)[0].tolist()
        for name, who in (("in", played.members), ("out", ~played.members))
    }
    return {"edges": edges.tolist(), **counted}


def _roc(played: Played) -> list[list[float]]:
    """[false, true] positive rates as the threshold falls, at most 201 points."""
    order = np.argsort(-played.scores, kind="stable")
    hits = np.concatenate([[0], np.cumsum(played.members[order])]) / played.members.sum()
    misses = np.concatenate([[0], np.cumsum(~played.members[order])]) / (~played.members).sum()
    kept = np.unique(np.linspace(0, len(hits) - 1, 201).round().astype(int))
    return [[float(misses[point]), float(hits[point])] for point in kept]


def render(result: dict[str, Any], console: Console) -> None:
    """The verdict, the bounds, what was measured, and how often the bounds are wrong on paper."""
    console.print(
        f"{result['platform']}: {result['canaries']} canaries, {result['inserted']} of them in, "
        f"{result['rounds']} rounds; promised epsilon {result['epsilon']:g} "
        f"at delta {result['delta']:.3g}",
        highlight=False,
    )
    table = Table(box=None, pad_edge=False)
    for heading in ("bound", "kind"):
        table.add_column(heading)
    for heading in ("epsilon >=", "of promise", "too high on paper"):
        table.add_column(heading, justify="right")
    covered = (result["coverage"] or {}).get("bounds", {})
    for bound in result["bounds"]:
        paper = covered.get(bound["name"])
        table.add_row(
            bound["name"],
            bound["kind"],
            f"{bound['epsilon']:.2f}",
            f"{bound['share']:.2f}",
            f"{paper['share']:.1%}" if paper else "-",
        )
    console.print(table, highlight=False)
    measured, guessed = result["measured"], result["guesses"]
    console.print(
        f"signal {measured['signal']:.3f} and noise {measured['noise']:.3f} of what was promised; "
        f"{guessed['correct']} of {guessed['in'] + guessed['out']} guesses right; "
        f"bounds at {result['confidence']:.0%}",
        highlight=False,
    )
    if result["ok"]:
        console.print("ok: no more was learned than promised", highlight=False)
    for finding in result["findings"]:
        why = "; ".join(finding["looks_like"])
        console.print(
            f"FOUND: {finding['cause']}: {finding['bound']} ({finding['kind']}) says epsilon >= "
            f"{finding['epsilon']:.2f} at {finding['confidence']:.2%}"
            + (f"; {why}" if why else ""),
            highlight=False,
        )
