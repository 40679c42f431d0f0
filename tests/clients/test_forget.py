"""Who asks to be forgotten is trained on no more, and a repeated round shows nothing of them."""

import json
from pathlib import Path

import numpy as np
import pytest

import clients.forget as forget_module
from clients.forget import check_receipt, forget, idle, receipts
from clients.home import Home
from clients.joining.rehearsal import request_for
from clients.platform import Platform
from clients.sources.pseudonyms import pseudonym
from shared.errors import DataError, ProtocolError, RunError
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
    gap = np.abs(after.update[name] - first.update[name])
    # Fresh noise: they differ by about noise * sqrt(2) everywhere, far more than one user could.
    assert np.median(gap) > 0.5 * np.median(np.abs(first.update[name]))


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


@pytest.mark.parametrize("broken", ["_keep", "_opt_out", "_destroy", "_rewrite"])
def test_a_crash_anywhere_and_once_more(
    home: Home, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    who = pseudonym(secret_of(home), "c5")

    def crash(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(forget_module, broken, crash)
        with pytest.raises(KeyboardInterrupt):
            forget(home, "c5")
    forget(home, "c5")
    assert who not in opened(home).sequences.users
    assert who in home.forgotten()
    assert (home.folder.path / "opt-out.txt").read_text() == "c5\n"


def test_held_out_events_go_with_their_user(
    tmp_path: Path, world: Path, surroundings: None
) -> None:
    home = new_home(tmp_path / "shop", world)
    home.folder.toml.write_text(
        home.folder.toml.read_text().replace("hold_out = false", "hold_out = true")
    )
    home = Home.open(home.folder.path)
    enrolled(home, world)
    made = home.prepare(no_progress)
    with np.load(made.folder / "heldout.npz") as found:
        before = {name: found[name] for name in found.files}
    place = made.sequences.users.index(pseudonym(secret_of(home), "c5"))
    forget(home, "c5")
    with np.load(made.folder / "heldout.npz") as found:
        for name, value in before.items():
            assert np.array_equal(found[name], np.delete(value, place))


def test_it_waits_for_a_round(home: Home) -> None:
    with (
        idle(home.folder.state),
        pytest.raises(RunError, match="without a round"),
        idle(home.folder.state, 0.1),
    ):
        pass
    with idle(home.folder.state, 0.1):
        pass
