"""What a partner's side tells Prometheus: its programs, its rounds, its budget, its certificate.

No measure says anything of a user, not even how many there are: numbers of the operation, public
constants, and what was spent.
"""

import json
import shutil
from collections.abc import Callable, Mapping
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from clients.home import Home
from clients.node.refusals import Refusals
from clients.spending.promises import total_epsilon
from shared.certificates import days_left, read_certificate, utc_now
from shared.errors import FedInterestError
from shared.operations.metrics import Metric, Metrics, Value
from shared.sessions import resident_mib

_P = "fedinterest_client_"
DESCRIBED = (
    Metric(f"{_P}info", "gauge", "1; the label says which version runs.", ("version",)),
    Metric(f"{_P}start_time_seconds", "gauge", "When this side was started, since 1970."),
    Metric(f"{_P}paused", "gauge", "1 while the partner has paused."),
    Metric(f"{_P}window_open", "gauge", "1 while the policy's hours permit training."),
    Metric(f"{_P}program_ready", "gauge", "1 while a program does its work.", ("program",)),
    Metric(f"{_P}program_restarts_total", "counter", "Times it was started again.", ("program",)),
    Metric(f"{_P}program_memory_mib", "gauge", "Resident memory of a program.", ("program",)),
    Metric(f"{_P}messages_total", "counter", "Messages taken in since the executor started."),
    Metric(f"{_P}rounds_trained_total", "counter", "Rounds answered since the executor started."),
    Metric(f"{_P}refused_total", "counter", "Messages refused since the executor started."),
    Metric(f"{_P}answers_lost_total", "counter", "Answers that nobody waited for any more."),
    Metric(f"{_P}worker_starts_total", "counter", "Workers started since the executor started."),
    Metric(f"{_P}busy", "gauge", "1 while a message is being answered."),
    Metric(f"{_P}last_round", "gauge", "Number of the last round answered."),
    Metric(f"{_P}last_round_seconds", "gauge", "How long the last round took."),
    Metric(f"{_P}last_answer_seconds", "gauge", "When the last answer was given, since 1970."),
    Metric(f"{_P}rounds_today", "gauge", "Different rounds answered since midnight."),
    Metric(f"{_P}rounds_a_day_permitted", "gauge", "The policy's limit, where it has one."),
    Metric(f"{_P}refusals_on_record", "gauge", "Lines in the file of refusals.", ("kind",)),
    Metric(f"{_P}epsilon_spent", "gauge", "Spent under a promise.", ("ledger",)),
    Metric(f"{_P}epsilon_promised", "gauge", "What was promised.", ("ledger",)),
    Metric(f"{_P}steps_charged", "gauge", "Steps in a ledger.", ("ledger",)),
    Metric(f"{_P}epsilon_total", "gauge", "All promises composed."),
    Metric(f"{_P}epsilon_total_permitted", "gauge", "The policy's limit, where it has one."),
    Metric(f"{_P}ledger_sound", "gauge", "1 while ledgers and anchor are whole and in step."),
    Metric(f"{_P}certificate_days_left", "gauge", "Until this platform's certificate expires."),
    Metric(f"{_P}authority_days_left", "gauge", "Until the coordinator's authority expires."),
    Metric(f"{_P}disk_free_bytes", "gauge", "Free space where the ledger lies."),
)
_COUNTS = {
    "messages_total": "messages",
    "rounds_trained_total": "trained",
    "refused_total": "refused",
    "answers_lost_total": "lost",
    "worker_starts_total": "workers",
    "busy": "busy",
    "last_round": "last_round",
    "last_round_seconds": "last_round_s",
    "last_answer_seconds": "last_answer",
}


class Measures:
    """The measures of one partner.

    Args:
        home: its folder.
        programs: name -> (ready, restarts, process number or None).
        started: when this side was started, since 1970.
    """

    def __init__(
        self,
        home: Home,
        programs: Callable[[], Mapping[str, tuple[bool, int, int | None]]],
        started: float,
    ) -> None:
        self._home, self._programs, self._started = home, programs, started
        self._metrics = Metrics(DESCRIBED, self.read)

    def text(self) -> bytes:
        """What a scrape gets."""
        return self._metrics.text()

    def read(self) -> dict[str, Value]:
        """All values as they are now; what cannot be read is left out."""
        home, programs = self._home, self._programs()
        found: dict[str, Value] = {
            "info": {(version("fedinterest"),): 1.0},
            "start_time_seconds": self._started,
            "paused": float(home.paused.exists()),
            "program_ready": {(name,): float(one[0]) for name, one in programs.items()},
            "program_restarts_total": {(name,): float(one[1]) for name, one in programs.items()},
            "program_memory_mib": {
                (name,): resident_mib(one[2]) for name, one in programs.items() if one[2]
            },
            "disk_free_bytes": float(shutil.disk_usage(home.folder.path).free),
            "rounds_today": float(_rounds_today(home.folder.state / "rounds.json")),
            "refusals_on_record": self._refusals(),
        }
        counts = _read(home.folder.state / "executor.json")
        found |= {name: float(counts[key]) for name, key in _COUNTS.items() if key in counts}
        for part in (self._policy, self._budget, self._certificates):
            try:
                found |= part()
            except FedInterestError:
                if part == self._budget:
                    found["ledger_sound"] = 0.0
        return {f"{_P}{name}": value for name, value in found.items()}

    def _policy(self) -> dict[str, Value]:
        policy = self._home.folder.settings().policy
        found: dict[str, Value] = {}
        if policy.max_rounds_a_day is not None:
            found["rounds_a_day_permitted"] = float(policy.max_rounds_a_day)
        if policy.max_epsilon_total != float("inf"):
            found["epsilon_total_permitted"] = policy.max_epsilon_total
        found["window_open"] = float(policy.is_open(datetime.now().astimezone()))
        return found

    def _budget(self) -> dict[str, Value]:
        promises = self._home.promises
        records = promises.records()
        self._home.anchor.check(promises.folder, records)
        return {
            "epsilon_spent": {(file,): one.spent() for file, one in records.items()},
            "epsilon_promised": {(file,): one.epsilon for file, one in records.items()},
            "steps_charged": {(file,): float(len(one.entries)) for file, one in records.items()},
            "epsilon_total": total_epsilon(records),
            "ledger_sound": 1.0,
        }

    def _certificates(self) -> dict[str, Value]:
        enrolment, now = self._home.enrolment(), utc_now()
        own, authority = (
            days_left(read_certificate(pem, "enrolment"), now)
            for pem in (enrolment.certificate_pem, enrolment.ca_pem)
        )
        return {"certificate_days_left": own, "authority_days_left": authority}

    def _refusals(self) -> dict[tuple[str, ...], float]:
        found: dict[tuple[str, ...], float] = {}
        for line in Refusals(self._home.folder.state / "refusals.jsonl").lines():
            kind = (str(line.get("kind", ""))[:40],)
            found[kind] = found.get(kind, 0.0) + 1
        return found


def _rounds_today(path: Path) -> int:
    values = _read(path)
    today = datetime.now().astimezone().date().isoformat()
    return len(values.get("digests", ())) if values.get("day") == today else 0


def _read(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return {}
