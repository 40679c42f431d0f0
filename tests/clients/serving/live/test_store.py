"""The live store: what it answers, held against a plain model; and what is kept private."""

import random
import sqlite3
import stat
import struct
import tempfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from clients.serving.answers import Consent, NewItem, Put
from clients.serving.live import schema
from clients.serving.live.store import Live, LiveEvent, Posting
from clients.sources.pseudonyms import pseudonym
from shared.errors import ConsentError, DataError, RunError
from tests.clients.serving.live.conftest import ANN, BOB, CID, SECRET, content, event


def test_a_history_is_the_newest_in_order(live: Live) -> None:
    folder = live.path.parent
    assert live.keep([event(ANN, "b", 2.0), event(ANN, "a", 1.0), event(BOB, "c", 3.0)]) == (
        Posting(accepted=3, repeated=0, refused=0)
    )
    again = [event(ANN, "b", 2.0), event(ANN, "a0", 2.0), event(ANN, "a0", 2.0)]
    assert live.keep(again) == Posting(accepted=1, repeated=2, refused=0)
    assert live.post([event(ANN, "b", 2.5)]) == 1
    # At one time, the order of arrival: b came before a0.
    assert [one.item_id for one in live.history(ANN, 9)] == ["a", "b", "a0", "b"]
    assert live.history(ANN, 2) == [event(ANN, "a0", 2.0), event(ANN, "b", 2.5)]
    assert live.history(CID, 9) == []
    assert live.counts(1.0, 3.0) == {"a": 1, "b": 2, "a0": 1}
    assert live.counts(2.0, 2.5) == {"b": 1, "a0": 1}
    assert (live.newest(), live.events(), set(live.users())) == (3.0, 5, {ANN, BOB})
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
    assert modes == {"live.db": 0o600, "live.db-wal": 0o600, "live.db-shm": 0o600}


def test_an_empty_store(live: Live) -> None:
    assert (live.newest(), live.events(), live.users()) == (None, 0, [])
    assert live.keep([]) == Posting(accepted=0, repeated=0, refused=0)
    assert live.changed_users(0) == ([], 0)
    assert live.items_after(0) == ([], 0)
    assert live.erase(ANN) == 0


def test_everything_is_there_after_opening_again(live: Live) -> None:
    live.post([event(ANN, "a", 1.0)])
    live.put_items([NewItem(item_id="i", title="Tea", category=("drinks", "tea"), text="green")])
    live.set_consent(ANN, similar_users=True)
    live.set_consent(BOB, learning=False)
    live.erase(CID)
    live.close()
    with pytest.raises(RunError, match="a closed one"):
        live.events()
    with pytest.raises(RunError, match="a closed one"):
        live.post([event(ANN, "a", 1.0)])
    again = Live.open(live.path)
    assert again.history(ANN, 9) == [event(ANN, "a", 1.0)]
    assert again.items_after(0)[0][0].category == ("drinks", "tea")
    assert (again.opted_in(), again.opted_out()) == ({ANN}, {BOB, CID})
    assert (again.pending(), again.erased()) == ([BOB, CID], {CID})
    again.close()


def test_users_who_changed_are_followed(live: Live) -> None:
    live.post([event(ANN, "a", 1.0), event(BOB, "a", 1.0)])
    users, seq = live.changed_users(0)
    assert (users, live.changed_users(seq)) == ([ANN, BOB], ([], seq))
    live.post([event(BOB, "a", 1.0)])  # nothing new
    assert live.changed_users(seq) == ([], seq)
    live.post([event(BOB, "b", 0.5)])
    users, later = live.changed_users(seq)
    assert users == [BOB]
    live.erase(BOB)
    live.post([event(CID, "a", 2.0)])  # gets a number of its own, not one that was free again
    assert live.changed_users(later)[0] == [CID]


