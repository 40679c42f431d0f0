"""A run of MLflow, in a file, a database or a server: whatever address the operator chose.

Rules:
1. RUN/mlflow.json holds a random key, kept before MLflow is asked for a run with that key in a
   tag: a crash in between leaves a key without a run, never two runs.
2. MLflow cannot forget a value.  A start reads what the run has; what is missing is added.  If it
   has anything that rounds.jsonl does not have (a round that was lost with its checkpoint and
   trained again), it is ended as KILLED and another one begins, with another key.
3. MLflow sends nothing about its use to its makers, and writes to our log only what is a warning.
"""

import json
import logging
import math
import os
import secrets
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from server.tracking.point import Point
from shared.files import write_json

EXPERIMENT, KEY_TAG, FILE = "fedinterest", "fedinterest.run", "mlflow.json"
_ADAPTER, _LEFT_OUT = "adapter_sha256", "left_out"
_BATCH = 100  # MLflow takes 1000 values or 100 tags at once

_ALWAYS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_CONFIGURE_LOGGING": "false",
    "MLFLOW_ALLOW_FILE_STORE": "true",  # "in maintenance", and refused without this
}
_UNLESS_SET = {  # left to itself, MLflow waits four minutes for a server that is down
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "5",
}

Known = dict[tuple[str, int], float]


class MlflowTracker:
    """Writes points as metrics whose step is the round, and who was left out as tags.

    Args:
        uri: MLflow's tracking URI.
        run: the run folder; its name is the run's name in MLflow.
    """

    name = "mlflow"

    def __init__(self, uri: str, run: Path) -> None:
        self._uri, self._run = uri, run
        self._client: Any = None
        self._id = ""
        self._known: Known | None = None

    def write(self, points: Sequence[Point], *, finished: bool) -> None:
        """See `server.tracking.tracker.Tracker`."""
        known, self._known = self._known, None  # until all went well: a failure looks again
        with _quiet():
            if known is None:
                known = self._open(points)
            self._known = self._add(points, known)
            if finished:
                self._client.set_terminated(self._id, "FINISHED")

    def _open(self, points: Sequence[Point]) -> Known:
        """Find or make the run; what it knows already."""
        from mlflow.tracking import MlflowClient

        self._client = MlflowClient(tracking_uri=self._uri)
        found = self._client.get_experiment_by_name(EXPERIMENT)
        experiment = found.experiment_id if found else self._client.create_experiment(EXPERIMENT)
        self._id = self._find(experiment, self._key())
        known = self._read()
        expected = _metrics(points)
        if any(
            key not in expected or not math.isclose(expected[key], value)
            for key, value in known.items()
        ):
            self._client.set_terminated(self._id, "KILLED")
            self._id = self._find(experiment, self._key(new=True))
            known = {}
        return known

    def _find(self, experiment: str, key: str) -> str:
        runs = self._client.search_runs([experiment], f"tags.`{KEY_TAG}` = '{key}'", max_results=1)
        if runs:
            return str(runs[0].info.run_id)
        tags = {KEY_TAG: key}
        made = self._client.create_run(experiment, run_name=self._run.name, tags=tags)
        return str(made.info.run_id)

    def _key(self, *, new: bool = False) -> str:
        path = self._run / FILE
        if not new:
            try:
                key = json.loads(path.read_text(encoding="utf-8"))["key"]
                return f"{int(key, 16):032x}"
            except (OSError, ValueError, KeyError, TypeError):
                pass  # none yet, or damaged: another run of MLflow is all that comes of it
        key = secrets.token_hex(16)
        write_json(path, {"key": key})
        return key

    def _read(self) -> Known:
        names = self._client.get_run(self._id).data.metrics
        return {
            (name, one.step): one.value
            for name in names
            for one in self._client.get_metric_history(self._id, name)
        }

    def _add(self, points: Sequence[Point], known: Known) -> Known:
        """Write what is not in `known`; what is known then."""
        from mlflow.entities import Metric, RunTag

        now = int(time.time() * 1000)
        expected = _metrics(points)
        missing = [
            Metric(name, value, now, step)
            for (name, step), value in expected.items()
            if (name, step) not in known
        ]
        if not missing:
            return expected
        first = min(metric.step for metric in missing)
        tags = _tags([point for point in points if point.round >= first])
        for some in _batches([RunTag(key, value) for key, value in tags.items()]):
            self._client.log_batch(self._id, tags=some)
        for some in _batches(missing):
            self._client.log_batch(self._id, metrics=some)
        return expected


def _metrics(points: Sequence[Point]) -> Known:
    return {(name, point.round): value for point in points for name, value in point.numbers.items()}


def _tags(points: Sequence[Point]) -> Mapping[str, str]:
    """Tags have no step: the newest adapter, and the round in the name of what was left out."""
    found = {_ADAPTER: points[-1].adapter_sha256}
    for point in points:
        for platform, why in point.left_out.items():
            found[f"{_LEFT_OUT}/{platform}/{point.round}"] = why
    return found


def _batches(values: list[Any]) -> Iterator[list[Any]]:
    for start in range(0, len(values), _BATCH):
        yield values[start : start + _BATCH]


@contextmanager
def _quiet() -> Iterator[None]:
    """MLflow as rule 3 wants it: set before it is imported."""
    os.environ.update(_ALWAYS)
    for name, value in _UNLESS_SET.items():
        os.environ.setdefault(name, value)
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # theirs, about their own
        yield
