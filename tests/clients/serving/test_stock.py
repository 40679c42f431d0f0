"""A snapshot with items put beside it: what is found is what all scores, one by one, say."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from clients.serving import scores
from clients.serving.answers import NewItem
from clients.serving.snapshot import write
from clients.serving.snapshot.build import newest
from clients.serving.snapshot.head import NAME, Head
from clients.serving.snapshot.snapshot import Snapshot
from clients.serving.stock import Stock
from tests.clients.serving.conftest import ITEMS, PARTS, WIDTH, deliver, made_platform

IDS = st.sampled_from([*(f"i{row}" for row in range(ITEMS)), *(f"n{row}" for row in range(12))])


@pytest.fixture(scope="module", params=[ITEMS, 0], ids=["exact", "lists"])
def empty(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Stock:
    """Nothing put; lists read all of so few items."""
    folder: Path = tmp_path_factory.mktemp("stock")
    platform = made_platform(folder / "shop")
    deliver(platform, 3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(write, "EXACT_LIMIT", request.param)
        snapshot = newest(platform, folder / "s", parts=PARTS)
    assert snapshot.index.exact == bool(request.param)
    return Stock.of(snapshot, Head.read(snapshot.folder / NAME))


def item(item_id: str, version: int = 0) -> NewItem:
    return NewItem(item_id=item_id, title=f"Put {version}", category=("all",), text=f"w{version}")


def unit(rng: np.random.Generator, count: int) -> NDArray[np.float32]:
    vectors = rng.normal(size=(count, WIDTH)).astype(np.float32)
    found: NDArray[np.float32] = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return found


def by_id(
    base: Snapshot, put: dict[str, NDArray[np.float16]], history: list[str]
) -> dict[str, tuple[float, float, float]]:
    """Item id -> its three parts, in double precision, nothing but ids and dictionaries."""
    home = {f"i{row}": row for row in range(ITEMS)}
    vectors = {name: base.items[row] for name, row in home.items()} | put
    data, indices, indptr = base.together
    weights = base.meta.decay ** np.arange(len(history) - 1, -1, -1)
    weights = weights / max(weights.sum(), 1e-300)
    met = dict.fromkeys(vectors, 0.0)
    wanted = np.zeros(WIDTH)
    for name, weight in zip(history, weights, strict=True):
        wanted += weight * vectors[name].astype(np.float64)
        if (row := home.get(name)) is not None:
            for place in range(indptr[row], indptr[row + 1]):
                met[f"i{indices[place]}"] += weight * data[place]
    wanted /= max(float(np.linalg.norm(wanted)), 1e-12)
    best = max(met.values()) or 1.0
    return {
        name: (
            float(vector.astype(np.float64) @ wanted),
            base.meta.knn * met[name] / best,
            base.meta.popularity * base.popularity[home[name]] if name in home else 0.0,
        )
        for name, vector in vectors.items()
    }


def puts(
    empty: Stock, data: st.DataObject
) -> Iterator[tuple[Stock, dict[str, NDArray[np.float16]]]]:
    """Stocks, each of the one before, and the vectors of what was put."""
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    stock, put = empty, dict[str, NDArray[np.float16]]()
    for version in range(data.draw(st.integers(1, 3))):
        names = data.draw(st.lists(IDS, unique=True, max_size=12))
        adapted = unit(rng, len(names))
        changed = [item(name, version) for name in names]
        stock = stock.with_put(changed, adapted, unit(rng, len(names)))
        put |= zip(names, adapted.astype(np.float16), strict=True)
        yield stock, put


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_what_is_found_is_what_all_scores_say(empty: Stock, data: st.DataObject) -> None:
    for stock, put in puts(empty, data):
        row_of = stock.catalogue.row_of
        shown = sorted(row_of)
        assert len(stock.catalogue) - len(stock.replaced) == len(row_of) == len(shown)
        history = data.draw(st.lists(st.sampled_from(shown), unique=True, max_size=6))
        read = np.array([row_of[name] for name in history], np.int64)
        parts = by_id(stock.base, put, history)

        every = scores.score(stock, read, np.array([row_of[name] for name in shown]))
        for place, name in enumerate(shown):
            own = every.shared[place], every.together[place], every.popular[place]
            np.testing.assert_allclose(own, parts[name], atol=1e-5)

        k = data.draw(st.sampled_from([1, 5, 20, 100]))
        hidden = data.draw(st.lists(st.sampled_from(shown), unique=True, max_size=70))
        allowed = np.ones(len(stock.catalogue), bool)  # the replaced ones are not taken out here
        allowed[[row_of[name] for name in hidden]] = False
        mask = allowed if hidden or data.draw(st.booleans()) else None
        without = read if data.draw(st.booleans()) else read[:0]
        left = set(shown) - set(hidden) - (set(history) if len(without) else set())

        found = scores.ranked(stock, read, k, allowed=mask, without=without)
        expect(found.rows, found.total, {name: sum(parts[name]) for name in left}, k, stock)

        wanted = scores.interest(stock, read)
        rows, cosines = stock.index.search(wanted, k, allowed=mask, without=without, biased=False)
        expect(rows, cosines, {name: parts[name][0] for name in left}, k, stock)

        for name in shown[:: len(shown) // 3]:
            if history:
                lost = scores.left_out(stock, read, row_of[name])
                others = [read, *(np.delete(read, place) for place in range(len(read)))]
                own_row = np.array([row_of[name]])
                told = [scores.score(stock, one, own_row).total[0] for one in others]
                np.testing.assert_allclose(lost, told, atol=1e-5)


def expect(
    rows: NDArray[np.int64],
    values: NDArray[np.float32],
    wanted: dict[str, float],
    k: int,
    stock: Stock,
) -> None:
    """The best k of what is wanted; those that are closer than rounding may change places."""
    names = [stock.catalogue.ids[row] for row in rows.tolist()]
    assert [stock.catalogue.row_of[name] for name in names] == rows.tolist()  # none is replaced
    assert len(set(names)) == len(names) == min(k, len(wanted))
    np.testing.assert_allclose(values, [wanted[name] for name in names], atol=1e-5)
    np.testing.assert_allclose(values, sorted(wanted.values(), reverse=True)[:k], atol=1e-5)
    order = np.lexsort((rows, -values))
    assert order.tolist() == list(range(len(rows)))


def test_nothing_put_costs_nothing(empty: Stock) -> None:
    base = empty.base
    for name in ("index", "frozen", "items", "vectors", "bias", "popularity", "catalogue"):
        assert getattr(empty, name) is getattr(base, name)
    rows = np.arange(ITEMS)
    assert empty.current(rows).tolist() == empty.homes(rows).tolist() == rows.tolist()
    rng = np.random.default_rng(0)
    same = [empty.own("i3"), empty.own("i7")]
    assert all(same)
    again = empty.with_put([one for one in same if one], unit(rng, 2), unit(rng, 2))
    assert again.put == ()  # the snapshot has them in just this way
    assert again.index is base.index


def test_rows_lead_to_what_stands_for_them(empty: Stock) -> None:
    rng = np.random.default_rng(0)
    changed = [item("i9"), item("n0"), item("i2")]
    stock = empty.with_put(changed, unit(rng, 3), unit(rng, 3))
    assert stock.replaced.tolist() == [2, 9]
    assert stock.current(np.array([9, 2, 5, 61])).tolist() == [60, 62, 5, 61]
    assert stock.homes(np.array([60, 61, 62, 5])).tolist() == [9, -1, 2, 5]
    catalogue = stock.catalogue
    assert (len(catalogue), len(catalogue.row_of)) == (63, 61)
    assert sorted(catalogue.row_of) == sorted({*(f"i{row}" for row in range(60)), "n0"})
    assert (catalogue.ids[59:], catalogue.titles[60]) == (["i59", "i9", "n0", "i2"], "Put 0")
    assert stock.known("i9") == item("i9")
    assert stock.own("i9") == empty.known("i9") != item("i9")
    assert stock.known("nobody") is None
    np.testing.assert_array_equal(stock.frozen[np.array([62, 4])][1], stock.base.vectors[4])
    with pytest.raises(IndexError):
        catalogue.ids[63]
