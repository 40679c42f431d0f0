"""Users who have posted: found as if each were read alone, and read again only where changed."""

from collections.abc import Callable

import numpy as np
import pytest

from clients.serving import answers as a
from clients.serving import recent, scores
from clients.serving.live.store import LiveEvent
from clients.serving.people import People
from clients.sources.pseudonyms import pseudonym
from shared.errors import UnknownError
from tests.clients.serving.conftest import SECRET, USERS, Shop


def post(shop: Shop, *events: tuple[str, str, float]) -> None:
    shop.engine.post_events(
        [a.PostedEvent(user_id=user, item_id=item, time=time) for user, item, time in events]
    )


def plain(shop: Shop, item: str, size: int, without: frozenset[str] = frozenset()) -> list[str]:
    """One user at a time: history, interest, cosine; as the documentation has it."""
    stock, people = shop.engine.loaded.stock, People(shop.live, SECRET)
    wanted = stock.index.vectors(np.array([stock.catalogue.row_of[item]]))[0]
    found = {}
    for name in {*stock.sequences.users, *shop.live.users()} - without:
        try:
            rows = people.rows(stock, name)[-stock.meta.history_length :]
        except UnknownError:
            continue
        found[name] = float(scores.interest(stock, rows) @ wanted)
    return sorted(found, key=lambda name: -found[name])[:size]


def asked(shop: Shop, item: str, size: int = 1000) -> list[str]:
    found = list(shop.engine.audience(interest=None, item_id=item, size=size))
    values = [one.score for one in found]
    assert values == sorted(values, reverse=True)
    return [one.pseudonym for one in found]


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """How many users were worked out since it was asked last."""
    counted: list[int] = []
    original = recent._interests

    def counting(stock, histories):  # type: ignore[no-untyped-def]
        counted.append(len(histories))
        return original(stock, histories)

    monkeypatch.setattr(recent, "_interests", counting)

    def since() -> int:
        found = sum(counted)
        counted.clear()
        return found

    return since


def test_it_is_as_if_each_were_read_alone(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recent, "_AT_ONCE", 7)
    monkeypatch.setattr(recent, "_ROWS", 16)
    rng = np.random.default_rng(3)
    for step in range(4):
        post(
            shop,
            *(
                (f"u{rng.integers(0, USERS + 25)}", f"i{rng.integers(60)}", float(time))
                for time in rng.integers(1, 1000, 40)
            ),
        )
        if step == 2:
            shop.engine.set_consent("u7", learning=False)
        out = shop.live.opted_out()
        for item in ("i0", "i17"):
            whole = plain(shop, item, 1000, out)
            assert set(asked(shop, item)) == set(whole)
            # vectors are kept in half precision: neighbours may change places
            assert set(whole[:8]) <= set(asked(shop, item, 10))
            assert asked(shop, item, 9) == asked(shop, item)[:9]


def test_only_who_has_changed_is_read_again(shop: Shop, reads: Callable[[], int]) -> None:
    post(shop, *((f"u{n}", f"i{n}", 5.0) for n in range(30)), ("new", "i3", 6.0))
    asked(shop, "i0")
    assert reads() == 31
    asked(shop, "i9")
    assert reads() == 0
    post(shop, ("u3", "i8", 7.0), ("new", "i3", 6.0))  # the second is known
    asked(shop, "i0")
    assert reads() == 1
    shop.engine.delete_items(["i3"])  # changes nobody's interest
    asked(shop, "i0")
    assert reads() == 0
    shop.live.prune(5.5)  # the log has what is older: 29 have none here now
    assert set(asked(shop, "i0")) == {
        *shop.engine.loaded.snapshot.sequences.users,
        pseudonym(SECRET, "new"),
    }
    assert reads() == 2


def test_an_item_put_anew_moves_whoever_has_it(shop: Shop, reads: Callable[[], int]) -> None:
    post(shop, ("new", "i3", 6.0))
    known = shop.engine._recent.known(shop.engine.loaded.stock)
    stock = shop.engine.loaded.stock
    item = a.NewItem(item_id="i3", title="Other", text="other")
    vector = stock.index.vectors(np.array([8]))
    changed = stock.with_put([item], vector, vector)
    after = shop.engine._recent.known(changed)
    assert reads() == 2
    row = after.place[pseudonym(SECRET, "new")]
    np.testing.assert_allclose(after.vectors[row], vector[0], atol=1e-3)
    assert not np.allclose(known.vectors[row], vector[0], atol=0.1)


def test_similar_users_are_those_who_opted_in(shop: Shop) -> None:
    post(shop, ("new", "i3", 6.0), ("other", "i6", 6.0))
    for user in ("new", "u1", "u2", "other"):
        shop.engine.set_consent(user, similar_users=True)
    found = {one.pseudonym for one in shop.engine.similar_users("new", k=1000)}
    assert found == {pseudonym(SECRET, user) for user in ("u1", "u2", "other")}
    shop.engine.set_consent("other", learning=False)
    assert len(shop.engine.similar_users("new", k=1000)) == 2
    assert len(shop.engine.similar_users("new", k=1)) == 1


def test_histories_in_one_query_are_those_one_by_one(shop: Shop) -> None:
    rng = np.random.default_rng(1)
    names = [pseudonym(SECRET, f"u{n}") for n in range(9)]
    upto = 0
    for _ in range(3):
        shop.live.post(
            [
                LiveEvent(pseudonym=str(rng.choice(names)), item_id=f"i{item}", time=float(time))
                for item, time in zip(rng.integers(0, 20, 30), rng.integers(0, 9, 30), strict=True)
            ]
        )
        changed, number = shop.live.changed_users(upto)
        found, upto = shop.live.histories_since(upto, 4)
        assert number == upto
        assert found == {
            name: [one.item_id for one in shop.live.history(name, 4)] for name in changed
        }
    assert shop.live.histories_since(upto, 4) == ({}, upto)
