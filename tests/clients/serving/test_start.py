"""A partner's service as a program, and training beside it: what an opt-out does, and a new model.

The log, the texts, the encoder and its cache are a copy that can be taken away.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from clients.forget import forget, idle
from clients.home import Home
from clients.platform import Platform
from clients.serving.answers import PostedEvent, Who
from clients.serving.live.training import before_training
from clients.serving.service.client import ServingClient
from clients.serving.snapshot.build import newest
from clients.serving.snapshot.columns import FILES as COLUMNS
from clients.serving.snapshot.snapshot import Snapshot
from clients.serving.start import Served, run
from clients.stamp import FILES
from shared.adapters import initial_adapter
from shared.config.training import Interpolation
from shared.errors import ConfigError, ConsentError, FedInterestError, UnknownError
from shared.protocol import AdapterDelivery
from shared.whitening import fit_whitening
from tests.clients.partners import PROJECT, enrolled, name_of, new_home, no_progress, trained_on

FIVE = Who(user_id="c5")
PLACES = ("--address", "127.0.0.1:0", "--json-address", "")


@pytest.fixture
def texts(tmp_path: Path, world: Path, surroundings: None, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A world of one's own."""
    copied = tmp_path / "world"
    shutil.copytree(world, copied)
    monkeypatch.setenv("FEDINTEREST_CACHE", str(copied / "cache"))
    return copied


@pytest.fixture
def partner(tmp_path: Path, texts: Path) -> Home:
    """Enrolled and prepared."""
    made = new_home(tmp_path / "shop", texts)
    enrolled(made, texts)
    made.prepare(no_progress)
    return Home.open(made.folder.path)


@contextmanager
def served(home: Home) -> Iterator[tuple["subprocess.Popen[str]", ServingClient]]:
    """The service, once it says where it can be reached."""
    process = subprocess.Popen(
        [sys.executable, "-m", "clients.cli", "serve", str(home.folder.path), *PLACES],
        stdout=subprocess.PIPE,
        text=True,
        cwd=PROJECT,
    )
    assert process.stdout is not None
    try:
        found = None
        while found is None:
            line = process.stdout.readline()
            assert line, f"it ended: {process.wait()}"
            found = re.match(r"gRPC http://(\S+)", line)
        with ServingClient(found[1], deadline_s=120) as client:
            yield process, client
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def made(home: Home) -> Snapshot:
    """A snapshot of what the partner has now, where the service keeps them."""
    folder = home.folder.path / "serving" / "snapshots"
    return newest(
        Platform.open(home.folder.platform), folder, parts=Interpolation(shared=1.0, own=0.25)
    )


def until(condition: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + 90
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.1)


@pytest.mark.parametrize("name", ["faiss", "numkong"])
def test_a_package_that_is_missing_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setitem(sys.modules, name, None)  # as the interpreter notes what is not there
    with pytest.raises(ConfigError, match=rf"no {name} .*pip install 'fedinterest\[serving\]'"):
        run(tmp_path)


@pytest.mark.slow
def test_an_opt_out_through_a_crash_and_back_again(partner: Home) -> None:
    home = partner
    who = name_of(home, "c5")
    with served(home) as (process, client):
        assert client.recommend(FIVE, k=3).items
        with idle(home.folder.state):  # a round is being computed: nobody waits for it
            assert not client.set_consent("c5", learning=False).learning
            with pytest.raises(ConsentError):
                client.recommend(FIVE, k=3)
            members = client.audience(interest=None, item_id=first_item(home), size=99)
            assert who not in {one.pseudonym for one in members}
            assert who in trained_on(home)
            process.send_signal(signal.SIGKILL)
            process.wait()
        with idle(home.folder.state):  # what the executor does before it trains
            before_training(home)
            assert who not in trained_on(home)
    assert not list(home.folder.receipts.iterdir())

    with served(home) as (process, client):
        assert not client.consent("c5").learning
        client.set_consent("c7", learning=False)  # nobody trains: the service has it done
        seven = name_of(home, "c7")
        until(lambda: seven not in trained_on(home), "the service takes up an opt-out")
        assert client.set_consent("c5", learning=True).learning
        client.reload()
        with pytest.raises(UnknownError):  # until the log is read again
            client.recommend(FIVE, k=3)
        client.post_events([PostedEvent(user_id="c5", item_id=first_item(home))])
        assert client.recommend(FIVE, k=3).items
        (home.folder.state / "prepared.json").unlink()
        Home.open(home.folder.path).prepare(no_progress)
        assert who in trained_on(home)
        assert seven not in trained_on(home)
        client.reload()
        assert client.status().users == len(trained_on(home))
        assert len(client.interests(FIVE).read) > 1
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0