def test_items_are_followed(live: Live) -> None:
    tea, milk = NewItem(item_id="t", title="Tea"), NewItem(item_id="m", title="Milk")
    assert live.put_items([tea, milk]) == Put(added=2, changed=0, unchanged=0)
    found, seq = live.items_after(0)
    assert found == [tea, milk]
    green = NewItem(item_id="t", title="Tea", category=("tea", "größer"), text="green")
    assert live.put_items([green, milk]) == Put(added=0, changed=1, unchanged=1)
    assert live.items_after(seq) == ([green], seq + 1)
    assert live.put_items([tea, green]) == Put(added=0, changed=2, unchanged=0)
    assert live.items_after(0) == ([milk, green], seq + 3)


def test_what_the_log_has_is_dropped_and_not_taken_again(live: Live) -> None:
    live.post([event(ANN, f"i{number}", float(number)) for number in range(2500)])
    live.post([event(BOB, "i0", 1.0)])
    assert live.prune(2400.0) == 2401
    assert (live.events(), live.users()) == (100, [ANN])
    assert live.keep([event(BOB, "i0", 1.0), event(BOB, "i0", 2400.0)]) == (
        Posting(accepted=1, repeated=1, refused=0)
    )
    assert live.prune(1.0) == 0  # the mark does not go back
    assert live.keep([event(BOB, "i0", 1.0)]).repeated == 1


def test_consent_is_kept_and_seen_at_once(live: Live) -> None:
    other = Live.open(live.path)
    assert live.consent(ANN) == Consent(learning=True, similar_users=False)
    assert (live.opted_out(), other.opted_out()) == (frozenset(), frozenset())
    assert live.set_consent(ANN, similar_users=True) == Consent(similar_users=True)
    assert (live.opted_in(), other.opted_in()) == ({ANN}, {ANN})
    assert live.set_consent(ANN, learning=False) == Consent(learning=False, similar_users=False)
    for one in (live, other):
        assert (one.opted_in(), one.opted_out(), one.pending()) == (frozenset(), {ANN}, [ANN])
    assert live.keep([event(ANN, "a", 1.0), event(BOB, "a", 1.0)]) == (
        Posting(accepted=1, repeated=0, refused=1)
    )
    assert other.set_consent(ANN, similar_users=True) == Consent(learning=False)
    assert live.set_consent(ANN, learning=True) == Consent()
    assert (live.opted_out(), other.opted_out(), other.pending()) == (frozenset(), frozenset(), [])
    live.set_consent(BOB, learning=True, similar_users=True)
    assert other.opted_in() == {BOB}
    other.close()


def test_an_opt_out_is_pending_until_it_is_taken_up(live: Live) -> None:
    live.set_consent(BOB, learning=False)
    live.set_consent(ANN, learning=False)
    assert live.pending() == [BOB, ANN]
    live.taken_up(BOB)
    live.set_consent(BOB, learning=False)  # said twice: nothing new for training
    assert live.pending() == [ANN]
    live.take_up_again(BOB)
    live.take_up_again(CID)  # has not opted out
    assert sorted(live.pending()) == sorted([ANN, BOB])
    live.set_consent(ANN, learning=True)
    live.taken_up(ANN)  # too late, and nothing for somebody who is back
    assert (live.pending(), live.consent(ANN).learning) == ([BOB], True)


def test_who_was_erased_stays_away(live: Live) -> None:
    live.set_consent(ANN, similar_users=True)
    live.post([event(ANN, "a", 1.0)])
    assert live.erase(ANN) == 1
    assert (live.history(ANN, 9), live.users(), live.events()) == ([], [], 0)
    assert (live.opted_out(), live.opted_in(), live.pending()) == ({ANN}, frozenset(), [ANN])
    assert live.keep([event(ANN, "a", 1.0)]) == Posting(accepted=0, repeated=0, refused=1)
    assert live.set_consent(ANN, learning=False, similar_users=True) == Consent(learning=False)
    with pytest.raises(ConsentError, match="for ever"):
        live.set_consent(ANN, learning=True)
    live.taken_up(ANN)
    assert live.erase(ANN) == 0
    assert live.pending() == []


