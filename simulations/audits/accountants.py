"""Independent answers to one question: which epsilon do these charges cost at this delta?

- pld: upper bound, and what is reported; privacy loss distributions of dp-accounting, through
  `shared.privacy.accountant`, which is what the run itself used.
- prv: estimate with a certified interval; privacy random variables (Gopi et al. 2021) of Opacus.
- rdp: upper bound, looser; Rényi (Mironov et al. 2019) of dp-accounting.
- exact: where every user takes part in every step; the Gaussian formula (Balle & Wang 2018,
  theorem 8), written here.

An accountant that cannot answer says why; it never guesses.  Nothing but `pld` goes through the
project's own accountant, so a fault in it shows as a disagreement.
"""

import logging
import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from types import MappingProxyType
from typing import Any

import numpy as np
from scipy import optimize, special

from shared.errors import AccountantError
from shared.privacy import accountant
from shared.privacy.accountant import Charge, Relation, merged

ACCOUNTANTS = ("pld", "prv", "rdp", "exact")

_PRV_ERROR = 0.01
_PRV_MIN_NOISE = 0.3
_PRV_MAX_POINTS = 2**22
_WHOLE_ORDERS = (*range(2, 65), 128, 256, 512, 1024)
_BETWEEN = (-0.75, -0.5, -0.25, 0.25, 0.5, 0.75)
_GRID = 1e-3
"""PLD's grid is allowed to cost this share (in practice a tenth of it)."""


@dataclass(frozen=True)
class Answer:
    """What one accountant says.

    Args:
        epsilon: None where it cannot answer.
        note: what kind of number it is, or why there is none.
        low, high: certified interval, where the accountant gives one.
    """

    epsilon: float | None
    note: str
    low: float | None = None
    high: float | None = None

    def cell(self) -> dict[str, Any]:
        """The answer as JSON."""
        found: dict[str, Any] = {"epsilon": self.epsilon, "note": self.note}
        if self.low is not None:
            found |= {"low": self.low, "high": self.high}
        return found


def answers(
    charges: Sequence[Charge], delta: float, relation: Relation = "add_remove"
) -> dict[str, Answer]:
    """Every accountant's epsilon at `delta`, by the keys of the table above.

    Raises:
        AccountantError: `delta` is out of range for PLD itself.
    """
    charges = merged(charges)
    reported = accountant.epsilon(charges, delta, relation)
    if not charges:
        return {name: Answer(0.0, "nothing was charged") for name in ACCOUNTANTS}
    return {
        "pld": Answer(reported, "upper bound, reported"),
        **_others(tuple(charges), delta, relation, reported),
    }


@lru_cache(maxsize=256)
def _others(
    charges: tuple[Charge, ...], delta: float, relation: Relation, reported: float
) -> MappingProxyType[str, Answer]:
    """All but PLD; remembered for the life of the process, as PLD's numbers are."""
    return MappingProxyType(
        {
            "prv": _prv(charges, delta, relation, reported),
            "rdp": _rdp(charges, delta, relation),
            "exact": _exact(charges, delta, relation),
        }
    )


def disagreements(found: dict[str, Answer]) -> list[str]:
    """In words, where the other accountants contradict PLD; empty when they bear it out.

    - PLD is an upper bound, so it may not be under PRV's certified interval nor under the exact
      formula; and it is a tight one, so it may exceed them by its grid only (0.1 %).
    - Rényi is an upper bound too, and a looser one: PLD may not exceed it.
    """
    pld = found["pld"].epsilon
    if pld is None or pld == 0:
        return []
    said = []
    prv, rdp, exact = found["prv"], found["rdp"].epsilon, found["exact"].epsilon
    low, high = prv.low, prv.high
    if low is not None and high is not None and not low <= pld <= high + _GRID * pld:
        said.append(f"PLD says {pld:.5f}, PRV between {low:.5f} and {high:.5f}")
    if rdp is not None and pld > rdp * (1 + _GRID):
        said.append(f"PLD says {pld:.5f}, more than the looser Rényi bound {rdp:.5f}")
    if exact is not None and not exact * (1 - 1e-9) <= pld <= exact * (1 + _GRID) + 1e-9:
        said.append(f"PLD says {pld:.5f}, the exact formula {exact:.5f}")
    return said


def gaussian_epsilon(mu: float, delta: float) -> float:
    """Epsilon at `delta` between N(0, 1) and N(mu, 1), to twelve digits.

    Source: Balle & Wang 2018, theorem 8; `mu` is sensitivity over noise stddev.

    Raises:
        AccountantError: `mu` is not positive or `delta` not in (0, 1).
    """
    if not (0 < mu < math.inf and 0 < delta < 1):
        raise AccountantError(
            expected="mu > 0 and 0 < delta < 1",
            got=f"mu = {mu!r}, delta = {delta!r}",
            where="gaussian_epsilon",
        )

    def excess(epsilon: float) -> float:
        log_second = epsilon + special.log_ndtr(-mu / 2 - epsilon / mu)
        return float(special.ndtr(mu / 2 - epsilon / mu) - np.exp(log_second)) - delta

    if excess(0.0) <= 0:
        return 0.0
    # P(loss > epsilon) is at least the divergence, and is under delta here.
    high = mu * mu / 2 + mu * math.sqrt(2 * math.log(1 / delta)) + 1
    return float(optimize.brentq(excess, 0.0, high, xtol=1e-13, rtol=1e-13))


