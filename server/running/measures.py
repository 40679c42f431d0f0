"""What Prometheus is told of a coordinator: names, counts and public constants, no user data.

All of a run's measures are read from its rounds.jsonl, so they survive every restart.
"""

import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from server.membership import gateway
from server.membership.partners import Partner, Partners
from server.running.conductor import STATE
from server.running.runs import Run, runs
from server.settings import ServerFolder
from shared import errors
from shared.bundle import bundle_sha256
from shared.operations.metrics import Metric, Samples

PREFIX = "fedinterest_coordinator_"
PHASES = ("connecting", "setting up", "training", "retrying", "waiting", "failed", "finished")
OUTCOMES = ("accepted", "refused", "rejected", "absent")
KINDS = {name for name in vars(errors) if name[0].isupper()} | {"InternalError"}


def _metric(name: str, help: str, *labels: str) -> Metric:
    return Metric(PREFIX + name, "counter" if name.endswith("_total") else "gauge", help, labels)


DESCRIBED = (
    _metric("info", "1; which version serves which bundle.", "version", "bundle"),
    _metric("start_time_seconds", "When `up` began, in seconds since 1970."),
    _metric("child_up", "1 while a process of ours does its work.", "child"),
    _metric("child_restarts_total", "How often it was started again since `up` began.", "child"),
    _metric("partners", "Partners by status.", "status"),
    _metric("partners_needed", "How many must be enrolled before the first run starts."),
    _metric("partner_connected", "1 while the partner's SuperNode is connected.", "partner"),
    _metric("partner_certificate_days", "Days until its certificate expires.", "partner"),
    _metric("gateway_certificate_days", "Days until the gateway's certificate expires."),
    _metric("disk_free_bytes", "Room left where the folder lies."),
    _metric("runs", "Runs that were begun."),
    _metric("runs_finished", "Runs that are finished."),
    _metric("run", "Number of the newest run; those below are of this run."),
    _metric("run_finished", "1 if it is finished."),
    _metric("run_phase", "1 for what it is at.", "phase"),
    _metric("run_phase_time_seconds", "When that was told, in seconds since 1970."),
    _metric("run_rounds", "Rounds it will have."),
    _metric("run_rounds_done", "Rounds that are on disk."),
    _metric("run_platforms", "Platforms that take part in it."),
    _metric("run_quorum", "Good answers that a round needs."),
    _metric("run_epsilon_promised", "What a user's epsilon will be at most."),
    _metric("run_epsilon", "What of it is spent, as far as the answers say.", "platform"),
    _metric("run_steps_total", "Steps of private training answered.", "platform"),
    _metric("run_answers_total", "What came of its requests.", "platform", "outcome"),
    _metric("run_refusals_total", "Refusals by kind of error.", "platform", "kind"),
    _metric("run_uplink_bytes_total", "Received from it.", "platform"),
    _metric("run_downlink_bytes_total", "Sent to it.", "platform"),
    _metric("run_update_norm", "L2 norm of its last update.", "platform"),
    _metric("run_round_answers", "Good answers in the last round."),
    _metric("run_round_seconds", "How long the last round took."),
    _metric("run_rounds_seconds_total", "How long all rounds took."),
    _metric("run_retries_total", "Rounds asked again since the conductor was started."),
)
"""Every measure of a coordinator."""


