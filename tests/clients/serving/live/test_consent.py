"""Opting out and in: the service hears it at once, training before its next round, crash or not."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from clients.forget import forget, idle
from clients.home import Home
from clients.lists import Lists
from clients.serving.answers import Consent
from clients.serving.live.consent import follow, opt_in, opt_out
from clients.serving.live.store import Live
from clients.serving.live.training import place, take_up
from shared.errors import ConsentError, DataError, RunError
from tests.clients.partners import enrolled, name_of, no_progress, trained_on


@pytest.fixture
def live(home: Home) -> Iterator[Live]:
    made = Live.open(place(home))
    yield made
    made.close()


def listed(home: Home) -> list[str]:
    return home.folder.opt_out.read_text().split()


def test_who_opts_out_is_gone_at_once_and_from_training_next(home: Home, live: Live) -> None:
    who, before = name_of(home, "c5"), trained_on(home)
    with idle(home.folder.state):  # in the middle of a round: nobody waits
        assert opt_out(home, live, " c5 ") == Consent(learning=False)
    assert (live.opted_out(), live.pending()) == ({who}, [who])
    assert listed(home) == ["c5"]
    assert Lists.of(home).names() == {who}
    assert trained_on(home) == before
    assert take_up(home, live) == 1
    assert trained_on(home) == tuple(user for user in before if user != who)
    assert (live.pending(), take_up(home, live)) == ([], 0)
    assert not list(home.folder.receipts.iterdir())
    opt_out(home, live, "c5")
    assert (live.pending(), listed(home)) == ([], ["c5"])


def test_who_opts_in_again_comes_back_with_the_next_preparation(
    home: Home, live: Live, world: Path
) -> None:
    who = name_of(home, "c5")
    home.folder.opt_out.write_text("c9\r\nc5 \r\nsomebody\n")
    opt_out(home, live, "c5")
    take_up(home, live)
    assert opt_in(home, live, "c5") == Consent()
    assert (live.opted_out(), Lists.of(home).names()) == (frozenset(), frozenset())
    assert home.folder.opt_out.read_bytes() == b"c9\r\nsomebody\n"
    assert who not in trained_on(home)
    enrolled(home, world, training={"rounds": 5})
    home.prepare(no_progress)
    assert who in trained_on(home)
    assert name_of(home, "c9") not in trained_on(home)


def test_opting_in_where_nothing_was_said_changes_nothing(home: Home, live: Live) -> None:
    live.set_consent(name_of(home, "c5"), similar_users=True)
    home.folder.opt_out.write_text("c6\n")
    assert opt_in(home, live, "c5") == Consent(similar_users=True)
    assert home.folder.opt_out.read_text() == "c6\n"


def test_who_was_forgotten_cannot_opt_in(home: Home, live: Live) -> None:
    forget(home, "c5")
    with pytest.raises(ConsentError, match="for ever"):
        opt_in(home, live, "c5")
    assert listed(home) == ["c5"]
    opt_out(home, live, "c5")
    assert live.opted_out() == {name_of(home, "c5")}


@pytest.mark.parametrize("step", ["held", "add", "leave_out"])
def test_a_crash_while_opting_out(
    home: Home, live: Live, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    who = name_of(home, "c5")

    def crash(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Lists, step, crash)
        with pytest.raises(KeyboardInterrupt):
            opt_out(home, live, "c5")
    # Without any repetition by the caller: the store knows, and training hears of it.
    assert live.opted_out() == {who}
    assert take_up(home, live) == 1
    assert who not in trained_on(home)
    assert Lists.of(home).names() == {who}


@pytest.mark.parametrize("step", ["remove", "let_in", "set_consent"])
def test_a_crash_while_opting_in_leaves_the_user_out(
    home: Home, live: Live, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    who = name_of(home, "c5")
    opt_out(home, live, "c5")
    take_up(home, live)

    def crash(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Live if step == "set_consent" else Lists, step, crash)
        with pytest.raises(KeyboardInterrupt):
            opt_in(home, live, "c5")
    assert (live.opted_out(), live.pending()) == ({who}, [who])
    take_up(home, live)
    assert Lists.of(home).names() == {who}
    assert opt_in(home, live, "c5").learning
    assert Lists.of(home).names() == frozenset()


def test_the_lists_are_followed(home: Home, live: Live) -> None:
    home.folder.opt_out.write_text("c1\nc2\n")
    forget(home, "c3")
    opt_out(home, live, "c4")
    take_up(home, live)
    live.set_consent(name_of(home, "c6"), learning=False)  # the crash after the first step
    out = {name_of(home, user) for user in ("c1", "c2", "c3", "c4", "c6")}
    follow(home, live)
    assert live.opted_out() == out
    assert live.pending() == [name_of(home, "c6")]
    live.close()
    for path in place(home).parent.iterdir():  # the store is lost
        path.unlink()
    again = Live.open(place(home))
    follow(home, again)
    # All but who was on no list yet.
    assert again.opted_out() == out - {name_of(home, "c6")}
    assert again.erased() == {name_of(home, "c3")}
    # The list is kept by hand: who is taken off it is served again; not who opted out here.
    home.folder.opt_out.write_text("c2\n")
    follow(home, again)
    assert again.opted_out() == {name_of(home, user) for user in ("c2", "c3", "c4")}
    follow(home, again)
    assert again.opted_out() == {name_of(home, user) for user in ("c2", "c3", "c4")}
    again.close()


def test_damaged_lists_and_ids(home: Home, live: Live) -> None:
    for bad in ("", "  ", "c5\nc6"):
        with pytest.raises(DataError):
            opt_out(home, live, bad)
    assert not live.opted_out()
    Lists.of(home).left_out.write_text("c5\n")
    for ask in (lambda: opt_out(home, live, "c5"), lambda: follow(home, live)):
        with pytest.raises(RunError, match="might come back") as caught:
            ask()
        assert "c5" not in str(caught.value)
    assert live.opted_out() == {name_of(home, "c5")}
    with pytest.raises(RunError, match="might come back"):
        take_up(home, live)
    assert live.pending() == [name_of(home, "c5")]
    (home.folder.platform / "pseudonym.secret").unlink()
    with pytest.raises(RunError, match="secret"):
        opt_out(home, live, "c6")


def test_opting_out_needs_no_torch() -> None:
    program = (
        "import sys; import clients.serving.live.consent, clients.serving.live.background; "
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0


def test_no_raw_id_is_in_the_store(home: Home, live: Live) -> None:
    opt_out(home, live, "an-id-of-their-own")
    files = b"".join(path.read_bytes() for path in place(home).parent.iterdir())
    assert b"an-id-of-their-own" not in files
    assert bytes.fromhex(name_of(home, "an-id-of-their-own")) in files
