"""What is read off a round from outside is what happened inside."""

import numpy as np
import torch

from shared.model import InterestModel
from shared.objective import losses, windows
from simulations.audits.checks.probe import (
    ITEMS,
    PLAN,
    SETTINGS,
    TRAINED,
    WIDTH,
    gradients,
    ground,
    packed,
    people,
    plan,
    shares,
    total,
    trace,
)


def test_people_are_distinct_and_fit_into_a_window() -> None:
    found = people(150, 1)
    assert len({tuple(history) for history in found}) == 150
    assert {len(history) for history in found} == {2, 3, 4, 5}
    assert max(len(history) for history in found) <= PLAN.targets_per_user + 1


def test_gradients_are_those_of_one_user_at_a_time() -> None:
    histories = people(5, 0)
    found = gradients(histories, 0)
    for user in range(5):
        model = InterestModel(SETTINGS, WIDTH)
        batch = windows(packed(histories), np.array([user]), np.array([0.5]), 5)
        loss = losses(model, ground(0), batch, torch.arange(ITEMS), PLAN.temperature, PLAN.gce_q)[0]
        (own,) = torch.autograd.grad(loss, [model.block(TRAINED).lora_B.weight])
        np.testing.assert_allclose(found[user], own.double().numpy().ravel(), atol=1e-6)


def test_a_bare_sum_is_the_sum_of_gradients() -> None:
    histories = people(9, 2)
    terms = gradients(histories, 2)
    np.testing.assert_allclose(total(histories, plan(), 2), terms.sum(axis=0), atol=1e-5)
    some = terms[1] + 0.25 * terms[4]
    found, rest = shares(some, terms)
    np.testing.assert_allclose(found, np.eye(9)[1] + 0.25 * np.eye(9)[4], atol=1e-9)
    assert rest < 1e-9
    assert shares(np.random.default_rng(0).normal(size=terms.shape[1]), terms)[1] > 0.9


def test_the_steps_add_up_to_what_is_released() -> None:
    found = trace(people(9, 3), plan(steps=4, noise_multiplier=1.0), 3)
    assert found.sums.shape == (4, WIDTH * 16)
    np.testing.assert_allclose(found.sums.sum(axis=0), found.released, rtol=1e-4, atol=1e-3)
    assert 0.9 < np.std(found.sums) / PLAN.clip_norm < 1.1