def test_what_is_erased_is_in_no_file(live: Live) -> None:
    """Many users, so that pages have been split: SQLite alone leaves copies in the gaps."""
    rng = random.Random(0)
    people = [pseudonym(SECRET, f"user {number}") for number in range(200)]
    times: dict[str, list[float]] = {name: [] for name in people}
    for _ in range(120):
        batch = []
        for _ in range(rng.choice([1, 3, 50, 200])):
            name, time = rng.choice(people), 1.7e9 + rng.random() * 1e7
            times[name].append(time)
            item = f"item {rng.randrange(2000)} {'x' * rng.randrange(200)}"
            batch.append(event(name, item, time))
        live.post(batch)
    live.post([event(people[0], "only hers", 1.5)])
    folder = live.path.parent
    before = content(folder)
    assert b"only hers" in before
    for name in people[:12]:
        assert all(struct.pack(">d", time) in before for time in times[name])
        live.erase(name)
        after = content(folder)
        assert not any(struct.pack(">d", time) in after for time in times[name])
    assert b"only hers" not in after
    # The tombstone alone: one row, and its two indices.
    assert after.count(bytes.fromhex(people[0])) == 3
    left = [time for name in people[12:] for time in times[name]]
    assert all(struct.pack(">d", time) in after for time in rng.sample(left, 50))


def test_no_copy_is_left_where_rows_were_moved(live: Live) -> None:
    """Two users' events mixed over many pages, so that pages are split and rows moved."""
    rng = random.Random(0)
    rows = [event(ANN, f"ann-{number:05d}", rng.random() * 1e6) for number in range(1500)]
    rows += [event(BOB, f"bob-{number:05d}", rng.random() * 1e6) for number in range(6000)]
    rng.shuffle(rows)
    for start in range(0, len(rows), 250):
        live.post(rows[start : start + 250])
    assert live.erase(ANN, CID) == 1500
    left = content(live.path.parent)
    assert left.count(b"ann-") == 0
    assert all(f"bob-{number:05d}".encode() in left for number in range(6000))
    assert (live.events(), live.erased()) == (6000, {ANN, CID})


def test_who_has_opted_out_is_not_counted(live: Live) -> None:
    live.post([event(ANN, "a", 1.0), event(BOB, "a", 1.5), event(ANN, "b", 2.0)])
    live.set_consent(ANN, learning=False)
    assert live.counts(0.0, 9.0) == {"a": 1}
    assert live.counts(1.2, 9.0) == {"a": 1}
    assert live.counts(1.0, 1.2) == {}
    live.set_consent(ANN, learning=True)
    assert live.counts(0.0, 9.0) == {"a": 2, "b": 1}


FIRST = """
CREATE TABLE events (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    user BLOB NOT NULL, item TEXT NOT NULL, time REAL NOT NULL,
    UNIQUE (user, item, time)
);
CREATE INDEX by_user ON events (user, time, number);
CREATE INDEX by_time ON events (time);
CREATE TABLE consent (
    user BLOB PRIMARY KEY, learning INTEGER NOT NULL, similar_users INTEGER NOT NULL
) WITHOUT ROWID;
PRAGMA user_version = 1;
"""
"""What the first release made."""


def first_version(path: Path, rows: list[LiveEvent], said: list[tuple[bytes, int, int]]) -> None:
    with sqlite3.connect(path) as db:
        db.executescript(FIRST)
        db.executemany(
            "INSERT INTO events (user, item, time) VALUES (?, ?, ?)",
            [(bytes.fromhex(one.pseudonym), one.item_id, one.time) for one in rows],
        )
        db.executemany("INSERT INTO consent VALUES (?, ?, ?)", said)
    db.close()


