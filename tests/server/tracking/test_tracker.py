"""A tracker that fails does a run no harm, one that is missing is told at the start."""

import logging
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from server.rounds.log import Event
from server.settings import TrackingSettings
from server.tracking.point import Point
from server.tracking.tensorboard import TensorBoardTracker
from server.tracking.tracker import PAUSE_S, Guarded, Tracking, require, tracking_of
from shared.errors import ConfigError

ROOT = Path(__file__).resolve().parents[3]
BOTH = TrackingSettings(tensorboard=True, mlflow="sqlite:///mlflow.db")


class Broken:
    """Raises what it is given, and counts."""

    name = "broken"

    def __init__(self, error: Exception) -> None:
        self.error, self.calls = error, 0

    def write(self, points: Sequence[Point], *, finished: bool) -> None:
        self.calls += 1
        raise self.error


def test_training_goes_on_when_trackers_fail(
    federation: Any, trained: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    federation.folder.joinpath("tensorboard").write_text("in the way")
    broken = Broken(RuntimeError("http://user:password@host"))
    trained(TensorBoardTracker(federation.folder / "tensorboard"), broken)
    assert [line["round"] for line in federation.lines()] == [0, 1, 2, 3]
    assert broken.calls == 2  # at the beginning; not after each round; at the end
    warnings = [one.getMessage() for one in caplog.records if one.name.endswith(".tracking")]
    assert len(warnings) == 2
    assert warnings[0].startswith("tensorboard cannot be written: expected to write a file, got")
    assert warnings[1].startswith("broken cannot be written: RuntimeError; training goes on")
    assert "password" not in "".join(warnings)


def test_a_failed_tracker_is_tried_again_after_a_pause(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    times = iter([0.0, 1.0, PAUSE_S, PAUSE_S + 1.0, 3 * PAUSE_S, 3 * PAUSE_S])
    broken = Broken(OSError(5, "Input/output error"))
    guarded = Guarded(broken, clock=lambda: next(times))
    guarded.write([])  # asks the time at 0 and, having failed, at 1: again from PAUSE_S + 1 on
    guarded.write([])
    assert broken.calls == 1
    guarded.write([])
    assert broken.calls == 2
    guarded.write([], finished=True)  # the last chance is always taken
    assert broken.calls == 3
    (said,) = caplog.messages
    assert "Input/output error" in said


def test_what_ends_a_process_is_not_held_back(tmp_path: Path) -> None:
    class Ends:
        name = "ends"

        def write(self, points: Sequence[Point], *, finished: bool) -> None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Guarded(Ends()).write([])


def test_a_damaged_log_is_not_the_trackers_to_tell(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "rounds.jsonl").write_text("{")
    broken = Broken(RuntimeError())
    Tracking(tmp_path, [broken]).hear(Event(kind="resume", round=0, rounds=1))
    assert broken.calls == 0
    assert len(caplog.messages) == 1


@pytest.mark.parametrize("kind", ["asked", "answered", "retry"])
def test_what_is_not_in_the_log_is_not_tracked(tmp_path: Path, kind: Any) -> None:
    broken = Broken(RuntimeError())
    Tracking(tmp_path, [broken]).hear(Event(kind=kind, round=1, rounds=1))
    assert broken.calls == 0


@pytest.mark.parametrize("name", ["tensorboard", "mlflow"])
def test_a_missing_package_is_told_with_its_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    require(BOTH)
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ConfigError) as caught:
        tracking_of(BOTH, tmp_path)
    assert f"no module {name}" in str(caught.value)
    assert f"pip install 'fedinterest[{name}]'" in str(caught.value)
    assert list(tmp_path.iterdir()) == []
    require(TrackingSettings())  # whoever does not want it needs nothing


def test_off_is_off(federation: Any, caplog: pytest.LogCaptureFixture) -> None:
    tracking = tracking_of(TrackingSettings(), federation.folder)
    federation.run()
    before = {path.name for path in federation.folder.iterdir()}
    caplog.clear()  # of what training itself has said
    with caplog.at_level(logging.DEBUG):
        for happened in federation.events:
            tracking.hear(happened)
    assert {path.name for path in federation.folder.iterdir()} == before
    assert not before & {"tensorboard", "mlflow.json"}
    assert caplog.messages == []


def test_nothing_heavy_is_imported_unless_asked_for() -> None:
    code = (
        "import sys; from pathlib import Path; from server.settings import TrackingSettings;"
        "from server.tracking.tracker import tracking_of;"
        "tracking_of(TrackingSettings(tensorboard=True, mlflow='file:x'), Path('x'));"
        "sys.exit(bool({'tensorboard', 'mlflow'} & set(sys.modules)))"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, timeout=60, check=False)
    assert done.returncode == 0
