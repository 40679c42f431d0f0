"""JSON lines: fields on a list, free text of our own loggers only, no trace of an exception."""

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.operations.logs import FIELDS, MAX_TEXT, allowed, event, start_logging

SECRET = "user-4711"


@pytest.fixture
def lines() -> Iterator[Any]:
    """What is logged from here on, parsed."""
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    flower = logging.getLogger("flwr")
    known = flower.handlers[:], flower.propagate, flower.level
    stream = io.StringIO()
    start_logging(stream, level=logging.DEBUG)
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    root.handlers[:] = before
    root.setLevel(level)
    logging.getLogger("fedinterest").setLevel(logging.NOTSET)
    flower.handlers[:], flower.propagate = known[:2]
    flower.setLevel(known[2])


def test_an_event_keeps_the_fields_of_the_list_and_drops_the_rest(lines: Any) -> None:
    log = logging.getLogger("fedinterest.test")
    event(log, "round", round=3, seconds=1.5, user_id=SECRET, events=[SECRET], platform="shop")
    (line,) = lines()
    assert line.pop("time").endswith("Z")
    assert line == {
        "level": "info",
        "logger": "fedinterest.test",
        "event": "round",
        "round": 3,
        "seconds": 1.5,
        "platform": "shop",
    }


def test_a_value_of_another_type_is_dropped() -> None:
    assert allowed({"round": "3", "platform": 3, "seconds": True, "reason": ["a"]}) == {}


def test_text_is_one_line_and_short() -> None:
    kept = allowed({"reason": "a\nb\x1b[31m" + "c" * 1000})
    assert kept["reason"].startswith("a b [31mccc")
    assert len(kept["reason"]) == MAX_TEXT


def test_of_others_records_no_text_is_kept(lines: Any) -> None:
    logging.getLogger("some.library").error("cannot parse %s", SECRET)
    (line,) = lines()
    assert (line["logger"], line["level"], line["event"]) == ("some.library", "error", "foreign")
    assert SECRET not in json.dumps(line)


def test_of_others_only_warnings_are_worth_a_line(lines: Any) -> None:
    """They set levels of their own, whenever they are imported."""
    flower = logging.getLogger("flwr")
    flower.setLevel(logging.DEBUG)
    flower.debug("connected")
    flower.warning("lost")
    logging.getLogger("fedinterest.test").info("one of ours")
    assert [line["logger"] for line in lines()] == ["flwr", "fedinterest.test"]


def test_of_an_exception_its_type_is_kept(lines: Any) -> None:
    try:
        raise KeyError(SECRET)
    except KeyError:
        logging.getLogger("fedinterest.test").exception("shop failed")
    (line,) = lines()
    assert (line["message"], line["error"]) == ("shop failed", "KeyError")
    assert SECRET not in json.dumps(line)


def test_flower_prints_nothing_by_itself(lines: Any, capsys: pytest.CaptureFixture[str]) -> None:
    logging.getLogger("flwr").error("text with %s", SECRET)
    assert SECRET not in "".join(capsys.readouterr())
    assert [line["event"] for line in lines()] == ["foreign"]


NAMES = st.sampled_from(sorted(FIELDS)) | st.text(min_size=1, max_size=8)
VALUES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()


@given(st.dictionaries(NAMES, VALUES | st.lists(VALUES, max_size=2), max_size=5))
def test_whatever_is_passed_only_listed_fields_come_out(fields: dict[str, Any]) -> None:
    kept = allowed(fields)
    assert set(kept) <= set(FIELDS) & set(fields)
    for name, value in kept.items():
        assert type(value) in FIELDS[name]
        assert not isinstance(value, str) or (value.isprintable() and len(value) <= MAX_TEXT)
