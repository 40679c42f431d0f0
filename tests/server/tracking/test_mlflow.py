"""Runs of MLflow in a database and in files, read back with its own client."""

import json
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from server.tracking.mlflow import EXPERIMENT, FILE, KEY_TAG, MlflowTracker, _quiet
from server.tracking.point import Point

ROOT = Path(__file__).resolve().parents[3]
Curves = dict[str, list[tuple[int, float]]]
SET = ("MLFLOW_DISABLE_TELEMETRY", "DO_NOT_TRACK", "MLFLOW_CONFIGURE_LOGGING")
SET += ("MLFLOW_ALLOW_FILE_STORE", "MLFLOW_HTTP_REQUEST_MAX_RETRIES")
SET += ("MLFLOW_HTTP_REQUEST_TIMEOUT",)


@pytest.fixture(scope="module", autouse=True)
def _environment() -> Iterator[None]:
    """What the tracker sets is taken back."""
    with pytest.MonkeyPatch.context() as patch:
        for name in SET:
            patch.setenv(name, "")
            patch.delenv(name)
        yield


@pytest.fixture(scope="module")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Making its tables takes MLflow some seconds: once is enough."""
    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    client(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture(params=["sqlite", "file"])
def uri(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "file":
        return f"file:{tmp_path / 'mlruns'}"
    path = tmp_path / "mlflow.db"
    shutil.copy(request.getfixturevalue("empty_database"), path)
    return f"sqlite:///{path}"


def client(uri: str) -> Any:
    with _quiet():
        from mlflow.tracking import MlflowClient

        return MlflowClient(tracking_uri=uri)


def runs(uri: str) -> list[Any]:
    """All runs, oldest first."""
    with _quiet():
        reading = client(uri)
        experiment = reading.get_experiment_by_name(EXPERIMENT)
        found = reading.search_runs([experiment.experiment_id], order_by=["attributes.start_time"])
        return list(found)


def curves(uri: str, run: Any) -> Curves:
    with _quiet():
        reading = client(uri)
        return {
            name: sorted(
                (one.step, one.value) for one in reading.get_metric_history(run.info.run_id, name)
            )
            for name in run.data.metrics
        }


def some(*values: float) -> list[Point]:
    return [Point(round=step, numbers={"a/b": value}) for step, value in enumerate(values)]


def test_the_rounds_are_read_back(
    federation: Any, trained: Callable[..., None], expected: Callable[[], Curves], uri: str
) -> None:
    federation.write(server__min_platforms=2)

    def news(asked: Any) -> Any:
        wrong = {"round": 7} if asked.round == 2 else {}
        return federation.good("news", asked, **wrong).to_records()

    federation.answers["news"] = news
    trained(MlflowTracker(uri, federation.folder))
    (run,) = runs(uri)
    assert curves(uri, run) == expected()
    assert (run.info.run_name, run.info.status) == ("run", "FINISHED")
    tags = dict(run.data.tags)
    assert tags["adapter_sha256"] == federation.lines()[-1]["adapter_sha256"]
    assert tags.pop("left_out/news/2").startswith("rejected: ")
    assert set(tags) == {"adapter_sha256", KEY_TAG, "mlflow.runName"}


def test_a_resumed_run_has_each_round_once(
    federation: Any,
    interrupted: Callable[..., None],
    trained: Callable[..., None],
    expected: Callable[[], Curves],
    uri: str,
) -> None:
    interrupted(MlflowTracker(uri, federation.folder))
    (run,) = runs(uri)
    assert run.info.status == "RUNNING"
    assert curves(uri, run) == expected()
    trained(MlflowTracker(uri, federation.folder))
    trained(MlflowTracker(uri, federation.folder))  # nothing left to train
    (run,) = runs(uri)
    assert run.info.status == "FINISHED"
    assert curves(uri, run) == expected()
    assert [step for step, _ in curves(uri, run)["round/seconds"]] == [0, 1, 2, 3]


def test_what_a_crash_left_out_of_a_round_is_added(tmp_path: Path, uri: str) -> None:
    values = {"a": 1.0, "b": 2.0, "c": 3.0}
    before = Point(round=0, numbers=values)
    MlflowTracker(uri, tmp_path).write([before], finished=False)
    (run,) = runs(uri)
    with _quiet():
        client(uri).log_metric(run.info.run_id, "b", 5.0, step=1)  # half of round 1
    after = Point(round=1, numbers={"a": 4.0, "b": 5.0, "c": 6.0})
    MlflowTracker(uri, tmp_path).write([before, after], finished=False)
    (run,) = runs(uri)
    assert curves(uri, run) == {
        "a": [(0, 1.0), (1, 4.0)],
        "b": [(0, 2.0), (1, 5.0)],
        "c": [(0, 3.0), (1, 6.0)],
    }


@pytest.mark.parametrize("now", [[0.0, 1.0], [0.0, 1.5, 2.0]])
def test_a_round_that_was_trained_again_begins_another_run(
    tmp_path: Path, uri: str, now: list[float]
) -> None:
    MlflowTracker(uri, tmp_path).write(some(0.0, 1.0, 2.0), finished=False)
    MlflowTracker(uri, tmp_path).write(some(*now), finished=True)
    MlflowTracker(uri, tmp_path).write(some(*now), finished=True)
    old, new = sorted(runs(uri), key=lambda one: one.info.status, reverse=True)
    assert (old.info.status, new.info.status) == ("KILLED", "FINISHED")
    assert curves(uri, old) == {"a/b": [(0, 0.0), (1, 1.0), (2, 2.0)]}
    assert curves(uri, new) == {"a/b": list(enumerate(now))}


@pytest.mark.parametrize("left", ["", "{", "[]", '{"key": 7}', '{"key": "\' or 1 = 1"}'])
def test_a_damaged_key_begins_another_run(tmp_path: Path, left: str) -> None:
    uri = f"file:{tmp_path / 'mlruns'}"
    MlflowTracker(uri, tmp_path).write(some(0.0), finished=False)
    (tmp_path / FILE).write_text(left)
    MlflowTracker(uri, tmp_path).write(some(0.0), finished=False)
    assert len(runs(uri)) == 2
    key = json.loads((tmp_path / FILE).read_text())["key"]
    assert [run.data.tags[KEY_TAG] for run in runs(uri)].count(key) == 1


def test_two_run_folders_are_two_runs(tmp_path: Path, uri: str) -> None:
    for name in ("0001", "0002"):
        (tmp_path / name).mkdir()
        MlflowTracker(uri, tmp_path / name).write(some(0.0), finished=True)
    assert {run.info.run_name for run in runs(uri)} == {"0001", "0002"}


def test_many_values_go_in_several_batches(tmp_path: Path) -> None:
    uri = f"file:{tmp_path / 'mlruns'}"
    numbers = {f"epsilon/p{number}": float(number) for number in range(230)}
    left_out = {f"p{number}": "absent: not connected" for number in range(130)}
    MlflowTracker(uri, tmp_path).write(
        [Point(round=0, numbers=numbers, left_out=left_out)], finished=False
    )
    (run,) = runs(uri)
    assert run.data.metrics == numbers
    assert sum(name.startswith("left_out/") for name in run.data.tags) == 130


def test_what_was_written_before_a_failure_is_not_written_again(tmp_path: Path) -> None:
    uri = f"file:{tmp_path / 'mlruns'}"
    tracker = MlflowTracker(uri, tmp_path)
    tracker.write([Point(round=0, numbers={"a": 0.0})], finished=False)
    (folder,) = (tmp_path / "mlruns").glob("*/*/metrics")
    (folder / "b").write_text("in the way of b/c")
    points = [
        Point(round=0, numbers={"a": 0.0}),
        Point(round=1, numbers={"a": 1.0, "b/c": 7.0}),
    ]
    with pytest.raises(Exception, match="b"):
        tracker.write(points, finished=False)
    assert len((folder / "a").read_text().splitlines()) == 2
    (folder / "b").unlink()
    tracker.write(points, finished=False)
    (run,) = runs(uri)
    assert curves(uri, run) == {"a": [(0, 0.0), (1, 1.0)], "b/c": [(1, 7.0)]}


def test_a_broken_database_is_made_good_later(tmp_path: Path, empty_database: Path) -> None:
    path = tmp_path / "mlflow.db"
    shutil.copy(empty_database, path)
    uri = f"sqlite:///{path}"
    tracker = MlflowTracker(uri, tmp_path)
    tracker.write(some(0.0), finished=False)
    with closing(sqlite3.connect(path)) as other:
        other.execute("ALTER TABLE metrics RENAME TO gone")
        with pytest.raises(Exception, match="no such table"):
            tracker.write(some(0.0, 1.0), finished=False)
        other.execute("ALTER TABLE gone RENAME TO metrics")
    tracker.write(some(0.0, 1.0), finished=True)
    (run,) = runs(uri)
    assert curves(uri, run) == {"a/b": [(0, 0.0), (1, 1.0)]}


def test_a_server_that_is_down_costs_a_warning(
    federation: Any, trained: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    trained(MlflowTracker(f"http://user:secret@127.0.0.1:{port}", federation.folder))
    assert [line["round"] for line in federation.lines()] == [0, 1, 2, 3]
    said = [one.getMessage() for one in caplog.records if one.name.endswith(".tracking")]
    assert said == [
        "mlflow cannot be written: MlflowException; training goes on, it is tried again"
    ]


def test_mlflow_sends_nothing_to_its_makers(tmp_path: Path) -> None:
    """In a process of its own: MLflow takes itself for off where it sees pytest or a CI."""
    code = (
        "import sys, threading; from pathlib import Path;"
        "from server.tracking.mlflow import MlflowTracker;"
        "from server.tracking.point import Point;"
        "run = Path(sys.argv[1]);"
        "point = Point(round=0, numbers={'a': 1.0});"
        "MlflowTracker(f'file:{run}/mlruns', run).write([point], finished=True);"
        "from mlflow.telemetry.client import get_telemetry_client;"
        "print(get_telemetry_client(), threading.active_count())"
    )
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT),
        "MLFLOW_DISABLE_TELEMETRY": "false",  # whatever was there before
    }
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("None 1\n", "")
