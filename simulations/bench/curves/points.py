"""What was measured at one place of a curve, user by user."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Measured = Mapping[str, Mapping[str, NDArray[np.float64]]]
"""System -> platform -> (U,) NDCG@10 of each user."""


@dataclass(frozen=True, kw_only=True)
class Point:
    """One place of a curve.

    Args:
        at: the round, or the share of the users.
        systems: what was measured there.
    """

    at: float
    systems: Measured
