"""Updates as they travel: two bits a number.

A noised update is close to normally distributed: the noise that its privacy needs is of the order
of the signal in every single number.  Four levels keep 88 % of what such numbers say (Max 1960,
"Quantizing for minimum distortion", table II, N = 4), and leave room for eight times as many
numbers in the same bytes as float16, which buys more than precision does
(docs/decisions/0015-two-bits-a-number.md).

    x -> h * {-3, -1, 1, 3},   apart at -t, 0, t     with t = 0.9957 s, h = 0.5654 s

and s the root mean square of the tensor.  The levels lie 13 % wider than those of least error, so
that what is true in an update arrives at its full length: for normal numbers the regression of the
level on the number has slope 1.

It is a function of the noised update alone (post-processing), and deterministic.  What lies on such
a grid stays as it is: from the platform on, the levels are the update, for the platform itself too.
"""

import math

import numpy as np
from numpy.typing import NDArray

APART = 0.9957
LEVEL = 0.5654
ACROSS = 4  # numbers in a byte

_PLACES = np.array([-3, -1, 1, 3], np.float32)
_BITS = np.array([0, 2, 4, 6], np.uint8)


def on_grid(value: NDArray[np.float32]) -> NDArray[np.float32]:
    """`value` of any shape with every number replaced by its level; `value` where it is on a grid.

    A tensor with NaN or infinity is not finite afterwards either: the coordinator leaves it out.
    """
    if _codes_on_grid(value) is not None:
        return value
    spread = float(np.sqrt(np.mean(np.square(value, dtype=np.float64)))) if value.size else 0.0
    with np.errstate(over="ignore", invalid="ignore"):
        codes = _codes(value, np.abs(value) >= APART * spread)
        return _PLACES[codes] * np.float32(LEVEL * spread)


def to_codes(value: NDArray[np.float32]) -> tuple[bytes, float]:
    """`on_grid(value)` as codes, four in a byte, the first lowest; and the inner level h."""
    value = on_grid(value)
    level = _inner(value)
    found = _codes_on_grid(value)
    codes = np.zeros(value.shape, np.uint8) if found is None else found  # NaN has no place
    filled = np.zeros(-(-value.size // ACROSS) * ACROSS, np.uint8)
    filled[: value.size] = codes.reshape(-1)
    return np.bitwise_or.reduce(filled.reshape(-1, ACROSS) << _BITS, axis=1).tobytes(), float(level)


def from_codes(data: bytes, level: float, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """What `to_codes` was given: float32 of `shape`.

    Raises:
        ValueError: another number of bytes than the shape needs, or bits beyond the last number.
    """
    size = math.prod(shape)
    if len(data) != -(-size // ACROSS):
        raise ValueError(f"{-(-size // ACROSS)} bytes for {size} numbers, not {len(data)}")
    codes = (np.frombuffer(data, np.uint8)[:, None] >> _BITS & 3).reshape(-1)
    if codes[size:].any():
        raise ValueError("bits beyond the last number")
    with np.errstate(over="ignore", invalid="ignore"):
        return (_PLACES[codes[:size]] * np.float32(level)).reshape(shape)


def _inner(value: NDArray[np.float32]) -> np.float32:
    return np.float32(np.abs(value).min()) if value.size else np.float32(0)


def _codes_on_grid(value: NDArray[np.float32]) -> NDArray[np.uint8] | None:
    """The codes of numbers that all are h or 3 h long; None where they are not."""
    level = _inner(value)
    codes = _codes(value, np.abs(value) > level)
    with np.errstate(over="ignore"):
        return codes if np.array_equal(_PLACES[codes] * level, value) else None


def _codes(value: NDArray[np.float32], outer: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Places in `_PLACES`: -3, -1, 1, 3 by sign and by whether a number is an outer one."""
    below = np.signbit(value)
    return np.where(below, np.where(outer, 0, 1), np.where(outer, 3, 2)).astype(np.uint8)