def test_a_file_of_the_first_version_loses_nothing(tmp_path: Path) -> None:
    rng = random.Random(1)
    rows = [event(rng.choice([ANN, BOB]), f"i{n % 40}", rng.randrange(90) / 4) for n in range(400)]
    rows = list(dict.fromkeys(rows))
    path = tmp_path / "live.db"
    consents = [(bytes.fromhex(ANN), 1, 1), (bytes.fromhex(CID), 0, 0)]
    first_version(path, rows, consents)
    for _ in range(2):  # the second time there is nothing to change
        live = Live.open(path)
        for user in (ANN, BOB):
            mine = [one for one in rows if one.pseudonym == user]
            assert live.history(user, 999) == sorted(mine, key=lambda one: one.time)
        assert live.keep(rows) == Posting(accepted=0, repeated=len(rows), refused=0)
        assert live.counts(0, 99) == Counter(one.item_id for one in rows)
        assert (live.opted_in(), live.opted_out(), live.pending()) == ({ANN}, {CID}, [CID])
        assert live.erased() == frozenset()
        live.close()
    with sqlite3.connect(path) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        found = {name for (name,) in db.execute("SELECT name FROM sqlite_master")}
    db.close()
    assert not {"old_events", "old_consent"} & found
    live = Live.open(path)
    assert live.post([event(ANN, "new", 99.0)]) == 1
    assert live.set_consent(BOB, similar_users=True).similar_users
    assert live.opted_in() == {ANN, BOB}
    live.close()


def test_a_change_of_version_that_is_broken_off_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "live.db"
    first_version(path, [event(ANN, "a", 1.0)], [(bytes.fromhex(CID), 0, 0)])
    statements = schema.CHANGES[1].split(";")
    for upto in range(1, len(statements)):
        with monkeypatch.context() as patch:
            broken = ";".join([*statements[:upto], "no SQL"])
            patch.setitem(schema.CHANGES, 1, broken)
            with pytest.raises(RunError, match="damaged"):
                Live.open(path)
    live = Live.open(path)
    assert live.history(ANN, 9) == [event(ANN, "a", 1.0)]
    assert live.pending() == [CID]
    live.close()


@pytest.mark.parametrize(
    ("item", "time"),
    [("a", float("nan")), ("a", float("inf")), ("", 1.0), ("\ud800secret", 1.0)],
)
def test_what_is_no_event(item: str, time: float) -> None:
    with pytest.raises(DataError, match="in Unicode and a finite time") as caught:
        event(ANN, item, time)
    assert "secret" not in str(caught.value)
    assert caught.value.__cause__ is None  # nor in a traceback


@pytest.mark.parametrize("name", ["", "ann", "ab" * 31, "zz" * 32])
def test_what_is_no_pseudonym(live: Live, name: str) -> None:
    for ask in (live.erase, live.consent, lambda one: live.post([event(one, "a", 1.0)])):
        with pytest.raises(DataError, match="64 hex digits"):
            ask(name)


def test_ids_of_every_kind_come_back_as_they_were(live: Live) -> None:
    strange = ["ß", "a\0b", "'; DROP TABLE events", " ", "x" * 512, "\U0001f375"]
    live.post([event(ANN, item, float(number)) for number, item in enumerate(strange)])
    assert [one.item_id for one in live.history(ANN, 99)] == strange


def test_many_threads_post_and_read(live: Live) -> None:
    def work(number: int) -> int:
        found = live.post([event(ANN, f"i{number % 150}", float(number % 150))])
        assert 1 <= len(live.history(ANN, 5)) <= 5
        return found

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(work, range(300))) == 150
    assert live.events() == 150


USERS, TIMES = st.sampled_from([ANN, BOB, CID]), st.sampled_from([0.25, 1.0, 2.0, 1e9 + 0.1])
EVENTS = st.builds(LiveEvent, pseudonym=USERS, item_id=st.sampled_from(["a", "b", "ü"]), time=TIMES)


