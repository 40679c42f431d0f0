"""One simulated federation from logs to report: the run folder and what fills it.

RUN/
├── run.json              what this run is; a folder without it is not a run
├── federation.json       resolved settings
├── platforms/NAME/       each platform's private folder
├── ledger/NAME.jsonl     each platform's spending, written ahead
├── record/NAME.jsonl     signed statements of every round: each platform's, the coordinator's
├── coordinator.key       what the coordinator's are signed with
├── checkpoints/          the coordinator's state by round
├── rounds.jsonl          what happened by round
├── tensorboard/          the same for TensorBoard, where that is asked for
├── adapter/              the result, in PEFT's format, with a model card
├── summary.json          the result, for machines
└── report.html           the result, for people
"""

import fcntl
import json
import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import torch

from clients.platform import Platform
from server.rounds import checkpoint as checkpoints
from server.rounds.log import Event, RoundLog
from server.settings import TrackingSettings
from server.tracking.tracker import tracking_of
from shared.adapters import adapter_sha256, save_peft
from shared.config.federation import FederationSettings
from shared.encoder import encoder_identity
from shared.errors import QuorumError, RunError, StorageError
from shared.files import sweep, write_json, write_text
from shared.privacy.accountant import Charge, checked_epsilon, composed_epsilon
from shared.privacy.record import read_ledger
from shared.progress import Progress
from shared.whitening import Whitening
from simulations.assess import Assessment, assess
from simulations.model_card import model_card
from simulations.prepare import open_prepared, prepare
from simulations.recipes import Recipe
from simulations.tracking import track_quality

FORMAT = 3  # 3: each platform keeps what it released
Engine = Literal["inprocess", "ray"]


@dataclass(frozen=True, kw_only=True)
class RunPlan:
    """What to run, apart from the federation itself.

    Args:
        out: the run folder.
        engine: who calls the client apps.
        seed: makes every random number repeatable, the noise too: for simulations only.
        cache: encoded catalogues, by content.
        tensorboard: write RUN/tensorboard too.
    """

    out: Path
    engine: Engine = "inprocess"
    seed: int | None = None
    cache: Path
    tensorboard: bool = False


def begin(plan: RunPlan, recipe: Recipe) -> None:
    """Make `plan.out` a run folder.

    Raises:
        RunError: there is something else in it.
    """
    if plan.out.exists() and any(path.name != "world" for path in plan.out.iterdir()):
        raise RunError(
            expected="an empty or new folder",
            got="one with files in it",
            where=str(plan.out),
            remedy="Give another --out, or --resume to go on with the run in it.",
        )
    write_settings(plan.out, recipe.settings)
    write_json(
        plan.out / "run.json",
        {
            "format": FORMAT,
            "version": version("fedinterest"),
            "recipe": recipe.name,
            "engine": plan.engine,
            "seed": plan.seed,
        },
    )


