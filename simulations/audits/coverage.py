"""How often a bound exceeds the truth, where the truth is known: audits on paper, by the thousand.

The statistic is simulated, not the training: canaries at right angles, noise and sampling exactly
as promised (`shared.privacy.auditing.game.simulated`).  A bound at confidence 0.95 may exceed the
true epsilon in one game of twenty.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import stats

from shared.privacy.accountant import Charge, epsilon
from shared.privacy.auditing.bounds import NAMES, all_bounds
from shared.privacy.auditing.game import Rules, simulated


def coverage(
    rules: Rules,
    *,
    simulations: int,
    confidence: float,
    seed: int,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, Any]:
    """Play `simulations` games and count, for each bound, those in which it exceeds the truth.

    Returns:
        `simulations`, `epsilon` (the true one), `confidence`, `holds` (no bound exceeds it
        significantly more often than it may) and, by name, `bounds`: `exceeded`, `share`, its
        Clopper-Pearson `interval` at 95 %, and the bound's `median`.
    """
    steps = rules.rounds * rules.steps
    true = epsilon([Charge(rules.rate, rules.noise_multiplier, steps)], rules.delta)
    rng = np.random.default_rng([seed, 0xC0FE])
    found = np.zeros((simulations, len(NAMES)))
    for game in range(simulations):
        played = all_bounds(rules, simulated(rules, rng), confidence)
        found[game] = [bound.epsilon for bound in played]
        progress(game + 1, simulations)
    exceeded = (found > true).sum(axis=0)
    holds, bounds = True, {}
    for column, name in enumerate(NAMES):
        count = int(exceeded[column])
        interval = stats.binomtest(count, simulations).proportion_ci(0.95, "exact")
        holds = holds and float(interval.low) <= 1 - confidence
        bounds[name] = {
            "exceeded": count,
            "share": count / simulations,
            "interval": [float(interval.low), float(interval.high)],
            "median": float(np.median(found[:, column])),
        }
    return {
        "simulations": simulations,
        "epsilon": true,
        "confidence": confidence,
        "holds": holds,
        "bounds": bounds,
    }
