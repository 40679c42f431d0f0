"""Who asks to be forgotten is trained on no more, and a repeated round shows nothing of them."""

import json
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import clients.forget as forget_module
from clients import leaving
from clients.forget import check_receipt, forget, idle, leave_out, receipts
from clients.home import Home
from clients.joining.rehearsal import request_for
from clients.platform import Platform
from clients.serving.live.store import Live, LiveEvent
from clients.serving.live.training import place
from clients.sources.pseudonyms import pseudonym
from shared import events, files
from shared.errors import DataError, ProtocolError, RunError
from shared.files import replacing
from shared.privacy.ledger import read_ledger
from shared.transparency.keys import SigningKey
from tests.clients.partners import enrolled, new_home, no_progress


def opened(home: Home) -> Platform:
    return Platform.open(home.folder.platform)


def secret_of(home: Home) -> bytes:
    return (home.folder.platform / "pseudonym.secret").read_bytes()


def test_a_user_is_gone_everywhere(home: Home) -> None:
    before = opened(home).sequences
    who = pseudonym(secret_of(home), "c5")
    place = before.users.index(who)
    facts = json.loads((home.folder.platform / "facts.json").read_text())
    receipt = forget(home, " c5 ")
    assert receipt.found
    assert receipt.pseudonym == who
    after = opened(home).sequences
    assert who not in after.users
    assert after.users == before.users[:place] + before.users[place + 1 :]
    for user in after.users:
        mine, old = after.users.index(user), before.users.index(user)
        assert np.array_equal(after[mine], before[old])
    assert (home.folder.path / "opt-out.txt").read_text() == "c5\n"
    now = json.loads((home.folder.platform / "facts.json").read_text())
    assert now["users"] == facts["users"] - 1
    assert now["events"] == facts["events"] - len(before[place])
    assert sum(now["dropped"].values()) + now["events"] == (
        sum(facts["dropped"].values()) + facts["events"]
    )
    assert "c5" not in vars(receipt).values()


def test_a_new_preparation_counts_nobody_twice(home: Home) -> None:
    """Rows that were read are kept or dropped, whenever the user was forgotten."""
    facts = json.loads((home.folder.platform / "facts.json").read_text())
    forget(home, "c5")
    after = json.loads((home.folder.platform / "facts.json").read_text())
    (home.folder.path / "opt-out.txt").write_text("")  # the receipt holds by itself
    (home.folder.state / "prepared.json").unlink()
    Home.open(home.folder.path).prepare(lambda *_: None)
    again = json.loads((home.folder.platform / "facts.json").read_text())
    assert again["events"] == after["events"] < facts["events"]
    assert again["dropped"]["forgotten"] == facts["events"] - again["events"]
    total = sum(facts["dropped"].values()) + facts["events"]
    assert sum(again["dropped"].values()) + again["events"] == total


def test_the_receipt_is_signed(home: Home) -> None:
    receipt = forget(home, "c5")
    (path,) = home.folder.receipts.glob("*.json")
    assert check_receipt(path.read_bytes(), home.keys.signing.public) == receipt
    with pytest.raises(ProtocolError, match="another signature"):
        check_receipt(path.read_bytes(), SigningKey(b"1" * 32).public)
    assert forget(home, "c5").found is False
    assert receipts(home.folder.receipts) == [receipt]  # the first one stands
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(RunError, match="come back"):
        home.forgotten()


def test_nobody_comes_back_when_the_log_is_read_again(home: Home, world: Path) -> None:
    who = pseudonym(secret_of(home), "c5")
    forget(home, "c5")
    # Somebody's nightly job replaces the opt-out list, and the platform is made anew.
    (home.folder.path / "opt-out.txt").write_text("")
    enrolled(home, world, training={"rounds": 5})
    made = home.prepare(no_progress)
    assert made.record.steps == 10
    assert who not in made.sequences.users
    assert json.loads((made.folder / "facts.json").read_text())["dropped"]["forgotten"] > 0


def test_a_repeated_round_is_charged_and_has_fresh_noise(home: Home) -> None:
    platform = opened(home)
    request = request_for(platform, home.enrolment().federation)
    first = platform.train(request)
    again = opened(home).train(request)
    assert all(np.array_equal(first.update[name], again.update[name]) for name in first.update)
    assert len(read_ledger(platform.ledger_path).entries) == 2
    assert list((home.folder.platform / "secrets").glob("*.secret"))
    forget(home, "c5")
    assert not list((home.folder.platform / "secrets").glob("*.secret"))
    after = opened(home).train(request)
    assert len(read_ledger(platform.ledger_path).entries) == 4
    name = next(iter(first.update))
    # Fresh noise: a quarter and more of them is new, which one user of many cannot do by leaving.
    alike = np.corrcoef(after.update[name].ravel(), first.update[name].ravel())[0, 1]
    assert alike < 0.85


def test_somebody_unknown_is_noted_all_the_same(home: Home) -> None:
    before = opened(home).sequences.users
    request = request_for(opened(home), home.enrolment().federation)
    opened(home).train(request)
    assert forget(home, "never-seen").found is False
    assert opened(home).sequences.users == before
    assert list((home.folder.platform / "secrets").glob("*.secret"))  # replays stay free
    assert (home.folder.path / "opt-out.txt").read_text() == "never-seen\n"
    with pytest.raises(DataError):
        forget(home, "  ")


