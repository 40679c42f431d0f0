"""Runs that are killed, interrupted and resumed: the same adapter, and nothing underspent."""

import json
import os
import random
import signal
import time
from pathlib import Path

import pytest

from shared.privacy.accountant import epsilon as epsilon_of
from shared.privacy.record import read_ledger
from simulations.audits.verify import verify

BUDGET, ROUNDS, STEPS = 8.0, 3, 2


def lines_of(run: Path) -> list[dict]:
    path = run / "rounds.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


def spent(run: Path) -> dict[str, int]:
    """Steps charged by platform, after checking them against what has left the platforms."""
    charged = {}
    for path in sorted((run / "ledger").glob("*.jsonl")):
        if not path.stat().st_size and not path.with_name(f"{path.name}.head").exists():
            charged[path.stem] = 0  # killed while it was being made: no promise in it yet
            assert not lines_of(run)[1:]
            continue
        record = read_ledger(path)
        charges = list(record.charges())
        steps = charged[path.stem] = sum(charge.steps for charge in charges)
        released = sum(line["platforms"][path.stem]["steps"] for line in lines_of(run)[1:])
        assert steps >= released
        promise = json.loads((run / "platforms" / path.stem / "platform.json").read_text())
        assert 0 <= epsilon_of(charges, promise["delta"]) <= BUDGET if charges else steps == 0
    return charged


def whole(run: Path, *, tidy: bool = True) -> str:
    """The adapter's hash of a finished run, in which every step is charged exactly once."""
    summary = json.loads((run / "summary.json").read_text())
    assert set(spent(run).values()) == {ROUNDS * STEPS}
    assert summary["rounds"] == ROUNDS
    for facts in summary["platforms"].values():
        assert facts["steps"] == ROUNDS * STEPS
        assert 0 < facts["epsilon"] <= BUDGET
    assert not (tidy and list(run.rglob(".tmp-*")))
    recorded(run)
    return str(summary["adapter_sha256"])


def recorded(run: Path) -> None:
    """Everything agrees with the signed record, and every round is in it once."""
    result = verify(run)
    assert result["findings"] == result["notes"] == []
    entries = {name: log["entries"] for name, log in result["logs"].items()}
    assert entries == {"shop": ROUNDS, "films": ROUNDS, "coordinator": ROUNDS + 1}


@pytest.fixture(scope="module")
def unbroken(shared_place, warm) -> str:
    shared_place.without("news")  # two platforms: half the time
    shared_place.edit("federation.toml", "rounds = 4", f"rounds = {ROUNDS}")
    run = shared_place.folder / "unbroken"
    warm.account(ROUNDS, ["shop", "films"])
    assert warm.wait(begin(warm, shared_place, run)) == 0
    assert len({line["adapter_sha256"] for line in lines_of(run)}) == ROUNDS + 1
    return whole(run)


def begin(warm, place, run: Path, *more: object, die_at: int = 0) -> int:
    arguments = (place.toml, "--seed", 11, "--out", run, *more)
    return warm.start(place, "simulate", *arguments, die_at=die_at)


def go_on(warm, place, run: Path, die_at: int = 0) -> int:
    return warm.start(place, "simulate", "--resume", "--out", run, die_at=die_at)


def test_the_same_seed_is_the_same_run(unbroken, shared_place, monkeypatch) -> None:
    monkeypatch.setenv("FEDINTEREST_CACHE", str(shared_place.cache))
    result = shared_place.simulate("again", "--seed", 11)
    assert result.exit_code == 0, result.stderr
    assert whole(shared_place.folder / "again") == unbroken
    other = shared_place.simulate("other", "--seed", 12)
    assert other.exit_code == 0, other.stderr
    assert whole(shared_place.folder / "other") != unbroken


def test_killed_again_and_again_at_its_writes(unbroken, shared_place, warm) -> None:
    """Each life ends at a later write: in preparation, in training, in judging and publishing."""
    rng = random.Random(1)
    run = shared_place.folder / "often"
    reached = set()
    process = begin(warm, shared_place, run, die_at=rng.randint(9, 25))
    before: dict[str, int] = {}
    lives = 1
    while (code := warm.wait(process)) == -signal.SIGKILL:
        assert lives < 60, "no life gets further than the one before"
        if (run / "summary.json").exists():  # killed in its very last writes
            whole(run, tidy=False)
        charged = spent(run)
        assert all(charged.get(name, 0) >= steps for name, steps in before.items())
        before = charged
        done = len(lines_of(run))
        reached.add("preparing" if not done else "training" if done <= ROUNDS else "judging")
        process = go_on(warm, shared_place, run, die_at=rng.randint(15, 48))
        lives += 1
    assert code == 0, (shared_place.folder / "stderr.txt").read_text()
    assert lives > 6
    assert reached == {"preparing", "training", "judging"}
    assert whole(run) == unbroken


@pytest.mark.parametrize("sign", ["preparing", "ledger", "line 2", "random"])
def test_killed_from_outside(sign: str, unbroken, shared_place, warm) -> None:
    run = shared_place.folder / f"killed at {sign}"
    process = begin(warm, shared_place, run)
    deadline = time.monotonic() + 60
    signs = {
        "preparing": lambda: (run / "platforms" / "shop").exists(),
        "ledger": lambda: any((run / "ledger").glob("*.jsonl")),
        "line 2": lambda: len(lines_of(run)) >= 2,
        "random": lambda: (run / "run.json").exists(),
    }
    while not signs[sign]():
        assert time.monotonic() < deadline
        time.sleep(0.001)
    rng = random.Random(sign)
    time.sleep(rng.uniform(0, 0.5 if sign == "random" else 0.05))
    os.kill(process, signal.SIGKILL)
    assert warm.wait(process) == -signal.SIGKILL
    spent(run)
    assert warm.wait(go_on(warm, shared_place, run)) == 0
    assert whole(run) == unbroken


def test_ctrl_c_says_how_to_go_on(unbroken, shared_place, warm) -> None:
    run = shared_place.folder / "interrupted"
    process = begin(warm, shared_place, run)
    deadline = time.monotonic() + 60
    while len(lines_of(run)) < 3:
        assert time.monotonic() < deadline
        time.sleep(0.001)
    os.kill(process, signal.SIGINT)
    assert warm.wait(process) == 130
    said = (shared_place.folder / "stderr.txt").read_text()
    assert f"fedinterest simulate --out {run} --resume" in said
    assert "Traceback" not in said
    assert not (run / "summary.json").exists()
    assert warm.wait(go_on(warm, shared_place, run)) == 0
    assert "resuming after round" in (shared_place.folder / "stderr.txt").read_text()
    assert whole(run) == unbroken


def test_a_finished_run_resumed_stays_as_it_is(unbroken, shared_place, warm) -> None:
    run = shared_place.folder / "unbroken"
    ledgers = {path: path.read_bytes() for path in (run / "ledger").iterdir()}
    assert warm.wait(go_on(warm, shared_place, run)) == 0
    assert {path: path.read_bytes() for path in (run / "ledger").iterdir()} == ledgers
    assert whole(run) == unbroken