def read_run(folder: Path) -> dict[str, Any]:
    """`run.json` of a run folder.

    Raises:
        RunError: no run folder, or one of another version.
    """
    path = folder / "run.json"
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        format_ = found["format"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(
            expected="a run folder with run.json",
            got=type(error).__name__,
            where=str(folder),
            remedy="Give the --out folder of an earlier `fedinterest simulate`.",
        ) from error
    if format_ != FORMAT:
        raise RunError(
            expected=f"a run folder of format {FORMAT}",
            got=f"format {format_}, written by fedinterest {found.get('version', 'unknown')}",
            where=str(path),
            remedy="Use that version to go on with it, or start a new run.",
        )
    return found


def execute(plan: RunPlan, progress: Progress) -> dict[str, Any]:
    """Prepare, train, judge and report in the run folder; goes on where an earlier call stopped.

    Returns:
        The summary, as written to summary.json.
    """
    run = read_run(plan.out)
    with _alone(plan.out):
        return _execute(plan, run, progress)


def _execute(plan: RunPlan, run: dict[str, Any], progress: Progress) -> dict[str, Any]:
    started = time.monotonic()
    for folder in (plan.out, *plan.out.rglob("*/")):
        sweep(folder)
    settings = FederationSettings.load(
        json.loads((plan.out / "federation.json").read_text(encoding="utf-8")),
        where=str(plan.out / "federation.json"),
    )
    if settings.speed.threads:
        torch.set_num_threads(settings.speed.threads)
    settings = prepare(
        settings, plan.out, cache=plan.cache, unsafe_seed=run["seed"], progress=progress
    )
    write_settings(plan.out, settings)
    if not settings.privacy.private:
        progress.say("NOT PRIVATE: epsilon is infinite, so nothing is clipped and no noise added.")
    train(plan, settings, progress)
    assessment = assess(settings, plan.out, progress)
    if plan.tensorboard:
        track_quality(plan.out, assessment)
    log = RoundLog(plan.out / "rounds.jsonl")
    for number, table in assessment.curves.items():
        log.annotate(number, validation=table)
    spent = _seconds(plan.out, time.monotonic() - started)
    summary = _summary(plan.out, run, settings, assessment, spent)
    _publish(plan.out, settings, summary)
    return summary


@contextmanager
def _alone(out: Path) -> Iterator[None]:
    """Hold the run folder: two processes in one would write over each other's rounds.

    Raises:
        RunError: another process is at work in it.
    """
    with open(out / "run.lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise RunError(
                expected="a run folder nobody is working in",
                got="one that another process has locked",
                where=str(out),
                remedy="Wait for it to end, or stop it; then --resume.",
            ) from error
        yield


def train(plan: RunPlan, settings: FederationSettings, progress: Progress) -> None:
    """Run the rounds that are still missing, with the real apps.

    Raises:
        StorageError: the disk refused the coordinator, or so many platforms that a round failed.
        QuorumError: too few platforms answered for another reason.
    """
    count = len(settings.platforms)
    answered: set[str] = set()
    tracking = tracking_of(TrackingSettings(tensorboard=plan.tensorboard), plan.out)

    def listen(event: Event) -> None:
        tracking.hear(event)
        if event.kind == "answered":
            answered.add(event.platform)
            done = (event.round - 1) * count + len(answered)
            progress("training", done, settings.training.rounds * count)
        elif event.kind == "round":
            answered.clear()
            for name, entry in event.line["platforms"].items():
                if not entry["answered"]:
                    progress.say(f"round {event.round}: {name} left out: {entry['reason']}")
        elif event.kind == "resume" and event.round:
            progress.say(f"resuming after round {event.round}")
        elif event.kind == "retry":
            progress.say(f"round {event.round}: {event.message}")

    try:
        if plan.engine == "ray":
            from simulations.engines.ray import run_ray

            run_ray(plan.out, on_event=listen)
        else:
            from simulations.engines.inprocess import run_inprocess

            run_inprocess(plan.out, on_event=listen)
    except QuorumError as error:
        if StorageError.__name__ not in error.got:
            raise
        # A coordinator learns no more than that; here the platforms' disk is the user's own.
        raise StorageError(
            expected=f"{error.expected} that can write their files ({error.where})",
            got=f"{error.got.split(' ', 1)[0]}: the disk is full or refuses",
            where=str(plan.out),
            remedy="Free some space, then go on with --resume; what was written before is whole.",
        ) from error


def write_settings(out: Path, settings: FederationSettings) -> None:
    """Write `federation.json`, from which the coordinator reads what to train."""
    values = settings.model_dump(mode="json")
    if not settings.privacy.private:
        values["privacy"]["epsilon"] = "inf"
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / "federation.json", values)


def _seconds(out: Path, now: float) -> float:
    """Wall-clock seconds over all calls on this run folder."""
    path = out / "run.json"
    run = json.loads(path.read_text(encoding="utf-8"))
    run["seconds"] = round(float(run.get("seconds", 0.0)) + now, 2)
    write_json(path, run)
    return float(run["seconds"])