@pytest.mark.parametrize("broken", ["keep", "_opt_out", "destroy", "rewrite"])
def test_a_crash_anywhere_and_once_more(
    home: Home, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    who = pseudonym(secret_of(home), "c5")

    def crash(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(forget_module, broken, crash)
        with pytest.raises(KeyboardInterrupt):
            forget(home, "c5")
    forget(home, "c5")
    assert who not in opened(home).sequences.users
    assert who in home.forgotten()
    assert (home.folder.path / "opt-out.txt").read_text() == "c5\n"


@pytest.fixture
def measured(tmp_path: Path, world: Path, surroundings: None) -> Home:
    """A partner that keeps events apart to measure itself."""
    home = new_home(tmp_path / "shop", world)
    home.folder.toml.write_text(
        home.folder.toml.read_text().replace("hold_out = false", "hold_out = true")
    )
    home = Home.open(home.folder.path)
    enrolled(home, world)
    home.prepare(no_progress)
    return home


def held_out(home: Home) -> dict[str, np.ndarray]:
    with np.load(home.folder.platform / "heldout.npz") as found:
        return {name: found[name] for name in found.files}


def facts_of(home: Home) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((home.folder.platform / "facts.json").read_text())
    return found


def test_held_out_events_go_with_their_user(measured: Home) -> None:
    before, facts, platform = held_out(measured), facts_of(measured), opened(measured)
    place = platform.sequences.users.index(pseudonym(secret_of(measured), "c5"))
    forget(measured, "c5")
    for name, value in held_out(measured).items():
        assert np.array_equal(value, np.delete(before[name], place))
    gone = len(platform.sequences[place]) + 2
    now = facts_of(measured)
    assert now["events"] == facts["events"] - gone
    assert now["dropped"]["forgotten"] == gone
    # Exactly what a new preparation counts.
    (measured.folder.state / "prepared.json").unlink()
    (measured.folder.path / "opt-out.txt").write_text("")
    measured.prepare(no_progress)
    again = facts_of(measured)
    assert (again["users"], again["dropped"]) == (now["users"], now["dropped"])


@pytest.mark.parametrize("writes", range(5))
def test_histories_and_what_is_held_out_fit_after_a_crash(
    measured: Home, monkeypatch: pytest.MonkeyPatch, writes: int
) -> None:
    """Somebody leaves, it is broken off at any file, and the next call is for somebody else too."""
    platform, before, facts = opened(measured), held_out(measured), facts_of(measured)
    users = platform.sequences.users
    names = [pseudonym(secret_of(measured), user) for user in ("c5", "c7")]
    left = writes

    def replaced(path: Path) -> AbstractContextManager[Path]:
        nonlocal left
        if left == 0:
            raise KeyboardInterrupt
        left -= 1
        return replacing(path)

    with monkeypatch.context() as patch:
        for module in (leaving, events, files):
            patch.setattr(module, "replacing", replaced)
        with pytest.raises(KeyboardInterrupt):
            leave_out(measured, lambda: {names[0]})
    leave_out(measured, lambda: set(names))
    places = sorted(users.index(name) for name in names)
    assert opened(measured).sequences.users == tuple(
        user for place, user in enumerate(users) if place not in places
    )
    for name, value in held_out(measured).items():
        assert np.array_equal(value, np.delete(before[name], places))
    gone = sum(len(platform.sequences[place]) + 2 for place in places)
    now = facts_of(measured)
    assert (now["events"], now["users"]) == (facts["events"] - gone, len(users) - 2)
    assert now["dropped"]["opt_out"] == facts["dropped"].get("opt_out", 0) + gone
    assert not (measured.folder.platform / "leaving.json").exists()


def test_who_is_left_out_leaves_no_receipt(home: Home) -> None:
    who = pseudonym(secret_of(home), "c5")
    request = request_for(opened(home), home.enrolment().federation)
    opened(home).train(request)
    assert leave_out(home, lambda: {who}) == 1
    assert who not in opened(home).sequences.users
    assert not receipts(home.folder.receipts)
    assert not list((home.folder.platform / "secrets").glob("*.secret"))
    assert (home.folder.path / "left-out.txt").read_text() == f"{who}\n"
    assert leave_out(home, lambda: {who}) == 0
    opened(home).train(request)  # the same request costs again: the histories are others
    assert len(read_ledger(opened(home).ledger_path).entries) == 4
    secrets = sorted((home.folder.platform / "secrets").iterdir())
    assert leave_out(home, lambda: set()) == 0
    assert leave_out(home, lambda: {"0" * 64}) == 0
    assert sorted((home.folder.platform / "secrets").iterdir()) == secrets  # replays stay free
    with pytest.raises(DataError, match="nobody else"):
        leave_out(home, lambda: set(opened(home).sequences.users))


def test_what_the_service_keeps_is_erased(home: Home) -> None:
    who = pseudonym(secret_of(home), "c5")
    live = Live.open(place(home))
    live.post([LiveEvent(pseudonym=who, item_id="sku 7", time=1.5)])
    forget(home, "c5")
    assert (live.events(), live.opted_out(), live.pending()) == (0, {who}, [])
    live.close()


def test_it_waits_for_a_round(home: Home) -> None:
    with (
        idle(home.folder.state),
        pytest.raises(RunError, match="without a round"),
        idle(home.folder.state, 0.1),
    ):
        pass
    with idle(home.folder.state, 0.1):
        pass
