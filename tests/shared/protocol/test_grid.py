"""Two bits a number: what they keep, and that both ends read the same."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from shared.protocol.grid import from_codes, on_grid, to_codes

ANY = arrays.arrays(
    np.float32,
    arrays.array_shapes(min_dims=1, max_dims=2, max_side=9),
    elements=st.floats(-(2.0**60), 2.0**60, width=32),
)


def test_a_small_one_by_hand() -> None:
    value = np.array([[4, -1, 0.5], [-4, 1, -0.5]], np.float32)  # root mean square 2.398
    level = np.float32(0.5654 * np.sqrt(34.5 / 6))
    expected = level * np.array([[3, -1, 1], [-3, 1, -1]], np.float32)
    assert np.array_equal(on_grid(value), expected)
    codes, inner = to_codes(value)
    # 3, 1, 2, 0 from the lowest bits up, then 2, 1
    assert codes == bytes([3 | 1 << 2 | 2 << 4 | 0 << 6, 2 | 1 << 2])
    assert inner == level


def test_what_normal_numbers_lose() -> None:
    """Max 1960: four even levels leave 0.1188 of the variance; here scaled to the full length."""
    value = np.random.default_rng(0).standard_normal(1_000_000).astype(np.float32)
    found = on_grid(value)
    assert float(found @ value) / float(value @ value) == pytest.approx(1, abs=0.002)
    kept = float(found @ value) ** 2 / (float(found @ found) * float(value @ value))
    assert kept == pytest.approx(1 - 0.1188, abs=0.002)


def test_a_mean_of_many_comes_out_at_its_length() -> None:
    """A signal far below the noise, sent by many: the mean over senders has it at full length."""
    rng = np.random.default_rng(1)
    signal = np.where(rng.random(4096) < 0.5, -0.05, 0.05).astype(np.float32)
    total = np.zeros(4096)
    for _ in range(400):
        total += on_grid((signal + rng.standard_normal(4096)).astype(np.float32))
    assert float(total @ signal) / 400 / float(signal @ signal) == pytest.approx(1, abs=0.05)


@given(ANY)
def test_both_ends_have_the_same(value: np.ndarray) -> None:
    sent = on_grid(value)
    assert sent.shape == value.shape
    assert sent.dtype == np.float32
    assert on_grid(sent) is sent  # once is enough
    codes, level = to_codes(value)
    assert np.array_equal(from_codes(codes, level, value.shape), sent)
    assert (codes, level) == to_codes(sent)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_does_not_become_so(bad: float) -> None:
    value = np.array([1, bad, 2, 3], np.float32)
    assert not np.isfinite(on_grid(value)).any()
    codes, level = to_codes(value)
    assert not np.isfinite(from_codes(codes, level, (4,))).any()


def test_nothing_and_zeros() -> None:
    empty = np.zeros((0, 3), np.float32)
    assert from_codes(*to_codes(empty), (0, 3)).shape == (0, 3)
    zeros = np.zeros(5, np.float32)
    assert not on_grid(zeros).any()
    assert not from_codes(*to_codes(zeros), (5,)).any()


@pytest.mark.parametrize(
    ("data", "shape", "match"),
    [(b"\0", (5,), "2 bytes"), (b"\0\0\0", (5,), "not 3"), (b"\0\4", (5,), "beyond")],
)
def test_bytes_that_do_not_fit(data: bytes, shape: tuple[int, ...], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        from_codes(data, 1.0, shape)
