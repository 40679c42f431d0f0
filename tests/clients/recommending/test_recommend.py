"""Recommendations: the evaluated score, nothing already known, and reasons that add up."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from clients.platform import Platform
from clients.platform_record import PlatformRecord
from clients.recommending.head import LocalHead
from clients.recommending.recommend import Recommender, number_of, rows_of
from clients.sources.pseudonyms import pseudonym
from shared.adapters import initial_adapter
from shared.catalogue import Catalogue
from shared.config.training import ModelSettings
from shared.errors import AdapterError, ConfigError, DataError, ProtocolError
from shared.events import Sequences
from shared.whitening import Whitening, fit_whitening

ITEMS, WIDTH, USERS = 30, 16, 25
LAYERS = 2
MODEL = ModelSettings(rank=8, history_length=6, layers=LAYERS)
SHELVES = (("Shop", "Kites"), ("Shop", "Games"), ())
SECRET = b"a platform's own secret, 32 bytes"


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Platform:
    rng = np.random.default_rng(3)
    lengths = rng.integers(3, 9, USERS)
    titles = tuple(f"Thing number {row}" for row in range(ITEMS))
    record = PlatformRecord(
        name="shop",
        kind="shop",
        population=USERS,
        epsilon=8.0,
        delta=0.02,
        noise_multiplier=1.0,
        steps=2,
        sample_rate=0.3,
        clip_norm=1.0,
        model=MODEL,
    )
    return Platform.create(
        tmp_path_factory.mktemp("shop"),
        record,
        Catalogue(
            ids=tuple(f"i{row}" for row in range(ITEMS)),
            texts=titles,
            titles=titles,
            categories=tuple(SHELVES[row % 3] for row in range(ITEMS)),
        ),
        rng.normal(size=(ITEMS, LAYERS, WIDTH)).astype(np.float32),
        Sequences(
            users=tuple(pseudonym(SECRET, f"user {user}") for user in range(USERS)),
            items=rng.integers(0, ITEMS, lengths.sum()).astype(np.int32),
            offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        ),
    )


@pytest.fixture(scope="module")
def adapter() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(5)
    zeros = initial_adapter(MODEL, WIDTH)
    return {n: rng.normal(scale=0.3, size=v.shape).astype(np.float32) for n, v in zeros.items()}


@pytest.fixture(scope="module")
def whitening(shop: Platform) -> Whitening:
    return fit_whitening([shop.moments()])


@pytest.fixture(scope="module")
def ready(shop: Platform, adapter: dict[str, np.ndarray], whitening: Whitening) -> Recommender:
    return Recommender.of(shop, adapter, whitening)


def rows(*items: int) -> np.ndarray:
    return np.array(items, np.int32)


def test_scores_are_interest_plus_head_by_hand(
    shop: Platform, adapter: dict[str, np.ndarray], whitening: Whitening, ready: Recommender
) -> None:
    history = rows(4, 9, 17)
    ground = shop.ground(whitening)
    items = ground.vectors.double().numpy().copy()
    for number, value in enumerate(adapter.values()):
        items += ground.features.double().numpy()[:, number :: len(adapter)] @ value.T
    items /= np.linalg.norm(items, axis=1, keepdims=True)
    interest = np.array([0.36, 0.6, 1.0]) @ items[history]
    cosine = items @ interest / np.linalg.norm(interest)
    head = LocalHead.fit(shop.sequences, ITEMS, decay=0.6)
    knn = 0.6 * head.knn([history])[0].numpy()
    popularity = 0.02 * np.log1p(np.bincount(shop.sequences.items, minlength=ITEMS))
    expected = cosine + knn + popularity
    expected[history] = -np.inf
    found = ready.recommend(history, k=5).items
    assert [each.item.row for each in found] == np.argsort(-expected)[:5].tolist()
    for each in found:
        row = each.item.row
        assert each.score == pytest.approx(expected[row], abs=1e-5)
        assert each.parts.shared_model == pytest.approx(cosine[row], abs=1e-5)
        assert each.parts.co_occurrence == pytest.approx(knn[row], abs=1e-6)
        assert each.parts.popularity == pytest.approx(popularity[row], abs=1e-6)
        assert each.explanation is None
    assert len({each.parts.shared_model for each in found}) == 5


@given(st.lists(st.integers(0, ITEMS - 1), max_size=12), st.integers(1, ITEMS + 5))
def test_what_is_known_is_never_recommended(ready: Recommender, history: list[int], k: int) -> None:
    found = ready.recommend(rows(*history), k=k)
    shown = [each.item.row for each in found.items]
    assert not set(shown) & set(history)
    assert len(set(shown)) == len(shown) == min(k, ITEMS - len(set(history)))
    scores = [each.score for each in found.items]
    assert scores == sorted(scores, reverse=True)


def test_a_long_history_is_read_at_its_end_and_excluded_whole(ready: Recommender) -> None:
    history = rows(*range(12))
    found = ready.recommend(history, k=ITEMS)
    assert [item.row for item in found.read] == list(range(6, 12))
    assert sorted(each.item.row for each in found.items) == list(range(12, ITEMS))
    same = ready.recommend(history[6:], k=ITEMS)
    scores = {each.item.row: each.score for each in same.items}
    assert all(scores[each.item.row] == each.score for each in found.items)


def test_a_repeated_item_counts_by_its_first_time(ready: Recommender) -> None:
    assert ready.recommend(rows(3, 8, 3)).items == ready.recommend(rows(3, 8)).items


def test_no_history_gives_no_interests_and_still_something(ready: Recommender) -> None:
    found = ready.recommend(rows(), k=3, explained=True)
    assert (found.read, found.interests, len(found.items)) == ((), (), 3)
    for each in found.items:
        assert each.parts.co_occurrence == 0
        assert each.explanation is not None
        assert each.explanation.events == ()


def test_interests_weigh_what_the_model_weighs(ready: Recommender) -> None:
    found = ready.recommend(rows(0, 3, 1)).interests  # two kites, then a game
    raw = np.array([0.36, 0.6, 1.0]) / 1.96
    labels = {each.label: each for each in found}
    assert labels["Games"].events == (2,)
    assert labels["Games"].weight == pytest.approx(raw[2], abs=1e-6)
    assert sum(each.weight for each in found) == pytest.approx(1)


def test_explanations_cover_the_head_as_well_as_the_model(ready: Recommender) -> None:
    history = rows(2, 7, 11, 20)
    found = ready.recommend(history, k=4, explained=True)
    for each in found.items:
        lost = np.zeros(4)
        for event in range(4):  # an occlusion of our own, part by part
            without = np.delete(history, event)
            ours = ready.scorer.scores([without])[0] + ready.head.scores([without])[0]
            lost[event] = each.score - float(ours[each.item.row])
        assert each.explanation is not None
        measured = np.zeros(4)
        for place, share in each.explanation.events:
            measured[place] = share
        np.testing.assert_allclose(measured, lost / np.abs(lost).sum(), atol=1e-4)
        shares = dict(each.explanation.interests)
        for interest in found.interests:
            carried = measured[list(interest.events)].sum()
            assert shares[interest.label] == pytest.approx(carried, abs=1e-6)


def test_round_0_is_frozen_plus_knn(shop: Platform, whitening: Whitening) -> None:
    ready = Recommender.of(shop, initial_adapter(MODEL, WIDTH), whitening)
    vectors = shop.ground(whitening).vectors
    cosine = torch.nn.functional.normalize(0.375 * vectors[5] + 0.625 * vectors[6], dim=0)
    for each in ready.recommend(rows(5, 6)).items:
        alone = float(vectors[each.item.row] @ cosine)
        assert each.parts.shared_model == pytest.approx(alone, abs=1e-5)


def test_bad_arguments_are_refused(
    shop: Platform, adapter: dict[str, np.ndarray], whitening: Whitening, ready: Recommender
) -> None:
    for k in (0, -3):
        with pytest.raises(ConfigError, match=f"k of at least 1, got {k}"):
            ready.recommend(rows(1), k=k)
    for history in (rows(ITEMS), rows(-1)):
        with pytest.raises(DataError, match=f"0 to {ITEMS - 1}"):
            ready.recommend(history)
    other = initial_adapter(MODEL.replace(rank=4), WIDTH)
    with pytest.raises(AdapterError):
        Recommender.of(shop, other, whitening)
    narrow = Whitening(np.eye(8, dtype=np.float32))
    with pytest.raises(ProtocolError):
        Recommender.of(shop, adapter, narrow)


def titled(*titles: str) -> Catalogue:
    return Catalogue(
        ids=tuple(f"SKU-{row}" for row in range(len(titles))),
        texts=titles,
        titles=titles,
        categories=((),) * len(titles),
    )


def test_items_are_found_by_id_and_by_title() -> None:
    catalogue = titled("Old Tailor Blues", "Royal Shutter", "SKU-0", "Straße")
    found = rows_of(catalogue, ["SKU-1", "old  TAILOR blues ", " SKU-2", "SKU-0", "STRASSE"])
    assert found.tolist() == [1, 0, 2, 0, 3]  # in order; the id SKU-0 is no title
    assert found.dtype == np.int32
    assert rows_of(catalogue, []).tolist() == []


def test_unknown_items_are_named_with_what_is_near() -> None:
    catalogue = titled("Old Tailor Blues", "Royal Shutter", "Twice", "twice")
    with pytest.raises(DataError) as caught:
        rows_of(catalogue, ["Royal Shuter", "SKU-1", "qqq", "TWICE"])
    text = str(caught.value)
    assert "got 'Royal Shuter', 'qqq', 'TWICE' (--history)" in text
    assert "Near 'Royal Shuter': SKU-1 ('Royal Shutter')." in text
    assert "'TWICE' is the title of 2 items; give an id: SKU-2, SKU-3." in text
    assert caught.value.exit_code == 4
    with pytest.raises(DataError, match=r"got 'qqq' .* Ids look like SKU-0, SKU-1, SKU-2"):
        rows_of(catalogue, ["qqq"])
    with pytest.raises(DataError, match="SKU-15"):
        rows_of(titled(*(f"Title {n}" for n in range(20))), ["SKU-155"])
    with pytest.raises(DataError, match="'4' and 4 more"):
        rows_of(catalogue, [str(n) for n in range(9)])


def test_a_user_is_found_behind_the_pseudonym(shop: Platform) -> None:
    assert number_of(shop.sequences, SECRET, "user 7") == 7
    assert number_of(shop.sequences, SECRET, " user 0\n") == 0
    assert number_of(shop.sequences, SECRET, "user 25") is None
    assert number_of(shop.sequences, SECRET[::-1], "user 7") is None
    assert number_of(shop.sequences, SECRET, shop.sequences.users[7]) is None


def test_nothing_is_written(shop: Platform, adapter: dict[str, np.ndarray]) -> None:
    def state(folder: Path) -> dict[str, int]:
        return {str(p): p.stat().st_mtime_ns for p in folder.rglob("*")}

    before = state(shop.folder)
    fresh = Recommender.of(Platform.open(shop.folder), adapter, fit_whitening([shop.moments()]))
    fresh.recommend(rows(1, 2), explained=True)
    assert state(shop.folder) == before
