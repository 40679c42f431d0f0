"""Interests: the right groups, honest labels, weights that add up, no randomness."""

import math
from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from clients.recommending.catalogue_words import CatalogueWords, phrases_of
from clients.recommending.interests import average_linkage, top_interests
from shared.catalogue import Catalogue
from shared.errors import DataError

SHELVES = {  # category path -> titles; every title is about one thing
    ("Shop", "Beauty", "Nail Polish"): [
        f"{c} Nail Lacquer" for c in ("Red", "Blue", "Pink", "Teal")
    ],
    ("Shop", "Beauty", "Mascara"): [f"{c} Lash Mascara" for c in ("Bold", "Soft", "Long", "Night")],
    ("Shop", "Toys", "Board Games"): ["Settlers of Catan", "Catan Dice", "Catan Cities", "Gloom"],
    ("Shop", "Toys", "Kites"): [f"{c} Stunt Kite" for c in ("Red", "Big", "Tiny", "Fast")],
}
NAILS, LASHES, GAMES, KITES = (range(n, n + 4) for n in (0, 4, 8, 12))


def shop(*, categories: bool = True, fillers: int = 100) -> tuple[CatalogueWords, NDArray[Any]]:
    """16 items on four shelves, one direction a shelf, and unrelated fillers around them."""
    titles = [title for shelf in SHELVES.values() for title in shelf]
    paths = [path for path, shelf in SHELVES.items() for _ in shelf]
    titles += [f"Filler {number}" for number in range(fillers)]
    paths += [("Shop", "Other")] * fillers
    rng = np.random.default_rng(0)
    vectors = rng.normal(scale=0.2, size=(len(titles), 32))
    for row in range(16):
        vectors[row, row // 4] += 2.0
    catalogue = Catalogue(
        ids=tuple(map(str, range(len(titles)))),
        texts=tuple(titles),
        titles=tuple(titles),
        categories=tuple(paths) if categories else ((),) * len(titles),
    )
    return CatalogueWords(catalogue), vectors.astype(np.float32)


HISTORY = np.array([NAILS[0], GAMES[0], NAILS[1], KITES[2], GAMES[1], NAILS[3]])


def test_interests_are_named_by_their_categories() -> None:
    words, vectors = shop()
    found = top_interests(HISTORY, np.ones(6), vectors, words)
    assert [(each.label, each.events) for each in found] == [
        ("Nail Polish", (0, 2, 5)),
        ("Board Games", (1, 4)),
        ("Kites", (3,)),
    ]
    assert [each.weight for each in found] == pytest.approx([1 / 2, 1 / 3, 1 / 6])
    assert set(found[0].items) == {"Red Nail Lacquer", "Blue Nail Lacquer", "Teal Nail Lacquer"}
    assert found[2].items == ("Tiny Stunt Kite",)
    np.testing.assert_allclose(found[0].vector, vectors[[0, 1, 3]].mean(axis=0), rtol=1e-5)
    assert found[0].vector.dtype == np.float32


def test_weights_decide_the_order_and_shape_the_vector() -> None:
    words, vectors = shop()
    weights = np.array([1, 1, 1, 8, 2, 3])
    found = top_interests(HISTORY, weights, vectors, words, most=2)
    assert [each.label for each in found] == ["Kites", "Nail Polish"]
    assert [each.weight for each in found] == pytest.approx([8 / 13, 5 / 13])  # of those returned
    expected = (vectors[NAILS[0]] + vectors[NAILS[1]] + 3 * vectors[NAILS[3]]) / 5
    np.testing.assert_allclose(found[1].vector, expected, rtol=1e-5)


def test_a_group_over_two_shelves_gets_the_name_that_covers_both() -> None:
    words, vectors = shop()
    vectors[LASHES] = vectors[NAILS]  # mascara now lies where nail polish does
    history = np.array([NAILS[0], LASHES[0], NAILS[1], LASHES[2]])
    (only,) = top_interests(history, np.ones(4), vectors, words)
    assert only.label == "Beauty"  # not a leaf that names half of it, not "Shop" that names all


def test_without_categories_a_phrase_of_the_titles_names_them() -> None:
    words, vectors = shop(categories=False)
    found = top_interests(HISTORY, np.ones(6), vectors, words)
    assert [(each.label, each.events) for each in found] == [
        ("Nail Lacquer", (0, 2, 5)),
        ("Catan", (1, 4)),
        ("Stunt Kite", (3,)),
    ]


def test_a_category_that_every_item_has_is_no_name() -> None:
    words, vectors = shop()
    everything = CatalogueWords(
        Catalogue(
            ids=tuple(map(str, range(len(words.titles)))),
            texts=words.titles,
            titles=words.titles,
            categories=(("Books",),) * len(words.titles),
        )
    )
    found = top_interests(HISTORY, np.ones(6), vectors, everything)
    assert [each.label for each in found] == ["Nail Lacquer", "Catan", "Stunt Kite"]


def test_where_no_words_are_shared_the_title_is_the_name() -> None:
    words, vectors = shop(categories=False)
    (only,) = top_interests(np.array([GAMES[3]]), np.ones(1), vectors, words)
    assert only.label == "Gloom"


def test_long_titles_are_shortened() -> None:
    title = "Extraordinarily " * 8
    catalogue = Catalogue(ids=("a",), texts=(title,), titles=(title,), categories=((),))
    vectors = np.ones((1, 2), np.float32)
    (only,) = top_interests(np.array([0]), np.ones(1), vectors, CatalogueWords(catalogue))
    assert len(only.label) <= 60
    assert only.label.endswith("…")


def test_events_without_weight_belong_to_no_interest() -> None:
    words, vectors = shop()
    found = top_interests(HISTORY, np.array([0, 1, 0, 0, 1, 0]), vectors, words)
    assert [(each.label, each.weight, each.events) for each in found] == [
        ("Board Games", 1.0, (1, 4))
    ]


def test_no_history_no_interests() -> None:
    words, vectors = shop()
    assert top_interests(HISTORY[:0], np.ones(0), vectors, words) == []


@given(
    st.lists(st.tuples(st.integers(0, 40), st.floats(1e-3, 1e3)), min_size=1, max_size=30),
    st.integers(1, 8),
    st.floats(1e-3, 1e3),
)
@settings(max_examples=40, deadline=None)
def test_interests_are_disjoint_sum_to_one_and_ignore_the_scale_of_weights(
    events: list[tuple[int, float]], most: int, scale: float
) -> None:
    words, vectors = shop(fillers=25)
    history = np.array([row for row, _ in events])
    weights = np.array([weight for _, weight in events])
    found = top_interests(history, weights, vectors, words, most=most)
    belong = [event for each in found for event in each.events]
    assert len(set(belong)) == len(belong)
    assert 1 <= len(found) <= most
    assert len({each.label for each in found}) == len(found)
    assert sum(each.weight for each in found) == pytest.approx(1)
    assert all(found[n].weight >= found[n + 1].weight - 1e-12 for n in range(len(found) - 1))
    if len(found) < most:
        assert sorted(belong) == list(range(len(history)))
    again = top_interests(history, weights * scale, vectors, words, most=most)
    assert {each.label for each in again} == {each.label for each in found}


@pytest.mark.parametrize(
    ("history", "weights"),
    [
        ([0, 1], [1.0]),
        ([[0]], [[1.0]]),
        ([0], [-1.0]),
        ([0], [np.nan]),
        ([0], [0.0]),
        ([-1], [1.0]),
        ([116], [1.0]),
    ],
)
def test_what_does_not_fit_is_refused(history: Any, weights: Any) -> None:
    words, vectors = shop()
    with pytest.raises(DataError) as caught:
        top_interests(np.array(history), np.array(weights), vectors, words)
    assert caught.value.exit_code == 4


def test_vectors_of_another_catalogue_are_refused() -> None:
    words, vectors = shop()
    with pytest.raises(DataError, match="116 items"):
        top_interests(HISTORY, np.ones(6), vectors[:50], words)


@given(
    st.integers(1, 30).flatmap(
        lambda size: st.lists(
            st.floats(-1, 1, width=32), min_size=size * size, max_size=size * size, unique=True
        )
    ),
    st.floats(-0.5, 0.5),
)
@settings(max_examples=60, deadline=None)
def test_groups_are_those_of_scipys_average_linkage(values: list[float], least: float) -> None:
    from scipy.cluster.hierarchy import fcluster, linkage
    from scipy.spatial.distance import squareform

    size = int(len(values) ** 0.5)
    alike = np.array(values, np.float64).reshape(size, size)
    alike = (alike + alike.T) / 2
    if size == 1:
        assert average_linkage(alike, least=least) == [[0]]
        return
    distance = 2.0 - alike
    np.fill_diagonal(distance, 0.0)
    tree = linkage(squareform(distance, checks=False), method="average")
    # an exact tie, or a mean that is `least` to the last digit, may go either way
    assume(np.abs(tree[:, 2] - (2.0 - least)).min() > 1e-9)
    assume(len(tree) < 2 or np.diff(tree[:, 2]).min() > 1e-9)
    found = fcluster(tree, t=2.0 - least, criterion="distance")
    expected = [np.flatnonzero(found == one).tolist() for one in dict.fromkeys(found)]
    assert average_linkage(alike, least=least) == expected


def test_groups_by_hand() -> None:
    """0 and 1 first (.9); 2 is .5 and .3 like them, .4 on average; 3 is like nobody."""
    alike = np.array([[0, 0.9, 0.5, 0], [0.9, 0, 0.3, 0], [0.5, 0.3, 0, 0], [0, 0, 0, 0]])
    assert average_linkage(alike, least=0.41) == [[0, 1], [2], [3]]
    assert average_linkage(alike, least=0.39) == [[0, 1, 2], [3]]
    assert average_linkage(alike, least=0.0) == [[0, 1, 2, 3]]
    assert average_linkage(alike[:0, :0], least=0.0) == []


A_TITLE = st.lists(
    st.sampled_from(
        ["red", "Red", "kite", "the", "Lady's", "lady’s", "7", "x-y", "-", "kites", "x"]
    ),
    max_size=6,
).map(" ".join)


@settings(deadline=None, max_examples=200)
@given(
    group=st.lists(A_TITLE, min_size=1, max_size=4),
    near=st.lists(A_TITLE, max_size=4),
)
def test_a_phrase_names_a_group_as_one_would_explain_it(group: list[str], near: list[str]) -> None:
    """Every phrase of every title is looked at, and the best that could name the group is taken."""
    titles = [*group, *near, *["blue thing"] * 60]
    count = Counter(phrase for title in titles for phrase in phrases_of(title))
    many = len(titles)

    def fits(phrase: str) -> bool:
        edges = phrase.split(" ")[0], phrase.split(" ")[-1]
        rare = all(
            word.isdigit() or math.log(many / max(1, count[word])) >= math.log(20) for word in edges
        )
        return count[phrase] > 1 and rare and any(one.isalpha() for one in phrase)

    score = {}
    for phrase in count:
        having = [title for title in group if phrase in phrases_of(title)]
        around = sum(phrase in phrases_of(title) for title in near) / max(1, len(near))
        share = len(having) / len(group)
        told = len(having) > 1 or around >= 0.2 - 1e-9
        if having and share >= 0.5 - 1e-9 and told and fits(phrase):
            rarity = math.log(many / count[phrase])
            score[phrase] = (share + around) * rarity * (1 + 0.15 * phrase.count(" "))
    catalogue = Catalogue(
        ids=tuple(map(str, range(many))),
        texts=("a text",) * many,
        titles=tuple(titles),
        categories=((),) * many,
    )
    found = CatalogueWords(catalogue).phrase_label(
        np.arange(len(group)),
        np.full(len(group), 1 / len(group)),
        lambda: np.arange(len(group), len(group) + len(near)),
    )
    if found is None:
        assert not score
    else:
        chosen = max(phrases_of(found), key=len)  # as written there may be more between words
        assert score[chosen] == pytest.approx(max(score.values()))
        assert any(found in title for title in group)
