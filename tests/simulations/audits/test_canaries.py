"""Canary users, and what the attacker makes of a release: against plain matrices."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from shared.events import Sequences
from simulations.audits import canaries
from simulations.audits.canaries import LENGTH, Crew, Sighting, decoded, played

D, R, M, T = 12, 9, 30, 2


def seen_round(
    rng: np.random.Generator, crew: Crew, rate: float, noise: float
) -> tuple[Sighting, NDArray[np.float64]]:
    """A release as the issue has it, and the (M, D * R) directions, each of length 1."""
    inputs, outputs = rng.normal(size=(M, T, R)), rng.normal(size=(M, T, D))
    directions = np.einsum("mtd,mtr->mdr", outputs, inputs)
    norms = np.linalg.norm(directions, axis=(1, 2))
    outputs /= norms[:, None, None]
    directions /= norms[:, None, None]
    size = rng.uniform(1, 2, M)
    taken = ((rng.random(M) < rate) & crew.members).astype(np.int64)
    rest = np.einsum("m,mdr->dr", taken * size, directions) + noise * rng.normal(size=(D, R))
    sight = Sighting(
        torch.from_numpy(rest).float(),
        torch.from_numpy(inputs).float(),
        torch.from_numpy(outputs).float(),
        size,
        taken,
    )
    return sight, directions.reshape(M, -1)


@pytest.fixture
def crew() -> Crew:
    return Crew.drawn(M, 50, 9, np.random.default_rng(0))


def test_canaries_have_short_histories_and_fair_coins() -> None:
    crew = Crew.drawn(2000, 50, 9, np.random.default_rng(0))
    assert crew.histories.shape == (2000, LENGTH)
    assert crew.histories.min() == 0
    assert crew.histories.max() == 49
    assert (crew.histories[:, 0] != crew.histories[:, 1]).all()
    assert 0.46 < crew.members.mean() < 0.54
    assert Crew.drawn(5, 50, 1, np.random.default_rng(0)).histories.shape == (5, 1)


def test_those_who_are_in_come_after_everybody_else(crew: Crew) -> None:
    others = Sequences(
        users=("a", "b"), items=np.array([7, 8, 9], np.int32), offsets=np.array([0, 1, 3])
    )
    joined = crew.joined(others)
    inside = int(crew.members.sum())
    assert len(joined) == 2 + inside
    assert joined.users[:2] == ("a", "b")
    np.testing.assert_array_equal(joined.items[:3], [7, 8, 9])
    np.testing.assert_array_equal(joined.items[3:], crew.histories[crew.members].ravel())
    np.testing.assert_array_equal(np.diff(joined.offsets), [1, 2] + [LENGTH] * inside)
    assert len(crew.alone()) == M


def test_what_is_seen_is_what_the_matrices_say(crew: Crew) -> None:
    rng = np.random.default_rng(1)
    sight, directions = seen_round(rng, crew, 0.5, noise=1.0)
    rest = sight.rest.double().numpy().ravel()
    np.testing.assert_allclose(sight.along(sight.rest), directions @ rest, atol=1e-5)
    weights = rng.normal(size=M)
    np.testing.assert_allclose(
        sight.together(weights).numpy().ravel(), weights @ directions, atol=1e-5
    )
    gram = directions @ directions.T
    expected = directions @ rest - (gram - np.eye(M)) @ weights
    np.testing.assert_allclose(sight.seen(weights), expected, atol=1e-5)


@pytest.mark.parametrize("steps", [1, 2])
def test_the_filter_is_least_squares_over_all_coordinates(crew: Crew, steps: int) -> None:
    rounds = [seen_round(np.random.default_rng(seed), crew, 0.5, 1.0) for seed in range(4)]
    sights = [sight for sight, _ in rounds]
    game = played(sights, crew, 0.5, steps)
    for number, (sight, directions) in enumerate(rounds):
        level = sight.taken.mean() if steps > 1 else 0.0
        matched = (sight.taken - level) @ directions
        rest = sight.rest.double().numpy().ravel()
        found = [float(row[number]) for row in vars(game.matched).values()]
        expected = [matched @ rest, matched @ (sight.taken @ directions), matched @ matched]
        assert found == pytest.approx(expected, rel=1e-4)
    if steps == 1:
        design = np.concatenate([sight.taken @ directions for sight, directions in rounds])
        release = np.concatenate([sight.rest.double().numpy().ravel() for sight in sights])
        fitted = np.linalg.lstsq(design[:, None], release, rcond=None)[0]
        slope = game.matched.met.sum() / game.matched.reach.sum()
        assert slope == pytest.approx(float(fitted[0]), rel=1e-4)


def test_others_are_taken_out_of_what_was_played(crew: Crew) -> None:
    """Without noise each number is the canary's own part, however the directions overlap."""
    sights = [seen_round(np.random.default_rng(seed), crew, 0.5, 0.0)[0] for seed in range(3)]
    game = played(sights, crew, 0.5, 1)
    for row, sight in zip(game.seen, sights, strict=True):
        np.testing.assert_allclose(row, sight.taken * sight.size, atol=1e-5)
    np.testing.assert_array_equal(game.taken, [sight.taken for sight in sights])


def test_scores_tell_in_from_out_and_look_at_no_coin(crew: Crew) -> None:
    sights = [seen_round(np.random.default_rng(seed), crew, 0.5, 1.0)[0] for seed in range(20)]
    scores = decoded(sights, 0.5, 1)
    assert scores[crew.members].mean() > 2
    assert scores[~crew.members].mean() < -2
    blank = [
        Sighting(one.rest, one.inputs, one.outputs, one.size, np.zeros(M, np.int64))
        for one in sights
    ]
    turned = Crew(crew.histories, ~crew.members)
    np.testing.assert_array_equal(played(blank, turned, 0.5, 1).scores, scores)


def test_taking_the_others_out_makes_better_scores(
    crew: Crew, monkeypatch: pytest.MonkeyPatch
) -> None:
    """30 directions in 108 dimensions overlap; log loss of the odds, over 30 short games."""
    signs = np.where(crew.members, 1, -1)

    def loss(passes: int) -> float:
        monkeypatch.setattr(canaries, "_PASSES", passes)
        found = []
        for game in range(30):
            rng = np.random.default_rng(game)
            sights = [seen_round(rng, crew, 0.5, 1.0)[0] for _ in range(3)]
            found.append(np.logaddexp(0, -signs * decoded(sights, 0.5, 1)).mean())
        return float(np.mean(found))

    assert loss(4) < loss(1) < np.log(2)
