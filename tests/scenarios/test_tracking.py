"""`simulate --tensorboard`: a small federation really trained, its event files read back."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

Curves = dict[str, list[tuple[int, float]]]


def curves(folder: Path) -> Curves:
    found = EventAccumulator(str(folder)).Reload()
    return {
        tag: [(one.step, one.value) for one in found.Scalars(tag)]
        for tag in found.Tags()["scalars"]
    }


def lines(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "rounds.jsonl").read_text().splitlines()]


def test_a_simulation_is_tracked(place) -> None:
    place.without("news")
    run = place.folder / "run"
    done = place.simulate("run", "--rounds", 2, "--tensorboard")
    assert done.exit_code == 0, done.stderr
    assert "written" not in done.stderr  # no warning
    board, kept = curves(run / "tensorboard"), lines(run)
    for name in ("shop", "films"):
        for key in ("epsilon", "uplink_bytes", "update_norm"):
            assert board[f"{key}/{name}"] == [
                (line["round"], pytest.approx(value, rel=1e-6))
                for line in kept
                if (value := line["platforms"][name][key]) is not None
            ]
    assert [step for step, _ in board["round/seconds"]] == [0, 1, 2]
    assert not any("ndcg" in tag for tag in board)  # a coordinator's scalars, and nothing else
    # what only a simulation knows, under its own name
    quality, summary = (
        curves(run / "tensorboard" / "quality"),
        json.loads((run / "summary.json").read_text()),
    )
    for name in ("shop", "films"):
        for metric in ("ndcg@10", "hit@10"):
            test = summary["platforms"][name]["systems"]["federated"][metric]
            assert quality[f"test/{name}/federated/{metric}"] == [
                (2, pytest.approx(test, rel=1e-6))
            ]
            assert quality[f"validation/{name}/federated/{metric}"] == [
                (
                    line["round"],
                    pytest.approx(line["validation"][name]["federated"][metric], rel=1e-6),
                )
                for line in kept
            ]
    # gone on with, nothing is there twice
    again = place.call("simulate", "--resume", "--out", run, "--tensorboard")
    assert again.exit_code == 0, again.stderr
    assert curves(run / "tensorboard") == board
    assert curves(run / "tensorboard" / "quality") == quality


def test_without_the_flag_there_is_no_file(place) -> None:
    place.without("news", "films")
    done = place.simulate("run", "--rounds", 1)
    assert done.exit_code == 0, done.stderr
    run = place.folder / "run"
    assert not (run / "tensorboard").exists()
    # asked for afterwards, the rounds are caught up with
    later = place.call("simulate", "--resume", "--out", run, "--tensorboard")
    assert later.exit_code == 0, later.stderr
    assert [step for step, _ in curves(run / "tensorboard")["round/seconds"]] == [0, 1]


def test_without_tensorboard_nothing_is_begun(place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    done = place.simulate("run", "--tensorboard")
    assert done.exit_code == 2
    assert "pip install 'fedinterest[tensorboard]'" in " ".join(done.stderr.split())
    assert "--tensorboard" in done.stderr
    assert not (place.folder / "run").exists()
