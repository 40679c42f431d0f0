"""Every random edit of a record is found where it was made.

100,000 of them (6 minutes of processor time), and with another seed of one's own:

    pytest -m slow tests/simulations/audits/test_verify_edits.py
    EDITS_SEED=7 pytest -m slow tests/simulations/audits/test_verify_edits.py
"""

import os
import random

import pytest

from simulations.audits.verify import examine
from tests.simulations.audits.edits import EDITS
from tests.simulations.audits.made_record import Made

SEED = int(os.environ.get("EDITS_SEED", "2"))


def undetected(made: Made, other: Made, count: int, seed: int) -> list[str]:
    """Of `count` random edits, those that were not found, or not where they were made."""
    rng = random.Random(seed)
    missed = []
    for number in range(count):
        kind = EDITS[number % len(EDITS)]
        edit = kind(made, rng, other)
        result = examine(edit.evidence)
        found = {(one["log"], one["entry"]) for one in result["findings"]}
        located = any(
            (log, entry) in found if entry is not None else log in {name for name, _ in found}
            for log, entry in edit.places
        )
        if result["ok"] or not located:
            missed.append(
                f"{kind.__name__}: {edit.what} at {edit.places}: {result['findings'][:3]}"
            )
    return missed


def test_random_edits_are_found_where_they_were_made(made: Made, other: Made) -> None:
    assert undetected(made, other, 100 * len(EDITS), seed=1) == []


@pytest.mark.slow
def test_100_000_random_edits_are_all_found(made: Made, other: Made) -> None:
    assert undetected(made, other, 100_000, seed=SEED) == []


def test_any_byte_that_reads_as_zero_in_the_last_append_is_named_with_its_line(made: Made) -> None:
    """A ledger takes zeros there for a crash and has the lines from its head; they are damage here.

    Random edits found this: a zero in entry 8, or for the end of entry 7, was told of entry 9.
    """
    path = "ledger/shop.jsonl"
    content = made.files[path]
    ends = [at for at, byte in enumerate(content) if byte == ord("\n")]
    assert len(ends) == 9
    last = "entry 8 is known from its head"
    both = "entries 7 to 8 are known from its head"
    for at in [*range(ends[6] + 1, ends[6] + 40), *range(ends[7] - 40, len(content))]:
        spoilt = bytearray(content)
        spoilt[at] = 0
        result = examine(made.changed(**{path: bytes(spoilt)}))
        entry, which = (7, both) if at <= ends[7] else (8, last)
        assert [(one["log"], one["entry"], one["what"]) for one in result["findings"]] == [
            (path, entry, f"not written to its end, or cut off; {which}")
        ]


def test_zeros_behind_a_ledger_are_told_apart_from_lines_that_are_missing(made: Made) -> None:
    path = "ledger/shop.jsonl"
    found = examine(made.changed(**{path: made.files[path] + b"\0\0"}))["findings"]
    assert [(one["entry"], one["what"]) for one in found] == [(9, "zeros behind its last line")]
    cut = made.files[path].rsplit(b"\n", 2)[0] + b"\n"
    found = examine(made.changed(**{path: cut}))["findings"]
    assert [(one["entry"], one["what"]) for one in found] == [
        (8, "not written to its end, or cut off; entry 8 is known from its head")
    ]


@pytest.mark.slow
def test_every_byte_of_a_ledger_as_zero_and_with_every_bit_turned(made: Made) -> None:
    path = "ledger/shop.jsonl"
    content = made.files[path]
    missed = []
    for at in range(len(content)):
        entry = content[:at].count(b"\n")
        for byte in {0, *(content[at] ^ 1 << bit for bit in range(8))}:
            spoilt = bytearray(content)
            spoilt[at] = byte
            findings = examine(made.changed(**{path: bytes(spoilt)}))["findings"]
            if (path, entry) not in {(one["log"], one["entry"]) for one in findings}:
                missed.append((at, byte, entry, findings[:2]))
    assert missed == []