def first_item(home: Home) -> str:
    return Platform.open(home.folder.platform).catalogue.ids[0]


def test_who_is_forgotten_is_in_no_snapshot(partner: Home) -> None:
    who = name_of(partner, "c5")
    before = made(partner)
    assert who in before.sequences.users
    forget(partner, "nobody we know")
    assert (before.folder / "sequences.npz").is_file()
    forget(partner, "c5")
    assert not before.folder.exists()
    assert who not in made(partner).sequences.users


def test_a_new_model_reads_neither_the_log_nor_a_text(partner: Home, texts: Path) -> None:
    """What is not there cannot have been read."""
    platform, frozen = Platform.open(partner.folder.platform), made(partner)
    shutil.rmtree(texts)
    rng = np.random.default_rng(0)
    adapter = {
        name: rng.normal(scale=0.2, size=value.shape).astype(np.float32)
        for name, value in initial_adapter(platform.record.model, platform.states.shape[2]).items()
    }
    base = fit_whitening([platform.moments()]).to_arrays()
    platform.receive(AdapterDelivery(round=1, adapter=adapter, base=base))
    found = made(partner)
    assert (found.meta.round, frozen.meta.round) == (1, 0)
    assert not np.allclose(found.items, frozen.items)
    for name in COLUMNS:
        assert found.meta.files[name] == frozen.meta.files[name]
    assert found.meta.files["sequences.npz"] == frozen.meta.files["sequences.npz"]
    (partner.folder.state / "prepared.json").unlink()
    with pytest.raises(FedInterestError):  # as preparing anew has to
        Home.open(partner.folder.path).prepare(no_progress)


def test_making_a_snapshot_loads_no_encoder(partner: Home, encoders: Path) -> None:
    """But the exported one, once that is there.  And of the partner's files it opens those of the
    platform alone.
    """
    service = Served.at(partner.folder.path)
    shutil.copytree(encoders, service.encoders)  # of this partner's encoder
    places = (service.platform, service.serving, service.encoders)
    done = subprocess.run(
        [sys.executable, "-c", WATCHED, *map(str, places)],
        capture_output=True,
        text=True,
        cwd=PROJECT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    assert service.no_texts() == ""
    assert {one.name for one in service.encoders.iterdir()} == {
        one.name for one in encoders.iterdir()
    }
    *files, modules = done.stdout.splitlines()
    names = {Path(one).name for one in files if Path(one).is_relative_to(service.platform)}
    assert names == {*FILES, "delivered.safetensors"}
    assert modules == "[]"


WATCHED = """
import io, json, sys
from pathlib import Path
from clients.serving.snapshot.make import main
platform, serving, encoders = map(Path, sys.argv[1:])
asked = {"platform": str(platform), "folder": str(serving / "snapshots"),
    "parts": {"shared": 1.0, "own": 0.0}, "stamp": "",
    "kept": str(serving / "newest.json"), "encoders": str(encoders)}
sys.stdin = io.StringIO(json.dumps(asked))
opened = []
def hear(what, said):
    if what == "open" and isinstance(said[0], str):
        opened.append(said[0])
sys.addaudithook(hear)
said, sys.stdout = sys.stdout, io.StringIO()
code = main()
sys.stdout = said
home = platform.parent
for path in dict.fromkeys(opened):
    if Path(path).is_relative_to(home.parent) and not Path(path).is_relative_to(serving):
        print(path)
print([one for one in ("transformers", "clients.sources.ingest")
    if one in sys.modules])
sys.exit(code)
"""
