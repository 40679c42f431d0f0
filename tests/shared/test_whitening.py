"""Whitening: the pooled covariance becomes the identity; moments merge; the bits repeat."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from shared.errors import DataError, ProtocolError
from shared.whitening import (
    PLACE_LENGTH,
    CatalogueMoments,
    Whitening,
    fit_whitening,
    merge,
    moments,
)


def items(seed: int, rows: int, width: int, shift: float = 0.0) -> NDArray[np.float32]:
    """Correlated vectors with variances between 1 and 0.0025."""
    rng = np.random.default_rng(seed)
    rotation, _ = np.linalg.qr(rng.normal(size=(width, width)))
    scaled = rng.normal(size=(rows, width)) * np.geomspace(1, 0.05, width)
    return (scaled @ rotation + shift).astype(np.float32)


platforms = st.lists(
    st.tuples(st.integers(0, 2**32 - 1), st.integers(1, 60), st.floats(-50, 50)),
    min_size=1,
    max_size=5,
)


@given(platforms, st.integers(1, 8))
@settings(max_examples=50)
def test_merged_moments_are_those_of_all_vectors(parts: Any, width: int) -> None:
    vectors = [items(seed, rows, width, shift) for seed, rows, shift in parts]
    found = merge([moments(part) for part in vectors])
    whole = np.concatenate(vectors).astype(np.float64)
    assert found.count == len(whole)
    np.testing.assert_allclose(found.mean, whole.mean(axis=0), rtol=1e-9, atol=1e-9)
    oracle = np.cov(whole.T, bias=True).reshape(width, width)
    np.testing.assert_allclose(found.covariance, oracle, rtol=1e-7, atol=1e-7)


@given(platforms, st.sampled_from(["equal", "count"]))
@settings(max_examples=50)
def test_the_pooled_within_covariance_becomes_the_identity(parts: Any, weighting: Any) -> None:
    vectors = [items(seed, rows + 30, 6, shift) for seed, rows, shift in parts]
    whitening = fit_whitening([moments(part) for part in vectors], weighting=weighting)
    weights = [len(part) if weighting == "count" else 1 for part in vectors]
    white = [whitening.apply(part).astype(np.float64) for part in vectors]
    pooled = np.average([np.cov(part.T, bias=True) for part in white], axis=0, weights=weights)
    np.testing.assert_allclose(pooled, np.eye(6), atol=2e-4)
    for part in white:
        np.testing.assert_allclose(part.mean(axis=0), 0, atol=1e-3)


def test_by_hand() -> None:
    # two platforms with variances (4, 1) and (0, 9): equal weights give (2, 5), so the second
    # coordinate comes first; 3 and 1 items give (3, 3) by count.
    one = CatalogueMoments(count=3, mean=np.array([7.0, 7.0]), covariance=np.diag([4.0, 1.0]))
    two = CatalogueMoments(count=1, mean=np.array([0.0, 0.0]), covariance=np.diag([0.0, 9.0]))
    equal = fit_whitening([one, two]).matrix
    np.testing.assert_allclose(equal, [[0, 1 / np.sqrt(2)], [1 / np.sqrt(5), 0]], rtol=1e-6)
    by_count = fit_whitening([one, two], weighting="count").matrix
    np.testing.assert_allclose(by_count @ by_count.T, np.eye(2) / 3, rtol=1e-6, atol=1e-7)


def test_moments_by_hand() -> None:
    found = moments(np.array([[1, 2], [3, 6]], dtype=np.float32))
    assert found.count == 2
    assert found.mean.tolist() == [2, 4]
    assert found.covariance.tolist() == [[1, 2], [2, 4]]


def test_columns_fall_in_variance_and_have_a_fixed_sign() -> None:
    vectors = items(3, 500, 8)
    matrix = fit_whitening([moments(vectors)]).matrix
    assert (np.diff(np.linalg.norm(matrix, axis=0)) > 0).all()  # 1 / standard deviation rises
    largest = np.abs(matrix).argmax(axis=0)
    assert (matrix[largest, range(8)] > 0).all()


def test_the_same_moments_give_the_same_bits_in_any_order_and_with_any_threads() -> None:
    vectors = [items(seed, 3000, 48, seed) for seed in range(4)]
    before = torch.get_num_threads()
    found = set()
    try:
        for threads, order in ((1, [0, 1, 2, 3]), (2, [3, 1, 0, 2]), (4, [2, 3, 1, 0])):
            torch.set_num_threads(threads)
            found.add(fit_whitening([moments(vectors[n]) for n in order]).sha256)
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    assert len(found) == 1


def test_directions_without_variance_are_dropped() -> None:
    flat = items(5, 200, 4)
    flat[:, 2] = 3.0
    whitening = fit_whitening([moments(flat)])
    assert (whitening.matrix[:, 3] == 0).all()
    assert (whitening.matrix[2] == 0).all()
    moved = flat.copy()
    moved[:, 2] = np.arange(200)  # a new item may lie anywhere there: it must not dominate
    np.testing.assert_array_equal(whitening.apply(moved), whitening.apply(flat))


def test_apply_centres_on_the_own_mean_or_on_the_given_one() -> None:
    whitening = Whitening(np.array([[0, 2], [1, 0]], dtype=np.float32), np.zeros(2, np.float32))
    vectors = np.array([[1, 1], [3, 5]], dtype=np.float32)
    assert whitening.apply(vectors).tolist() == [[-2, -2], [2, 2]]
    assert whitening.apply(vectors, np.array([1, 0])).tolist() == [[1, 0], [5, 4]]
    assert whitening.apply(vectors[:0]).shape == (0, 2)
    assert whitening.apply(vectors).dtype == np.float32


def test_messages_carry_it_whole() -> None:
    part = moments(items(1, 50, 4))
    again = CatalogueMoments.from_arrays(part.to_arrays())
    assert again.count == 50
    np.testing.assert_array_equal(again.mean, part.mean)
    np.testing.assert_array_equal(again.covariance, part.covariance)
    whitening = fit_whitening([part])
    assert Whitening.from_arrays(whitening.to_arrays()).sha256 == whitening.sha256


def test_the_hash_is_pinned_and_sees_every_bit() -> None:
    # printf 'whitening 2\n' + 0000803f 00000000 00000000 0000803f + 00000000 0000803f | sha256sum
    pinned = "76b5d034564f6858244da655776489849cc8e3f3fae81108f25bb096f6ef7b34"
    matrix, center = np.eye(2, dtype=np.float32), np.array([0, 1], np.float32)
    assert Whitening(matrix, center).sha256 == pinned
    least = np.nextafter(np.float32(0), np.float32(1))
    bent, moved = matrix.copy(), center.copy()
    bent[0, 1] = moved[0] = least
    assert Whitening(bent, center).sha256 != pinned
    assert Whitening(matrix, moved).sha256 != pinned


def test_a_place_has_one_length_over_the_leading_axes() -> None:
    vectors = [items(seed, 400, 6, seed) for seed in (1, 2, 3)]
    parts = [moments(part) for part in vectors]
    whitening = fit_whitening(parts)
    np.testing.assert_allclose(whitening.center, np.mean([p.mean for p in parts], axis=0), 1e-6)
    assert 0 < PLACE_LENGTH < 1  # beside means of unit vectors
    for axes in (2, 6):
        for part in parts:
            place = whitening.place(part, axes)
            assert place.dtype == np.float32
            assert np.linalg.norm(place[:axes]) == pytest.approx(PLACE_LENGTH, rel=1e-5)
            direction = (part.mean - whitening.center) @ whitening.matrix
            cosine = place @ direction / np.linalg.norm(place) / np.linalg.norm(direction)
            assert cosine == pytest.approx(1, abs=1e-5)
    alone = fit_whitening(parts[:1])  # nothing to tell it apart from
    middle = CatalogueMoments(
        count=1, mean=alone.center.astype(np.float64), covariance=parts[0].covariance
    )
    assert not alone.place(middle, 2).any()


def bad_moments(**changes: Any) -> dict[str, Any]:
    good = {"count": 2, "mean": np.zeros(2), "covariance": np.eye(2)}
    return {**good, **changes}


@pytest.mark.parametrize(
    "changes",
    [
        {"count": 0},
        {"mean": np.zeros(3)},
        {"mean": np.zeros((2, 2))},
        {"covariance": np.eye(3)},
        {"covariance": np.diag([1.0, np.nan])},
        {"mean": np.array([0.0, np.inf])},
        {"covariance": np.diag([1.0, -1.0])},
        {"covariance": np.array([[1.0, 0.5], [0.0, 1.0]])},
    ],
)
def test_moments_that_cannot_be_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ProtocolError) as caught:
        CatalogueMoments(**bad_moments(**changes))
    assert caught.value.exit_code == 7


@pytest.mark.parametrize(
    "changes",
    [
        {"count": np.array([2.0])},
        {"count": np.array([2, 2])},
        {"count": None},
        {"mean": np.zeros(2, dtype=np.float32)},
        {"extra": np.zeros(1)},
    ],
)
def test_foreign_arrays_are_refused(changes: dict[str, Any]) -> None:
    arrays = moments(items(1, 9, 2)).to_arrays() | changes
    arrays = {name: array for name, array in arrays.items() if array is not None}
    with pytest.raises(ProtocolError):
        CatalogueMoments.from_arrays(arrays)


def test_refusals_of_the_map() -> None:
    eye, center = np.eye(2, dtype=np.float32), np.zeros(2, np.float32)
    for matrix in (np.eye(2), np.ones((2, 3), np.float32), np.full((2, 2), np.nan, np.float32)):
        with pytest.raises(ProtocolError, match="float32 square"):
            Whitening(matrix, center)  # type: ignore[arg-type]
    for wrong in (np.zeros(2), np.zeros(3, np.float32), np.full(2, np.inf, np.float32)):
        with pytest.raises(ProtocolError, match="float32 center"):
            Whitening(eye, wrong)  # type: ignore[arg-type]
    for arrays in ({}, {"whitening": eye}, {"whitening": eye, "center": center, "more": center}):
        with pytest.raises(ProtocolError, match="two arrays"):
            Whitening.from_arrays(arrays)
    with pytest.raises(ProtocolError, match=r"width 2.*another encoder"):
        Whitening(eye, center).apply(np.zeros((4, 3), np.float32))


def test_refusals_of_the_fit() -> None:
    with pytest.raises(DataError, match="at least one catalogue"):
        fit_whitening([])
    with pytest.raises(DataError, match="no variance at all"):
        fit_whitening([moments(np.ones((5, 3), np.float32))])
    with pytest.raises(ProtocolError, match=r"widths \[2, 3\]"):
        fit_whitening([moments(items(1, 9, 2)), moments(items(1, 9, 3))])
    for vectors in (np.zeros((0, 3)), np.zeros(3), np.array([[np.nan, 0.0]])):
        with pytest.raises(DataError):
            moments(vectors)
