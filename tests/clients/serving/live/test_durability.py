"""What was accepted is there after a kill, a full disk and damage, from one process or from two."""

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from clients.serving.answers import Consent
from clients.serving.live.store import Live
from shared.errors import RunError, StorageError
from tests.clients.serving.live.conftest import ANN, BOB, event

POSTER = """
import sys, threading
from pathlib import Path
from clients.serving.live.store import Live, LiveEvent
path, begin, threads = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
live = Live.open(path)
def work(place):
    for number in range(begin + place, 10**9, threads):
        live.post([LiveEvent(pseudonym=sys.argv[4], item_id=f"i{number}", time=number + 0.5)])
        print(f"{number}\\n", end="", flush=True)
for place in range(threads):
    threading.Thread(target=work, args=(place,)).start()
"""

# A disk that is full beyond 2 MiB a file.
FULL = """
import resource, signal, sys
from pathlib import Path
from clients.serving.live.store import Live, LiveEvent
from shared.errors import StorageError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
live = Live.open(Path(sys.argv[1]))
resource.setrlimit(resource.RLIMIT_FSIZE, (2 * 1024**2, resource.RLIM_INFINITY))
def post(number):
    live.post([LiveEvent(pseudonym=sys.argv[2], item_id=f"i{number} " + "x" * 200, time=0.5)])
number = 0
try:
    while True:
        post(number)
        number += 1
except StorageError as error:
    print(error.got, error.exit_code, sep="|")
print(number)
before = [one.item_id for one in live.history(sys.argv[2], 10**6)]
assert len(before) == number, (len(before), number)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
post(number)
print(live.events())
"""


def started(program: str, *arguments: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", program, *arguments], stdout=subprocess.PIPE, text=True
    )


def told(process: "subprocess.Popen[str]", lines: int) -> set[int]:
    """Numbers that a poster has said until it is killed after so many lines."""
    assert process.stdout is not None
    found = [process.stdout.readline() for _ in range(lines)]
    process.send_signal(signal.SIGKILL)
    found += process.stdout.readlines()
    process.wait()
    process.stdout.close()
    return {int(line) for line in found if line.endswith("\n") and line.strip()}


@pytest.mark.parametrize("threads", [1, 8])
def test_what_was_accepted_survives_a_kill(tmp_path: Path, threads: int) -> None:
    path, accepted = tmp_path / "live.db", set[int]()
    for turn in range(4):
        process = started(POSTER, str(path), str(turn * 100_000), str(threads), ANN)
        accepted |= told(process, 30 + 20 * turn)
        live = Live.open(path)
        kept = {int(one.item_id[1:]) for one in live.history(ANN, 10**6)}
        assert accepted <= kept
        assert live.events() == len(kept)
        live.close()
    with sqlite3.connect(path) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    db.close()


@pytest.mark.slow
def test_many_kills(tmp_path: Path) -> None:
    path, accepted = tmp_path / "live.db", set[int]()
    for turn in range(40):
        process = started(POSTER, str(path), str(turn * 100_000), "4", ANN)
        accepted |= told(process, 1 + 37 * turn % 200)
    live = Live.open(path)
    assert accepted <= {int(one.item_id[1:]) for one in live.history(ANN, 10**6)}
    live.close()


def test_two_processes_post_at_the_same_time(tmp_path: Path) -> None:
    path = tmp_path / "live.db"  # both make it, too
    posters = [started(POSTER, str(path), str(turn * 100_000), "2", ANN) for turn in (0, 1)]
    accepted = [told(poster, 60) for poster in posters]
    live = Live.open(path)
    kept = {int(one.item_id[1:]) for one in live.history(ANN, 10**6)}
    assert accepted[0] | accepted[1] <= kept
    assert (min(accepted[0]), min(accepted[1])) == (0, 100_000)
    assert live.events() == len(kept)
    live.close()


def test_a_full_disk_loses_nothing_and_heals(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(tmp_path / "live.db"), ANN],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    why, number, after = done.stdout.splitlines()
    assert why in ("SQLITE_IOERR_WRITE|11", "a full disk|11")
    assert int(number) > 20
    assert int(after) == int(number) + 1
    live = Live.open(tmp_path / "live.db")
    assert live.events() == int(after)
    live.close()


def test_those_who_wait_share_a_commit(live: Live) -> None:
    commits: list[str] = []
    database = live._database
    database._writer.set_trace_callback(
        lambda said: commits.append(said) if said == "COMMIT" else None
    )
    begun, go = threading.Event(), threading.Event()

    def hold(db: sqlite3.Connection) -> None:
        begun.set()
        go.wait(30)

    with ThreadPoolExecutor(13) as pool:
        holding = pool.submit(database.write, hold)
        assert begun.wait(30)
        posts = [pool.submit(live.post, [event(ANN, f"i{n}", 0.5 + n)]) for n in range(12)]
        while len(database._waiting) < 12:
            threading.Event().wait(0.005)
        assert not any(one.done() for one in posts)  # none is told before its commit
        go.set()
        holding.result(30)
        assert [one.result(30) for one in posts] == [1] * 12
    assert len(commits) == 2
    assert live.events() == 12


