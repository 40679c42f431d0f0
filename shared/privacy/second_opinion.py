"""What another accountant says of the same steps, and where PLD's bound may then lie.

- Opacus' privacy random variables (PRV; Gopi et al. 2021), with a certified interval.
- Every user in every step: the exact Gaussian formula (Balle & Wang 2018, theorem 8).
- Where PRV cannot answer (small noise, too fine a mesh): Opacus' Rényi bound, from above only.
"""

import math
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np

GRID_ERROR = 5e-5
"""The share of itself by which PLD's grid may usually raise its bound."""

_MAX_GAP = 0.02
_PRV_MIN_NOISE = 0.3
_PRV_MAX_POINTS = 2**23

Key = tuple[tuple[float, float, int], ...]


@dataclass(frozen=True)
class Opinion:
    """What another accountant says: its estimate and where PLD's bound may lie."""

    name: str
    estimate: float
    lowest: float
    highest: float

    def allows(self, reported: float) -> bool:
        return self.lowest <= reported <= self.highest


def second_opinion(key: Key, delta: float, *, slack: float) -> Opinion:
    """The sharpest other accountant that can answer for `key` at `delta`.

    Args:
        key: (sample_rate, noise_multiplier, steps) of each kind of step.
        slack: the share of itself by which PLD may exceed the truth on its grid.
    """
    if all(rate == 1 for rate, _, _ in key):
        exact = gaussian_epsilon(sum(steps / noise**2 for _, noise, steps in key), delta)
        most = exact * (1 + max(1e-3, 2 * slack)) + 1e-9
        return Opinion("exact Gaussian formula", exact, exact * 0.999 - 1e-9, most)
    # Imported here: Opacus takes seconds, and whoever only reads a ledger needs none of it.
    from opacus.accountants import PRVAccountant, RDPAccountant

    history = [(noise, rate, steps) for rate, noise, steps in key]
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")  # "optimal order is the largest alpha": a looser bound
        if all(rate < 1 and noise >= _PRV_MIN_NOISE for rate, noise, _ in key):
            prv = PRVAccountant()
            prv.history = list(history)
            opinion = prv_opinion(prv, delta, slack)
            if opinion is not None:
                return opinion
        rdp = RDPAccountant()
        rdp.history = list(history)
        bound = float(rdp.get_epsilon(delta))
    return Opinion("Rényi upper bound", bound, 0.0, bound * (1 + 2 * slack) + 1e-9)


def prv_opinion(prv: Any, delta: float, slack: float) -> Opinion | None:
    """PRV's view, or None where it cannot answer.  `prv`: an Opacus PRVAccountant."""
    error, delta_error = _MAX_GAP / 2, delta / 1000
    from opacus.accountants.analysis import prv as analysis

    steps = [count for _, _, count in prv.history]
    try:
        prvs = [
            analysis.PoissonSubsampledGaussianPRV(rate, noise) for noise, rate, _ in prv.history
        ]
        domain = prv._get_domain(
            prvs=prvs, num_self_compositions=steps, eps_error=error, delta_error=delta_error
        )
        if domain.size > _PRV_MAX_POINTS:
            return None
        # As PRVAccountant._get_dprv does it, on the domain that is there: to find it is most of
        # the work.
        cut = [
            analysis.TruncatedPrivacyRandomVariable(one, domain.t_min, domain.t_max) for one in prvs
        ]
        composed = analysis.compose_heterogeneous(
            [analysis.discretize(one, domain) for one in cut], steps
        )
        lower, estimate, upper = map(float, composed.compute_epsilon(delta, delta_error, error))
    except (RuntimeError, ValueError, IndexError, FloatingPointError):
        return None
    if not (math.isfinite(lower) and math.isfinite(upper)):
        return None
    near = max(_MAX_GAP * min(1.0, estimate), _MAX_GAP / 10)
    return Opinion(
        "PRV",
        estimate,
        lowest=max(lower, upper - _MAX_GAP, estimate - near) - GRID_ERROR,
        highest=min(upper, estimate + near) + 2 * slack * max(1.0, estimate),
    )


def gaussian_epsilon(inverse_variance: float, delta: float) -> float:
    """Exact epsilon of a Gaussian mechanism with sensitivity 1 (Balle & Wang 2018, theorem 8)."""
    from scipy import optimize, special

    root = math.sqrt(inverse_variance)

    def excess(eps: float) -> float:
        upper = special.ndtr(root / 2 - eps / root)
        return float(upper - math.exp(eps + special.log_ndtr(-root / 2 - eps / root))) - delta

    if excess(0.0) <= 0:
        return 0.0
    high = 1.0
    while excess(high) > 0:
        high *= 2
    return float(optimize.brentq(excess, 0.0, high, xtol=1e-12, rtol=1e-12))
