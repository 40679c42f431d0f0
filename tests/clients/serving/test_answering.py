"""What a platform's own programs ask, and what they are told."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from clients.serving import answers as a
from clients.serving.answering import Engine
from clients.serving.snapshot.build import newest
from clients.sources.pseudonyms import pseudonym
from shared.errors import ConfigError, ConsentError, RunError, UnknownError
from tests.clients.serving.conftest import PARTS, SECRET, Shop, deliver


def ids(found: a.Recommended) -> list[str]:
    return [one.item.item_id for one in found.items]


def user(name: str) -> a.Who:
    return a.Who(user_id=name)


def test_recommendations_are_new_items_with_parts_that_add_up(shop: Shop) -> None:
    found = shop.engine.recommend(user("u3"), k=5)
    seen = {f"i{row}" for row in shop.platform.sequences[3].tolist()}
    assert len(found.items) == 5
    assert not seen & set(ids(found))
    values = [one.score for one in found.items]
    assert values == sorted(values, reverse=True)
    for one in found.items:
        total = one.parts.shared_model + one.parts.co_occurrence + one.parts.popularity
        assert one.score == pytest.approx(total, abs=1e-5)
    again = shop.engine.recommend(user("u3"), k=60, filters=a.Filters(include_seen=True))
    assert seen <= set(ids(again))


def test_a_user_and_their_history_are_the_same(shop: Shop) -> None:
    history = tuple(f"i{row}" for row in shop.platform.sequences[3].tolist())
    by_user = shop.engine.recommend(user("u3"), k=9)
    assert ids(by_user) == ids(shop.engine.recommend(a.Who(item_ids=history), k=9))


def test_an_event_counts_from_the_next_answer_on(shop: Shop) -> None:
    with pytest.raises(UnknownError):
        shop.engine.recommend(user("newcomer"))
    posted = shop.engine.post_events(
        [a.PostedEvent(user_id="newcomer", item_id="i7", time=5.0)] * 2
        + [a.PostedEvent(user_id="newcomer", item_id="gone")]
    )
    assert posted == a.Posted(accepted=1, unknown_items=1, opted_out=0, repeated=1)
    expected = shop.engine.recommend(a.Who(item_ids=("i7",)), k=5)
    assert ids(shop.engine.recommend(user("newcomer"), k=5)) == ids(expected)
    before = shop.engine.recommend(user("u3"), k=60)
    shop.engine.post_events([a.PostedEvent(user_id="u3", item_id=ids(before)[0])])
    after = shop.engine.recommend(user("u3"), k=60)
    assert ids(before)[0] not in ids(after)
    assert after.events == min(6, before.events + 1)


def test_rules_of_the_business_and_of_the_operator(shop: Shop) -> None:
    engine = Engine(
        lambda: newest(shop.platform, shop.folder / "snapshots", parts=PARTS),
        shop.live,
        SECRET,
        blocked_items=("i4", "unknown"),
        blocked_categories=("books",),
    )
    every = a.Filters(include_seen=True)
    shown = {int(one[1:]) for one in ids(engine.recommend(user("u3"), k=1000, filters=every))}
    assert shown == {row for row in range(60) if row % 3 != 2 and row != 4}
    only = a.Filters(categories=("tea",), exclude_items=("i0",), include_seen=True)
    shown = {int(one[1:]) for one in ids(engine.recommend(user("u3"), k=1000, filters=only))}
    assert shown == {row for row in range(60) if row % 3 == 0 and row != 0}
    asked = a.Filters(only_items=("i4", "i5", "i6", "i7"), exclude_categories=("tea",))
    assert ids(engine.recommend(user("u3"), k=9, filters=asked)) in (["i7"], [])
    close = engine.similar_items("i0", k=1000)
    assert not {one.item.item_id for one in close.items} & {"i0", "i4", "i5"}


def test_diversity_and_the_other_mode(shop: Shop) -> None:
    plain = shop.engine.recommend(user("u3"), k=10)
    mixed = shop.engine.recommend(user("u3"), k=10, diversity=0.9)
    assert ids(plain)[0] == ids(mixed)[0]
    assert ids(plain) != ids(mixed)
    content = shop.engine.recommend(user("u3"), k=10, mode=a.Mode.INTEREST_CONTENT)
    values = [one.score for one in content.items]
    assert sum(values) == pytest.approx(1.0, abs=1e-5)
    assert values == sorted(values, reverse=True)


def test_interests_explanations_and_who_is_near(shop: Shop) -> None:
    profile = shop.engine.interests(user("u3"))
    assert sum(one.weight for one in profile.interests) == pytest.approx(1.0)
    shown = sum(len(one.events) for one in profile.interests)
    assert 0 < shown <= len(profile.read) <= 6
    best = ids(shop.engine.recommend(user("u3"), k=1))[0]
    why = shop.engine.explain(user("u3"), best)
    assert sum(abs(share) for _, share in why.events) == pytest.approx(1.0)
    assert {one.item_id for one, _ in why.events} == {one.item_id for one in profile.read}
    members = list(shop.engine.audience(interest=None, item_id="i0", size=7))
    assert len(members) == 7
    values = [one.score for one in members]
    assert values == sorted(values, reverse=True)
    assert members[0].pseudonym in shop.platform.sequences.users
    tea = list(shop.engine.audience(interest=" TEA ", item_id=None, size=5))
    assert len(tea) == 5
    with pytest.raises(UnknownError, match="category"):
        shop.engine.audience(interest="wine", item_id=None, size=5)


def test_who_opts_out_is_gone_everywhere(shop: Shop) -> None:
    name = pseudonym(SECRET, "u3")
    everybody = {
        one.pseudonym for one in shop.engine.audience(interest=None, item_id="i0", size=99)
    }
    assert name in everybody
    assert not shop.engine.set_consent("u3", learning=False).learning
    for ask in (
        lambda: shop.engine.recommend(user("u3")),
        lambda: shop.engine.interests(user("u3")),
        lambda: shop.engine.explain(user("u3"), "i0"),
        lambda: shop.engine.similar_users("u3"),
    ):
        with pytest.raises(ConsentError, match="opted out"):
            ask()
    left = {one.pseudonym for one in shop.engine.audience(interest=None, item_id="i0", size=99)}
    assert everybody - left == {name}
    posted = shop.engine.post_events([a.PostedEvent(user_id="u3", item_id="i1")])
    assert (posted.accepted, posted.opted_out) == (0, 1)
    assert shop.engine.set_consent("u3", learning=True).learning
    assert shop.engine.recommend(user("u3")).items
    with pytest.raises(RunError, match="partner's folder"):
        shop.engine.forget("u4")


def test_who_stops_is_taken_out_of_training_even_if_it_fails_at_first(shop: Shop) -> None:
    asked: list[str] = []

    def forget(user_id: str) -> a.Forgotten:
        asked.append(user_id)
        return a.Forgotten(receipt=b"signed", found=True)

    def learn(user_id: str, wanted: bool) -> None:
        shop.live.set_consent(pseudonym(SECRET, user_id), learning=wanted)
        asked.append(user_id)
        if len(asked) == 1:
            raise RunError(expected="a moment without a round", got="none", where="state")

    engine = Engine(
        lambda: newest(shop.platform, shop.folder / "snapshots", parts=PARTS),
        shop.live,
        SECRET,
        forget=forget,
        learn=learn,
    )
    with pytest.raises(RunError):
        engine.set_consent("u3", learning=False)
    with pytest.raises(ConsentError):  # it stops here at once all the same
        engine.recommend(user("u3"))
    engine.set_consent("u3", learning=False)
    engine.set_consent("u4", similar_users=True)
    assert asked == ["u3", "u3"]
    assert engine.forget("u4").receipt == b"signed"
    assert asked[2:] == ["u4"]
    with pytest.raises(ConsentError):
        engine.recommend(user("u4"))


def test_only_those_who_opted_in_are_found(shop: Shop) -> None:
    with pytest.raises(ConsentError, match="opted in"):
        shop.engine.similar_users("u3")
    for number in (3, 6, 9):
        shop.engine.set_consent(f"u{number}", similar_users=True)
    found = {one.pseudonym for one in shop.engine.similar_users("u3", k=10)}
    assert found == set(shop.engine.pseudonyms(["u6", "u9"]))
    shop.engine.set_consent("u6", learning=False)
    assert [one.pseudonym for one in shop.engine.similar_users("u3")] == shop.engine.pseudonyms(
        ["u9"]
    )


def test_trends_compare_two_windows(shop: Shop) -> None:
    early = [a.PostedEvent(user_id=f"u{n}", item_id="i0", time=10.0 + n) for n in range(20)]
    early += [a.PostedEvent(user_id=f"u{n}", item_id="i1", time=10.0 + n) for n in range(20)]
    late = [a.PostedEvent(user_id=f"u{n}", item_id="i1", time=110.0 + n) for n in range(20)]
    late += [a.PostedEvent(user_id=f"u{n}", item_id="i0", time=110.0 + n) for n in range(2)]
    shop.engine.post_events(early + late)
    found = shop.engine.trends(window_s=100.0, until=200.0)
    assert [(one.label, one.events, one.before) for one in found.rising] == [("coffee", 20, 20)]
    assert [(one.label, one.events, one.before) for one in found.falling] == [("tea", 2, 20)]
    assert found.rising[0].change > 1 > found.falling[0].change
    assert (found.since, found.until) == (100.0, 200.0)


def test_a_new_adapter_is_taken_up_while_others_ask(shop: Shop) -> None:
    before = shop.engine.status()
    assert (before.round, before.items, before.users) == (3, 60, 40)
    assert not shop.engine.reload().changed

    def ask(number: int) -> str:
        return shop.engine.recommend(user(f"u{number % 40}"), k=3).snapshot

    with ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(ask, number) for number in range(200)]
        deliver(shop.platform, 4, seed=2)
        reloaded = shop.engine.reload()
        answered = {one.result() for one in asked}
    assert reloaded.changed
    assert reloaded.round == 4
    assert answered <= {before.snapshot, reloaded.snapshot}
    assert shop.engine.recommend(user("u3")).snapshot == reloaded.snapshot
    assert [path.name for path in (shop.folder / "snapshots").iterdir()] == [reloaded.snapshot]


@pytest.mark.parametrize(
    "ask",
    [
        lambda engine: engine.recommend(user("u3"), k=0),
        lambda engine: engine.recommend(user("u3"), k=1001),
        lambda engine: engine.recommend(user("u3"), diversity=1.1),
        lambda engine: engine.recommend(user("u3"), diversity=float("nan")),
        lambda engine: engine.recommend(a.Who()),
        lambda engine: engine.recommend(a.Who(user_id="u3", item_ids=())),
        lambda engine: engine.recommend(user("  ")),
        lambda engine: engine.interests(user("u3"), most=21),
        lambda engine: engine.trends(window_s=0.5, until=0),
        lambda engine: engine.audience(interest=None, item_id=None, size=3),
    ],
)
def test_what_makes_no_sense_is_said(shop: Shop, ask: object) -> None:
    with pytest.raises(ConfigError):
        ask(shop.engine)  # type: ignore[operator]


def test_nothing_that_answers_needs_torch() -> None:
    import subprocess
    import sys

    program = (
        "import sys; import clients.serving.answering, clients.serving.start, "
        "clients.serving.live.store; sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0


def test_the_frozen_model_is_served_before_the_first_run(tmp_path) -> None:  # type: ignore[no-untyped-def]
    from tests.clients.serving.conftest import made_platform

    platform = made_platform(tmp_path / "shop")
    snapshot = newest(platform, tmp_path / "snapshots", parts=PARTS)
    assert snapshot.meta.round == 0
    np.testing.assert_array_equal(snapshot.items, snapshot.vectors)
