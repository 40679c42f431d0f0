"""The game, LiRA and RMIA."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from scipy import stats

from server.rounds.aggregation import ServerOptimiser
from shared.adapters import extract, initial_adapter
from shared.errors import ConfigError
from shared.model import InterestModel
from shared.objective import losses, windows
from shared.privacy.randomness import UnsafeSeed
from shared.protocol import PROTOCOL_VERSION, travelling
from shared.training import local_round
from simulations.attacks import lira, rmia
from simulations.attacks.game import Game, drawn_members, play, train, user_losses
from simulations.attacks.roc import roc
from simulations.attacks.victim import Victim, subset, unprotected


def test_references_are_complementary_halves_and_targets_are_coins() -> None:
    members = drawn_members(101, references=6, targets=40, seed=3)
    assert members.shape == (46, 101)
    for pair in range(3):
        assert (members[2 * pair] != members[2 * pair + 1]).all()
        assert members[2 * pair].sum() == 50
    coins = members[6:]
    assert abs(coins.mean() - 0.5) < 4 * 0.5 / math.sqrt(coins.size)
    assert len({row.tobytes() for row in coins}) == 40


def test_a_subset_keeps_the_histories(victim: Victim) -> None:
    part = subset(victim.sequences, np.array([7, 2]))
    np.testing.assert_array_equal(part[0], victim.sequences[7])
    np.testing.assert_array_equal(part[1], victim.sequences[2])
    assert len(subset(victim.sequences, np.zeros(0, np.int64))) == 0


def test_training_is_the_platforms_own_rounds_as_they_travel(victim: Victim) -> None:
    users, plan = np.arange(20), unprotected(victim.plan)
    two = dataclasses.replace(victim, rounds=2)
    found = extract(train(two, users, plan, UnsafeSeed(4), "here"))
    adapter = initial_adapter(victim.model, victim.width)
    (name,) = adapter
    for round_ in (1, 2):
        update = local_round(
            InterestModel(victim.model, victim.width).load(adapter),
            victim.ground,
            subset(victim.sequences, users),
            dataclasses.replace(plan, trained=name),
            UnsafeSeed(4).open(platform="here", round=round_, request="", data=""),
        )
        sent = {name: travelling(update, PROTOCOL_VERSION)[name].astype(np.float64)}
        adapter, _ = ServerOptimiser(settings=victim.server).apply({}, adapter, sent)
    np.testing.assert_array_equal(found[name], adapter[name])
    assert np.abs(found[name]).max() > 0


def test_a_users_loss_is_their_own_whole_historys(victim: Victim) -> None:
    model = train(victim, np.arange(40), unprotected(victim.plan), UnsafeSeed(1), "all")
    found = user_losses(victim, model)
    for user in (0, 17, 39):
        alone = subset(victim.sequences, np.array([user]))
        batch = windows(alone, np.array([0]), np.zeros(1), len(alone.items))
        everything = torch.arange(len(victim.ground.vectors))
        loss = losses(model, victim.ground, batch, everything, victim.plan.temperature, 0.0)
        assert found[user] == pytest.approx(float(loss.detach()), rel=1e-5)


def test_a_game_needs_references_on_both_sides(victim: Victim) -> None:
    with pytest.raises(ConfigError, match="at least 4 reference models"):
        play(victim, victim.plan, references=2, targets=2, seed=0, progress=lambda *_: None)


def normal_game(shift: float, references: int, users: int = 400, seed: int = 0) -> Game:
    """Confidences that are exactly as LiRA takes them to be; the spread is 1."""
    rng = np.random.default_rng(seed)
    members = drawn_members(users, references, 6, seed)
    level = rng.normal(-4, 3, users)
    shown = level + shift * members + rng.normal(size=members.shape)
    return Game(np.log1p(np.exp(-shown)), members, references)


def test_confidence_is_the_logit_of_the_probability() -> None:
    p = np.array([0.01, 0.5, 0.9])
    np.testing.assert_allclose(lira.confidence(-np.log(p)), np.log(p / (1 - p)))
    assert np.isfinite(lira.confidence(np.array([0.0, 700.0]))).all()


def test_lira_with_many_references_is_the_likelihood_ratio_test() -> None:
    """Neyman and Pearson: nobody does better than AUC = Phi(shift / sqrt 2)."""
    game = normal_game(1.5, references=200)
    found = roc(lira.scores(game), game.truth)
    assert found.auc == pytest.approx(stats.norm.cdf(1.5 / math.sqrt(2)), abs=0.02)


def test_few_references_cost_lira_little() -> None:
    """Each user's own level is told by 8 models only; the common shift is told by all."""
    game = normal_game(0.4, references=8)
    found = roc(lira.scores(game), game.truth)
    expected = stats.norm.cdf(0.4 / math.sqrt(2 * (1 + 1 / 8)))
    assert found.auc == pytest.approx(expected, abs=0.03)


@pytest.mark.parametrize("attack", [lira.scores, rmia.scores])
def test_nothing_to_find_is_not_found(attack) -> None:  # type: ignore[no-untyped-def]
    game = normal_game(0.0, references=8, users=800)
    assert abs(roc(attack(game), game.truth).auc - 0.5) < 0.035


def test_shrinking_by_hand() -> None:
    shifts = np.array([1.0, 2.0, 3.0])  # variance 1
    np.testing.assert_allclose(lira.shrunk(shifts, 0.0), shifts)
    np.testing.assert_allclose(lira.shrunk(shifts, 0.5), [1.5, 2.0, 2.5])
    np.testing.assert_allclose(lira.shrunk(shifts, 4.0), [2.0, 2.0, 2.0])
    assert (lira.shrunk(-shifts, 4.0) > 0).all()  # the order of the scores is kept


def test_rmia_by_hand() -> None:
    """p(x) is the mean of the references' probabilities; a tie with oneself counts at gamma 1."""
    p = np.array([[0.2, 0.2, 0.4], [0.4, 0.2, 0.2], [0.6, 0.1, 0.3]])
    game = Game(-np.log(p), np.zeros((3, 3), dtype=bool), 2)
    # ratios to (0.3, 0.2, 0.3): 2, 0.5, 1
    np.testing.assert_allclose(rmia.scores(game), [[1.0, 1 / 3, 2 / 3]])
    np.testing.assert_allclose(rmia.scores(game, gamma=1.5), [[2 / 3, 0.0, 1 / 3]])


def test_rmia_finds_what_there_is() -> None:
    game = normal_game(1.5, references=8)
    assert roc(rmia.scores(game), game.truth).auc > 0.7


def test_without_privacy_members_are_found_and_with_it_less(victim: Victim) -> None:
    curves = {}
    for name, plan in (("private", victim.plan), ("control", unprotected(victim.plan))):
        game = play(victim, plan, references=8, targets=8, seed=5, progress=lambda *_: None)
        curves[name] = {
            "lira": roc(lira.scores(game), game.truth),
            "rmia": roc(rmia.scores(game), game.truth),
        }
    for attack in ("lira", "rmia"):
        assert curves["control"][attack].auc > 0.8
        assert curves["private"][attack].auc < 0.75
