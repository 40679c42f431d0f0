"""The live store: nothing that was accepted is lost, nothing that was erased is left."""

import os
import random
import signal
import sqlite3
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clients.serving.answers import Consent
from clients.serving.live.store import Live, LiveEvent
from clients.sources.pseudonyms import pseudonym
from shared.errors import RunError, StorageError

ANN, BOB = (pseudonym(b"0123456789abcdef", name) for name in ("ann", "bob"))
POSTER = """
import sys
from clients.serving.live.store import Live, LiveEvent
live = Live(__import__("pathlib").Path(sys.argv[1]))
for number in range(10**6):
    live.post([LiveEvent(pseudonym=sys.argv[2], item_id=f"i{number}", time=float(number))])
    print(number, flush=True)
"""


def event(user: str, item: str, time: float) -> LiveEvent:
    return LiveEvent(pseudonym=user, item_id=item, time=time)


def test_a_history_is_the_newest_in_order(tmp_path: Path) -> None:
    live = Live(tmp_path / "live.db")
    assert stat.S_IMODE((tmp_path / "live.db").stat().st_mode) == 0o600
    assert live.post([event(ANN, "b", 2.0), event(ANN, "a", 1.0), event(BOB, "c", 3.0)]) == 3
    assert live.post([event(ANN, "b", 2.0), event(ANN, "d", 2.0)]) == 1
    assert [one.item_id for one in live.history(ANN, 9)] == ["a", "b", "d"]
    assert [one.item_id for one in live.history(ANN, 2)] == ["b", "d"]
    assert live.counts(1.0, 3.0) == {"a": 1, "b": 1, "d": 1}
    assert (live.newest(), live.events(), sorted(live.users())) == (3.0, 4, sorted([ANN, BOB]))
    live.close()
    again = Live(tmp_path / "live.db")
    assert again.events() == 4
    again.close()


@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from([ANN, BOB]), st.sampled_from("abc"), st.integers(0, 3)),
        max_size=30,
    )
)
def test_it_agrees_with_a_list(rows: list[tuple[str, str, int]]) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        live = Live(Path(folder) / "live.db")
        kept = list(dict.fromkeys(rows))
        assert sum(live.post([event(*row)]) for row in rows) == len(kept)
        for user in (ANN, BOB):
            mine = sorted((row for row in kept if row[0] == user), key=lambda row: row[2])
            assert [(one.item_id, one.time) for one in live.history(user, 99)] == [
                (item, time) for _, item, time in mine
            ]
        live.close()


def test_what_was_accepted_survives_a_kill(tmp_path: Path) -> None:
    path, told = tmp_path / "live.db", -1
    for _ in range(3):
        process = subprocess.Popen(
            [sys.executable, "-c", POSTER, str(path), ANN], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        for _ in range(20):
            told = max(told, int(process.stdout.readline()))
        process.send_signal(signal.SIGKILL)
        for line in process.stdout:  # what was said before it died
            if line.endswith("\n"):
                told = max(told, int(line))
        process.wait()
        process.stdout.close()
    live = Live(path)
    kept = {one.item_id for one in live.history(ANN, 10**6)}
    assert {f"i{number}" for number in range(told + 1)} <= kept
    live.close()


def test_many_threads_post_and_read(tmp_path: Path) -> None:
    live = Live(tmp_path / "live.db")

    def work(number: int) -> int:
        found = live.post([event(ANN, f"i{number}", float(number))])
        live.history(ANN, 5)
        return found

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(work, range(200))) == 200
    assert live.events() == 200
    live.close()


def test_consent_is_kept_and_seen_at_once(tmp_path: Path) -> None:
    live = Live(tmp_path / "live.db")
    assert live.consent(ANN) == Consent(learning=True, similar_users=False)
    assert not live.opted_out()
    live.allow(ANN, Consent(learning=True, similar_users=True))
    assert live.opted_in() == {ANN}
    live.allow(ANN, Consent(learning=False, similar_users=True))
    assert (live.opted_in(), live.opted_out()) == (frozenset(), {ANN})
    live.close()
    again = Live(tmp_path / "live.db")
    assert again.opted_out() == {ANN}
    again.close()


def test_what_is_erased_is_in_no_file(tmp_path: Path) -> None:
    live = Live(tmp_path / "live.db")
    live.post([event(ANN, f"a-secret-item-{number}", 1.5 + number) for number in range(50)])
    live.post([event(BOB, "another", 1.0)])
    assert b"a-secret-item" in b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert live.erase(ANN) == 50
    assert b"a-secret-item" not in b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert live.opted_out() == {ANN}
    assert live.events() == 1
    live.close()


def test_no_copy_is_left_where_rows_were_moved(tmp_path: Path) -> None:
    """Two users' events mixed over many pages, so that pages are split and rows moved."""
    live = Live(tmp_path / "live.db")
    rng = random.Random(0)
    rows = [event(ANN, f"ann-{number:05d}", rng.random() * 1e6) for number in range(1500)]
    rows += [event(BOB, f"bob-{number:05d}", rng.random() * 1e6) for number in range(6000)]
    rng.shuffle(rows)
    for start in range(0, len(rows), 250):
        live.post(rows[start : start + 250])
    assert live.erase(ANN) == 1500
    left = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert left.count(b"ann-") == 0
    assert live.events() == 6000
    live.close()


def test_damage_another_version_and_a_bad_disk(tmp_path: Path) -> None:
    path = tmp_path / "live.db"
    path.write_bytes(b"not a database, but long enough to be read as one" * 100)
    with pytest.raises(RunError, match="damaged"):
        Live(path)
    path.unlink()
    Live(path).close()
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 9")
    db.close()
    with pytest.raises(RunError, match="version 1, got 9"):
        Live(path)
    if os.geteuid():
        folder = tmp_path / "closed"
        folder.mkdir(mode=0o500)
        with pytest.raises((StorageError, PermissionError)):
            Live(folder / "live.db")