class LikeADict(RuleBasedStateMachine):
    """Every answer of the store is that of lists and dicts, whatever happens in whatever order."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.live = Live.open(Path(self.folder.name) / "live.db")
        self.events: list[LiveEvent] = []
        self.consent: dict[str, Consent] = {}
        self.pending: list[str] = []
        self.erased: set[str] = set()
        self.pruned = float("-inf")
        self.items: dict[str, NewItem] = {}

    def teardown(self) -> None:
        self.live.close()
        self.folder.cleanup()

    @rule(batch=st.lists(EVENTS, max_size=4))
    def post(self, batch: list[LiveEvent]) -> None:
        accepted = repeated = refused = 0
        for one in batch:
            if not self.consent.get(one.pseudonym, Consent()).learning:
                refused += 1
            elif one in self.events or one.time < self.pruned:
                repeated += 1
            else:
                accepted += 1
                self.events.append(one)
        expected = Posting(accepted=accepted, repeated=repeated, refused=refused)
        assert self.live.keep(batch) == expected

    @rule(user=USERS, learning=st.none() | st.booleans(), similar=st.none() | st.booleans())
    def choose(self, user: str, learning: bool | None, similar: bool | None) -> None:
        before = self.consent.get(user, Consent())
        learns = before.learning if learning is None else learning
        found = before.similar_users if similar is None else similar
        if learns and user in self.erased:
            with pytest.raises(ConsentError):
                self.live.set_consent(user, learning=learning, similar_users=similar)
            return
        wanted = Consent(learning=learns, similar_users=learns and found)
        assert self.live.set_consent(user, learning=learning, similar_users=similar) == wanted
        if wanted.learning and user in self.pending:
            self.pending.remove(user)
        if before.learning and not wanted.learning:
            self.pending.append(user)
        self.consent[user] = wanted

    @rule(user=USERS)
    def take_up(self, user: str) -> None:
        self.live.taken_up(user)
        if user in self.pending:
            self.pending.remove(user)

    @rule(user=USERS)
    def erase(self, user: str) -> None:
        mine = [one for one in self.events if one.pseudonym == user]
        assert self.live.erase(user) == len(mine)
        self.events = [one for one in self.events if one.pseudonym != user]
        if user not in self.erased:
            self.pending = [*(one for one in self.pending if one != user), user]
        self.erased.add(user)
        self.consent[user] = Consent(learning=False)

    @rule(before=TIMES)
    def prune(self, before: float) -> None:
        kept = [one for one in self.events if one.time >= before]
        assert self.live.prune(before) == len(self.events) - len(kept)
        self.events, self.pruned = kept, max(before, self.pruned)

    @rule(item=st.sampled_from("xy"), title=st.sampled_from(["one", "two"]))
    def put(self, item: str, title: str) -> None:
        new = NewItem(item_id=item, title=title)
        same, known = self.items.get(item) == new, item in self.items
        expected = Put(added=not known, changed=known and not same, unchanged=same)
        assert self.live.put_items([new]) == expected
        if not same:
            self.items.pop(item, None)
            self.items[item] = new

    @rule()
    def reopen(self) -> None:
        path = self.live.path
        self.live.close()
        self.live = Live.open(path)

    @invariant()
    def agrees(self) -> None:
        for user in (ANN, BOB, CID):
            mine = sorted(
                (one for one in self.events if one.pseudonym == user), key=lambda one: one.time
            )
            assert self.live.history(user, 99) == mine
            assert self.live.history(user, 2) == mine[-2:]
            assert self.live.consent(user) == self.consent.get(user, Consent())
        counted: dict[str, int] = {}
        for one in self.events:
            out = not self.consent.get(one.pseudonym, Consent()).learning
            if 0.25 <= one.time < 2.0 and not out:
                counted[one.item_id] = counted.get(one.item_id, 0) + 1
        assert self.live.counts(0.25, 2.0) == counted
        assert self.live.events() == len(self.events)
        assert self.live.newest() == max((one.time for one in self.events), default=None)
        assert set(self.live.changed_users(0)[0]) == {one.pseudonym for one in self.events}
        out = {user for user, one in self.consent.items() if not one.learning}
        assert self.live.opted_out() == out
        into = {user for user, one in self.consent.items() if one.similar_users}
        assert self.live.opted_in() == into
        assert self.live.pending() == self.pending
        assert self.live.erased() == self.erased
        assert self.live.items_after(0)[0] == list(self.items.values())


TestLikeADict = LikeADict.TestCase
TestLikeADict.settings = settings(max_examples=20, stateful_step_count=25, deadline=None)
