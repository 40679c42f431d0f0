"""Whitening: the pooled covariance becomes the identity; moments merge; the bits repeat."""

import hashlib
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from shared.errors import DataError, ProtocolError
from shared.whitening import (
    CatalogueMoments,
    Whitening,
    fit_whitening,
    merge,
    moments,
    spherical,
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


def test_apply_centres_on_the_own_mean() -> None:
    whitening = Whitening(np.array([[0, 2], [1, 0]], dtype=np.float32))
    vectors = np.array([[1, 1], [3, 5]], dtype=np.float32)
    assert whitening.apply(vectors).tolist() == [[-2, -2], [2, 2]]
    assert whitening.apply(vectors[:0]).shape == (0, 2)
    assert whitening.apply(vectors).dtype == np.float32


def test_a_local_map_has_its_own_centre_and_gives_unit_vectors() -> None:
    vectors = items(1, 400, 6, shift=9)
    whitening = fit_whitening([moments(vectors), moments(items(2, 400, 6))])
    local = whitening.local(moments(vectors))
    np.testing.assert_allclose(local.center, vectors.astype(np.float64).mean(0), atol=1e-5)
    found = local.items(vectors)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-6)


def test_spherical_moves_vectors_as_little_as_whitening_can() -> None:
    """The symmetric root, against numpy's own eigendecomposition."""
    vectors = items(4, 500, 5, shift=3)
    centred = vectors.astype(np.float64) - vectors.astype(np.float64).mean(0)
    covariance = centred.T @ centred / len(centred)
    mixed = covariance + 0.1 * np.trace(covariance) / 5 * np.eye(5)
    values, axes = np.linalg.eigh(mixed)
    want = centred @ (axes / np.sqrt(values)) @ axes.T
    want /= np.linalg.norm(want, axis=1, keepdims=True)
    np.testing.assert_allclose(spherical(vectors), want, atol=2e-5)
    assert not spherical(np.ones((4, 3), np.float32)).any()


def test_messages_carry_it_whole() -> None:
    part = moments(items(1, 50, 4))
    again = CatalogueMoments.from_arrays(part.to_arrays())
    assert again.count == 50
    np.testing.assert_array_equal(again.mean, part.mean)
    np.testing.assert_array_equal(again.covariance, part.covariance)
    whitening = fit_whitening([part])
    assert Whitening.from_arrays(whitening.to_arrays()).sha256 == whitening.sha256


def test_the_hash_is_pinned_and_sees_every_bit() -> None:
    # printf 'whitening 2\n' + 0000803f 00000000 00000000 0000803f | sha256sum
    pinned = hashlib.sha256(
        b"whitening 2\n" + bytes.fromhex("0000803f00000000000000000000803f")
    ).hexdigest()
    matrix = np.eye(2, dtype=np.float32)
    assert Whitening(matrix).sha256 == pinned
    bent = matrix.copy()
    bent[0, 1] = np.nextafter(np.float32(0), np.float32(1))
    assert Whitening(bent).sha256 != pinned


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
    eye = np.eye(2, dtype=np.float32)
    for matrix in (np.eye(2), np.ones((2, 3), np.float32), np.full((2, 2), np.nan, np.float32)):
        with pytest.raises(ProtocolError, match="float32 square"):
            Whitening(matrix)  # type: ignore[arg-type]
    for arrays in ({}, {"other": eye}, {"whitening": eye, "more": eye}):
        with pytest.raises(ProtocolError, match="one array"):
            Whitening.from_arrays(arrays)
    with pytest.raises(ProtocolError, match=r"width 2.*another encoder"):
        Whitening(eye).apply(np.zeros((4, 3), np.float32))
    with pytest.raises(ProtocolError, match=r"width 2.*another encoder"):
        Whitening(eye).local(moments(items(1, 9, 3)))


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
