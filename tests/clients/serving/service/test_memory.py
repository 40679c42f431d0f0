"""Nothing grows with calls: a real service over a real engine keeps no more after thousands of them
than after the first hundreds.

Counted are the interpreter's blocks, each object and each short text being one of them at least: no
clock and no machine is in it.
"""

import gc
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clients.recommending.catalogue_words import phrases_of
from clients.serving import answers as a
from clients.serving.answers import Filters, Mode, Who
from clients.serving.service.client import ServingClient
from clients.serving.service.serve import Service
from clients.serving.snapshot import columns
from clients.serving.snapshot.columns import Columns, write_columns
from shared.catalogue import Catalogue
from shared.errors import UnknownError
from tests.clients.serving.conftest import ITEMS, USERS, Shop
from tests.clients.serving.service.world import World, serving, settings

CALLS = 2000


@pytest.fixture
def served(shop: Shop) -> Iterator[tuple[Service, ServingClient]]:
    service = Service(shop.engine, settings())
    with ServingClient(service.places.grpc, deadline_s=60.0) as client:
        yield service, client
    service.stop()


def blocks() -> int:
    gc.collect()
    return sys.getallocatedblocks()


def asked(client: ServingClient, number: int) -> None:
    """Another question each time: of users, of histories, of who is unknown."""
    user, item = Who(user_id=f"u{number % USERS}"), f"i{number % ITEMS}"
    history = Who(item_ids=tuple(f"i{(number * 7 + one) % ITEMS}" for one in range(1, 5)))
    who = (user, history)[number % 2]
    questions: tuple[Callable[[], object], ...] = (
        lambda: client.recommend(who, k=5),
        lambda: client.recommend(who, k=5, diversity=0.3, mode=Mode.INTEREST_CONTENT),
        lambda: client.recommend(who, filters=Filters(exclude_items=(item, f"no {number}"))),
        lambda: client.similar_items(item),
        lambda: client.interests(who),
        lambda: client.explain(who, item),
        lambda: list(client.audience(interest=None, item_id=item, size=5)),
        lambda: client.consent(f"somebody {number}"),
        lambda: client.recommend(Who(user_id=f"nobody {number}")),
        lambda: client.trends(window_s=60.0, until=float(number + 1)),
    )
    with suppress(UnknownError):
        questions[number % len(questions)]()


def test_calls_leave_nothing_behind(served: tuple[Service, ServingClient]) -> None:
    _, client = served
    counted = []
    for window in range(3):  # the first fills what is bounded: free lists, NumPy's small blocks
        for number in range(window * CALLS, (window + 1) * CALLS):
            asked(client, number)
        counted.append(blocks())
    # One of the ten kinds of questions leaving one block behind would be CALLS / 10 every time.
    assert min(np.diff(counted)) < CALLS * 0.075, counted


def test_it_would_be_seen() -> None:
    """Of a servicer that keeps one text of every tenth call."""
    kept: list[str] = []

    class Keeping(World):
        def recommend(self, who: Who, **asked: Any) -> a.Recommended:
            number = int((who.item_ids or ("i0",))[0][1:])
            if number % 10 == 0:
                kept.append(f"a text of {number} {len(kept)}")
            return super().recommend(who, **asked)

    counted = []
    with (
        serving(Keeping()) as service,
        ServingClient(service.places.grpc, deadline_s=60.0) as client,
    ):
        for _ in range(2):
            for number in range(CALLS):
                client.recommend(Who(item_ids=(f"i{number % 30}",)), k=1)
            counted.append(blocks())
    assert min(np.diff(counted)) > CALLS * 0.075


def test_phrases_are_remembered_up_to_their_bound(tmp_path: Path) -> None:
    """A hundred thousand different ones take what the bound says, and no more."""
    titles = tuple(f"red pot {number}" for number in range(50))
    catalogue = Catalogue(ids=titles, texts=titles, titles=titles, categories=((),) * 50)
    write_columns(catalogue, tmp_path)
    phrases = Columns(tmp_path).counted.phrases
    assert {phrases[one] for one in phrases_of("red pot")} == {50}
    tracemalloc.start()
    try:
        for number in count():
            assert phrases[f"unheard of {number}"] == 0
            if number == 5 * columns._PHRASES_KNOWN:
                break
        size, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert phrases._known.cache_info().currsize == columns._PHRASES_KNOWN  # type: ignore[attr-defined]
    assert size < 400 * 1024
