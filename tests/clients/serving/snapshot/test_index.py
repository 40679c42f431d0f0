"""Searching items: against sorting all scores, at every size of k and with every filter."""

import sys
import threading
import weakref
from functools import partial
from pathlib import Path

import faiss
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from clients.serving.snapshot import approximate
from clients.serving.snapshot.approximate import FILES as LISTS
from clients.serving.snapshot.approximate import MISSED, Lists, padded
from clients.serving.snapshot.approximate_build import build_lists
from clients.serving.snapshot.byte_rows import FILES as BYTES
from clients.serving.snapshot.byte_rows import ByteRows, build_byte_rows
from clients.serving.snapshot.index import Index
from clients.serving.snapshot.index_build import EXACT_LIMIT, build_index
from clients.serving.snapshot.on_disk import let_go
from shared.errors import ConfigError, RunError
from shared.files import file_sha256
from simulations.bench.serving.vectors import biases, clustered, interests

ITEMS, WIDTH = 6000, 32


def by_hand(
    vectors: NDArray[np.float16],
    bias: NDArray[np.float32],
    query: NDArray[np.float32],
    k: int,
    allowed: NDArray[np.bool_] | None = None,
    without: tuple[int, ...] = (),
) -> list[int]:
    """Sort them all, in double precision."""
    scores = vectors.astype(np.float64) @ query.astype(np.float64) + bias
    kept = np.ones(len(vectors), bool) if allowed is None else allowed.copy()
    kept[list(without)] = False
    best: list[int] = np.lexsort((np.arange(len(scores)), -scores)).tolist()
    return [row for row in best if kept[row]][:k]


@pytest.fixture(scope="module")
def world() -> tuple[NDArray[np.float16], NDArray[np.float32], NDArray[np.float32]]:
    grown = clustered(ITEMS, WIDTH, seed=0, clusters=60)
    grown.vectors[[3, 77, 4000]] = 0
    bias = biases(ITEMS, seed=1)
    bias[77] = bias.max() + 1  # the best of all, whatever is asked
    return grown.vectors, bias, interests(grown, 60, seed=2)


@pytest.fixture(scope="module")
def folder(world, tmp_path_factory: pytest.TempPathFactory) -> Path:  # type: ignore[no-untyped-def]
    made: Path = tmp_path_factory.mktemp("index")
    np.save(made / "items.npy", world[0])
    build_index(world[0], world[1], made, seed=0, limit=100)
    return made


@pytest.fixture(scope="module")
def byted(world, tmp_path_factory: pytest.TempPathFactory) -> Path:  # type: ignore[no-untyped-def]
    """Between small and the limit: 8-bit rows."""
    made: Path = tmp_path_factory.mktemp("bytes")
    build_index(world[0], world[1], made, seed=0, small=100)
    return made


