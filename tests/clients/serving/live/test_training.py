"""Nobody who has opted out is in a round that begins afterwards, whatever happens in between."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from clients.forget import idle
from clients.home import Home
from clients.joining.rehearsal import request_for
from clients.lists import Lists
from clients.opened import OpenPlatforms
from clients.platform import Platform
from clients.serving.live.background import Background, pause_s
from clients.serving.live.consent import opt_in, opt_out
from clients.serving.live.store import Live
from clients.serving.live.training import before_training, opened, place, take_up
from shared.errors import DataError, RunError
from shared.privacy.ledger import read_ledger
from tests.clients.partners import PROJECT, enrolled, name_of, no_progress, trained_on


@pytest.fixture
def live(home: Home) -> Iterator[Live]:
    made = Live.open(place(home))
    yield made
    made.close()


def test_where_nothing_was_served_nothing_is_made(home: Home) -> None:
    with opened(home) as live:
        assert live is None
    before_training(home)
    assert not place(home).parent.exists()


def test_a_round_begun_before_ends_and_the_next_is_without(home: Home, live: Live) -> None:
    who, rounds = name_of(home, "c5"), OpenPlatforms()
    before, done = trained_on(home), threading.Event()

    def work() -> None:
        take_up(home, live)
        done.set()

    with idle(home.folder.state):  # what the executor does for every message
        before_training(home)
        begun = rounds.open(home.folder.platform)
        opt_out(home, live, "c5")
        other = threading.Thread(target=work)
        other.start()
        assert not done.wait(0.3)
        assert who in begun.sequences.users
        assert trained_on(home) == before
    other.join(60)
    assert done.is_set()
    with idle(home.folder.state):
        before_training(home)
        assert who not in rounds.open(home.folder.platform).sequences.users


def test_the_next_round_takes_up_what_nobody_else_has(home: Home, live: Live) -> None:
    names = {name_of(home, user) for user in ("c5", "c7", "c9")}
    for user in ("c5", "c7", "c9", "never seen"):
        opt_out(home, live, user)
    with idle(home.folder.state):
        before_training(home)
    assert not names & set(trained_on(home))
    assert live.pending() == []
    assert names < Lists.of(home).names()
    facts = json.loads((home.folder.platform / "facts.json").read_text())
    assert facts["users"] == len(trained_on(home))


def test_a_repeated_round_is_charged_and_has_fresh_noise(home: Home, live: Live) -> None:
    """With the user, without, and with again: three answers, and no noise is used twice."""
    request = request_for(Platform.open(home.folder.platform), home.enrolment().federation)

    def answer() -> dict[str, np.ndarray]:
        before_training(home)
        return Platform.open(home.folder.platform).train(request).update

    ledger = Platform.open(home.folder.platform).ledger_path
    histories = home.folder.platform / "sequences.npz"
    with_user, before = answer(), histories.read_bytes()
    opt_out(home, live, "c5")
    without = answer()
    opt_in(home, live, "c5")
    histories.write_bytes(before)  # what a new preparation from the same log makes
    back = answer()
    assert len(read_ledger(ledger).entries) == 6
    for one, other in ((with_user, without), (without, back), (with_user, back)):
        name = next(iter(one))
        # with one noise they would be alike but for one user of many
        assert np.corrcoef(one[name].ravel(), other[name].ravel())[0, 1] < 0.85


def test_a_round_without_anybody_new_is_replayed_for_nothing(home: Home, live: Live) -> None:
    request = request_for(Platform.open(home.folder.platform), home.enrolment().federation)
    first = Platform.open(home.folder.platform).train(request)
    opt_out(home, live, "never seen")
    before_training(home)
    again = Platform.open(home.folder.platform).train(request)
    assert all(np.array_equal(first.update[name], again.update[name]) for name in first.update)
    assert len(read_ledger(Platform.open(home.folder.platform).ledger_path).entries) == 2


def test_nothing_is_trained_where_it_is_not_known_who_is_out(home: Home, live: Live) -> None:
    live.close()
    for path in place(home).parent.iterdir():
        path.write_bytes(b"something else" * 1000)
    with pytest.raises(RunError, match="damaged"):
        before_training(home)


def test_nothing_is_trained_where_nobody_would_be_left(home: Home, live: Live) -> None:
    for name in trained_on(home):
        live.set_consent(name, learning=False)
    with pytest.raises(DataError, match="nobody else"):
        before_training(home)
    assert len(live.pending()) == len(trained_on(home))


def test_in_the_background_and_killed_at_any_moment(home: Home, live: Live) -> None:
    who, before = name_of(home, "c5"), trained_on(home)
    opt_out(home, live, "c5")
    command = [sys.executable, "-m", "clients.serving.live.training", str(home.folder.path)]
    with idle(home.folder.state):
        process = subprocess.Popen(command, cwd=PROJECT)
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert (live.pending(), trained_on(home)) == ([who], before)
    background = Background(home.folder.path)
    background.ask()
    background.ask()
    assert background.wait(120)
    assert live.pending() == []
    assert who not in trained_on(home)
    background.stop()
    background.ask()  # nothing any more
    assert background.wait(0)


def test_a_failure_in_the_background_is_logged_without_names(
    home: Home, live: Live, caplog: pytest.LogCaptureFixture
) -> None:
    opt_out(home, live, "c5")
    Lists.of(home).left_out.write_text("damaged c5\n")
    background = Background(home.folder.path)
    with caplog.at_level("WARNING", logger="fedinterest.serving"):
        background.ask()
        assert background.wait(120)
        background.stop()
    assert [one.getMessage() for one in caplog.records] == ["opt-out pending"]
    assert "c5" not in str(vars(caplog.records[0]))
    assert "might come back" in str(vars(caplog.records[0]))
    assert live.pending() == [name_of(home, "c5")]


def test_what_failed_in_the_background_is_tried_again(home: Home, live: Live) -> None:
    who = name_of(home, "c5")
    opt_out(home, live, "c5")
    lists = Lists.of(home).left_out
    whole = lists.read_bytes()
    lists.write_text("damaged\n")
    background = Background(home.folder.path, first_pause_s=0.1)
    background.ask()
    assert background.wait(120)
    assert live.pending() == [who]
    lists.write_bytes(whole)
    end = time.monotonic() + 120
    while live.pending():  # nobody asks again
        assert time.monotonic() < end
        time.sleep(0.05)
    assert who not in trained_on(home)
    background.stop()


def test_a_stop_does_not_wait_for_the_next_try(home: Home, live: Live) -> None:
    opt_out(home, live, "c5")
    Lists.of(home).left_out.write_text("damaged\n")
    background = Background(home.folder.path)
    background.ask()
    assert background.wait(120)
    began = time.monotonic()
    background.stop()
    assert time.monotonic() - began < 9  # the pause is of 30 s
    assert not [one for one in threading.enumerate() if one.name == "take-up"]


def test_pauses_grow_to_an_hour() -> None:
    assert [pause_s(n) for n in (1, 2, 3, 7, 8, 9, 10**6)] == [
        *(30.0, 60.0, 120.0, 1920.0),
        *(3600.0, 3600.0, 3600.0),
    ]


def test_the_program_says_what_is_wrong(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "clients.serving.live.training", str(tmp_path)],
        capture_output=True,
        text=True,
        cwd=PROJECT,
        env=dict(os.environ),
    )
    assert done.returncode == 3
    assert "client.toml" in done.stderr


def test_a_new_preparation_leaves_out_whoever_opted_out(
    home: Home, live: Live, world: Path
) -> None:
    opt_out(home, live, "c5")
    home.folder.opt_out.write_text("")  # somebody's nightly job
    enrolled(home, world, training={"rounds": 5})
    home.prepare(no_progress)
    assert name_of(home, "c5") not in trained_on(home)
    facts = json.loads((home.folder.platform / "facts.json").read_text())
    assert facts["users"] == len(trained_on(home))
    with idle(home.folder.state):
        before_training(home)
    assert live.pending() == []


def test_the_gate_of_a_round(home: Home, live: Live) -> None:
    """The executor, with everything real but the SuperNode: asked for a round, it leaves out first
    who has opted out; where that cannot be known, it refuses and says nothing of why.
    """
    from datetime import datetime

    from flwr.app import Message
    from flwr.supercore.task_identity import TaskIdentity

    from clients.node.executor import Executor
    from clients.node.refusals import Refusals
    from clients.node.runtime import Asked
    from shared.bundle import bundle_sha256
    from shared.protocol import TRAIN, Refusal, TrainReply, kind_of

    class Task:
        pushed: Message | None = None

        def __enter__(self) -> "Task":
            return self

        def __exit__(self, *_: object) -> None: ...
        def pull(self) -> Asked:
            TaskIdentity.run_id, TaskIdentity.task_id, TaskIdentity.node_id = 1, 1, 1
            platform = Platform.open(home.folder.platform)
            request = request_for(platform, home.enrolment().federation)
            message = Message(request.to_records(), 5, TRAIN)
            return Asked(
                message=message, run_id=1, node_id=5, bundle_sha256=bundle_sha256(), agent=False
            )

        def alive(self) -> bool:
            return True

        def push(self, asked: Asked, reply: Message) -> None:
            self.pushed = reply

    class Api:
        def __init__(self) -> None:
            self.task = Task()

        def claim(self) -> Task:
            return self.task

    api, gate = Api(), home.gate()
    gate.now = lambda: datetime(2026, 11, 25, 12, 0)
    executor = Executor(
        api,  # type: ignore[arg-type]
        gate,
        Refusals(home.folder.state / "refusals.jsonl"),
        folder=home.folder.platform,
        state=home.folder.state,
        name=home.name,
        before_training=lambda: before_training(home),
    )
    try:
        opt_out(home, live, "c5")
        assert executor.step()
        assert api.task.pushed is not None
        assert kind_of(api.task.pushed.content) == "train-reply"
        TrainReply.from_records(api.task.pushed.content)
        assert name_of(home, "c5") not in trained_on(home)
        assert live.pending() == []
        opt_out(home, live, "c7")
        Lists.of(home).left_out.write_text("damaged\n")
        assert executor.step()
        assert kind_of(api.task.pushed.content) == "refusal"
        refusal = Refusal.from_records(api.task.pushed.content)
        assert "left-out" not in refusal.message
    finally:
        executor.close()
