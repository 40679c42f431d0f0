"""How well the best test can tell a canary that is in from one that is out: trade-off curves.

f-DP (Dong, Roth and Su 2019, arXiv 1905.02383).  For a mechanism that is (e, delta(e))-DP for every
e, an event that has probability x without somebody has with them at most (proposition 2.5)

    blow_up(x) = min over e of min( exp(e) x + delta(e),  1 - exp(-e) (1 - delta(e) - x) )

and the other way round.  A table of upper bounds delta(e) on some grid of e gives an upper bound on
it, concave and symmetric, which is what `shared.privacy.auditing.f_dp` needs: fewer points make
that bound smaller, never false.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from dp_accounting.pld import privacy_loss_distribution as pld
from dp_accounting.privacy_accountant import NeighboringRelation
from numpy.typing import NDArray

_POINTS = 600
_SMALLEST = 1e-9  # of the deltas that are worth a point


@dataclass(frozen=True, eq=False)
class Tradeoff:
    """A mechanism's whole privacy profile, in points.

    Args:
        epsilons: (E,) rising, from 0.
        deltas: (E,) upper bounds on delta at them.
    """

    epsilons: NDArray[np.float64]
    deltas: NDArray[np.float64]

    def blow_up(self, x: float) -> float:
        """Most that an event of probability `x` can have with one user more or less."""
        grown = np.exp(self.epsilons)
        lines = np.minimum(grown * x + self.deltas, 1 - (1 - self.deltas - x) / grown)
        return float(min(1.0, lines.min()))

    def inverse(self, y: float) -> float:
        """The least x with blow_up(x) >= y."""
        grown = np.exp(self.epsilons)
        left = ((y - self.deltas) / grown).max()
        right = (1 - self.deltas - grown * (1 - y)).max()
        return float(max(0.0, left, right))


@lru_cache(maxsize=512)
def sampled_gaussian(rate: float, noise_multiplier: float, steps: int) -> Tradeoff:
    """Of `steps` Poisson-sampled Gaussian sums (the mechanism of `shared.privacy.accountant`).

    The deltas are the pessimistic ones of `dp-accounting`: upper bounds.
    """
    spread = min(
        rate * math.sqrt(math.expm1(min(noise_multiplier**-2, 50.0))), 1 / noise_multiplier
    )
    grid = 2.0 ** math.floor(math.log2(min(1e-3, spread / 40)))
    loss = pld.from_gaussian_mechanism(
        standard_deviation=noise_multiplier,
        sampling_prob=rate,
        value_discretization_interval=grid,
        pessimistic_estimate=True,
        neighboring_relation=NeighboringRelation.ADD_OR_REMOVE_ONE,
    )
    if steps > 1:
        loss = loss.self_compose(steps)
    farthest = float(loss.get_epsilon_for_delta(_SMALLEST))
    # closer together where the curve bends most
    epsilons = farthest * np.linspace(0, 1, _POINTS) ** 1.5
    return Tradeoff(epsilons, np.asarray(loss.get_delta_for_epsilon(epsilons), np.float64))
