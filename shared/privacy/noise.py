"""Gaussian noise, and how it is added so that the floating-point sum hides what it should."""

import hashlib
import json
import math
import os
from collections.abc import Sequence
from typing import Protocol

import torch

from shared.errors import PrivacyError
from shared.privacy.randomness import SECRET_BYTES, Stream

_GRID_BITS = 16


class NoiseSource(Protocol):
    """Draws independent Gaussian noise; a `Stream` is one."""

    def gaussian(
        self, shape: Sequence[int], stddev: float, dtype: torch.dtype = torch.float32
    ) -> torch.Tensor:
        """Tensor of `shape`, N(0, stddev**2), drawn in float64; refuses stddev <= 0."""
        ...


class CryptographicNoise(Stream):
    """Noise keyed by the operating system's generator, or by 32 secret bytes of the caller's."""

    unsafe = False

    def __init__(self, key: bytes | None = None) -> None:
        super().__init__(os.urandom(SECRET_BYTES) if key is None else key)


class UnsafeSeededNoise(Stream):
    """Noise anybody can recompute from (seed, labels): for tests only."""

    unsafe = True

    def __init__(self, seed: int, *labels: str | int) -> None:
        super().__init__(hashlib.sha256(json.dumps(["unsafe", seed, *labels]).encode()).digest())


def noised(total: torch.Tensor, stddev: float, noise: NoiseSource) -> torch.Tensor:
    """`total` + N(0, stddev**2), in float64 on a fixed public grid.

    The addition is done in float64 and the result is rounded to a multiple of the power of two
    at or under stddev * 2**-16.  The grid depends on `stddev` alone: the low-order bits of a
    floating-point sum, which show at which exponents the un-noised value lay (Mironov 2012), are
    gone, and a float32 holds every grid point up to 128 stddevs.  Rounding is post-processing
    and adds at most 1e-5 stddevs.

    Args:
        total: any shape; must be finite.
        stddev: absolute, > 0.
        noise: where the randomness comes from.

    Returns:
        float64 of `total`'s shape.

    Raises:
        PrivacyError: `total` is not finite (clipping lets nothing such through), or stddev <= 0.
    """
    if not bool(torch.isfinite(total).all()):
        raise PrivacyError(
            expected="a finite sum to add noise to", got="NaN or Inf", where="noised"
        )
    drawn = noise.gaussian(total.shape, stddev, dtype=torch.float64)
    grid = math.ldexp(1.0, math.frexp(stddev)[1] - 1 - _GRID_BITS)
    return drawn.to(total.device).add_(total).div_(grid).round_().mul_(grid)
