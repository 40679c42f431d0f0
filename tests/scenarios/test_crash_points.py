"""A deployment is killed at thirty points, and ends where an unbroken simulation ends.

Six programs are killed in every run, each in a round of its own, at one of five moments after that
round's beginning; so each moment is one test and has six points.  Run them with

    .venv/bin/pytest -m slow tests/scenarios/test_crash_points.py
"""

import os
import signal
import time
from pathlib import Path

import pytest

from tests.scenarios.deployed import (  # noqa: F401  a fixture
    POPULATIONS,
    STATUS,
    Place,
    place,
    simulated,
    tiny_federation,
)

pytestmark = pytest.mark.usefixtures("nginx")

MOMENTS_S = (0.0, 0.15, 0.3, 0.6, 1.0)
"""After the line of the round before is on disk: asking, charging, computing, replying, keeping."""

PROGRAMS = (
    ("coordinator", "gateway"),
    ("coordinator", "superlink"),
    ("coordinator", "conductor"),
    ("shop", "supernode"),
    ("films", "executor"),
    ("news", "worker"),
)
ROUNDS = 2 * len(PROGRAMS) + 1


def worker_of(executor: int) -> int | None:
    """The process that computes: the executor's child that came from multiprocessing."""
    for task in Path(f"/proc/{executor}/task").iterdir():
        for child in (task / "children").read_text().split():
            if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes():
                return int(child)
    return None


def victim(place: Place, who: str, program: str) -> int:  # noqa: F811
    end = time.monotonic() + 60
    while time.monotonic() < end:
        found = place.pid(who, "executor" if program == "worker" else program)
        if found is not None and program == "worker":
            found = worker_of(found)
        if found is not None:
            return found
        time.sleep(0.01)
    raise AssertionError(f"no {program} of {who}")


@pytest.mark.slow
@pytest.mark.parametrize("moment", MOMENTS_S)
def test_whatever_is_killed_the_run_ends_as_if_nothing_had(
    place: Place,  # noqa: F811
    moment: float,
) -> None:
    tiny_federation(place, rounds=ROUNDS)
    place.start("fedinterest-server up coordinator")
    for name in POPULATIONS:
        place.start(f"fedinterest-client up {name}")
    for number, (who, program) in enumerate(PROGRAMS):
        place.wait_for_round(2 * number + 1)
        time.sleep(moment)
        os.kill(victim(place, who, program), signal.SIGKILL)
    place.until(STATUS, f"round {ROUNDS} of {ROUNDS}, finished", 400)
    for name in POPULATIONS:
        # nothing was charged twice: a repeated request is answered from the same randomness
        said = place.call(f"fedinterest-client budget {name}")
        assert f"{2 * ROUNDS} of {2 * ROUNDS} steps in {ROUNDS} rounds" in said
    adapters = [line["adapter_sha256"] for line in place.lines()]
    place.end()
    assert adapters == simulated(place, rounds=ROUNDS)


@pytest.mark.slow
def test_stop_ends_everything_and_nothing_is_sent_afterwards(place: Place) -> None:  # noqa: F811
    tiny_federation(place, rounds=30)
    place.start("fedinterest-server up coordinator")
    for name in POPULATIONS:
        place.start(f"fedinterest-client up {name}")
    place.wait_for_round(2)
    began = time.monotonic()
    place.call("fedinterest-client stop shop")
    assert time.monotonic() - began < 5 + 2  # and what the command itself needs to start
    accepted = [line["platforms"]["shop"]["outcome"] for line in place.lines()[1:]]
    rounds = len(accepted)
    time.sleep(3)
    later = place.lines()[1 + rounds :]
    assert all(line["platforms"]["shop"]["outcome"] != "accepted" for line in later)
    assert place.pid("shop", "executor") is None
