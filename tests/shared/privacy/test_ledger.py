"""The ledger: nothing acknowledged is ever forgotten, and damage is named."""

import errno
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
)

import shared.files
from shared.errors import AccountantError, BudgetExhausted, LedgerError, StorageError
from shared.privacy import ledger as ledger_module
from shared.privacy.accountant import Charge, epsilon
from shared.privacy.ledger import Entry, Ledger, read_ledger

TERMS = (0.05, 2.0)


def opened(path: Path, budget: float = 8.0) -> Ledger:
    return Ledger.open(path, platform="shop", epsilon=budget, delta=1e-5)


def steps_on(path: Path) -> set[tuple[str, int]]:
    return {(entry.request, entry.step) for entry in read_ledger(path).entries}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger" / "shop.jsonl"


@pytest.fixture
def filled(path: Path) -> Path:
    """A header and 2 + 1 + 3 steps."""
    with opened(path) as ledger:
        ledger.charge_many(1, range(2), "aa", *TERMS)
        ledger.charge(2, 0, "bb", 0.1, 3.0)
        ledger.charge_many(3, range(3), "cc", *TERMS)
    return path


# --- what it keeps ---------------------------------------------------------------------------


def test_the_file_is_readable_by_anybody(filled: Path) -> None:
    lines = [json.loads(line) for line in filled.read_text().splitlines()]
    assert lines[0] == {
        "seq": 0,
        "prev": "0" * 64,
        "version": 1,
        "platform": "shop",
        "epsilon": 8.0,
        "delta": 1e-5,
        "unit": "one user of this platform, all their events",
        "adjacency": "add or remove one user",
        "hash": lines[0]["hash"],
    }
    assert lines[3] == {
        "seq": 3,
        "prev": lines[2]["hash"],
        "round": 2,
        "step": 0,
        "request": "bb",
        "sample_rate": 0.1,
        "noise_multiplier": 3.0,
        "hash": lines[3]["hash"],
    }
    assert len(lines) == 7


def test_reopening_remembers(filled: Path) -> None:
    with opened(filled) as ledger:
        assert ledger.charged("aa") == {0, 1}
        assert ledger.charged("bb") == {0}
        assert ledger.charged("dd") == set()
        assert ledger.charges() == [Charge(0.05, 2.0, 5), Charge(0.1, 3.0, 1)]
        assert ledger.epsilon() == epsilon(ledger.charges(), 1e-5)
        assert ledger.recovered == 0
        head = ledger.head
    record = read_ledger(filled)
    assert record.entries[2] == Entry(2, 0, "bb", 0.1, 3.0)
    assert record.spent() == epsilon([Charge(0.05, 2.0, 5), Charge(0.1, 3.0)], 1e-5)
    assert record.head == head
    assert (record.platform, record.epsilon, record.delta) == ("shop", 8.0, 1e-5)


def test_replays_are_free_and_say_so(path: Path) -> None:
    with opened(path) as ledger:
        assert ledger.charge(1, 0, "aa", *TERMS) is True
        assert ledger.charge(1, 0, "aa", *TERMS) is False
        assert ledger.charge_many(1, range(3), "aa", *TERMS) == (1, 2)
        assert ledger.charge_many(1, [2, 2, 1], "aa", *TERMS) == ()
        assert ledger.charge(1, 0, "bb", *TERMS) is True
        assert ledger.charges() == [Charge(0.05, 2.0, 4)]
        with pytest.raises(LedgerError, match="other constants"):
            ledger.charge(1, 0, "aa", 0.05, 1.9)
    with opened(path) as ledger:
        assert ledger.charge(1, 2, "aa", *TERMS) is False


def test_the_budget_is_kept_to_the_step(path: Path) -> None:
    steps, delta = 30, 1e-5
    budget = epsilon([Charge(*TERMS, steps)], delta)
    with opened(path, budget) as ledger:
        assert ledger.can_afford(Charge(*TERMS, steps))
        assert not ledger.can_afford(Charge(*TERMS, steps + 1))
        with pytest.raises(BudgetExhausted) as error:
            ledger.charge_many(1, range(steps + 1), "aa", *TERMS)
        assert error.value.exit_code == 8
        assert ledger.charges() == []  # none of them, not some
        assert len(ledger.charge_many(1, range(steps), "aa", *TERMS)) == steps
        assert ledger.epsilon() == budget
        with pytest.raises(BudgetExhausted, match="1 more steps"):
            ledger.charge(2, 0, "bb", *TERMS)
        assert ledger.charge_many(1, range(steps), "aa", *TERMS) == ()  # a replay still may
    assert len(read_ledger(path).entries) == steps