def peak_rss_mib() -> float:
    """Largest resident size of this process so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1024 if sys.platform != "darwin" else peak / 1024**2


def _json_epsilon(value: float) -> float | str:
    return value if value != float("inf") else "inf"


def _summary(
    out: Path,
    run: dict[str, Any],
    settings: FederationSettings,
    assessment: Assessment,
    seconds: float,
) -> dict[str, Any]:
    last = checkpoints.latest(out / "checkpoints")
    if last is None:
        raise RunError(expected="a trained adapter", got="none", where=str(out / "checkpoints"))
    lines = RoundLog(out / "rounds.jsonl").lines()
    charges: dict[str, list[Charge]] = {}
    platforms: dict[str, Any] = {}
    for name in settings.platforms:
        prepared = open_prepared(out, name)
        record = prepared.platform.record
        charges[name] = _charges(prepared.platform)
        epsilon = float("inf")
        if record.private:
            epsilon = checked_epsilon(charges[name], record.delta) if charges[name] else 0.0
        platforms[name] = {
            **prepared.facts,
            "population": record.population,
            "epsilon": _json_epsilon(epsilon),
            "delta": record.delta,
            "noise_multiplier": record.noise_multiplier,
            "clip_norm": record.clip_norm if record.private else None,
            "sample_rate": record.sample_rate,
            "steps": sum(line["platforms"][name]["steps"] for line in lines if line["round"]),
            "systems": assessment.test[name],
            "fairness": assessment.groups[name],
        }
    uplinks = [
        entry["uplink_bytes"]
        for line in lines
        if line["round"]
        for entry in line["platforms"].values()
        if entry["answered"]
    ]
    setup = [entry["uplink_bytes"] for entry in lines[0]["platforms"].values()] if lines else [0]
    return {
        "recipe": run["recipe"],
        "seed": run["seed"],
        "unsafe_seed": run["seed"] is not None,
        "engine": run["engine"],
        "rounds": last.round,
        "seconds": round(seconds, 2),
        "peak_rss_mib": round(peak_rss_mib(), 1),
        "adapter_sha256": adapter_sha256(last.adapter),
        "uplink_bytes_per_platform_per_round": max(uplinks, default=0),
        "setup_bytes_per_platform": max(setup, default=0),
        "private": settings.privacy.private,
        "platforms": platforms,
        "mean": assessment.mean(),
        "composed": _composed(settings, out, charges),
        "validation": assessment.validation,
        "validation_users": assessment.users,
        "version": run["version"],
        "settings": json.loads((out / "federation.json").read_text(encoding="utf-8")),
    }


def _charges(platform: Platform) -> list[Charge]:
    if not platform.record.private or not platform.ledger_path.is_file():
        return []
    return list(read_ledger(platform.ledger_path).charges())


def _composed(
    settings: FederationSettings, out: Path, charges: dict[str, list[Charge]]
) -> dict[str, Any]:
    """What is promised to a person who is a user of every platform."""
    deltas = [Platform.open(out / "platforms" / name).record.delta for name in settings.platforms]
    delta = max(deltas)
    value = float("inf")
    if settings.privacy.private:
        value = composed_epsilon([spent for spent in charges.values() if spent], delta)
    return {"platforms": list(settings.platforms), "epsilon": _json_epsilon(value), "delta": delta}


def _publish(out: Path, settings: FederationSettings, summary: dict[str, Any]) -> None:
    """Write the adapter, the summary and the report."""
    from simulations.report import write_report

    last = checkpoints.latest(out / "checkpoints")
    if last is None:
        raise RunError(expected="a trained adapter", got="none", where=str(out / "checkpoints"))
    whitening = Whitening.from_arrays(last.base)
    base = {"encoder": encoder_identity(settings.model), "whitening": whitening.sha256}
    save_peft(out / "adapter", last.adapter, settings.model, len(whitening.matrix), base)
    write_text(out / "adapter" / "README.md", model_card(summary, base))
    write_json(out / "summary.json", summary)
    write_report(out)
