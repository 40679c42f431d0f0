"""Explanations: occlusion finds the terms of an additive score, and what spoke against."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from clients.recommending.explain import explain
from clients.recommending.interests import Interest
from shared.errors import DataError

VECTORS = np.random.default_rng(4).normal(size=(9, 5))


def linear(histories: list[NDArray[np.int64]]) -> NDArray[np.float64]:
    """(n, V): the sum of the history's vectors against every item."""
    return np.stack([VECTORS[rows].sum(axis=0) @ VECTORS.T for rows in histories])


def interest(label: str, *events: int) -> Interest:
    return Interest(
        label=label, weight=0.5, items=(), events=events, vector=np.zeros(5, np.float32)
    )


@given(st.lists(st.integers(0, 8), min_size=2, max_size=12, unique=True), st.integers(0, 8))
def test_occlusion_of_a_linear_score_is_its_terms(history: list[int], item: int) -> None:
    found = explain(np.array(history), item, linear, [])
    terms = VECTORS[history] @ VECTORS[item]
    analytic = terms / np.abs(terms).sum()
    measured = np.zeros(len(history))
    for event, share in found.events:
        measured[event] = share
    np.testing.assert_allclose(measured, analytic, atol=1e-9)


def test_by_hand_with_an_event_that_speaks_against() -> None:
    worth = {3: 3.0, 5: -1.0, 7: 4.0}

    def score(histories: list[NDArray[np.int64]]) -> NDArray[np.float64]:
        return np.array([sum(worth[row] for row in rows) for rows in histories])

    found = explain(
        np.array([3, 5, 7]), 0, score, [interest("Kites", 0, 1), interest("Board Games", 2)]
    )
    assert found.events == ((2, 0.5), (0, 0.375), (1, -0.125))
    assert found.interests == (("Board Games", 0.5), ("Kites", 0.25))


def test_scores_are_asked_for_once_and_never_for_an_empty_history() -> None:
    asked: list[list[list[int]]] = []

    def score(histories: list[NDArray[np.int64]]) -> NDArray[np.float64]:
        asked.append([rows.tolist() for rows in histories])
        return linear(histories)

    explain(np.array([4, 2, 6], dtype=np.int32), 1, score, [])
    assert asked == [[[4, 2, 6], [2, 6], [4, 6], [4, 2]]]


def test_one_event_carries_everything_without_asking() -> None:
    found = explain(
        np.array([4]), 1, lambda histories: pytest.fail("asked"), [interest("Kites", 0)]
    )
    assert found.events == ((0, 1.0),)
    assert found.interests == (("Kites", 1.0),)


def test_no_history_explains_nothing() -> None:
    found = explain(np.array([], dtype=np.int64), 1, linear, [])
    assert found.events == ()
    assert found.interests == ()


def test_a_score_that_ignores_the_history_has_no_carrier() -> None:
    found = explain(np.array([1, 2]), 0, lambda histories: np.ones((len(histories), 9)), [])
    assert found.events == ((0, 0.0), (1, 0.0))


@pytest.mark.parametrize(
    "scores",
    [np.ones(3), np.ones((2, 9)), np.ones((4, 1)), np.full(4, np.nan), np.full((4, 9), np.inf)],
)
def test_scores_that_cannot_be_used_are_refused(scores: NDArray[np.float64]) -> None:
    with pytest.raises(DataError, match="4 finite scores of item 2"):
        explain(np.array([1, 2, 3]), 2, lambda histories: scores, [])


def test_interests_of_another_history_are_refused() -> None:
    with pytest.raises(DataError, match="history of 2 events"):
        explain(np.array([1, 2]), 0, linear, [interest("Kites", 2)])
