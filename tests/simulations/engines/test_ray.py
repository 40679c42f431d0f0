"""Flower's Ray backend gives what the in-process engine gives, bit for bit."""

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from server.rounds.log import Event, RoundLog
from shared.errors import ConfigError
from simulations.engines.inprocess import run_inprocess
from simulations.engines.ray import run_ray

pytestmark = [
    # Ray's own: subprocess handles and sockets that it leaves to the garbage collector.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray"),
]


def told(folder: Path) -> list[dict[str, Any]]:
    return [{**line, "seconds": 0} for line in RoundLog(folder / "rounds.jsonl").lines()]


def test_two_engines_one_result(make_run: Callable[[str], Path]) -> None:
    """And Ctrl-C in the middle of it leaves a run that the other engine finishes."""
    pytest.importorskip("ray")
    single, actors = make_run("single"), make_run("actors")
    run_inprocess(single)
    lines = told(single)
    assert len({line["adapter_sha256"] for line in lines}) == 4  # something was learned
    assert all(entry["answered"] for entry in lines[2]["platforms"].values())
    assert all(0 < entry["epsilon"] < 8 for entry in lines[2]["platforms"].values())

    environment = dict(os.environ)

    def interrupt(event: Event) -> None:
        if event.kind == "round" and event.round == 2:
            os.kill(os.getpid(), signal.SIGINT)

    # A shell that starts us in the background has us ignore SIGINT; here somebody presses Ctrl-C.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            run_ray(actors, on_event=interrupt)
    finally:
        signal.signal(signal.SIGINT, before)
    assert dict(os.environ) == environment
    assert told(actors) == lines[:3]
    events: list[str] = []
    run_inprocess(actors, on_event=lambda event: events.append(event.kind))
    assert events[0] == "resume"
    assert told(actors) == lines


def test_two_runs_in_this_process_are_the_same(make_run: Callable[[str], Path]) -> None:
    first, second = make_run("first"), make_run("second")
    run_inprocess(first)
    run_inprocess(second)
    assert told(first) == told(second)


def test_without_ray_it_says_what_to_install(
    make_run: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.delitem(
        sys.modules, "flwr.server.superlink.fleet.vce.backend.raybackend", raising=False
    )
    with pytest.raises(ConfigError, match=r"pip install 'fedinterest\[ray\]'"):
        run_ray(make_run("run"))
