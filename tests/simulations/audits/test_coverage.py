"""Audits on paper, where the truth is known."""

import numpy as np
import pytest
from scipy import stats

from shared.privacy.accountant import Charge, epsilon
from shared.privacy.auditing import gaussian
from shared.privacy.auditing.bounds import NAMES
from shared.privacy.auditing.game import Rules
from simulations.audits.coverage import coverage

SMALL = Rules(canaries=60, rounds=4, steps=1, rate=0.5, noise_multiplier=2.0, delta=1e-3)


def test_bounds_exceed_the_truth_as_rarely_as_they_say() -> None:
    done: list[tuple[int, int]] = []
    found = coverage(
        SMALL, simulations=200, confidence=0.9, seed=0, progress=lambda *now: done.append(now)
    )
    assert done == [(game, 200) for game in range(1, 201)]
    assert found["epsilon"] == epsilon([Charge(0.5, 2.0, 4)], 1e-3)
    assert found["holds"] is True
    assert tuple(found["bounds"]) == NAMES
    for one in found["bounds"].values():
        assert one["share"] == one["exceeded"] / 200 <= 0.1
        low, high = one["interval"]
        assert low == pytest.approx(
            stats.beta.ppf(0.025, one["exceeded"], 201 - one["exceeded"])
            if one["exceeded"]
            else 0.0
        )
        assert high == pytest.approx(
            stats.beta.ppf(0.975, one["exceeded"] + 1, 200 - one["exceeded"])
        )
        assert one["median"] < found["epsilon"]
    # limits of normal estimates are exceeded in 5 %, not never
    assert all(found["bounds"][name]["exceeded"] > 3 for name in NAMES[2:])


def test_the_seed_decides_the_games() -> None:
    one, same, other = (
        coverage(SMALL, simulations=10, confidence=0.95, seed=seed) for seed in (1, 1, 2)
    )
    assert one == same != other


def test_bounds_that_say_too_much_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """The estimate itself in the place of its lower limit: exceeds the truth half of the time."""
    monkeypatch.setattr(gaussian.Shift, "lower", lambda self, _confidence: self.ratio)
    found = coverage(SMALL, simulations=60, confidence=0.95, seed=0)
    assert found["holds"] is False
    assert found["bounds"][NAMES[3]]["interval"][0] > 0.05


@pytest.mark.slow
@pytest.mark.parametrize("noise", [1.502, 4.391], ids=["epsilon 8", "epsilon 2"])
def test_a_thousand_audits_of_the_demo(noise: float) -> None:
    rules = Rules(
        canaries=1000,
        rounds=24,
        steps=1,
        rate=0.5,
        noise_multiplier=noise,
        delta=4000**-1.1,
    )
    found = coverage(rules, simulations=1000, confidence=0.95, seed=0)
    assert max(one["share"] for one in found["bounds"].values()) <= 0.05
    medians = np.array([found["bounds"][name]["median"] for name in NAMES]) / found["epsilon"]
    assert medians[2] >= (0.9 if noise < 2 else 0.75)
