"""Toy platforms, the real rounds, and trackers that listen to them."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from server.app import train
from server.rounds.log import listening
from server.tracking.tracker import Tracker, Tracking
from simulations.engines.inprocess import InProcessGrid

NAMES = ("shop", "films", "news")
Train = Callable[..., None]


@pytest.fixture
def trained(federation: Any) -> Train:
    """Call it to train the federation, or to go on with it, while trackers listen."""

    def run(*trackers: Tracker, nodes: Sequence[str] = NAMES) -> None:
        folders = {name: federation.folder / "platforms" / name for name in nodes}
        grid = InProcessGrid(federation.app(), folders, run_folder=federation.folder, threads=1)
        with listening(Tracking(federation.folder, trackers).hear):
            train(federation.folder, grid)

    return run


@pytest.fixture
def expected(federation: Any) -> Callable[[], dict[str, list[tuple[int, float]]]]:
    """Call it for the curves that rounds.jsonl holds: name -> (round, value)."""

    def read() -> dict[str, list[tuple[int, float]]]:
        curves: dict[str, list[tuple[int, float]]] = {}
        for line in federation.lines():
            step, platforms = line["round"], line["platforms"]
            curves.setdefault("round/seconds", []).append((step, line["seconds"]))
            answered = sum(entry["answered"] for entry in platforms.values())
            curves.setdefault("round/answered", []).append((step, answered))
            for name, entry in platforms.items():
                for key in ("epsilon", "update_norm", "uplink_bytes", "downlink_bytes", "answered"):
                    if entry[key] is not None:
                        curves.setdefault(f"{key}/{name}", []).append((step, float(entry[key])))
        return curves

    return read


@pytest.fixture
def interrupted(federation: Any, trained: Train) -> Callable[..., None]:
    """Call it to train up to round 1 and then to stop, as after a crash of everything."""

    def run(*trackers: Tracker) -> None:
        def films(asked: Any) -> Any:
            if asked.round == 2:
                raise KeyboardInterrupt
            return federation.good("films", asked).to_records()

        federation.answers["films"] = films
        with pytest.raises(KeyboardInterrupt):
            trained(*trackers)
        del federation.answers["films"]

    return run