@pytest.fixture
def listed(world, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Index:  # type: ignore[no-untyped-def]
    """Lists, from the memory map, that read a fifth of the rows."""
    monkeypatch.setattr(approximate, "LEAST_READ", ITEMS // 5)
    items = np.load(folder / "items.npy", mmap_mode="r")
    return Index.open(items, world[1], folder, limit=100)


NUMBERS = st.sampled_from([-1.0, -0.5, 0.0, 0.25, 0.5, 1.0])


@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_exact_is_what_sorting_gives(data: st.DataObject) -> None:
    """Numbers that halves hold, so that ties are ties in every precision; zero rows among them."""
    items, width = data.draw(st.integers(1, 30)), data.draw(st.integers(1, 9))
    drawn = partial(hnp.arrays, np.float32, elements=NUMBERS)
    # no longer than 1
    vectors = (data.draw(drawn((items, width))) / 4).astype(np.float16)
    bias = np.abs(data.draw(drawn(items)))
    query = data.draw(drawn(width))
    k = data.draw(st.integers(0, 40))
    mask = data.draw(hnp.arrays(bool, items))
    allowed = data.draw(st.sampled_from([None, mask]))
    without = tuple(data.draw(st.lists(st.integers(0, items - 1), max_size=4)))
    index = Index.open(vectors, bias, Path("nowhere"))
    assert index.exact
    found, scores = index.search(query, k, allowed=allowed, without=np.array(without, np.int64))
    assert found.tolist() == by_hand(vectors, bias, query, k, allowed, without)
    np.testing.assert_array_equal(
        scores, (vectors.astype(np.float64) @ query + bias)[found].astype(np.float32)
    )


def test_real_numbers_too(world) -> None:  # type: ignore[no-untyped-def]
    vectors, bias, queries = world
    index = Index.open(vectors, bias, Path("nowhere"))
    for query in queries:
        assert index.search(query, 10)[0].tolist() == by_hand(vectors, bias, query, 10)
        plain, cosines = index.search(query, 10, biased=False)
        assert plain.tolist() == by_hand(vectors, 0 * bias, query, 10)
        np.testing.assert_allclose(cosines, vectors[plain].astype(np.float64) @ query, atol=1e-6)


def test_scanning_8_bits_is_exact(world, byted: Path) -> None:  # type: ignore[no-untyped-def]
    vectors, bias, queries = world
    index = Index.open(vectors, bias, byted, small=100)
    assert index.exact
    allowed = np.random.default_rng(0).random(ITEMS) < 0.1
    for query in queries:
        assert index.search(query, 10)[0].tolist() == by_hand(vectors, bias, query, 10)
        found = index.search(query, 10, allowed=allowed, without=np.array([77]))[0]
        assert found.tolist() == by_hand(vectors, bias, query, 10, allowed, (77,))
        allowed = ~allowed  # most of them, then few again


def test_roughly_misses_some(world, byted: Path, listed: Index) -> None:  # type: ignore[no-untyped-def]
    """By signs where there are 8-bit rows; of lists, an eighth of a fifth of the rows is read."""
    vectors, bias, queries = world
    few = Index.open(vectors, bias, Path("nowhere"))
    for index, least, most in (
        (Index.open(vectors, bias, byted, small=100), 0.3, 1),  # of 32 signs
        (listed, 0.4, 1),
        (few, 1, 1.001),
    ):
        hits = 0
        for query in queries:
            rough, scores = index.search(query, 10, biased=False, roughly=True)
            hits += len(set(rough.tolist()) & set(by_hand(vectors, 0 * bias, query, 10)))
            np.testing.assert_array_equal(scores, index.scores(query, rough, biased=False))
        assert least <= hits / 600 < most


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_signs_are_counted(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Against counting them one by one, at widths around a word's."""
    items, width = (
        data.draw(st.integers(1, 12)),
        data.draw(st.sampled_from([1, 7, 63, 64, 65, 130])),
    )
    seed, count = data.draw(st.integers(0, 99)), data.draw(st.integers(1, 14))
    rng = np.random.default_rng(seed)
    vectors = (rng.integers(-1, 2, (items, width)) / width).astype(np.float16)
    query = rng.integers(-1, 2, width).astype(np.float32)
    mask = data.draw(st.none() | hnp.arrays(bool, items))
    without = np.array(data.draw(st.lists(st.integers(0, items - 1), max_size=3)), np.int64)
    folder = tmp_path_factory.mktemp("signs")
    build_byte_rows(vectors, folder, seed=0)
    apart = [sum((v > 0) != (q > 0) for v, q in zip(row, query, strict=True)) for row in vectors]
    kept = np.ones(items, bool) if mask is None else mask.copy()
    kept[without] = False
    best = [row for row in sorted(range(items), key=lambda row: (apart[row], row)) if kept[row]]
    found = ByteRows(folder, items, width).near(query, count, mask, without)
    assert found.tolist() == best[:count]


def test_up_to_the_limit_it_is_exact_and_needs_no_files(tmp_path: Path) -> None:
    assert EXACT_LIMIT == 100_000
    vectors = clustered(200, 8, seed=0, clusters=5).vectors
    bias = np.zeros(200, np.float32)
    build_index(vectors, bias, tmp_path, seed=0, limit=200)
    assert list(tmp_path.iterdir()) == []
    assert Index.open(vectors, bias, tmp_path, limit=200).exact
    with pytest.raises(RunError, match="Remove the folder"):
        Index.open(vectors, bias, tmp_path, limit=199)


def test_lists_find_nearly_all(world, listed: Index) -> None:  # type: ignore[no-untyped-def]
    vectors, bias, queries = world
    assert not listed.exact
    hits = 0
    for query in queries:
        rows, scores = listed.search(query, 10)
        truth = by_hand(vectors, bias, query, 10)
        hits += len(set(rows.tolist()) & set(truth))
        assert rows[0] == 77  # a row of zeros: only its bias speaks for it
        np.testing.assert_allclose(
            scores, vectors[rows].astype(np.float64) @ query + bias[rows], atol=1e-5
        )
        assert (np.diff(scores) <= 0).all()
    assert hits / 600 >= 0.95


@pytest.mark.parametrize(("share", "least"), [(0.7, 0.93), (0.2, 0.93), (0.04, 1.0), (0.001, 1.0)])
def test_filters_cost_nothing(world, listed: Index, share: float, least: float) -> None:  # type: ignore[no-untyped-def]
    """A random part is allowed; where that is few, the answer is exact."""
    vectors, bias, queries = world
    allowed = np.random.default_rng(0).random(ITEMS) < share
    hits, of = 0, 0
    for query in queries:
        rows, _ = listed.search(query, 10, allowed=allowed)
        truth = by_hand(vectors, bias, query, 10, allowed)
        assert allowed[rows].all()
        assert len(rows) == len(truth)
        hits, of = hits + len(set(rows.tolist()) & set(truth)), of + len(truth)
    assert hits / of >= least


def test_a_filter_far_from_the_interest_costs_nothing(world, listed: Index) -> None:  # type: ignore[no-untyped-def]
    """The lists that would be read without it hold nothing that is allowed: others are."""
    vectors, bias, queries = world
    hits = 0
    for query in queries:
        cosines = vectors.astype(np.float32) @ query
        allowed = cosines < np.sort(cosines)[ITEMS // 3]
        rows, _ = listed.search(query, 10, allowed=allowed)
        assert allowed[rows].all()
        hits += len(set(rows.tolist()) & set(by_hand(vectors, bias, query, 10, allowed)))
    assert hits / 600 >= 0.85


def test_too_few_in_the_lists_are_scanned(world, listed: Index, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    """Had the lists nothing that is allowed, all would be scanned."""
    vectors, bias, queries = world
    allowed = np.random.default_rng(0).random(ITEMS) < 0.5
    monkeypatch.setattr(Lists, "candidates", lambda *_, **__: np.zeros(0, np.int64))
    rows, _ = listed.search(queries[0], 10, allowed=allowed)
    assert rows.tolist() == by_hand(vectors, bias, queries[0], 10, allowed)


def test_rows_that_may_not_be_there(world, listed: Index) -> None:  # type: ignore[no-untyped-def]
    _, _, queries = world
    best, _ = listed.search(queries[0], 20)
    rows, _ = listed.search(queries[0], 10, without=best[:10])
    assert rows.tolist() == best[10:].tolist()
    allowed = np.ones(ITEMS, bool)
    allowed[best[0]] = False
    rows, _ = listed.search(queries[0], 10, allowed=allowed, without=best[1:10])
    assert rows.tolist() == best[10:].tolist()
    assert allowed.sum() == ITEMS - 1  # the caller's own is as it was


@pytest.mark.parametrize("k", [700, ITEMS - 1, ITEMS, ITEMS + 1])
def test_many_are_exact(world, listed: Index, k: int) -> None:  # type: ignore[no-untyped-def]
    vectors, bias, queries = world
    rows, scores = listed.search(queries[0], k)
    exact = Index.open(vectors, bias, Path("nowhere"))
    expected, values = exact.search(queries[0], k)
    np.testing.assert_array_equal(rows, expected)
    np.testing.assert_array_equal(scores, values)


def test_an_interest_of_zeros_leaves_the_bias(world, listed: Index) -> None:  # type: ignore[no-untyped-def]
    vectors, bias, _ = world
    nothing = np.zeros(WIDTH, np.float32)
    rows, scores = listed.search(nothing, 30)
    assert rows.tolist() == by_hand(vectors, bias, nothing, 30)
    np.testing.assert_array_equal(scores, bias[rows])
    rows, scores = listed.search(nothing, 3, biased=False)
    assert (rows.tolist(), scores.tolist()) == ([0, 1, 2], [0, 0, 0])


def test_what_can_reach_is_never_left_out(world, listed: Index) -> None:  # type: ignore[no-untyped-def]
    vectors, bias, queries = world
    rng = np.random.default_rng(0)
    exact = Index.open(vectors, bias, Path("nowhere"))
    for index in (listed, exact):
        for query in queries:
            rows = np.sort(rng.choice(ITEMS, 300, replace=False))
            extra = rng.random(300).astype(np.float32) / 8
            totals = vectors[rows].astype(np.float64) @ query + bias[rows] + extra
            least = float(np.sort(totals)[-20])
            reached = index.reaching(query, rows, extra, least)
            assert reached[totals >= least].all()
            assert reached.sum() < 150


@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_estimates_are_near(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Against the half-precision rows; one item, one list and lists that are empty among them."""
    items = data.draw(st.sampled_from([1, 2, 9, 60]))
    width = data.draw(st.sampled_from([4, 28, 32, 61]))
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    drawn = rng.standard_normal((items + 1, width)).astype(np.float32)
    drawn /= np.linalg.norm(drawn, axis=1, keepdims=True)
    vectors, query = drawn[1:].astype(np.float16), drawn[0]
    vectors[rng.random(items) < data.draw(st.sampled_from([0, 0.5, 1]))] = 0
    bias = biases(items, seed=0) * np.float32(data.draw(st.sampled_from([0, 1, 100])))
    rows = np.array(data.draw(st.lists(st.integers(0, items - 1), max_size=30)), np.int64)
    folder = tmp_path_factory.mktemp("estimates")
    build_lists(vectors, bias, folder, seed=0)
    found = Lists(folder, items, width).estimate(query, rows)
    truth = vectors[rows].astype(np.float64) @ query
    assert found.shape == truth.shape
    np.testing.assert_allclose(found, truth, rtol=0, atol=MISSED)


def test_estimates_are_of_the_rows_that_faiss_gives(world, folder: Path) -> None:  # type: ignore[no-untyped-def]
    """Of all items, in parts and out of order; 8 bits are whole numbers, so that nothing is lost.

    Interests of any length: how far they are off grows with it.
    """
    vectors, _, queries = world
    index = faiss.read_index(str(folder / LISTS[0]))
    index.make_direct_map()
    columns = np.load(folder / LISTS[1])
    codes = index.reconstruct_n(0, ITEMS).astype(np.int64)[:, : len(columns)]
    rows = np.random.default_rng(0).permutation(np.repeat(np.arange(ITEMS), 2))
    scale = float(np.load(folder / LISTS[2])[0])
    lists = Lists(folder, ITEMS, WIDTH)
    for query, length in zip(queries, (1, 1e-3, 50), strict=False):
        asked = query * np.float32(length)
        step = float(np.abs(asked).max()) / 127
        whole = codes @ np.rint(asked[columns] / step).astype(np.int64)
        found = lists.estimate(asked, rows)
        np.testing.assert_allclose(found, whole[rows] * (step / scale), rtol=1e-5, atol=0)
        truth = vectors[rows].astype(np.float64) @ asked
        assert np.abs(found - truth).max() < MISSED * length


def test_estimates_of_wide_rows_are_near_by_far(tmp_path: Path) -> None:
    """Four coordinates in which centres differ least are left out, which costs nearly nothing."""
    grown = clustered(3000, 384, seed=0, clusters=30)
    build_lists(grown.vectors, biases(3000, seed=1), tmp_path, seed=0)
    lists, every = Lists(tmp_path, 3000, 384), np.arange(3000)
    off = [
        lists.estimate(query, every) - grown.vectors.astype(np.float64) @ query
        for query in interests(grown, 20, seed=2)
    ]
    assert np.quantile(np.abs(off), 0.999) < MISSED


def test_an_interest_so_long_that_no_bias_counts(world, listed: Index) -> None:  # type: ignore[no-untyped-def]
    vectors, bias, queries = world
    hits = 0
    for query in queries:
        long = query * np.float32(1e4)
        rows, _ = listed.search(long, 10)
        hits += len(set(rows.tolist()) & set(by_hand(vectors, bias, long, 10)))
    assert hits / 600 >= 0.95


def test_what_is_read_keeps_the_index(folder: Path) -> None:
    lists = Lists(folder, ITEMS, WIDTH)
    codes, places = lists._codes, lists._places
    index, expected = weakref.ref(lists._index), codes[places]
    assert not codes.flags.writeable  # it is the file
    del lists
    assert index() is not None
    np.testing.assert_array_equal(codes[places], expected)
    del codes
    assert index() is None


def test_an_index_that_goes_takes_nothing_from_others(world, folder: Path) -> None:  # type: ignore[no-untyped-def]
    """A reload: one is opened and the one before is let go, while others are asked."""
    vectors, bias, queries = world
    rows = np.random.default_rng(0).integers(0, ITEMS, 700)
    now = [Index.open(vectors, bias, folder, limit=100)]
    extra, least = np.zeros(700, np.float32), 0.3
    expected = [now[0].reaching(query, rows, extra, least).tolist() for query in queries]
    best = [now[0].search(query, 10)[0].tolist() for query in queries]
    found: list[bool] = []

    def ask() -> None:
        for _ in range(2):
            for place, query in enumerate(queries):
                index = now[0]
                found.append(index.reaching(query, rows, extra, least).tolist() == expected[place])
                found.append(index.search(query, 10)[0].tolist() == best[place])

    threads = [threading.Thread(target=ask) for _ in range(2)]
    for one in threads:
        one.start()
    while any(one.is_alive() for one in threads):
        now[0] = Index.open(vectors, bias, folder, limit=100)
    for one in threads:
        one.join()
    assert found == [True] * (2 * 2 * 2 * len(queries))


def test_threads_share_it(world, listed: Index) -> None:  # type: ignore[no-untyped-def]
    _, _, queries = world
    expected = [listed.search(query, 10)[0].tolist() for query in queries]
    found: list[list[list[int]]] = []

    def ask() -> None:
        found.append([listed.search(query, 10)[0].tolist() for query in queries])

    threads = [threading.Thread(target=ask) for _ in range(6)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert found == [expected] * 6


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_search_is_one_thread_s(world, listed: Index) -> None:  # type: ignore[no-untyped-def]
    """OpenMP would start others for each thread that asks, and they would spin for the next."""
    found: list[int] = []

    def ask() -> None:
        for count in range(2):
            found.append(len(list(Path("/proc/self/task").iterdir())))
            listed.search(world[2][count], 10)
            listed.reaching(world[2][count], np.arange(300), np.zeros(300, np.float32), 0.5)

    thread = threading.Thread(target=ask)
    thread.start()
    thread.join()
    assert found[0] == found[1]


@pytest.mark.parametrize("name", [*LISTS, *BYTES])
def test_a_damaged_file_is_told(
    world, folder: Path, byted: Path, tmp_path: Path, name: str
) -> None:  # type: ignore[no-untyped-def]
    vectors, bias, _ = world
    names, source, sizes = (
        (LISTS, folder, {"limit": 100}) if name in LISTS else (BYTES, byted, {"small": 100})
    )
    for one in names:
        (tmp_path / one).write_bytes((source / one).read_bytes())
    files = {one: file_sha256(tmp_path / one) for one in names}
    assert Index.open(vectors, bias, tmp_path, **sizes, files=files).exact == (names == BYTES)
    content = bytearray((source / name).read_bytes())
    content[-1] ^= 1
    (tmp_path / name).write_bytes(content)
    with pytest.raises(RunError, match=r"damaged .*Remove the folder"):
        Index.open(vectors, bias, tmp_path, **sizes, files=files)
    (tmp_path / name).write_bytes(content[:40])
    with pytest.raises(RunError, match="Remove the folder"):
        Index.open(vectors, bias, tmp_path, **sizes)
    (tmp_path / name).unlink()
    with pytest.raises(RunError, match="Remove the folder"):
        Index.open(vectors, bias, tmp_path, **sizes)


def test_an_index_of_other_items_is_told(world, folder: Path, byted: Path) -> None:  # type: ignore[no-untyped-def]
    vectors, bias, _ = world
    for made, sizes in ((folder, {"limit": 100}), (byted, {"small": 100})):
        with pytest.raises(RunError, match="other items"):
            Index.open(vectors[:-1], bias[:-1], made, **sizes)
        with pytest.raises(RunError, match="other items"):
            Index.open(vectors[:, :-8], bias, made, **sizes)


@pytest.mark.parametrize("first", [-1, 1])
def test_lists_with_other_numbers_in_them_are_told(
    world, folder: Path, tmp_path: Path, first: int
) -> None:  # type: ignore[no-untyped-def]
    """As many items, but one of them is not among ours."""
    for name in LISTS:
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    index = faiss.read_index(str(folder / LISTS[0]))
    index.reset()
    index.add_with_ids(np.zeros((ITEMS, index.d), np.float32), np.arange(first, ITEMS + first))
    faiss.write_index(index, str(tmp_path / LISTS[0]))
    with pytest.raises(RunError, match="other items"):
        Lists(tmp_path, ITEMS, WIDTH)
    index.reset()
    index.add_with_ids(np.zeros((ITEMS, index.d), np.float32), np.arange(ITEMS) // 2)
    faiss.write_index(index, str(tmp_path / LISTS[0]))
    with pytest.raises(RunError, match="other items"):
        Lists(tmp_path, ITEMS, WIDTH)


def test_an_index_of_another_kind_is_told(folder: Path, tmp_path: Path) -> None:
    for name in LISTS:
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    flat = faiss.IndexFlatIP(padded(WIDTH))
    flat.add(np.zeros((ITEMS, padded(WIDTH)), np.float32))
    faiss.write_index(flat, str(tmp_path / LISTS[0]))
    with pytest.raises(RunError, match="other items"):
        Lists(tmp_path, ITEMS, WIDTH)


def test_the_same_items_give_the_same_files(
    world, folder: Path, byted: Path, tmp_path: Path
) -> None:  # type: ignore[no-untyped-def]
    build_index(world[0], world[1], tmp_path, seed=0, limit=100)
    build_index(world[0], world[1], tmp_path, seed=0, small=100)
    for names, made in ((LISTS, folder), (BYTES, byted)):
        for name in names:
            assert file_sha256(tmp_path / name) == file_sha256(made / name)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_pages_of_scanned_rows_are_given_back(world, folder: Path) -> None:  # type: ignore[no-untyped-def]
    """Of lists the half-precision rows are touched only where few are allowed."""
    items = np.load(folder / "items.npy", mmap_mode="r")
    index = Index.open(items, world[1], folder, limit=100)
    allowed = np.zeros(ITEMS, bool)
    allowed[::40] = True

    def resident() -> int:
        lines, found, ours = Path("/proc/self/smaps").read_text().splitlines(), 0, False
        for line in lines:
            if "-" in line.split()[0]:
                ours = line.endswith("/items.npy")
            elif ours and line.startswith("Rss:"):
                found += int(line.split()[1])
        return found

    let_go()
    before = resident()
    index.search(world[2][0], 10, allowed=allowed)
    assert resident() > before
    let_go()
    assert resident() == before


def test_rows_of_zeros_only(tmp_path: Path) -> None:
    vectors, bias = np.zeros((50, 4), np.float16), np.arange(50, dtype=np.float32)
    build_index(vectors, bias, tmp_path, seed=0, limit=1)
    index = Index.open(vectors, bias, tmp_path, limit=1)
    assert index.search(np.ones(4, np.float32), 3)[0].tolist() == [49, 48, 47]
    assert index.search(-np.ones(4, np.float32), 50)[0].tolist() == list(range(49, -1, -1))


@pytest.mark.parametrize(("width", "whole"), [(32, 64), (60, 64), (61, 96), (256, 256), (384, 384)])
def test_rows_of_lists_are_whole_words(tmp_path: Path, width: int, whole: int) -> None:
    """Wide ones leave four coordinates out for the bias, and what is found is scored with them."""
    grown = clustered(3000, width, seed=0, clusters=30)
    bias = biases(3000, seed=1) * np.float32(4)  # so heavy that it decides
    build_index(grown.vectors, bias, tmp_path, seed=0, limit=1)
    kept = np.load(tmp_path / LISTS[1])
    assert padded(width) == whole
    assert kept.tolist() == sorted({*kept.tolist()})
    assert len(kept) == min(width, whole - 4)
    index, hits = Index.open(grown.vectors, bias, tmp_path, limit=1), 0
    for query in interests(grown, 30, seed=2):
        rows, scores = index.search(query, 10)
        hits += len(set(rows.tolist()) & set(by_hand(grown.vectors, bias, query, 10)))
        np.testing.assert_array_equal(scores, index.scores(query, rows))
    assert hits / 300 >= 0.98  # all rows are read: what is missing, 8 bits have lost


@pytest.mark.parametrize(
    ("vectors", "bias"),
    [
        (np.zeros((2, 3), np.float32), np.zeros(2, np.float32)),
        (np.zeros((2, 3), np.float16), np.zeros(3, np.float32)),
        (np.zeros((2, 3), np.float16), np.array([0, -1], np.float32)),
        (np.zeros((2, 3), np.float16), np.array([0, np.nan], np.float32)),
    ],
)
def test_what_cannot_be_searched(vectors: np.ndarray, bias: np.ndarray) -> None:
    with pytest.raises(ConfigError, match="float16 vectors"):
        Index.open(vectors, bias, Path("nowhere"))
