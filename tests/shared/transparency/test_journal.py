"""Logs on disk: what is appended is there, through a death at every write, and nothing else is."""

import errno
import os
import stat
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import shared.transparency.journal as module
from shared.errors import RunError, StorageError
from shared.transparency.inspection import inspect
from shared.transparency.journal import Journal, head_path, read
from shared.transparency.keys import SigningKey
from shared.transparency.merkle import consistent, included
from shared.transparency.statement import Charge, PlatformRound

KEY = SigningKey.unsafe(0, "films")
CHARGE = Charge(first=0, entries=1, head="8" * 64)


def release(round_: int) -> Callable[[int, str], PlatformRound]:
    def make(index: int, root: str) -> PlatformRound:
        return PlatformRound(
            platform="films",
            index=index,
            root=root,
            round=round_,
            **dict.fromkeys(("request", "adapter_in", "update", "base", "code"), "1" * 64),
            encoder="",
            policy="2" * 64,
            steps=1,
            sample_rate=0.5,
            noise_multiplier=1.0,
            clip_norm=2.0,
            epsilon=8.0,
            delta=1e-5,
            unsafe_seed=False,
            charge=CHARGE,
        )

    return make


def opened(path: Path, key: SigningKey = KEY, name: str = "films") -> Journal:
    return Journal(path, name=name, key=key)


def filled(path: Path, entries: int) -> Path:
    with opened(path) as journal:
        for round_ in range(len(journal.entries) + 1, entries + 1):
            journal.append(release(round_))
    return path


def rounds(path: Path) -> list[int]:
    return [entry.statement.round for entry in read(path, KEY.public)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "record" / "films.jsonl"


def test_what_is_appended_is_read(path: Path) -> None:
    with opened(path) as journal:
        assert journal.entries == []
        first = journal.append(release(1))
        second = journal.append(release(2))
        assert journal.entries == [first, second]
    with opened(path) as journal:
        assert journal.entries == [first, second]
        third = journal.append(release(3))
    assert read(path, KEY.public) == [first, second, third]
    assert [entry.statement.index for entry in (first, second, third)] == [0, 1, 2]
    assert stat.S_IMODE(path.stat().st_mode) & 0o022 == 0


def test_every_entry_s_root_is_that_of_all_before_it_and_can_be_proven(path: Path) -> None:
    filled(path, 9)
    found = inspect(path.read_bytes(), head_path(path).read_bytes(), name="films", key=KEY.public)
    assert found.head is not None
    head, tree = bytes.fromhex(found.head.root), found.tree
    for entry in found.entries:
        leaf, before = bytes.fromhex(entry.leaf), bytes.fromhex(entry.statement.root)
        assert included(leaf, entry.index, 9, tree.inclusion(entry.index), head)
        if entry.index:
            assert consistent(entry.index, 9, tree.consistency(entry.index), before, head)


def test_a_log_is_one_key_s_and_one_name_s(path: Path) -> None:
    filled(path, 2)
    for wrong in (
        lambda: opened(path, SigningKey.unsafe(1, "films")),
        lambda: opened(path, name="shop"),
        lambda: read(path, SigningKey.unsafe(1, "films").public),
        lambda: read(path.with_name("shop.jsonl"), KEY.public),
    ):
        with pytest.raises(RunError):
            wrong()
    assert rounds(path) == [1, 2]


def test_one_writer_at_a_time(path: Path) -> None:
    with opened(path), pytest.raises(RunError, match="locked by another process"):
        opened(path)
    journal = opened(path)
    journal.close()
    with pytest.raises(RunError, match="a closed one"):
        journal.append(release(1))


class Died(BaseException):
    pass


@pytest.fixture
def dying(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, int], None]:
    """Die before (+) or after (-) the nth durable act, or with part of a line written."""
    state = {"left": 0, "bytes": -1}
    real_bytes, real_write, real_fsync = module.write_bytes, os.write, os.fsync

    def step(act: Callable[..., Any], *args: Any) -> Any:
        if state["left"] > 0:
            state["left"] -= 1
            if state["left"] == 0:
                raise Died
        result = act(*args)
        if state["left"] < 0:
            state["left"] += 1
            if state["left"] == 0:
                raise Died
        return result

    def write(file: int, content: Any) -> int:
        if state["bytes"] >= 0:
            part, state["bytes"] = bytes(content)[: state["bytes"]], -1
            real_write(file, part)
            raise Died
        return step(real_write, file, content)

    monkeypatch.setattr(module, "write_bytes", lambda *args: step(real_bytes, *args))
    monkeypatch.setattr(module.os, "write", write)
    monkeypatch.setattr(module.os, "fsync", lambda file: step(real_fsync, file))

    def arm(left: int, part: int = -1) -> None:
        state["left"], state["bytes"] = left, part

    return arm


@pytest.mark.parametrize("before", [0, 1, 4])
@pytest.mark.parametrize("left", [sign * place for place in range(1, 6) for sign in (1, -1)])
def test_a_death_at_every_write(
    path: Path, dying: Callable[[int], None], before: int, left: int
) -> None:
    """An append is wholly there or not at all, and the log goes on from it."""
    filled(path, before)
    dying(left)
    try:
        with opened(path) as journal:
            journal.append(release(before + 1))
        finished = True
    except Died:
        finished = False
    dying(0)
    with opened(path) as journal:
        kept = len(journal.entries)
        assert kept in ((before + 1,) if finished else (before, before + 1))
    filled(path, before + 2)
    assert rounds(path) == list(range(1, before + 3))


@pytest.mark.parametrize("part", [0, 1, 50, 1000])
@pytest.mark.parametrize("zeros", [0, 200])
def test_a_torn_line_is_known_from_the_head(
    path: Path, dying: Callable[[int, int], None], part: int, zeros: int
) -> None:
    filled(path, 2)
    journal = opened(path)
    dying(0, part)
    with pytest.raises(Died):
        journal.append(release(3))
    with path.open("ab") as file:
        file.write(bytes(zeros))
    with pytest.raises(RunError, match="known from the head"):
        read(path, KEY.public)  # says so, and writes nothing
    filled(path, 4)
    assert rounds(path) == [1, 2, 3, 4]


def test_a_full_disk_is_said_and_loses_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    filled(path, 1)
    with monkeypatch.context() as patch:
        journal = opened(path)
        patch.setattr(module.os, "write", full)
        with pytest.raises(StorageError, match="full disk"):
            journal.append(release(2))
        with pytest.raises(RunError, match="closed"):
            journal.append(release(2))
    filled(path, 3)
    assert rounds(path) == [1, 2, 3]


def spoil_head(path: Path) -> None:
    head_path(path).unlink()


def spoil_line(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b"payload", b"peyload", 1))


def spoil_order(path: Path) -> None:
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([lines[1], lines[0], *lines[2:]]))


def spoil_length(path: Path) -> None:
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:-2]))


def spoil_all(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize("spoil", [spoil_head, spoil_line, spoil_order, spoil_length, spoil_all])
def test_damage_is_not_written_on(path: Path, spoil: Callable[[Path], None]) -> None:
    filled(path, 3)
    spoil(path)
    before = path.read_bytes()
    for use in (lambda: opened(path), lambda: read(path, KEY.public)):
        with pytest.raises(RunError, match="a log as it was signed"):
            use()
    assert path.read_bytes() == before


def test_a_statement_of_somebody_else_is_no_entry(path: Path) -> None:
    with opened(path) as journal:
        journal.append(lambda index, root: replace(release(1)(index, root), platform="shop"))
    with pytest.raises(RunError, match="a statement of another log"):
        read(path, KEY.public)
