"""Is the noise of a platform's answer there, on every platform, and never used again?

Without a seed, as deployed: three platforms, two installations of one of them, two rounds, and the
same request on changed data.  Their users have nothing to learn from, so each answer is its noise.
Then two installations whose every seedable generator was set to the same state.
"""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import combinations
from pathlib import Path

import numpy as np
import torch
from scipy import stats

from simulations.audits.checks.check import P_VALUE, Cause, Check, Outcome, together, two_sided
from simulations.audits.checks.probe import Floats
from simulations.audits.checks.site import PLACES, folders, in_noise, site

IDLE = [[1], [2], [], [3], [4]]
_SAME = 0.6  # of 256 independent numbers the correlation has a standard deviation of 0.06


def check(seed: int) -> Outcome:
    """See the module."""
    with folders() as folder:
        noises = _answers(folder)
        with _seeded(seed):
            first = in_noise(site(folder / "x", IDLE))
        with _seeded(seed):
            second = in_noise(site(folder / "y", IDLE))
    sizes = {name: float(np.square(noise).mean()) for name, noise in noises.items()}
    for name, size in sizes.items():
        if size < 0.01:
            return Outcome(Cause.NOISE_MISSING, detail=f"in {name}: {size:.2g} of its variance")
    for one, other in combinations(noises, 2):
        if _correlation(noises[one], noises[other]) > _SAME:
            return Outcome(Cause.NOISE_REPEATED, detail=f"{one} and {other} have the same noise")
    if _correlation(first, second) > _SAME:
        return Outcome(Cause.PREDICTABLE, detail="equal generators gave equal noise")
    p_value = together([_scale(noise) for noise in noises.values()])
    if p_value < P_VALUE:
        return Outcome(
            Cause.NOISE_SCALE, p_value, f"variances {min(sizes.values()):.3f} to "
            f"{max(sizes.values()):.3f} of what is accounted for",
        )  # fmt: skip
    return Outcome(None, p_value)


def _answers(folder: Path) -> dict[str, Floats]:
    found = {}
    for place in PLACES:
        found[f"{place.name}, round 1"] = in_noise(site(folder / place.name, IDLE, place))
    found["another installation"] = in_noise(site(folder / "z", IDLE))
    # The same request again, on data that have changed: another release, so other noise.
    changed = site(folder / PLACES[0].name, [*IDLE, [5]], PLACES[0])
    found["changed data"] = in_noise(changed)
    found["round 2"] = in_noise(changed, 2)
    return found


def _scale(noise: Floats) -> float:
    statistic = float(np.square(noise).sum())
    return two_sided(stats.chi2.cdf(statistic, noise.size), stats.chi2.sf(statistic, noise.size))


def _correlation(one: Floats, other: Floats) -> float:
    lengths = float(np.linalg.norm(one)) * float(np.linalg.norm(other))
    return float(one @ other) / max(lengths, 1e-300)


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Every generator that a seed can set, set, and put back afterwards."""
    torch_state, numpy_state, python_state = (
        torch.get_rng_state(),
        np.random.get_state(),
        random.getstate(),
    )
    torch.manual_seed(seed)
    np.random.seed(seed % 2**32)
    random.seed(seed)
    try:
        yield
    finally:
        torch.set_rng_state(torch_state)
        np.random.set_state(numpy_state)
        random.setstate(python_state)


CHECK = Check("secrets", ("noise",), check)