def test_one_that_fails_is_undone_alone(live: Live) -> None:
    database = live._database
    begun, go = threading.Event(), threading.Event()

    def hold(db: sqlite3.Connection) -> None:
        begun.set()
        go.wait(30)

    def bad(db: sqlite3.Connection) -> None:
        db.execute("INSERT INTO users (name) VALUES (x'00')")
        raise KeyError("a defect")

    with ThreadPoolExecutor(4) as pool:
        pool.submit(database.write, hold)
        assert begun.wait(30)
        jobs = [
            pool.submit(live.post, [event(ANN, "a", 0.5)]),
            pool.submit(database.write, bad),
            pool.submit(live.set_consent, BOB, learning=False),
        ]
        while len(database._waiting) < 3:
            threading.Event().wait(0.005)
        go.set()
        assert jobs[0].result(30) == 1
        with pytest.raises(KeyError, match="a defect"):
            jobs[1].result(30)
        assert jobs[2].result(30) == Consent(learning=False)
    assert live.users() == [ANN]
    assert live.post([event(ANN, "b", 0.5)]) == 1


def test_an_interrupted_writer_leaves_the_others_their_turn(live: Live) -> None:
    database = live._database
    begun, go = threading.Event(), threading.Event()

    def interrupted(db: sqlite3.Connection) -> None:
        begun.set()
        go.wait(30)
        raise KeyboardInterrupt

    def lead() -> None:
        with pytest.raises(KeyboardInterrupt):
            database.write(interrupted)

    with ThreadPoolExecutor(4) as pool:
        leading = pool.submit(lead)
        assert begun.wait(30)
        posts = [pool.submit(live.post, [event(ANN, f"i{n}", 0.5)]) for n in range(3)]
        while len(database._waiting) < 3:
            threading.Event().wait(0.005)
        go.set()
        leading.result(30)
        assert [one.result(30) for one in posts] == [1, 1, 1]
    assert live.events() == 3


def test_readers_are_not_kept_waiting_by_a_writer(live: Live) -> None:
    live.post([event(ANN, "a", 0.5)])
    seen: list[int] = []

    def work(db: sqlite3.Connection) -> None:
        db.execute("DELETE FROM events")
        seen.append(len(live.history(ANN, 9)))  # in the middle of the transaction
        raise KeyError("undo")

    with pytest.raises(KeyError):
        live._database.write(work)
    assert seen == [1]
    assert len(live.history(ANN, 9)) == 1


def test_connections_do_not_grow_with_threads(live: Live) -> None:
    for _ in range(20):
        thread = threading.Thread(target=live.events)
        thread.start()
        thread.join()
    assert len(live._database._idle) == 1


def test_erasing_says_so_where_a_reader_is_in_the_way(live: Live) -> None:
    live._database._writer.execute("PRAGMA busy_timeout = 100")
    live.post([event(ANN, "a", 0.5)])
    reader = sqlite3.connect(live.path, isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT * FROM events").fetchall()
    with pytest.raises(StorageError, match="Do it again"):
        live.erase(ANN)
    assert live.history(ANN, 9) == []
    reader.close()
    assert live.erase(ANN) == 0
    assert live.path.with_name("live.db-wal").stat().st_size == 0


def test_a_file_of_something_else(tmp_path: Path) -> None:
    path = tmp_path / "live.db"
    path.write_bytes(b"not a database, but long enough to be read as one" * 100)
    with pytest.raises(RunError, match="damaged"):
        Live.open(path)
    path.unlink()
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE mine (a)")
    db.close()
    with pytest.raises(RunError, match="version 3, got 0"):
        Live.open(path)
    path.unlink()
    Live.open(path).close()
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 9")
    db.close()
    with pytest.raises(RunError, match="version 3, got 9"):
        Live.open(path)


def test_damage_is_named_and_never_taken_for_an_empty_store(tmp_path: Path) -> None:
    path = tmp_path / "live.db"
    live = Live.open(path)
    live.post([event(ANN, f"i{number} {'x' * 300}", number + 0.5) for number in range(500)])
    live.close()
    whole = path.read_bytes()
    path.write_bytes(whole[:4096] + bytes(len(whole) - 4096))
    live = Live.open(path)
    for ask in (lambda: live.history(ANN, 9), lambda: live.post([event(ANN, "a", 0.5)])):
        with pytest.raises(RunError, match="damaged"):
            ask()
    live.close()
    with sqlite3.connect(tmp_path / "other.db") as db:
        db.execute("PRAGMA user_version = 3")
    db.close()
    live = Live.open(tmp_path / "other.db")
    with pytest.raises(RunError, match="damaged"):
        live.events()
    live.close()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_may_not_be_written(tmp_path: Path) -> None:
    folder = tmp_path / "closed"
    folder.mkdir(mode=0o500)
    with pytest.raises(StorageError):
        Live.open(folder / "live.db")


def test_a_place_where_nothing_can_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="to write a file"):
        Live.open(tmp_path / "file" / "live.db")
    (tmp_path / "folder" / "live.db").mkdir(parents=True)
    with pytest.raises(StorageError, match="cannot be opened"):
        Live.open(tmp_path / "folder" / "live.db")


def test_a_copy_of_the_files_is_a_store(live: Live, tmp_path: Path) -> None:
    """What is on disk at any moment is whole: a copy is what a loss of power leaves."""
    live.post([event(ANN, "a", 0.5)])
    copied = tmp_path / "copied"
    shutil.copytree(live.path.parent, copied)
    again = Live.open(copied / "live.db")
    assert again.history(ANN, 9) == [event(ANN, "a", 0.5)]
    again.close()
