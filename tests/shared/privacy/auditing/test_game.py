"""The game on paper."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from shared.errors import ConfigError
from shared.privacy.auditing.game import Rules, contrast, likelihood_ratios, simulated

RULES = Rules(canaries=400, rounds=30, steps=1, rate=0.5, noise_multiplier=2.0, delta=1e-4)


def with_(**changes: float) -> Rules:
    return replace(RULES, **changes)


@pytest.mark.parametrize(("rate", "steps"), [(0.5, 1), (0.3, 3), (1.0, 2)])
def test_likelihood_ratios_are_those_of_the_mixture(rate: float, steps: int) -> None:
    seen = np.array([[-2.0, 0.0, 0.7], [1.5, 3.0, 9.0]])
    shift = np.array([[0.5, 1.0, 0.2], [0.7, 0.0, 2.0]])
    chance = stats.binom(steps, rate).pmf
    inside = sum(chance(count) * stats.norm.pdf(seen - count * shift) for count in range(steps + 1))
    expected = np.log(inside / stats.norm.pdf(seen))
    np.testing.assert_allclose(likelihood_ratios(seen, shift, rate, steps), expected, atol=1e-12)
    alike = likelihood_ratios(seen, np.full_like(seen, 0.4), rate, steps)
    np.testing.assert_allclose(likelihood_ratios(seen, 0.4, rate, steps), alike, atol=1e-12)


def test_a_game_has_the_laws_it_says() -> None:
    rules = with_(canaries=4000, rounds=50, steps=2)
    game = simulated(rules, np.random.default_rng(1))
    assert game.seen.shape == game.taken.shape == (50, 4000)
    assert game.members.mean() == pytest.approx(0.5, abs=0.03)
    assert not game.taken[:, ~game.members].any()
    inside = game.taken[:, game.members]
    assert [float((inside == count).mean()) for count in (0, 1, 2)] == pytest.approx(
        [0.25, 0.5, 0.25], abs=0.01
    )
    assert rules.shift == pytest.approx(0.5 / np.sqrt(2))
    noise = game.seen - game.taken * rules.shift
    assert (noise.mean(), noise.std()) == pytest.approx((0.0, 1.0), abs=0.01)


def test_less_noise_than_promised_shows_in_the_scores() -> None:
    honest, broken = (
        simulated(RULES, np.random.default_rng(2), noise_multiplier=noise) for noise in (None, 1.0)
    )
    gaps = [
        (game.scores[game.members].mean() - game.scores[~game.members].mean()) / game.scores.std()
        for game in (honest, broken)
    ]
    assert gaps[1] > gaps[0] > 0.5
    noise = broken.seen - broken.taken * RULES.shift
    assert noise.std() == pytest.approx(0.5, abs=0.01)


def test_the_filter_of_one_step_sums_who_took_part_and_of_more_keeps_the_level_out() -> None:
    taken = np.array([[0, 1, 1, 0], [0, 2, 0, 0]])
    np.testing.assert_array_equal(contrast(taken, 1), taken)
    expected = [[-0.5, 0.5, 0.5, -0.5], [-0.5, 1.5, -0.5, -0.5]]
    np.testing.assert_array_equal(contrast(taken, 2), expected)
    for steps in (1, 2):
        game = simulated(with_(steps=steps), np.random.default_rng(3))
        # noise aside, the filter meets the signal times its reach
        expected = with_(steps=steps).shift * game.matched.reach
        errors = (game.matched.met - expected) / np.sqrt(game.matched.spread)
        assert np.abs(errors).max() < 4
        assert errors.std() == pytest.approx(1, abs=0.35)


@pytest.mark.parametrize("change", [{"canaries": 1}, {"rounds": 0}, {"steps": 0}])
def test_a_game_needs_somebody_and_something(change: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match=f"{next(iter(change))} >= "):
        with_(**change)