@dataclass
class Measures:
    """Reads them.

    Args:
        folder: the coordinator's.
        started: when `up` began, seconds since 1970.
        children: name -> (whether it does its work, restarts).
        connected: names of the partners that are connected.
    """

    folder: ServerFolder
    started: float
    children: Callable[[], Mapping[str, tuple[bool, int]]]
    connected: Callable[[], Iterable[str]]
    _lines: "_Lines" = field(default_factory=lambda: _Lines())

    def read(self) -> Samples:
        """Every measure's value now.

        Raises:
            RunError, ConfigError: a partner's file or a run's settings are damaged.
        """
        found: dict[str, Any] = {
            "info": {(version("fedinterest"), bundle_sha256()): 1},
            "start_time_seconds": self.started,
            "disk_free_bytes": shutil.disk_usage(self.folder.path).free,
        }
        children = self.children()
        found["child_up"] = {(name,): up for name, (up, _) in children.items()}
        found["child_restarts_total"] = {(name,): many for name, (_, many) in children.items()}
        found |= self._partners() | self._runs()
        return {PREFIX + name: value for name, value in found.items()}

    def _partners(self) -> dict[str, Any]:
        partners, now = Partners(self.folder.path).list(), datetime.now(UTC)
        enrolled = [one for one in partners if one.enrolled]
        there = set(self.connected())
        return {
            "partners": {
                ("enrolled",): len(enrolled),
                ("revoked",): len(partners) - len(enrolled),
            },
            "partners_needed": self.folder.settings.coordinator.partners,
            "partner_connected": {(one.name,): one.name in there for one in enrolled},
            "partner_certificate_days": {(one.name,): days_left(one, now) for one in enrolled},
            "gateway_certificate_days": gateway.certificate_days_left(self.folder, now),
        }

    def _runs(self) -> dict[str, Any]:
        known = runs(self.folder)
        finished = sum(run.finished is not None for run in known)
        found: dict[str, Any] = {"runs": len(known), "runs_finished": finished}
        if not known:
            return found
        run = known[-1]
        settings = run.settings
        told = told_of(self.folder, run)
        phase = "finished" if run.finished else str(told.get("phase", "connecting"))
        return {
            **found,
            "run": int(run.name),
            "run_finished": run.finished is not None,
            "run_phase": {(one,): one == phase for one in PHASES},
            "run_phase_time_seconds": float(told.get("at", 0.0)),
            "run_rounds": settings.training.rounds,
            "run_platforms": len(settings.platforms),
            "run_quorum": settings.server.min_platforms or len(settings.platforms),
            "run_epsilon_promised": settings.privacy.epsilon,
            "run_retries_total": int(told.get("retries", 0)),
            **self._lines.of(run.path / "rounds.jsonl"),
        }


class _Lines:
    """What the lines of a rounds.jsonl add up to; read again when the file has changed."""

    def __init__(self) -> None:
        self._key: tuple[Path, int, int] | None = None
        self._found: dict[str, Any] = {}

    def of(self, path: Path) -> dict[str, Any]:
        try:
            stat = path.stat()
            key = (path, stat.st_mtime_ns, stat.st_size)
            if key != self._key:
                text = path.read_text(encoding="utf-8")
                self._found = summed([json.loads(line) for line in text.splitlines()])
                self._key = key
        except FileNotFoundError:
            return summed([])
        return self._found


def summed(lines: list[dict[str, Any]]) -> dict[str, Any]:
    """The measures of rounds.jsonl's lines, the set-up's first."""
    rounds = [line for line in lines if line["round"]]
    answers: Counter[tuple[str, ...]] = Counter()
    refusals: Counter[tuple[str, ...]] = Counter()
    steps: Counter[tuple[str, ...]] = Counter()
    up: Counter[tuple[str, ...]] = Counter()
    down: Counter[tuple[str, ...]] = Counter()
    epsilons: dict[tuple[str, ...], float] = {}
    norms: dict[tuple[str, ...], float] = {}
    for line in lines:
        for name, entry in line["platforms"].items():
            up[name,] += entry["uplink_bytes"]
            down[name,] += entry["downlink_bytes"]
            steps[name,] += entry["steps"]
            if entry["epsilon"] is not None:
                epsilons[name,] = float(entry["epsilon"])
            if not line["round"]:
                continue
            answers[name, entry["outcome"]] += 1
            if entry["outcome"] == "refused":
                refusals[name, _kind(entry["reason"])] += 1
            if entry["update_norm"] is not None:
                norms[name,] = entry["update_norm"]
    found: dict[str, Any] = {
        "run_rounds_done": len(rounds),
        "run_rounds_seconds_total": sum(line["seconds"] for line in rounds),
        "run_answers_total": answers,
        "run_refusals_total": refusals,
        "run_steps_total": steps,
        "run_uplink_bytes_total": up,
        "run_downlink_bytes_total": down,
        "run_epsilon": epsilons,
        "run_update_norm": norms,
    }
    if rounds:
        found["run_round_seconds"] = rounds[-1]["seconds"]
        last = rounds[-1]["platforms"].values()
        found["run_round_answers"] = sum(entry["answered"] for entry in last)
    return found


def _kind(reason: str | None) -> str:
    """The kind of error a refusal names: one of ours, or "other": partners make no labels up."""
    kind = str(reason).partition(":")[0]
    return kind if kind in KINDS else "other"


def days_left(partner: Partner, now: datetime) -> float:
    """Days until a partner's certificate expires."""
    return (datetime.fromisoformat(partner.not_after) - now).total_seconds() / 86400


def told_of(folder: ServerFolder, run: Run) -> dict[str, Any]:
    """What the conductor said last of `run`; nothing where it speaks of another."""
    try:
        found = json.loads((folder.state / STATE).read_text(encoding="utf-8"))
        return dict(found) if found["run"] == run.name else {}
    except (OSError, ValueError, KeyError, TypeError):
        return {}
