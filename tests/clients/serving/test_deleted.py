"""An item that is not offered any more is in no list: of the catalogue, or put; until it is put."""

from pathlib import Path

import pytest

from clients.platform import Platform
from clients.serving import answers as a
from clients.serving.answering import Engine
from clients.serving.live.store import Live
from clients.serving.snapshot.encoder import Encoder
from clients.sources.pseudonyms import pseudonym
from shared.config.training import ModelSettings
from shared.errors import UnknownError
from tests.clients.serving.conftest import SECRET, Shop, deliver
from tests.clients.serving.texts_world import (
    engine_of,
    made_platform,
    text,
)

EVERY = a.Filters(include_seen=True)
GONE = ("i0", "n1")


@pytest.fixture
def platform(tmp_path: Path, model: ModelSettings) -> Platform:
    return made_platform(tmp_path / "shop", model)


@pytest.fixture
def engine(platform: Platform, tmp_path: Path, encoders: Path) -> Engine:
    """With `n1` put, which reads as `i0`, and events of both, before anything is deleted."""
    made, _ = engine_of(platform, tmp_path, encoders)
    made.put_items([new("n1", 0)])
    made.post_events(
        [
            a.PostedEvent(user_id=f"x{n}", item_id=item, time=time)
            for n in range(40)
            for item, time in (("i0", 150.0), ("n1", 160.0), ("i5", 170.0), ("i1", 50.0))
        ]
    )
    return made


def new(item_id: str, row: int) -> a.NewItem:
    return a.NewItem(item_id=item_id, title="New", category=("all", "tea"), text=text(row))


def original(row: int) -> a.NewItem:
    """As the catalogue has it."""
    shelf = ("tea", "coffee", "books")[row % 3]
    return a.NewItem(
        item_id=f"i{row}", title=f"Title {row}", category=("all", shelf), text=text(row)
    )


def lists(engine: Engine) -> dict[str, set[str]]:
    """The items in every kind of list."""
    who = a.Who(user_id="x1")
    profile = engine.interests(who)
    why = engine.explain(who, "i7")
    near = engine.intent(text(0), k=100)
    return {
        "recommend": {
            one.item.item_id for one in engine.recommend(who, k=100, filters=EVERY).items
        },
        "by interest": {
            one.item.item_id
            for one in engine.recommend(
                who, k=100, filters=EVERY, mode=a.Mode.INTEREST_CONTENT
            ).items
        },
        "diverse": {
            one.item.item_id
            for one in engine.recommend(who, k=100, filters=EVERY, diversity=0.5).items
        },
        "only": {
            one.item.item_id
            for one in engine.recommend(
                who, filters=a.Filters(only_items=(*GONE, "i6"), include_seen=True)
            ).items
        },
        "category": {
            one.item.item_id
            for one in engine.recommend(
                who, k=100, filters=a.Filters(categories=("tea",), include_seen=True)
            ).items
        },
        "similar": {one.item.item_id for one in engine.similar_items("i3", k=100).items},
        "interests": {
            one.item_id
            for one in (*profile.read, *(e for i in profile.interests for e in i.events))
        },
        "explain": {one.item_id for one, _ in why.events},
        "intent": {one.item.item_id for one in near.items},
    }


def told(engine: Engine) -> int:
    """Events that trends have counted."""
    found = engine.trends(window_s=100, until=200.0)
    return sum(one.events for one in (*found.rising, *found.falling))


def test_it_is_in_no_list_from_then_on(engine: Engine) -> None:
    before, items = lists(engine), engine.status().items
    for name in set(before) - {"interests", "explain"}:
        assert set(GONE) <= before[name], name
    assert {"n1"} <= before["interests"] & before["explain"]
    assert told(engine) == 120
    assert engine.delete_items([*GONE, "nothing", *GONE]) == a.Deleted(
        deleted=2, already=0, unknown=("nothing",)
    )
    after = lists(engine)
    assert after == {name: found - set(GONE) for name, found in before.items()}
    assert engine.status().items == items - 2
    assert told(engine) == 40  # of i5 alone
    for item in GONE:
        for ask in (
            lambda item=item: engine.explain(a.Who(user_id="u1"), item),
            lambda item=item: engine.similar_items(item),
            lambda item=item: engine.audience(interest=None, item_id=item, size=5),
        ):
            with pytest.raises(UnknownError, match="item"):
                ask()
    assert engine.delete_items(["n1", "niente"]) == a.Deleted(
        deleted=0, already=1, unknown=("niente",)
    )


