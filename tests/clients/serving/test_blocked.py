"""What the operator blocks appears in no list that the engine gives."""

from collections.abc import Iterator

import pytest

from clients.serving import answers as a
from clients.serving.answering import Engine
from clients.serving.snapshot.build import newest
from shared.errors import FedInterestError, RunError, UnknownError
from tests.clients.serving.conftest import PARTS, SECRET, USERS, Shop

BLOCKED_ITEMS = {"i0", "i3", "i4"}


def blocked(item: a.Item) -> bool:
    return item.item_id in BLOCKED_ITEMS or "books" in item.category


@pytest.fixture
def engine(shop: Shop) -> Engine:
    return Engine(
        lambda: newest(shop.platform, shop.folder / "snapshots", parts=PARTS),
        shop.live,
        SECRET,
        blocked_items=tuple(BLOCKED_ITEMS),
        blocked_categories=("books",),
    )


def everything(engine: Engine) -> Iterator[tuple[str, a.Item]]:
    """Every item of every list, for every user and every item that can be asked about."""
    for user in range(USERS):
        who = a.Who(user_id=f"u{user}")
        for mode in a.Mode:
            filters = a.Filters(include_seen=True)
            for one in engine.recommend(who, k=1000, mode=mode, filters=filters).items:
                yield "recommend", one.item
        profile = engine.interests(who, most=20)
        for item in (*profile.read, *(item for one in profile.interests for item in one.events)):
            yield "interests", item
        for title in (title for one in profile.interests for title in one.titles):
            row = int(title.split()[1])
            shelf = ("tea", "coffee", "books")[row % 3]
            yield "titles", a.Item(item_id=f"i{row}", title=title, category=("all", shelf))
        for item, _ in engine.explain(who, "i1").events:
            yield "explain", item
    for one in engine.similar_items("i1", k=1000).items:
        yield "similar", one.item


def test_it_is_in_no_list(engine: Engine, shop: Shop) -> None:
    histories = {f"i{row}" for row in shop.platform.sequences.items.tolist()}
    assert histories & BLOCKED_ITEMS  # so that there is something to hide
    found = list(everything(engine))
    assert {name for name, _ in found} == {"recommend", "interests", "titles", "explain", "similar"}
    assert [(name, item.item_id) for name, item in found if blocked(item)] == []


def test_nobody_can_ask_about_it(engine: Engine) -> None:
    for ask in (
        lambda item: engine.explain(a.Who(user_id="u1"), item),
        lambda item: engine.similar_items(item),
        lambda item: list(engine.audience(interest=None, item_id=item, size=5)),
    ):
        for item in ("i0", "i2"):
            with pytest.raises(UnknownError):
                ask(item)
    with pytest.raises(UnknownError) as told:
        engine.audience(interest="books", item_id=None, size=5)
    assert "books" not in str(told.value)
    assert len(list(engine.audience(interest="tea", item_id=None, size=5))) == 5


def test_trends_do_not_count_it(engine: Engine) -> None:
    engine.post_events(
        [
            a.PostedEvent(user_id=f"u{n}", item_id=item, time=time)
            for n in range(20)
            for item, time in (("i2", 1e6), ("i1", 1e6 + 1), ("i6", 1e6 - 90_000 + n), ("i5", 9e5))
        ]
    )
    told = engine.trends(window_s=86_400, until=1e6 + 10)
    labels = {one.label for one in (*told.rising, *told.falling)}
    assert labels
    assert "books" not in labels


def test_texts_find_nothing_blocked(engine: Engine) -> None:
    try:
        told = engine.intent("books about tea")
    except RunError:
        return  # a snapshot without a text encoder answers no text at all
    except FedInterestError:
        raise
    assert not [one for one in told.items if blocked(one.item)]
