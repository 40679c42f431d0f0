"""Stores and people for the tests of what changes between two snapshots."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from clients.serving.live.store import Live, LiveEvent
from clients.sources.pseudonyms import pseudonym

SECRET = b"0123456789abcdef"
ANN, BOB, CID = (pseudonym(SECRET, name) for name in ("ann", "bob", "cid"))


def event(user: str, item: str, time: float) -> LiveEvent:
    return LiveEvent(pseudonym=user, item_id=item, time=time)


def content(folder: Path) -> bytes:
    """All bytes of all files."""
    return b"".join(path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file())


@pytest.fixture
def live(tmp_path: Path) -> Iterator[Live]:
    made = Live.open(tmp_path / "store" / "live.db")
    yield made
    made.close()
