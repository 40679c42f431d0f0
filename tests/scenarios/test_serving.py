"""A data scientist serves a platform of a run: `fedinterest-client serve`, asked through gRPC."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from clients.serving.answers import Filters, NewItem, PostedEvent, Who
from clients.serving.service.client import ServingClient
from shared.errors import ConsentError, RunError, UnknownError
from tests.clients.serving import texts_world
from tests.clients.serving.conftest import SECRET, deliver, made_platform

PLACES = ("--address", "127.0.0.1:0", "--json-address", "127.0.0.1:0")
FEDERATION = """{"platforms": {"shop": {"population": 100, "events": {"path": "x"},
"items": {"path": "x"}}, "films": {"population": 100, "events": {"path": "x"},
"items": {"path": "x"}}}}"""


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "run" / "platforms" / "shop"
    platform = made_platform(folder)
    deliver(platform, 3)
    (folder / "pseudonym.secret").write_bytes(SECRET)
    (tmp_path / "run" / "federation.json").write_text(FEDERATION)
    return folder


def started(
    folder: Path, *, cache: Path | None = None, said: list[str] | None = None
) -> tuple["subprocess.Popen[str]", str]:
    """The service, once it says where it can be reached.

    Args:
        cache: of exported encoders.
        said: is given the lines before that.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", "clients.cli", "serve", str(folder), *PLACES],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "FEDINTEREST_CACHE": str(cache or folder)},
    )
    assert process.stdout is not None
    for line in process.stdout:
        if found := re.match(r"gRPC http://(\S+)", line):
            return process, found[1]
        if said is not None:
            said.append(line)
    raise AssertionError(f"it ended: {process.wait()}")


def test_it_answers_survives_a_kill_and_takes_up_a_new_adapter(run: Path) -> None:
    process, address = started(run)
    try:
        with ServingClient(address, deadline_s=10) as client:
            assert client.status().round == 3
            first = client.recommend(Who(user_id="u3"), k=5)
            assert len(first.items) == 5
            seen = first.items[0].item.item_id
            assert client.post_events([PostedEvent(user_id="u3", item_id=seen)]).accepted == 1
            assert not client.set_consent("u5", learning=False).learning
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert process.stdout is not None
        process.stdout.close()

        began = time.monotonic()
        process, address = started(run)
        assert time.monotonic() - began < 60  # what was made is found, not made again
        with ServingClient(address, deadline_s=10) as client:
            found = client.recommend(Who(user_id="u3"), k=60)
            assert seen not in {one.item.item_id for one in found.items}
            with pytest.raises(ConsentError):
                client.recommend(Who(user_id="u5"))
            from clients.platform import Platform

            deliver(Platform.open(run), 4, seed=9)
            end = time.monotonic() + 60
            while client.status().round != 4:  # it looks by itself
                assert time.monotonic() < end
                time.sleep(0.2)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def ended(process: "subprocess.Popen[str]", by: signal.Signals) -> None:
    process.send_signal(by)
    process.wait(30)
    assert process.stdout is not None
    process.stdout.close()


@pytest.mark.slow
def test_an_item_that_was_put_is_recommended_also_after_a_kill(tmp_path: Path) -> None:
    folder, cache = tmp_path / "run" / "platforms" / "shop", tmp_path / "cache"
    model = texts_world.made_model(tmp_path / "encoder")
    texts_world.made_platform(folder, model)
    (folder / "pseudonym.secret").write_bytes(SECRET)
    (tmp_path / "run" / "federation.json").write_text(FEDERATION)
    item = NewItem(
        item_id="fresh", title="Just in", category=("all", "tea"), text=texts_world.text(0)
    )
    only = Filters(only_items=("fresh",))
    said: list[str] = []
    process, address = started(folder, cache=cache, said=said)
    try:
        assert not [line for line in said if "no Intent" in line]
        with ServingClient(address, deadline_s=20) as client:
            assert client.intent(texts_world.text(9)).interests[0][0] == "tea"
            assert client.put_items([item]).added == 1
            (first,) = client.recommend(Who(user_id="u0"), filters=only).items
            assert first.item.title == "Just in"
        ended(process, signal.SIGKILL)

        process, address = started(folder, cache=cache)
        with ServingClient(address, deadline_s=20) as client:
            assert client.recommend(Who(user_id="u0"), filters=only).items == (first,)
            assert client.put_items([item]).unchanged == 1
            assert client.delete_items(["fresh", "i3", "nothing"]).unknown == ("nothing",)
        ended(process, signal.SIGKILL)

        shutil.rmtree(cache / "encoders")  # it is exported again
        process, address = started(folder, cache=cache)
        with ServingClient(address, deadline_s=20) as client:
            assert client.intent(texts_world.text(9)).interests[0][0] == "tea"
            assert client.recommend(Who(user_id="u0"), filters=only).items == ()
            with pytest.raises(UnknownError):
                client.similar_items("i3")
            assert client.put_items([item]).added == 1
        ended(process, signal.SIGKILL)

        shutil.rmtree(cache / "encoders")
        shutil.rmtree(tmp_path / "encoder")  # it cannot be
        said.clear()
        process, address = started(folder, cache=cache, said=said)
        (line,) = [line for line in said if "no Intent" in line]
        assert "encoder" in line
        with ServingClient(address, deadline_s=20) as client:
            # what was read before is known; what is new cannot be read
            assert client.recommend(Who(user_id="u0"), filters=only).items == (first,)
            with pytest.raises(RunError, match="texts that can be read"):
                client.intent("w1")
            assert not client.status().reads_texts
            assert client.status().no_texts in line
        ended(process, signal.SIGTERM)
    finally:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()
