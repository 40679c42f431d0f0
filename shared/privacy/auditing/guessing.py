"""Guesses from scores: the highest are guessed to be in, the lowest to be out, and none between.

How many guesses are made must not follow from the scores, or has to be paid for (Steinke et al.
2023).  Here it is a constant, chosen in games on paper (`game.simulated`) before anything was
trained: 1,000 canaries, 24 rounds, rate 0.5, 250 games each; 8 % on each side had the best lower
quartile of the f-DP bound at epsilon 8 (0.48 of it; 0.47 with 6 % or 10 %, 0.44 with 15 %) and at
epsilon 2 (0.43; 0.40, 0.43, 0.39).  So nothing has to be paid.
"""

import numpy as np
from numpy.typing import NDArray

SHARE = 0.08
"""Of the canaries, on each side."""


def guesses(canaries: int) -> int:
    """How many guesses are made on each side."""
    return max(1, round(SHARE * canaries))


def correct(scores: NDArray[np.float64], members: NDArray[np.bool_], each: int) -> int:
    """How many of `each` guesses "in" and `each` guesses "out" are right.

    Ties are broken by the canaries' numbers, which say nothing about their coins.

    Args:
        scores, members: (M,), with 2 * `each` <= M.
    """
    order = np.argsort(-scores, kind="stable")
    return int(members[order[:each]].sum() + (~members[order[len(order) - each :]]).sum())
