"""The anchor: through any crash, and any old copy put back, nothing released is ever forgotten."""

import json
import shutil
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clients.spending.anchor import Anchor, Mark, default_path, line_hash
from clients.spending.promises import FILE, Promises
from shared.errors import LedgerError
from shared.privacy.ledger import Ledger, read_ledger
from shared.privacy.record import Record

RATE, NOISE = 0.05, 2.0


def charge(folder: Path, request: str, steps: int = 2) -> None:
    (folder / FILE).write_text(json.dumps({"shop.jsonl": "terms"}))
    with Ledger.open(folder / "shop.jsonl", platform="shop", epsilon=8.0, delta=1e-5) as ledger:
        ledger.charge_many(1, range(steps), request, RATE, NOISE)


def records(folder: Path) -> dict[str, Record]:
    return Promises(folder, "shop").records()


def follow(anchor: Anchor, folder: Path) -> None:
    anchor.follow(folder, records(folder))


@pytest.fixture
def ledgers(tmp_path: Path) -> Path:
    folder = tmp_path / "ledger"
    folder.mkdir()
    return folder


def test_it_follows_the_ledger(tmp_path: Path, ledgers: Path) -> None:
    anchor = Anchor(tmp_path / "elsewhere" / "anchor.json")
    follow(anchor, ledgers)
    assert anchor.marks() == {}
    for number, request in enumerate(("a", "b"), start=1):
        charge(ledgers, request)
        follow(anchor, ledgers)
        found = read_ledger(ledgers / "shop.jsonl")
        assert anchor.marks() == {"shop.jsonl": Mark(1 + 2 * number, found.head)}
    assert oct(anchor.path.stat().st_mode & 0o777) == "0o600"


def test_an_old_copy_is_refused(tmp_path: Path, ledgers: Path) -> None:
    anchor = Anchor(tmp_path / "anchor.json")
    charge(ledgers, "a")
    shutil.copytree(ledgers, tmp_path / "backup")
    charge(ledgers, "b")
    follow(anchor, ledgers)
    shutil.rmtree(ledgers)
    shutil.copytree(tmp_path / "backup", ledgers)
    with pytest.raises(LedgerError, match=r"goes on from 4 charges.*got 2 charges") as caught:
        follow(anchor, ledgers)
    assert "newest" in caught.value.remedy
    # Going on from the old copy does not help: the new line is another one.
    charge(ledgers, "c")
    with pytest.raises(LedgerError, match="other charges in their place"):
        follow(anchor, ledgers)


def test_a_wiped_ledger_is_refused(tmp_path: Path, ledgers: Path) -> None:
    anchor = Anchor(tmp_path / "anchor.json")
    charge(ledgers, "a")
    follow(anchor, ledgers)
    for path in ledgers.iterdir():
        path.unlink()
    with pytest.raises(LedgerError, match="got no ledger"):
        follow(anchor, ledgers)


def test_a_ledger_that_is_ahead_is_right(tmp_path: Path, ledgers: Path) -> None:
    anchor = Anchor(tmp_path / "anchor.json")
    charge(ledgers, "a")
    follow(anchor, ledgers)
    charge(ledgers, "b")  # and a crash before the anchor moved
    anchor.check(ledgers, records(ledgers))
    follow(anchor, ledgers)
    assert anchor.marks()["shop.jsonl"].lines == 5
    anchor.path.unlink()  # its disk was lost
    follow(anchor, ledgers)
    assert anchor.marks()["shop.jsonl"].lines == 5


@pytest.mark.parametrize("damage", ["", "{}", "[]", '{"ledgers": {}}', None])
def test_a_damaged_anchor_permits_nothing(
    tmp_path: Path, ledgers: Path, damage: str | None
) -> None:
    anchor = Anchor(tmp_path / "anchor.json")
    charge(ledgers, "a")
    follow(anchor, ledgers)
    text = anchor.path.read_text()
    anchor.path.write_text(text.replace('"lines": 3', '"lines": 2') if damage is None else damage)
    assert anchor.path.read_text() != text
    with pytest.raises(LedgerError, match="an anchor as it was written"):
        follow(anchor, ledgers)


def test_lines_that_a_crash_left_in_the_head_count(tmp_path: Path, ledgers: Path) -> None:
    anchor = Anchor(tmp_path / "anchor.json")
    charge(ledgers, "a")
    charge(ledgers, "b")
    follow(anchor, ledgers)
    path = ledgers / "shop.jsonl"
    hashes = [line_hash(path, number) for number in range(1, 6)]
    lines = path.read_bytes().split(b"\n")
    path.write_bytes(b"\n".join(lines[:3]) + b"\n" + lines[3][:10])  # torn in the last append
    assert [line_hash(path, number) for number in range(1, 6)] == hashes
    follow(anchor, ledgers)


def test_it_lies_where_the_key_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert default_path("ab12") == tmp_path / "fedinterest" / "ab12.json"


class Crash(Exception):
    """The power went."""


CUTS = ("before charge", "after charge", "after anchor", "after release")


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from([*CUTS, "none"]), st.sampled_from(["keep", "restore", "wipe"])),
        min_size=1,
        max_size=6,
    ),
    st.data(),
)
def test_what_was_released_is_never_forgotten(
    tmp_path_factory: pytest.TempPathFactory,
    story: list[tuple[str, str]],
    data: st.DataObject,
) -> None:
    """Rounds that crash anywhere, and operators who put back any earlier copy of the folder.

    Whenever training is permitted, the ledger has every charge whose answer left the machine.
    """
    place = tmp_path_factory.mktemp("story")
    folder, anchor = place / "ledger", Anchor(place / "anchor.json")
    folder.mkdir()
    copies: list[Path] = []
    released: set[str] = set()

    def known() -> set[str]:
        return {entry.request for one in records(folder).values() for entry in one.entries}

    for number, (cut, after) in enumerate(story):
        request = f"round {number}"
        copies.append(place / f"copy-{number}")
        shutil.copytree(folder, copies[-1])
        try:
            follow(anchor, folder)  # as the gate does before a message is answered
        except LedgerError:
            # Refused.  Only turning time back can have led here: the newest copy is right again.
            assert any(step == "restore" or step == "wipe" for _, step in story[:number])
            return
        assert released <= known()
        try:
            for at in CUTS:
                if at == "after charge":
                    charge(folder, request)
                if at == "after anchor":
                    follow(anchor, folder)
                if at == "after release":
                    released.add(request)
                if at == cut:
                    raise Crash
        except Crash:
            pass
        if after == "restore":
            chosen = data.draw(st.sampled_from(copies))
            shutil.rmtree(folder)
            shutil.copytree(chosen, folder)
        elif after == "wipe":
            shutil.rmtree(folder)
            folder.mkdir()
    try:
        follow(anchor, folder)
    except LedgerError:
        assert any(step != "keep" for _, step in story)
        return
    assert released <= known()
