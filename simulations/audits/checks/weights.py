"""Are aggregation weights, and the population behind them, public constants?

A platform's declared weight must not move when its log grows, and the coordinator's mean must be
that of the declared weights: linear in the updates, whatever they hold.
"""

import numpy as np

from server.rounds import strategy
from shared.config.federation import PlatformSettings
from shared.config.sources import EventSource, ItemSource
from simulations import prepare
from simulations.audits.checks.check import Cause, Check, Outcome
from simulations.audits.checks.site import folders


def check(seed: int) -> Outcome:
    """See the module."""
    with folders() as folder:
        log = folder / "log.csv"
        declared = []
        for users in (3, 300):
            rows = [f"u{user},i{event}" for user in range(users) for event in range(4)]
            log.write_text("\n".join(["user_id,item_id", *rows]), encoding="utf-8")
            settings = PlatformSettings(
                population=1000, events=EventSource(path=log), items=ItemSource(path=log)
            )
            declared.append((settings.public_weight, settings.population))
    if declared[0] != declared[1]:
        return Outcome(Cause.WEIGHTS, detail="a declared weight moved with the log")
    # A simulation counts for those who declare nothing, and must not tell the exact count.
    if len({prepare.rounded_up(users) for users in range(1201, 1299)}) != 1:
        return Outcome(Cause.DENOMINATOR, detail="an exact number of users becomes the population")
    generator = np.random.default_rng(seed)
    updates = {
        name: {"tensor": generator.normal(size=(4, 3)).astype(np.float32) * np.float32(size)}
        for name, size in (("films", 1.0), ("shop", 30.0), ("news", 0.02))
    }
    weights = {"films": 2.0, "shop": 5.0, "news": 1.0}
    found = strategy.mean_update(updates, weights)["tensor"]
    wanted = sum(weights[name] * updates[name]["tensor"].astype(np.float64) for name in weights)
    if not np.allclose(found, wanted / sum(weights.values()), rtol=1e-6, atol=1e-9):
        return Outcome(Cause.WEIGHTS, detail="the mean is not that of the declared weights")
    return Outcome()


CHECK = Check("weights", ("adjacency", "release"), check)
