"""The page over the tiny shop, in a folder as a simulation leaves it, on a real port."""

import http.client
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode

import numpy as np
import pytest

from clients.platform import Platform
from clients.serving.live.store import Live, LiveEvent
from clients.serving.snapshot.build import newest
from clients.serving.start import Served
from clients.serving.ui.http import FORM, PageServer
from clients.serving.ui.opened import Opened
from clients.serving.ui.pages import Pages
from clients.sources.pseudonyms import pseudonym
from shared.files import write_bytes, write_json
from shared.privacy.ledger import Ledger
from tests.clients.serving.conftest import SECRET, USERS, deliver, made_platform

SOURCE = {
    "kind": "shop",
    "events": {"path": "events.csv"},
    "items": {"path": "items.csv"},
}
FEDERATION = {"name": "tiny", "platforms": {"shop": SOURCE}}


def made_folder(run: Path) -> Path:
    """RUN/platforms/shop, prepared, with a delivered adapter, a ledger and held-out events."""
    folder = run / "platforms" / "shop"
    platform = made_platform(folder)
    deliver(platform, 3)
    write_bytes(folder / "pseudonym.secret", SECRET)
    rng = np.random.default_rng(7)
    sequences = platform.sequences
    parts = np.array(
        [
            rng.choice(np.setdiff1d(np.arange(60), sequences[user]), 2, replace=False)
            for user in range(USERS)
        ],
        np.int32,
    )
    np.savez(folder / "heldout.npz", validation=parts[:, 0], test=parts[:, 1])
    facts = {"kind": "shop", "users": 40, "events": 300, "dropped": {"repeat": 7, "opt_out": 2}}
    write_json(folder / "facts.json", {**facts, "items": 60, "dropped_items": {}})
    with Ledger.open(folder / "ledger.jsonl", platform="shop", epsilon=8.0, delta=1e-3) as ledger:
        ledger.charge_many(1, range(2), "a" * 64, 0.5, 1.0)
    return folder


def made_snapshot(folder: Path, **more: str) -> Served:
    """A snapshot of the platform as the maker's own program leaves it, without starting one.

    Args:
        more: what it would say beside the id.
    """
    served = Served.at(folder)
    made = newest(Platform.open(folder), served.serving / "snapshots", parts=served.parts)
    kept = {"stamp": served._stamp(), "id": made.meta.id, **more}
    write_json(served.serving / "newest.json", kept)
    return served


@dataclass
class Site:
    """The page, running.

    Args:
        folder: the platform's.
        server: on its port.
    """

    folder: Path
    server: PageServer

    def ask(
        self,
        path: str = "",
        form: dict[str, str] | None = None,
        *,
        headers: dict[str, str] | None = None,
        method: str | None = None,
        body: bytes | None = None,
        token: str | None = None,
    ) -> tuple[int, dict[str, str], str]:
        """(code, headers, body)."""
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=60)
        sent = body if form is None else urlencode(form, doseq=True).encode()
        all_headers = {"Content-Type": FORM} if sent is not None else {}
        try:
            where = f"/{self.server.token if token is None else token}/{path}"
            connection.request(
                method or ("GET" if sent is None else "POST"),
                where,
                sent,
                {**all_headers, **(headers or {})},
            )
            answer = connection.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read().decode()
        finally:
            connection.close()


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that the tests of a module share; they change nothing in it."""
    path = tmp_path_factory.mktemp("run")
    folder = made_folder(path)
    write_json(path / "federation.json", FEDERATION)
    served = made_snapshot(folder)
    live = Live(served.serving / "live.db")
    live.set_consent(pseudonym(SECRET, "u5"), learning=False)
    for user in ("u1", "u2", "u4"):
        live.set_consent(pseudonym(SECRET, user), similar_users=True)
    live.post(
        [
            LiveEvent(pseudonym=pseudonym(SECRET, f"u{n}"), item_id=item, time=time)
            for n in range(20, 40)
            for item, time in (("i1", 1e6 + n), ("i0", 1e6 - 604_800 + n), ("i2", 1e6 - 5))
        ]
    )
    live.close()
    return path


def serving(folder: Path, *, refresh_s: float = 600.0) -> Iterator[Site]:
    opened = Opened(folder, refresh_s=refresh_s)
    server = PageServer(Pages(opened))
    try:
        yield Site(folder, server)
    finally:
        server.stop()
        opened.close()


@pytest.fixture(scope="module")
def site(run: Path) -> Iterator[Site]:
    yield from serving(run / "platforms" / "shop")


@pytest.fixture
def serve() -> Iterator[Callable[[Path], Site]]:
    """Serve another folder."""
    open_ones = []

    def started(folder: Path) -> Site:
        made = serving(folder)
        open_ones.append(made)
        return next(made)

    yield started
    for made in open_ones:
        next(made, None)
