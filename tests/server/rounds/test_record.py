"""The coordinator's record: what of a line is signed, and whose keys are known.

What a round leaves, and what a crash leaves, is in test_strategy.py.
"""

import hashlib

from server.rounds.record import known_keys, line_sha256


def test_a_line_is_signed_as_it_was_first_written() -> None:
    line = {"round": 1, "seconds": 0.5, "platforms": {}}
    text = b'{"platforms":{},"round":1,"seconds":0.5}'
    assert line_sha256(line) == hashlib.sha256(text).hexdigest()
    assert line_sha256({**line, "validation": {"shop": 1}}) == line_sha256(line)
    assert line_sha256({**line, "seconds": 0.6}) != line_sha256(line)


def test_the_first_key_that_a_platform_shows_is_its_key() -> None:
    lines = [
        {"platforms": {"shop": {"key": None}, "films": {"key": "f"}}},
        {"platforms": {"shop": {"key": "s"}, "films": {"key": "other"}}},
        {"platforms": {"shop": {"key": "t"}, "news": {}}},  # a line of before the record
    ]
    assert known_keys(lines) == {"films": "f", "shop": "s"}
