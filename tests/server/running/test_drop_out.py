"""A hundred rounds in which each partner's machine dies with a chance of one in five a round.

Two of three must answer.  No round hangs, none is left out, and what was learned is what the
record says.  Some minutes: `.venv/bin/pytest -m slow tests/server/running/test_drop_out.py`
"""

import json
import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from server.rounds.log import RoundLog
from server.running.runs import next_run
from shared.processes import Supervisor
from tests.server.running.test_conductor import NAMES, Deployment

ROUNDS, CHANCE, TIMEOUT_S = 100, 0.2, 15


@pytest.mark.slow
def test_a_hundred_rounds_with_a_fifth_of_the_partners_dropping_out(tmp_path: Path) -> None:
    place = Deployment(tmp_path / "coordinator", timeout_s=TIMEOUT_S)
    toml = place.path / "server.toml"
    text = toml.read_text().replace("rounds = 3", f"rounds = {ROUNDS}")
    toml.write_text(text.replace("[server]", "[server]\nmin_platforms = 2\nmax_attempts = 20"))
    place.folder = type(place.folder)(place.path)
    run = next_run(place.folder)
    assert run is not None
    nodes = [place.node(name) for name in NAMES]
    supervisor = Supervisor(
        [place.superlink(), *nodes, place.conductor(run)], place.path / "state" / "processes.json"
    )
    rng, killed, seen = np.random.default_rng(0), 0, 0
    log = RoundLog(run.path / "rounds.jsonl")
    progress = time.monotonic()
    try:
        while (code := supervisor.poll()) is None:
            done = len(log.lines())
            if done > seen:
                seen, progress = done, time.monotonic()
                for name in NAMES:
                    pid = supervisor.pid(name)
                    if rng.random() < CHANCE and pid:
                        os.kill(pid, signal.SIGKILL)
                        killed += 1
            # a round that must be asked again may take a second deadline, and machines come back
            assert time.monotonic() - progress < 4 * TIMEOUT_S, place.logs()
            time.sleep(0.05)
    finally:
        supervisor.stop()
    assert code == 0, place.logs()
    lines = log.lines()
    assert [line["round"] for line in lines] == list(range(ROUNDS + 1))
    answers = [
        sum(one["outcome"] == "accepted" for one in line["platforms"].values())
        for line in lines[1:]
    ]
    assert min(answers) >= 2
    assert killed > 20
    seconds = [line["seconds"] for line in lines[1:]]
    print(json.dumps({
        "killed": killed, "answers": sum(answers), "of": ROUNDS * len(NAMES),
        "median_s": float(np.median(seconds)), "max_s": max(seconds),
    }))  # fmt: skip
