import dataclasses

import numpy as np
import pytest
import torch

from shared.model import InterestModel
from shared.objective import losses, windows
from simulations.attacks import inversion
from simulations.attacks.victim import Victim, subset, unprotected


def batches(victim: Victim, size: int, count: int, *, private: bool) -> list[inversion.Seen]:
    rng = np.random.default_rng(size)
    plan = inversion.batch_plan(victim.plan if private else unprotected(victim.plan), size)
    return [
        inversion.observe(
            victim,
            rng.choice(len(victim.sequences), size, replace=False),
            plan,
            seed=2,
            label=f"{number}",
        )
        for number in range(count)
    ]


def test_what_is_seen_is_the_batchs_gradient(victim: Victim) -> None:
    """Against autograd through the plainly written loss."""
    users = np.array([3, 8])
    plan = inversion.batch_plan(unprotected(victim.plan), 2)
    seen = inversion.observe(victim, users, plan, seed=0, label="a")
    model = InterestModel(victim.model, victim.width)
    batch = windows(subset(victim.sequences, users), np.arange(2), np.zeros(2), 9)
    everything = torch.arange(len(victim.ground.vectors))
    losses(model, victim.ground, batch, everything, plan.temperature, plan.gce_q).sum().backward()
    exact = model.block(model.names[0]).lora_B.weight.grad
    assert exact is not None
    error = seen.gradient - exact.double().numpy()
    assert np.abs(error).max() < 1e-3 * np.abs(seen.gradient).max()
    # the rounding that the attacker reckons with is the rounding there is
    assert np.sqrt(np.mean(error**2)) == pytest.approx(seen.noise_stddev, rel=0.1)


def test_the_truth_is_what_the_users_touched(victim: Victim) -> None:
    plan = inversion.batch_plan(victim.plan, 2)
    seen = inversion.observe(victim, np.array([3, 8]), plan, seed=0, label="a")
    expected = set(victim.sequences[3].tolist()) | set(victim.sequences[8].tolist())
    assert set(np.flatnonzero(seen.truth).tolist()) == expected


def test_only_the_window_of_a_long_history_is_in_an_update(victim: Victim) -> None:
    plan = dataclasses.replace(inversion.batch_plan(victim.plan, 40), targets_per_user=1)
    seen = inversion.observe(victim, np.arange(40), plan, seed=0, label="a")
    assert seen.truth.sum() <= 80


def test_a_round_in_which_nobody_takes_part(victim: Victim) -> None:
    plan = dataclasses.replace(unprotected(victim.plan), sample_rate=1e-9)
    seen = inversion.observe(victim, np.arange(5), plan, seed=0, label="a")
    assert not seen.truth.any()
    assert inversion.precision(inversion.scores(seen, inversion.frame(victim)), seen.truth) == 0.0


def test_the_noise_is_as_the_attacker_reckons(victim: Victim) -> None:
    (private,), (bare,) = (batches(victim, 1, 1, private=value) for value in (True, False))
    assert private.noise_stddev == 1.5
    assert np.std(private.gradient - bare.gradient) == pytest.approx(1.5, rel=0.1)


@pytest.mark.parametrize("size", [1, 2])
def test_without_privacy_every_item_is_found(victim: Victim, size: int) -> None:
    items = inversion.frame(victim)
    seen = batches(victim, size, 12, private=False)
    hits = [inversion.precision(inversion.scores(one, items), one.truth) for one in seen]
    assert hits == [1.0] * 12


def test_with_privacy_nothing_is(victim: Victim) -> None:
    items = inversion.frame(victim)
    seen = batches(victim, 2, 24, private=True)
    found = inversion.outcome(
        np.array([inversion.scores(one, items) for one in seen]),
        np.array([one.truth for one in seen]),
        rng=np.random.default_rng(0),
    )
    assert found.p > 1e-3
    assert found.auc == pytest.approx(0.5, abs=0.06)


def test_a_batch_that_fills_the_space_hides_its_items(victim: Victim) -> None:
    """The limit of the attack: 40 users have more terms than the block has directions."""
    items = inversion.frame(victim)
    plan = inversion.batch_plan(unprotected(victim.plan), 40)
    seen = inversion.observe(victim, np.arange(40), plan, seed=0, label="a")
    assert np.isfinite(inversion.scores(seen, items)).all()


def test_judging_by_hand() -> None:
    truth = np.array([True, False, True, False])
    assert inversion.precision(np.array([9.0, 8.0, 1.0, 0.0]), truth) == 0.5
    assert inversion.auc(np.array([9.0, 8.0, 1.0, 0.0]), truth) == 0.75
    assert inversion.auc(np.zeros(4), truth) == 0.5
    assert inversion.auc(np.arange(4.0), np.ones(4, dtype=bool)) == 0.5


def test_the_test_sees_what_is_there_and_only_that() -> None:
    rng = np.random.default_rng(0)
    truths = rng.random((24, 50)) < 0.2
    right = inversion.outcome(truths + 0.0, truths, rng=rng)
    assert (right.precision, right.auc, right.p) == (1.0, 1.0, 1 / 20_000)
    assert right.chance == pytest.approx(0.2, abs=0.03)
    popular = inversion.outcome(np.tile(truths.mean(axis=0), (24, 1)), truths, rng=rng)
    assert popular.auc > 0.5  # popular items are in a batch more often, ...
    assert popular.p == 1.0  # ... which is nothing that an update said


def test_noise_is_accused_as_seldom_as_it_should_be() -> None:
    rng = np.random.default_rng(1)
    small = 0
    for _ in range(100):
        truths = rng.random((8, 30)) < 0.2
        found = inversion.outcome(rng.random((8, 30)), truths, rng=rng, permutations=199)
        small += found.p <= 0.05
    assert small <= 13  # 5 expected, standard deviation 2.2
