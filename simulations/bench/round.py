"""What a deployed round costs beside its training.

A coordinator and three partners, as processes of their own and as people would start them, train
on batches that are nearly always empty.  What is left of a round's time is messages: through
SuperLink, the gateway, the sidecars, the SuperNodes and the executors, and back.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from server.rounds.log import RoundLog
from shared.errors import RunError
from simulations.worlds import write_demo_world

SCALE = 0.02  # of the demo's users: some fifty on each platform
PARTNERS = {
    "bazaar": ("orders.csv", "products.csv", ()),
    "tempo": (
        "plays.jsonl",
        "tracks.jsonl",
        ("--user", "listener", "--item", "track", "--time", "ts", "--time-unit", "ms"),
    ),
    "herald": (
        "reads.parquet",
        "articles.parquet",
        ("--user", "reader", "--item", "article", "--time", "read_at", "--title", "headline"),
    ),
}
_PATIENCE_S = 300.0


def run_round_bench(rounds: int) -> dict[str, Any]:
    """Train `rounds` rounds; {"rounds", "partners", "median_s", "max_s", "first_s"}.

    The first round is counted apart: each executor's worker reads its platform in it.

    Raises:
        ConfigError: nginx is missing.
        RunError: a program failed; its words are in the message.
    """
    with tempfile.TemporaryDirectory(prefix="fedinterest-round-") as name:
        lines = _train(Path(name), rounds)
    seconds = [float(line["seconds"]) for line in lines if line["round"] > 0]
    later = seconds[1:] or seconds
    return {
        "rounds": rounds,
        "partners": len(PARTNERS),
        "median_s": round(statistics.median(later), 3),
        "max_s": round(max(later), 3),
        "first_s": round(seconds[0], 3),
    }


def _train(home: Path, rounds: int) -> list[dict[str, Any]]:
    from clients.node.up import free_port
    from shared.nginx import find_nginx

    find_nginx()  # said before anything is made
    write_demo_world(home / "logs", scale=SCALE)
    address = f"localhost:{free_port()}"
    _call(home, "server", "init", "coordinator", "--address", address)
    toml = home / "coordinator" / "server.toml"
    text = toml.read_text(encoding="utf-8").replace("partners = 2 ", f"partners = {len(PARTNERS)} ")
    text = text.replace(
        "# rounds = 48 ", f"rounds = {rounds}\nnegatives = 1\nlearning_rate = 1e-3 "
    )
    toml.write_text(text.replace("# sample_rate = 0.5", "sample_rate = 0.001"), encoding="utf-8")
    for name, (events, items, columns) in PARTNERS.items():
        logs = home / "logs" / name
        files = ("--events", str(logs / events), "--items", str(logs / items))
        _call(home, "client", "init", name, *files, *columns, "--yes")
        request, answer = f"{name}/request.json", f"{name}/answer.json"
        _call(home, "server", "enrol", name, request, "--dir", "coordinator", "--out", answer)
        enrolment = ("--enrolment", answer, "--offline", "--no-rehearsal")
        _call(home, "client", "check", name, *enrolment)
    partners = [_start(home, "client", "up", name, log=name) for name in PARTNERS]
    coordinator = _start(home, "server", "up", "coordinator", "--once", log="coordinator")
    try:
        _wait(home, coordinator, partners)
    finally:
        for process in (coordinator, *partners):
            process.terminate()
        for process in (coordinator, *partners):
            process.wait()
    return list(RoundLog(home / "coordinator" / "runs" / "0001" / "rounds.jsonl").lines())


def _words(side: str, arguments: Sequence[str]) -> list[str]:
    place = {"server": "server.cli", "client": "clients.cli"}[side]
    return [sys.executable, "-m", place, *arguments]


def _environment(home: Path) -> dict[str, str]:
    # One thread each: they share a machine here, and idle threads that spin would be measured.
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    return {**os.environ, **threads, "XDG_STATE_HOME": str(home / "state")}


def _call(home: Path, side: str, *arguments: str) -> None:
    done = subprocess.run(
        _words(side, arguments),
        cwd=home,
        env=_environment(home),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise _failed(" ".join(arguments), done.stderr or done.stdout)


def _start(home: Path, side: str, *arguments: str, log: str) -> "subprocess.Popen[bytes]":
    with (home / f"{log}.log").open("wb") as file:
        return subprocess.Popen(
            _words(side, arguments),
            cwd=home,
            env=_environment(home),
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
        )


def _wait(
    home: Path,
    coordinator: "subprocess.Popen[bytes]",
    partners: Sequence["subprocess.Popen[bytes]"],
) -> None:
    end = time.monotonic() + _PATIENCE_S
    while (code := coordinator.poll()) is None:
        gone = any(process.poll() is not None for process in partners)
        if gone or time.monotonic() > end:
            code = -1
            break
        time.sleep(0.2)
    if code:
        logs = [f"{path.stem}: {path.read_text()[-800:]}" for path in sorted(home.glob("*.log"))]
        raise _failed("the deployment", "\n".join(logs))


def _failed(what: str, words: str) -> RunError:
    return RunError(expected="a run to its end", got=words.strip()[-2000:], where=what)