def test_what_users_did_with_it_still_counts(engine: Engine) -> None:
    def shared(who: a.Who) -> dict[str, float]:
        found = engine.recommend(who, k=100, filters=EVERY)
        return {one.item.item_id: one.parts.shared_model for one in found.items}

    for who in (a.Who(user_id="x1"), a.Who(item_ids=("n1", "i5"))):
        before = shared(who)
        engine.delete_items(GONE)
        after = shared(who)
        assert after == {item: before[item] for item in after}
        engine.put_items([new("n1", 0), original(0)])
    engine.delete_items(GONE)
    late = [a.PostedEvent(user_id="x1", item_id=item, time=180.0) for item in GONE]
    assert engine.post_events(late).accepted == 2


def test_it_stays_through_a_restart_and_a_new_model(
    engine: Engine, platform: Platform, tmp_path: Path, encoders: Path
) -> None:
    engine.delete_items(GONE)
    after = lists(engine)
    again, texts = engine_of(platform, tmp_path, encoders)
    assert lists(again) == after
    deliver(platform, 4, seed=5)
    assert again.reload().changed
    assert not any(set(GONE) & found for found in lists(again).values())
    assert again.delete_items(GONE).already == 2
    assert texts.left_out == 0


def test_it_can_be_put_again(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    before = lists(engine)
    engine.delete_items(GONE)
    assert engine.put_items([new("n1", 0), original(0)]) == a.Put(added=2, changed=0, unchanged=0)
    assert lists(engine) == before
    engine.delete_items(["i0"])
    engine.put_items([new("i0", 7)])  # with another text
    assert engine.similar_items("i7", k=1).items[0].score == pytest.approx(1, abs=1e-3)
    assert lists(engine) == before
    engine.delete_items(["i0", "i2"])  # both rows of i0

    def never(*_: object) -> None:
        raise AssertionError("a text was read")

    monkeypatch.setattr(Encoder, "states", never)
    engine.put_items([original(2), original(0)])  # as the catalogue has them: nothing to read
    assert lists_without_intent(engine, before)


def lists_without_intent(engine: Engine, before: dict[str, set[str]]) -> bool:
    found = engine.recommend(a.Who(user_id="x1"), k=100, filters=EVERY)
    return {one.item.item_id for one in found.items} == before["recommend"]


def test_it_needs_no_encoder(platform: Platform, tmp_path: Path, encoders: Path) -> None:
    engine, _ = engine_of(platform, tmp_path, encoders)
    engine.put_items([new("n1", 0), new("n2", 0)])
    (tmp_path / "texts.db").unlink()
    without, texts = engine_of(platform, tmp_path, tmp_path / "nothing")
    assert without.status().left_out == 2
    assert without.delete_items(["n1", "i0"]).deleted == 2
    assert without.status().left_out == 1
    assert without.status().items == 59
    assert without.put_items([original(0)]).added == 1
    assert without.status().items == 60
    assert texts.trouble == without.status().no_texts != ""
    assert not without.status().reads_texts


def test_without_anything_to_read_texts_with(shop: Shop) -> None:
    assert shop.engine.delete_items(["i3", "n1"]) == a.Deleted(
        deleted=1, already=0, unknown=("n1",)
    )
    found = shop.engine.recommend(a.Who(user_id="u0"), k=100, filters=EVERY)
    assert len(found.items) == 59
    assert shop.engine.status().no_texts


def test_another_process_is_followed(
    engine: Engine, platform: Platform, tmp_path: Path, encoders: Path
) -> None:
    """The page beside the service: what is put and deleted there is seen at the next look."""
    page, _ = engine_of(platform, tmp_path, encoders)
    engine.put_items([new("n2", 9)])
    engine.delete_items(["n1", "i5"])
    assert not page.reload().changed
    assert page.status().items == engine.status().items == 60
    assert lists(page) == lists(engine)
    first = page.loaded
    page.reload()
    assert page.loaded is first


def test_pending_opt_outs_are_told(shop: Shop) -> None:
    assert shop.engine.status().pending == 0
    shop.engine.set_consent("u3", learning=False)
    assert shop.engine.status().pending == 1
    shop.live.taken_up(pseudonym(SECRET, "u3"))
    assert shop.engine.status().pending == 0


def test_a_store_of_the_second_version_takes_deletions(tmp_path: Path) -> None:
    live = Live(tmp_path / "live.db")
    live.put_items([a.NewItem(item_id="n1", title="New", text="w1")])
    db = live._database._writer
    db.execute("DROP TABLE deleted")
    db.execute("PRAGMA user_version = 2")
    live.close()
    again = Live(tmp_path / "live.db")
    changes = again.item_changes()
    assert again.delete_items(["n1", "i1", "x"], {"i1"}).unknown == ("x",)
    assert again.deleted_items() == ["n1", "i1"]
    assert again.item_changes() == changes + 2
    assert again.put_items([a.NewItem(item_id="n1", title="New", text="w1")]).added == 1
    assert (again.deleted_items(), again.item_changes()) == (["i1"], changes + 3)
    again.close()