@pytest.mark.parametrize(("budget", "delta"), [(0.0, 1e-5), (float("inf"), 1e-5), (1.0, 0.0)])
def test_promises_nobody_can_keep(path: Path, budget: float, delta: float) -> None:
    with pytest.raises(AccountantError):
        Ledger.open(path, platform="shop", epsilon=budget, delta=delta)
    assert not path.exists()


@pytest.mark.parametrize(
    "changes", [{"platform": "films"}, {"epsilon": 9.0}, {"epsilon": 7.0}, {"delta": 1e-6}]
)
def test_another_promise_needs_another_ledger(filled: Path, changes: dict[str, Any]) -> None:
    with pytest.raises(LedgerError, match="promise on record"):
        Ledger.open(filled, **{"platform": "shop", "epsilon": 8.0, "delta": 1e-5} | changes)


def test_one_spender_at_a_time(path: Path) -> None:
    code = (
        "import sys, pathlib\nfrom shared.privacy.ledger import Ledger\n"
        "from shared.errors import LedgerError\n"
        "try:\n Ledger.open(pathlib.Path(sys.argv[1]), platform='shop', epsilon=8.0, delta=1e-5)\n"
        "except LedgerError as error:\n print(error); sys.exit(error.exit_code)\n"
    )
    with opened(path):
        with pytest.raises(LedgerError, match="locked"):
            opened(path)
        other = subprocess.run(
            [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=False
        )
        assert other.returncode == 9
        assert "locked by another process" in other.stdout
    opened(path).close()


def test_a_closed_ledger_charges_nothing(path: Path) -> None:
    ledger = opened(path)
    ledger.close()
    ledger.close()
    with pytest.raises(LedgerError, match="closed"):
        ledger.charge(1, 0, "aa", *TERMS)


def test_a_missing_ledger_is_named(path: Path) -> None:
    with pytest.raises(LedgerError, match="no file"):
        read_ledger(path)


# --- damage ----------------------------------------------------------------------------------


def damaged_line(path: Path) -> str:
    with pytest.raises(LedgerError) as error:
        opened(path)
    with pytest.raises(LedgerError) as again:
        read_ledger(path)
    assert again.value.where == error.value.where
    assert error.value.exit_code == 9
    return error.value.where.removeprefix(str(path)).strip()


Lines = list[bytes]
EDITS: dict[str, tuple[Callable[[Lines], Lines], str]] = {
    "first dropped": (lambda ls: ls[1:], "line 1"),
    "middle dropped": (lambda ls: ls[:2] + ls[3:], "line 3"),
    "two dropped": (lambda ls: ls[:2] + ls[4:], "line 3"),
    "swapped": (lambda ls: [*ls[:2], ls[3], ls[2], *ls[4:]], "line 3"),
    "repeated": (lambda ls: [*ls[:3], ls[2], *ls[3:]], "line 4"),
    "settled cut off": (lambda ls: ls[:2], "line 3"),
    "pending one dropped": (lambda ls: [*ls[:4], ls[5], ls[6]], "line 5"),
    "pending swapped": (lambda ls: [*ls[:4], ls[5], ls[4], ls[6]], "line 5"),
    "added": (lambda ls: [*ls, ls[-1]], "line 8"),
    "promise raised": (lambda ls: [ls[0].replace(b"8.0", b"9.0"), *ls[1:]], "line 1"),
    "noise raised": (lambda ls: [*ls[:3], ls[3].replace(b"3.0", b"4.0"), *ls[4:]], "line 4"),
    "last edited": (lambda ls: [*ls[:6], ls[6].replace(b"2.0", b"3.0")], "line 7"),
    "blank line": (lambda ls: [*ls[:2], b"", *ls[2:]], "line 3"),
    "emptied": (lambda ls: [], "line 1"),
}


@pytest.mark.parametrize("name", EDITS)
def test_damage_is_named(filled: Path, name: str) -> None:
    edit, line = EDITS[name]
    lines = edit(filled.read_bytes().split(b"\n")[:-1])
    filled.write_bytes(b"".join(part + b"\n" for part in lines))
    before = filled.read_bytes()
    assert damaged_line(filled) == line
    assert filled.read_bytes() == before  # evidence is not touched


def test_every_changed_byte_is_noticed(filled: Path) -> None:
    whole = filled.read_bytes()
    for place in range(0, len(whole), 7):
        changed = bytearray(whole)
        changed[place] ^= 1
        filled.write_bytes(bytes(changed))
        number = whole[:place].count(b"\n") + 1
        assert damaged_line(filled) == f"line {number}", place


def test_a_missing_or_foreign_head(filled: Path) -> None:
    head = filled.with_name("shop.jsonl.head")
    content = head.read_bytes()
    head.unlink()
    with pytest.raises(LedgerError, match=r"\.head"):
        opened(filled)
    head.write_bytes(content[:-5])
    with pytest.raises(LedgerError, match="head"):
        opened(filled)
    head.write_bytes(content.replace(b'"lines": 4', b'"lines": 3'))
    with pytest.raises(LedgerError, match="knows"):
        opened(filled)
    head.write_bytes(content)
    filled.unlink()
    with pytest.raises(LedgerError, match="cut off"):
        opened(filled)


def test_another_version(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(ledger_module, "VERSION", 2)
        with pytest.raises(LedgerError, match="version 1"):
            opened(path)


def test_a_file_changed_behind_our_back(path: Path) -> None:
    with opened(path) as ledger:
        with path.open("ab") as other:
            other.write(b"{}\n")
        with pytest.raises(LedgerError, match="somebody else"):
            ledger.charge(1, 0, "aa", *TERMS)


# --- crashes ---------------------------------------------------------------------------------


def test_truncation_at_every_byte(filled: Path) -> None:
    """Bytes of the last append come back from the head; anything earlier is a named error."""
    whole = filled.read_bytes()
    settled = json.loads(filled.with_name("shop.jsonl.head").read_bytes())["size"]
    everything = steps_on(filled)
    for length in reversed(range(len(whole))):
        os.truncate(filled, length)  # of what is whole, or begins as it
        if length < settled:
            line = whole[:length].count(b"\n") + 1
            assert damaged_line(filled) == f"line {line}"
        else:
            assert steps_on(filled) == everything  # also for a reader that repairs nothing
            assert filled.stat().st_size == length
            if length % 5:  # opening is slow, because it makes the repair durable
                continue
            with opened(filled) as ledger:
                assert ledger.recovered == 3
            assert filled.read_bytes() == whole


def test_zeros_after_a_power_cut(filled: Path) -> None:
    whole = filled.read_bytes()
    settled = json.loads(filled.with_name("shop.jsonl.head").read_bytes())["size"]
    for place in range(settled, len(whole), 97):
        filled.write_bytes(whole[:place] + bytes(len(whole) - place))
        with opened(filled) as ledger:
            assert ledger.charged("cc") == {0, 1, 2}
        assert filled.read_bytes() == whole


class PowerCut(BaseException):
    """Not an Exception: nothing may catch it and carry on."""


class FaultyDisk:
    """Counts every call that changes the disk; fails the one it is told to.

    A write does the first `torn` share of its bytes before it fails; other calls take place
    before failing when `torn` is over a half.
    """

    def __init__(self, at: int, failure: BaseException, torn: float) -> None:
        self.at, self.failure, self.torn, self.count = at, failure, torn, 0

    def __getattr__(self, name: str) -> Any:
        real = getattr(os, name)
        if name not in ("write", "fsync", "replace", "ftruncate"):
            return real

        def call(*arguments: Any) -> Any:
            self.count += 1
            if self.count != self.at:
                return real(*arguments)
            if name == "write":
                real(arguments[0], arguments[1][: int(len(arguments[1]) * self.torn)])
            elif self.torn > 0.5:
                real(*arguments)  # it happened, and then the power went
            raise self.failure

        return call


def on_disk(monkeypatch: pytest.MonkeyPatch, disk: FaultyDisk) -> None:
    monkeypatch.setattr(ledger_module, "os", disk)
    monkeypatch.setattr(shared.files, "os", disk)
    write = Path.write_bytes

    def faulty_write(path: Path, content: bytes) -> int:
        disk.count += 1
        if disk.count == disk.at:
            write(path, content[: int(len(content) * disk.torn)])
            raise disk.failure
        return write(path, content)

    monkeypatch.setattr(Path, "write_bytes", faulty_write)


def spend(path: Path, done: set[tuple[str, int]]) -> None:
    """A short life; `done` collects what was acknowledged, the moment it was."""
    with opened(path) as ledger:
        for round_ in (1, 2):
            request = f"request {round_}"
            for step in ledger.charge_many(round_, range(2), request, *TERMS):
                done.add((request, step))
            if ledger.charge(round_, 2, request, *TERMS):
                done.add((request, 2))


def failures(make: Callable[[], BaseException]) -> Iterator[tuple[int, float, BaseException]]:
    for at in range(1, 100):
        for torn in (0.0, 0.3, 0.99, 1.0):
            yield at, torn, make()


def test_a_crash_at_every_write_and_fsync(tmp_path: Path) -> None:
    crashes = 0
    for at, torn, failure in failures(PowerCut):
        path = tmp_path / f"{at}-{torn}" / "shop.jsonl"
        acknowledged: set[tuple[str, int]] = set()
        with pytest.MonkeyPatch.context() as patch:
            disk = FaultyDisk(at, failure, torn)
            on_disk(patch, disk)
            try:
                spend(path, acknowledged)
            except PowerCut:
                crashes += 1
        if disk.count < at:
            break
        # The second life crashes too, while it repairs; the third one must cope.
        with pytest.MonkeyPatch.context() as patch:
            on_disk(patch, FaultyDisk(1 + at % 3, PowerCut(), torn))
            try:
                opened(path).close()
            except PowerCut:
                crashes += 1
        with opened(path) as ledger:
            kept = set(ledger._known)
            assert acknowledged <= kept
            assert ledger.epsilon() >= epsilon(
                [Charge(*TERMS, max(1, len(acknowledged)))], 1e-5
            ) or (not acknowledged)
        resumed = set(acknowledged)
        spend(path, resumed)
        everything = {(f"request {r}", s) for r in (1, 2) for s in range(3)}
        assert steps_on(path) == everything
        assert len(read_ledger(path).entries) == 6  # no step twice
    assert at > 20
    assert crashes > 80


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
def test_a_disk_that_refuses_at_every_write(tmp_path: Path, number: int) -> None:
    def refusal() -> OSError:
        return OSError(number, os.strerror(number))

    for at, torn, failure in failures(refusal):
        path = tmp_path / f"{at}-{torn}" / "shop.jsonl"
        acknowledged: set[tuple[str, int]] = set()
        with pytest.MonkeyPatch.context() as patch:
            disk = FaultyDisk(at, failure, torn)
            on_disk(patch, disk)
            raised = ""
            try:
                spend(path, acknowledged)
            except StorageError as error:
                raised = str(error)
        if disk.count < at:
            break
        assert ("full disk" in raised) == (number == errno.ENOSPC)
        assert raised
        with opened(path) as ledger:
            assert acknowledged <= set(ledger._known)
            # Whole calls or nothing: 0, 2, 3, 5 or 6 steps, never half a call.
            assert sum(charge.steps for charge in ledger.charges()) in (0, 2, 3, 5, 6)
    assert at > 20


def test_after_a_failure_nothing_more_is_charged(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(path) as ledger:
        with pytest.MonkeyPatch.context() as patch:
            on_disk(patch, FaultyDisk(1, OSError(errno.ENOSPC, "No space left on device"), 0.5))
            with pytest.raises(StorageError, match="full disk"):
                ledger.charge_many(1, range(3), "aa", *TERMS)
        with pytest.raises(LedgerError, match="last write failed"):
            ledger.charge(1, 0, "aa", *TERMS)
    assert read_ledger(path).entries == ()
    with opened(path) as ledger:
        assert ledger.charge_many(1, range(3), "aa", *TERMS) == (0, 1, 2)


def test_a_really_full_disk(tmp_path: Path) -> None:
    """/dev/full refuses every write: the message is the operating system's, not a mock's."""
    if not os.path.exists("/dev/full"):
        pytest.skip("no /dev/full here")
    path = tmp_path / "shop.jsonl"
    ledger = opened(path)
    os.dup2(full := os.open("/dev/full", os.O_WRONLY), ledger._file)
    os.close(full)
    ledger._bytes = 0  # what a device says its size is
    with pytest.raises(StorageError, match="full disk"):
        ledger.charge(1, 0, "aa", *TERMS)
    ledger.close()


def test_sigkill_in_the_middle(tmp_path: Path) -> None:
    """A real process, killed while it charges; what it had printed must be on record."""
    path = tmp_path / "shop.jsonl"
    code = (
        "import sys, pathlib\nfrom shared.privacy.ledger import Ledger\n"
        "path = pathlib.Path(sys.argv[1])\n"
        "ledger = Ledger.open(path, platform='shop', epsilon=8.0, delta=1e-5)\n"
        "for step in range(10**6):\n"
        "    ledger.charge(1, step, 'aa', 0.05, 20.0)\n    print(step, flush=True)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        printed = [int(process.stdout.readline()) for _ in range(8)]
        process.kill()
        printed += [int(line) for line in process.stdout.read().splitlines()]
    with opened(path) as ledger:
        assert set(printed) <= ledger.charged("aa") <= set(range(len(printed) + 1))


# --- any sequence of events ------------------------------------------------------------------


class LedgerLife(RuleBasedStateMachine):
    """Charges, replays, crashes and reopenings in any order, against a set in memory."""

    @initialize()
    def start(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.path = self.folder / "shop.jsonl"
        self.ledger = opened(self.path)
        self.acknowledged: set[tuple[str, int]] = set()
        self.attempted: set[tuple[str, int]] = set()

    @rule(
        request=st.sampled_from("abc"),
        steps=st.lists(st.integers(0, 5), max_size=4),
    )
    def charge(self, request: str, steps: list[int]) -> None:
        fresh = self.ledger.charge_many(1, steps, request, 0.05, 20.0)
        assert set(fresh) <= set(steps)
        assert not {(request, step) for step in fresh} & self.acknowledged
        self.acknowledged |= {(request, step) for step in steps}
        self.attempted |= self.acknowledged

    @rule(
        request=st.sampled_from("abc"),
        steps=st.lists(st.integers(0, 5), min_size=1, max_size=4),
        at=st.integers(1, 8),
        torn=st.floats(0, 1),
    )
    def crash(self, request: str, steps: list[int], at: int, torn: float) -> None:
        with pytest.MonkeyPatch.context() as patch:
            on_disk(patch, FaultyDisk(at, PowerCut(), torn))
            try:
                self.ledger.charge_many(1, steps, request, 0.05, 20.0)
                self.acknowledged |= {(request, step) for step in steps}
            except PowerCut:
                pass
        self.attempted |= {(request, step) for step in steps}
        self.reopen()

    @rule()
    def reopen(self) -> None:
        self.ledger.close()
        self.ledger = opened(self.path)

    @invariant()
    def never_below_what_was_acknowledged(self) -> None:
        known = {(r, s) for r in "abc" for s in self.ledger.charged(r)}
        assert self.acknowledged <= known <= self.attempted
        assert sum(charge.steps for charge in self.ledger.charges()) == len(known)
        assert steps_on(self.path) == known
        self.acknowledged = known

    def teardown(self) -> None:
        if hasattr(self, "ledger"):
            self.ledger.close()
            shutil.rmtree(self.folder)


TestLedgerLife = LedgerLife.TestCase
TestLedgerLife.settings = settings(max_examples=12, stateful_step_count=10, deadline=None)


@settings(max_examples=60, deadline=None)
@given(garbage=st.binary(max_size=200))
def test_garbage_is_a_ledger_error(
    tmp_path_factory: pytest.TempPathFactory, garbage: bytes
) -> None:
    path = tmp_path_factory.mktemp("garbage") / "shop.jsonl"
    opened(path).close()
    with path.open("ab") as file:
        file.write(garbage)
    if garbage.strip(b"\0"):
        with pytest.raises(LedgerError):
            opened(path)
    else:
        opened(path).close()
    path.write_bytes(garbage)
    path.with_name("shop.jsonl.head").write_bytes(garbage)
    with pytest.raises(LedgerError):
        opened(path)


@given(st.integers(1, 10**6))
def test_rounder_numbers_of_steps(steps: int) -> None:
    """Never fewer, at most a quarter more, and few of them: eight between two powers of two."""
    from shared.privacy.ledger import _rounded_up

    rounder = _rounded_up(Charge(0.5, 1.0, steps)).steps
    assert steps <= rounder <= max(steps * 1.25, steps)
    assert rounder % (1 << max(0, steps.bit_length() - 3)) == 0


def test_the_last_step_of_a_promise_is_affordable_and_no_more(tmp_path: Path) -> None:
    """43 steps: rounded up they would be 48, which the promise does not cover."""
    delta = 1e-5
    budget = epsilon([Charge(0.5, 3.0, 43)], delta)
    with Ledger.open(tmp_path / "l.jsonl", platform="films", epsilon=budget, delta=delta) as ledger:
        for round_ in range(43):
            ledger.charge(round_, 0, f"{round_:064x}", 0.5, 3.0)
        with pytest.raises(BudgetExhausted):
            ledger.charge(43, 0, f"{43:064x}", 0.5, 3.0)
        assert ledger.epsilon() == budget
