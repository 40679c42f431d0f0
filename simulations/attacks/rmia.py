"""RMIA, the relative membership attack: Zarifzadeh et al. 2024, arXiv 2312.03262.

A user x is called a member the more often their likelihood ratio beats other people's:

    score(x) = Pr over z of [ (p(x | target) / p(x)) / (p(z | target) / p(z)) >= gamma ]

(their equations 2 to 4), with p(x) the mean over the reference models.  The references are
complementary halves, so that mean is over as many models with x as without (the online form).
The people z are the platform's own users, members or not: the attacker does not know which.
"""

import numpy as np
from numpy.typing import NDArray

from simulations.attacks.game import Game

GAMMA = 1.0


def scores(game: Game, gamma: float = GAMMA) -> NDArray[np.float64]:
    """(T, U) share of the users that each user beats, for each target."""
    logs = -game.losses
    known = logs[: game.references]
    level = known.max(axis=0)
    usual = level + np.log(np.exp(known - level).mean(axis=0))
    ratios = logs[game.references :] - usual
    beaten = [
        np.searchsorted(np.sort(row), row - np.log(gamma), side="right") / len(row)
        for row in ratios
    ]
    return np.array(beaten)
