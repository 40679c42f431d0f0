"""rounds.jsonl is whole at every moment, and its rounds are in order."""

import json
from pathlib import Path

import pytest

from server.rounds.log import Event, RoundLog, listening, tell
from shared.errors import RunError


def test_append_truncate_annotate(tmp_path: Path) -> None:
    log = RoundLog(tmp_path / "rounds.jsonl")
    assert log.lines() == []
    for round_ in range(4):
        log.append({"round": round_, "seconds": 0.5})
    log.annotate(2, validation={"films": 1})
    log.truncate(2)
    log.truncate(9)  # nothing to drop
    assert log.lines() == [
        {"round": 0, "seconds": 0.5},
        {"round": 1, "seconds": 0.5},
        {"round": 2, "seconds": 0.5, "validation": {"films": 1}},
    ]
    assert [json.loads(line)["round"] for line in log.path.read_text().splitlines()] == [0, 1, 2]
    log.truncate(-1)
    assert log.lines() == []
    with pytest.raises(RunError, match="line of round 0"):
        log.annotate(0, validation={})


@pytest.mark.parametrize("text", ["{", "[]\n", '{"round": 1}\n', '{"round": 0}\n{"round": 2}\n'])
def test_a_foreign_file_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "rounds.jsonl"
    path.write_text(text)
    with pytest.raises(RunError, match="rounds in order"):
        RoundLog(path).lines()


def test_listening_ends_with_its_block() -> None:
    heard: list[Event] = []
    event = Event(kind="done", round=1, rounds=1)
    tell(event)
    with listening(heard.append):
        tell(event)
        with listening(None):
            tell(event)
        tell(event)
    tell(event)
    assert heard == [event, event]