def warm_up() -> None:
    """Import the other libraries now (seconds), so that it is not counted as accounting."""
    import dp_accounting.rdp  # noqa: F401
    import opacus.accountants  # noqa: F401


def _exact(charges: Sequence[Charge], delta: float, relation: Relation) -> Answer:
    if any(charge.sample_rate < 1 for charge in charges):
        return Answer(None, "no formula where users are sampled")
    sensitivity = 1.0 if relation == "add_remove" else 2.0
    mu = sensitivity * math.sqrt(sum(c.steps / c.noise_multiplier**2 for c in charges))
    return Answer(gaussian_epsilon(mu, delta), "exact")


def _rdp(charges: Sequence[Charge], delta: float, relation: Relation) -> Answer:
    if relation == "replace_one" and any(charge.sample_rate < 1 for charge in charges):
        return Answer(None, "dp-accounting has no Rényi bound for replace-one under sampling")
    # Every user in every step: replacing one is a shift by twice the clip norm.
    width = 1.0 if relation == "add_remove" else 2.0
    # Whole orders are cheap; of the others only those beside the best one can be better.
    best = _renyi(charges, delta, _WHOLE_ORDERS, width)
    if 2 < best[1] < 64:
        best = min(best, _renyi(charges, delta, [best[1] + step for step in _BETWEEN], width))
    if not math.isfinite(best[0]):
        return Answer(None, "no finite bound at any order")
    return Answer(best[0], f"upper bound, order {best[1]:g}")


def _renyi(
    charges: Sequence[Charge], delta: float, orders: Sequence[float], width: float = 1.0
) -> tuple[float, float]:
    """dp-accounting's Rényi bound on epsilon, and the order that gives it."""
    from dp_accounting import GaussianDpEvent, PoissonSampledDpEvent
    from dp_accounting.rdp import RdpAccountant

    with _quiet():
        rdp = RdpAccountant(orders)
        for charge in charges:
            noise = GaussianDpEvent(charge.noise_multiplier / width)
            if charge.sample_rate < 1:
                rdp.compose(PoissonSampledDpEvent(charge.sample_rate, noise), charge.steps)
            else:
                rdp.compose(noise, charge.steps)
        bound, order = rdp.get_epsilon_and_optimal_order(delta)
    return float(bound), float(order)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without dp-accounting's lines about orders it leaves out: its bound holds without them."""
    logger = logging.getLogger("absl")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


def _prv(charges: Sequence[Charge], delta: float, relation: Relation, reported: float) -> Answer:
    """Opacus; the width of the interval is 1 % of the reported number, at most 0.01."""
    if relation == "replace_one":
        return Answer(None, "Opacus accounts for add or remove only")
    if any(charge.sample_rate == 1 for charge in charges):
        return Answer(None, "Opacus' PRV needs a sample rate under 1")
    if any(charge.noise_multiplier < _PRV_MIN_NOISE for charge in charges):
        return Answer(None, f"Opacus' PRV fails under noise_multiplier {_PRV_MIN_NOISE}")
    from opacus.accountants.analysis import prv

    error, delta_error = max(min(_PRV_ERROR, 0.01 * reported), 1e-3), delta / 1000
    steps = [charge.steps for charge in charges]
    losses = [prv.PoissonSubsampledGaussianPRV(c.sample_rate, c.noise_multiplier) for c in charges]
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")  # about logarithms far out, which are not used
            # As Opacus' PRVAccountant does it, but for the width (Gopi et al., remark 5.6): any
            # upper bound will do, and dp-accounting's is twenty times as fast.
            single = delta_error / (8 * sum(steps))
            width = 3 + max(
                _renyi(charges, delta_error / 4, _WHOLE_ORDERS)[0],
                *(_renyi([replace(c, steps=1)], single, _WHOLE_ORDERS)[0] for c in charges),
                error,
            )
            mesh = error / math.sqrt(sum(steps) * math.log(12 / delta_error) / 2)
            if not 2 * width / mesh <= _PRV_MAX_POINTS:
                return Answer(None, f"Opacus' PRV needs a mesh of {2 * width / mesh:,.0f} points")
            domain = prv.Domain.create_aligned(-width, width, mesh)
            cut = [
                prv.TruncatedPrivacyRandomVariable(loss, domain.t_min, domain.t_max)
                for loss in losses
            ]
            composed = prv.compose_heterogeneous([prv.discretize(c, domain) for c in cut], steps)
            low, estimate, high = map(float, composed.compute_epsilon(delta, delta_error, error))
    except (RuntimeError, ValueError, IndexError, FloatingPointError) as failure:
        return Answer(None, f"Opacus' PRV gave up: {failure}")
    if not math.isfinite(low) or not math.isfinite(high):
        return Answer(None, "Opacus' PRV gave no finite interval")
    return Answer(estimate, "estimate", low, high)
